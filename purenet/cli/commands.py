"""The command line: ``purenet train``, ``predict``, ``evaluate`` and ``reproduce``."""

import argparse
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import truediv
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from tqdm import tqdm

import purenet
from purenet import Config
from purenet.cli import reproduce
from purenet.cli.folder import RunFolder, model_file
from purenet.cli.job import DTYPES, PRESETS, prepare_job, run_job
from purenet.cli.signals import Signals
from purenet.evaluation import evaluate_logits, logits
from purenet.files import checkpoints, datasets, pictures
from purenet.params import check_data, sizes

__all__ = ["main"]

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
        Exit status: 0, or 1 if training diverged, 2 for bad input, 130 after Ctrl-C, 143 after
        SIGTERM.
    """
    # A process without a console, or after `>&-`, has no streams.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would tell stderr of its caches
    with Signals() as signals:
        try:
            args = _parser().parse_args(argv)
            with np.errstate(all="ignore"):  # what overflows shows in the loss
                args.command(args, signals)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return _complain(*signals.outcome())
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


def _train(args: argparse.Namespace, signals: Signals) -> None:
    if args.resume and (args.output or args.overwrite):
        raise ValueError("--resume goes on in its folder: no --output or --overwrite with it")
    run = RunFolder(args.resume or args.output or Path("purenet-run"), make=not args.resume)
    table = not (args.quiet or args.json)
    try:
        earlier = run.resume() if args.resume else None
        if earlier is None:
            run.start(overwrite=args.overwrite)
        job = prepare_job(run.folder, vars(args), earlier)
        with _log_to_stderr(quiet=args.quiet):
            trained = run_job(job, run, *args.checkpoint_every)
        signals.patient = True  # from here on a signal ends the run where it is whole
        done, step = job.state[1:3] if job.state else (0, 0)
        if table:
            sizes, batch = "-".join(map(str, job.settings["layers"])), job.cfg.batch_size or "full"
            where = f"; resumed after epoch {done}, step {step}" if earlier else ""
            print(
                f"{sizes}, {job.settings['dtype']}: {len(job.data[0]):,} examples, "
                f"batch {batch}{where}"
            )
            print(COLUMNS, flush=True)
        quiet = None if table else True  # None: a bar if stderr is a terminal
        with tqdm(
            total=job.cfg.epochs, initial=done, unit="epoch", leave=False, disable=quiet
        ) as bar:
            signals.check()
            for figures in trained:
                if figures is not None:
                    if not args.quiet:
                        with bar.external_write_mode():
                            line = LINE.format(**figures) if table else json.dumps(figures)
                            print(line, flush=True)
                    bar.update()
                signals.check()
    finally:
        written = run.close()
        if table and written:
            print(f"{run.folder}: {', '.join(written)}")


@contextmanager
def _log_to_stderr(*, quiet: bool) -> Iterator[None]:
    """Print what the engines log, such as that compiling begins, which takes seconds."""
    log, handler = logging.getLogger("purenet"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("purenet: %(message)s"))
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _predict(args: argparse.Namespace, _: Signals) -> None:
    params, cfg = checkpoints.load(model_file(args.model))[:2]
    for path in args.images:
        x = pictures.read(path, params["W1"].shape[0], invert=args.invert)
        p = purenet.predict_proba(params, x, input_scale=cfg.input_scale)
        for i, row in enumerate(p):
            name = path if len(p) == 1 else f"{path}[{i}]"
            print(f"{name}: {row.argmax()} {row.max():.1%}")


def _evaluate(args: argparse.Namespace, _: Signals) -> None:
    params, cfg = checkpoints.load(model_file(args.model))[:2]
    x, y = datasets.load(args.data)[1]
    check_data(params, (x, y))
    z = logits(params, x, input_scale=cfg.input_scale)
    loss, accuracy = evaluate_logits(params, z, y, l2=cfg.l2)
    classes = sizes(params)[-1]
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (y, z.argmax(axis=1)), 1)
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


def _parse_interval(text: str) -> tuple[int, str]:
    match = re.fullmatch("([1-9][0-9]*)(s|steps|epochs)?", text)
    if not match:
        raise ValueError
    return int(match[1]), match[2] or "epochs"


_interval = _parsed_by(_parse_interval, "epochs as 2, seconds as 30s or steps as 500steps")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="purenet", description="Train and use a multilayer perceptron.")
    parser.add_argument("--version", action="version", version=f"purenet {purenet.__version__}")
    names = "train | predict | evaluate | reproduce"
    commands = parser.add_subparsers(required=True, metavar=names)

    train = _command(commands, _train, "train a network and keep it in a folder")
    _add_data(train, default=argparse.SUPPRESS)
    option = train.add_argument
    option(
        "--preset",
        choices=PRESETS,
        default=argparse.SUPPRESS,
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
    option("--dtype", choices=DTYPES, default=argparse.SUPPRESS, help="[float32]")
    option("--output", type=Path, metavar="FOLDER", help="where the run is kept [purenet-run]")
    option("--overwrite", action="store_true", help="replace an earlier run in the folder")
    option(
        "--resume",
        type=Path,
        metavar="FOLDER",
        help="go on with the run in this folder, where it was saved last, with its settings; "
        "only --epochs may be another",
    )
    option(
        "--checkpoint-every",
        type=_interval,
        metavar="N",
        default=(1, "epochs"),
        help="save so many epochs apart, or seconds as 30s, or steps as 500steps [1]",
    )
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
    _add_data(evaluate, default="mnist")

    report = _command(
        commands, reproduce.reproduce, "run the report's experiments and write a page of them"
    )
    reproduce.add_options(report)
    return parser


def _command(
    commands: Any, run: Callable[[argparse.Namespace, Signals], None], text: str
) -> _Parser:
    name = run.__name__.removeprefix("_")
    parser: _Parser = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
    parser.set_defaults(command=run)
    return parser


def _add_data(parser: argparse.ArgumentParser, *, default: str) -> None:
    parser.add_argument(
        "--data",
        default=default,
        help="mnist, a folder of IDX files, or an .npz of x_train, y_train, x_test, y_test [mnist]",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a run's folder or model file")
