"""The command line: ``purenet train``, ``purenet predict``, ``purenet evaluate``."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from tqdm import tqdm

import purenet
from purenet import REPORT, Config, checkpoint, datasets, images
from purenet.network import _log_softmax
from purenet.runs import Run, model_file
from purenet.training import checked, forward_in_chunks

__all__ = ["main"]

PRESETS: dict[str, tuple[Config, str | float]] = {
    "default": (Config(), "he"),
    "report": (REPORT, 0.01),
}
COLUMNS = "epoch      loss  test loss  test accuracy  seconds  samples/s"
LINE = (
    "{epoch:5d}  {loss:8.4f}  {test_loss:9.4f}  {test_accuracy:13.2%}  {seconds:7.2f}  "
    "{samples_per_second:9,.0f}"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        Exit status: 0, or 1 if training diverged, 2 for bad input, 130 if interrupted.
    """
    try:
        args = _parser().parse_args(argv)
        args.command(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone, as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except purenet.DivergenceError as error:
        return _complain(str(error), 1)
    except (ValueError, OSError, ImportError) as error:
        return _complain(str(error), 2)
    return 0


def _complain(message: str, status: int) -> int:
    print("purenet:", " ".join(message.split()), file=sys.stderr)
    return status


def _train(args: argparse.Namespace) -> None:
    given = vars(args)
    cfg, scale = PRESETS[args.preset]
    cfg = replace(cfg, **{f.name: given[f.name] for f in fields(Config) if f.name in given})
    scale = given.get("init_scale", scale)
    data, test = datasets.load(args.data)
    classes = 1 + max(int(y.max()) for _, y in (data, test))
    layers = given.get("layers", [data[0].shape[1], 200, 50, classes])
    params = purenet.init(layers, seed=cfg.seed, scale=scale, dtype=args.dtype)
    records = purenet.epochs(params, data, cfg)
    checked(params, test)
    settings: dict[str, Any] = {
        "purenet": purenet.__version__,
        "numpy": np.__version__,
        "data": args.data,
        "layers": layers,
        "init_scale": scale,
        "dtype": args.dtype,
        **asdict(cfg),
    }
    run = Run(args.output, settings, overwrite=args.overwrite)

    talk = not (args.quiet or args.json)
    if talk:
        n, batch = len(data[0]), cfg.batch_size or "full"
        print(
            f"{'-'.join(map(str, layers))}, {args.dtype}: {n:,} examples, batch {batch}\n{COLUMNS}"
        )
    bar = tqdm(total=cfg.epochs, unit="epoch", leave=False, disable=None if talk else True)
    try:
        started = time.perf_counter()
        for record in records:
            seconds = time.perf_counter() - started
            tested = purenet.evaluate(record.params, test, cfg)
            figures = {
                "epoch": record.epoch,
                "loss": record.loss,
                "test_loss": tested.loss,
                "test_accuracy": tested.accuracy,
                "seconds": round(seconds, 4),
                "samples_per_second": round(len(data[0]) / seconds, 1),
            }
            run.add(record.params, cfg, figures)
            if args.json:
                print(json.dumps(figures), flush=True)
            elif talk:
                bar.write(LINE.format(**figures))
                bar.update()
            started = time.perf_counter()
    finally:
        bar.close()
        written = run.finish()
        if talk and written:
            print(f"{args.output}: {', '.join(written)}")


def _predict(args: argparse.Namespace) -> None:
    params, cfg = checkpoint.load(model_file(args.model))
    for path in args.images:
        x = images.read(path, params["W1"].shape[0], invert=args.invert)
        p = np.exp(_log_softmax(forward_in_chunks(params, x, cfg)))
        for i, row in enumerate(p):
            name = path if len(p) == 1 else f"{path}[{i}]"
            print(f"{name}: {row.argmax()} {row.max():.1%}")


def _evaluate(args: argparse.Namespace) -> None:
    params, cfg = checkpoint.load(model_file(args.model))
    _, (x, y) = datasets.load(args.data)
    loss, accuracy = purenet.evaluate(params, (x, y), cfg)
    predicted = forward_in_chunks(params, x, cfg).argmax(axis=1)
    classes = len(params[f"b{len(params) // 2}"])
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (y, predicted), 1)
    print(f"{len(x):,} test examples: loss {loss:.4f}, accuracy {accuracy:.2%}")
    width = max(len(str(confusion.max())), len(str(classes))) + 2
    print("rows: label, columns: prediction")
    header: list[tuple[Any, Any]] = [("", range(classes))]
    for label, counts in header + list(enumerate(confusion)):
        print(f"{label:>4}", "".join(f"{count:>{width}}" for count in counts))


def _parsed_by(parse: Callable[[str], Any], expected: str) -> Callable[[str], Any]:
    """Return a parser of an option's text that says what it expected."""

    def parser(text: str) -> Any:
        try:
            return parse(text)
        except (ValueError, ZeroDivisionError):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}") from None

    return parser


_layers = _parsed_by(lambda text: [int(size) for size in text.split("-")], "sizes as 784-200-50-10")
_batch_size = _parsed_by(lambda text: None if text == "full" else int(text), "an integer or full")
_scale = _parsed_by(lambda text: text if text == "he" else float(text), "a number or he")
_fraction = _parsed_by(lambda text: float(Fraction(text)), "a number or fraction")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(_complain(message, 2))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="purenet", description="Train and use a multilayer perceptron.")
    parser.add_argument("--version", action="version", version=f"purenet {purenet.__version__}")
    commands = parser.add_subparsers(required=True, metavar="train | predict | evaluate")

    train = commands.add_parser(
        "train",
        help="train a network, by default on MNIST",
        description="Train a network. Defaults are in brackets, as the default preset has them.",
    )
    train.set_defaults(command=_train)
    option = train.add_argument
    _add_data(train)
    option("--preset", choices=PRESETS, default="default", help="report: as the student report")
    optional: dict[str, Any] = {"default": argparse.SUPPRESS}
    option("--layers", type=_layers, help="[784-200-50-10]", **optional)
    option("--batch-size", type=_batch_size, help="examples an update, or full [128]", **optional)
    option("--epochs", type=int, help="[10]", **optional)
    option("--learning-rate", type=float, help="η [0.4]", **optional)
    option("--momentum", type=float, help="β of the moving average [0.9]", **optional)
    option("--l2", type=float, help="penalty on weights [1e-4]", **optional)
    option(
        "--init-scale", type=_scale, help="standard deviation of weights, or he [he]", **optional
    )
    option("--input-scale", type=_fraction, help="factor of integer inputs [1/255]", **optional)
    option("--shuffle", action=argparse.BooleanOptionalAction, help="[--shuffle]", **optional)
    option("--seed", type=int, help="of initialisation and order [0]", **optional)
    option("--dtype", choices=["float32", "float64"], default="float32", help="[float32]")
    option("--output", type=Path, default=Path("purenet-run"), help="folder [purenet-run]")
    option("--overwrite", action="store_true", help="replace an earlier run in the folder")
    option("--quiet", action="store_true", help="print nothing")
    option("--json", action="store_true", help="print one JSON object an epoch, nothing else")

    predict = commands.add_parser("predict", help="classify pictures or arrays")
    predict.set_defaults(command=_predict)
    _add_model(predict)
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="picture, .npy or .npz file")
    predict.add_argument("--invert", action="store_true", help="pictures are dark on light")

    evaluate = commands.add_parser("evaluate", help="loss, accuracy and confusion matrix")
    evaluate.set_defaults(command=_evaluate)
    _add_model(evaluate)
    _add_data(evaluate)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    files = "mnist, a folder of IDX files, or an .npz of x_train, y_train, x_test, y_test [mnist]"
    parser.add_argument("--data", default="mnist", help=files)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a run's folder, or model file")
