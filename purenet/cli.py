"""The command line: ``purenet train``, ``purenet predict``, ``purenet evaluate``."""

import argparse
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from functools import reduce
from operator import truediv
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from tqdm import tqdm

import purenet
from purenet import REPORT, Config, _checks, checkpoint, datasets, images, inference
from purenet._checks import Data, Params
from purenet.engines import as_input
from purenet.runs import Run, model_file
from purenet.training import Epoch

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
    # A process without a console, or after `>&-`, has no streams.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would tell stderr of its caches
    try:
        args = _parser().parse_args(argv)
        with np.errstate(all="ignore"):  # what overflows shows in the loss
            args.command(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone, as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else error, 2)
    except ArithmeticError as error:
        return _complain(error, 1)
    except (ValueError, ImportError, MemoryError) as error:
        return _complain(error, 2)
    return 0


def _complain(message: object, status: int) -> int:
    print("purenet:", " ".join((str(message) or repr(message)).split()), file=sys.stderr)
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
    purenet.evaluate(params, test, cfg)  # refuse bad test data now, not after an epoch
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

    table = not (args.quiet or args.json)
    try:
        if table:
            sizes, batch = "-".join(map(str, layers)), cfg.batch_size or "full"
            print(f"{sizes}, {args.dtype}: {len(data[0]):,} examples, batch {batch}")
            print(COLUMNS, flush=True)
        quiet = None if table else True  # None: a bar if stderr is a terminal
        with tqdm(total=cfg.epochs, unit="epoch", leave=False, disable=quiet) as bar:
            for ended, figures in _measured(records, len(data[0]), test, cfg):
                run.add(ended, cfg, figures)
                if not args.quiet:
                    with bar.external_write_mode():
                        line = LINE.format(**figures) if table else json.dumps(figures)
                        print(line, flush=True)
                bar.update()
    finally:
        written = run.finish()
        if table and written:
            print(f"{args.output}: {', '.join(written)}")


def _measured(
    records: Iterator[Epoch], n: int, test: Data, cfg: Config
) -> Iterator[tuple[Params, dict[str, float]]]:
    """Time and test each epoch of n examples."""
    started = time.perf_counter()
    for record in records:
        seconds = time.perf_counter() - started
        loss, accuracy = purenet.evaluate(record.params, test, cfg)
        if not math.isfinite(loss):
            raise ArithmeticError(
                f"the test loss stopped being finite in epoch {record.epoch}; "
                "a smaller learning rate or input scale may help"
            )
        yield (
            record.params,
            {
                "epoch": record.epoch,
                "loss": record.loss,
                "test_loss": loss,
                "test_accuracy": accuracy,
                "seconds": round(seconds, 4),
                "samples_per_second": round(n / seconds, 1),
            },
        )
        started = time.perf_counter()


def _predict(args: argparse.Namespace) -> None:
    params, cfg = checkpoint.load(model_file(args.model))
    for path in args.images:
        x = images.read(path, params["W1"].shape[0], invert=args.invert)
        p = purenet.predict_proba(params, as_input(params, x, cfg.input_scale))
        for i, row in enumerate(p):
            name = path if len(p) == 1 else f"{path}[{i}]"
            print(f"{name}: {row.argmax()} {row.max():.1%}")


def _evaluate(args: argparse.Namespace) -> None:
    params, cfg = checkpoint.load(model_file(args.model))
    _, (x, y) = datasets.load(args.data)
    _checks.data(params, (x, y))
    logits = inference.logits(params, x, cfg.input_scale)
    loss, accuracy = inference.of_logits(params, logits, y, cfg.l2)
    classes = len(params[f"b{len(params) // 2}"])
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (y, logits.argmax(axis=1)), 1)
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
_ratio = _parsed_by(
    lambda text: reduce(truediv, map(float, text.split("/"))), "a number or fraction"
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="purenet", description="Train and use a multilayer perceptron.")
    parser.add_argument("--version", action="version", version=f"purenet {purenet.__version__}")
    commands = parser.add_subparsers(required=True, metavar="train | predict | evaluate")

    train = _command(commands, _train, "train a network and keep it in a folder")
    _add_data(train)
    option = train.add_argument
    option(
        "--preset",
        choices=PRESETS,
        default="default",
        help="settings that the options below start from; report: those of the first experiment, "
        "with raw pixels [default]",
    )
    for name, parse, metavar, text in (
        ("layers", _layers, "N-...-N", "sizes, inputs first and classes last [784-200-50-10]"),
        ("batch-size", _batch_size, "N", f"examples an update, or full [{Config.batch_size}]"),
        ("epochs", int, "N", f"passes over the data [{Config.epochs}]"),
        ("learning-rate", float, "X", f"step size [{Config.learning_rate:g}]"),
        ("momentum", float, "X", f"of the moving average, below 1 [{Config.momentum:g}]"),
        ("l2", float, "X", f"penalty on weights [{Config.l2:g}]"),
        ("init-scale", _scale, "X", "standard deviation of first weights, or he [he]"),
        ("input-scale", _ratio, "X", "factor of integer inputs, also as a fraction [1/255]"),
        ("seed", int, "N", f"of first weights and order [{Config.seed}]"),
    ):
        option(f"--{name}", type=parse, metavar=metavar, help=text, default=argparse.SUPPRESS)
    option(
        "--shuffle",
        action=argparse.BooleanOptionalAction,
        help="take examples in a new order each epoch [--shuffle]",
        default=argparse.SUPPRESS,
    )
    option("--dtype", choices=["float32", "float64"], default="float32", help="[float32]")
    option(
        "--output",
        type=Path,
        metavar="FOLDER",
        default=Path("purenet-run"),
        help="where the run is kept [purenet-run]",
    )
    option("--overwrite", action="store_true", help="replace an earlier run in the folder")
    talk = train.add_mutually_exclusive_group()
    talk.add_argument("--quiet", action="store_true", help="print nothing")
    talk.add_argument("--json", action="store_true", help="print one JSON object an epoch instead")

    predict = _command(commands, _predict, "print the class and its probability of each image")
    _add_model(predict)
    predict.add_argument(
        "images", nargs="+", metavar="IMAGE", help="PNG or JPEG picture, .npy or .npz array"
    )
    predict.add_argument("--invert", action="store_true", help="pictures are dark on light")

    evaluate = _command(commands, _evaluate, "print loss, accuracy and confusion matrix")
    _add_model(evaluate)
    _add_data(evaluate)
    return parser


def _command(commands: Any, run: Callable[[argparse.Namespace], None], text: str) -> _Parser:
    name = run.__name__.removeprefix("_")
    parser: _Parser = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
    parser.set_defaults(command=run)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        default="mnist",
        help="mnist, a folder of IDX files, or an .npz of x_train, y_train, x_test, y_test [mnist]",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a run's folder or model file")
