"""The command line: ``purenet train``, ``predict``, ``evaluate``, ``export`` and others."""

import argparse
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import reduce
from operator import truediv
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from tqdm import tqdm

import purenet
from purenet import Config
from purenet.cli import check, explain, export, predict, reproduce, vectors
from purenet.cli.backends import BACKENDS, Backend, ReportedError
from purenet.cli.folder import RunFolder, SavedRun
from purenet.cli.job import DTYPES, PRESETS, prepare_job, run_job
from purenet.cli.signals import Signals
from purenet.evaluation import evaluate_logits, logits
from purenet.files import checkpoints, datasets
from purenet.params import check_data, sizes

__all__ = ["main", "make_parser"]

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
        Arguments. By default those of the process.

    Returns
    -------
    int
        Exit status: 0 for success, 1 if training diverged or a law failed, 2 for bad input, 130
        after Ctrl-C, 141 if the reader of stdout has gone, 143 after SIGTERM.
    """
    # Without a console, or after `>&-`, these streams are None.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # no notices about its caches
    with Signals() as signals:
        try:
            args = _parse_arguments(argv)
            with np.errstate(all="ignore"):  # an overflow shows as a loss that is not finite
                args.command(args, signals)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return _report_error(*signals.outcome())
        except BrokenPipeError:  # the reader of stdout has gone, as after `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except OSError as error:
            return _report_error(
                f"{error.filename}: {error.strerror}" if error.filename else error, 2
            )
        except ArithmeticError as error:
            return _report_error(error, 1)
        except (ValueError, ImportError, MemoryError, ReportedError) as error:
            return _report_error(error, 2)
    return 0


def _report_error(message: object, status: int) -> int:
    """Print one line on stderr, and return the exit status."""
    print("purenet:", " ".join((str(message) or repr(message)).split()), file=sys.stderr)
    return status


def _train_command(args: argparse.Namespace, signals: Signals) -> None:
    with BACKENDS[args.backend]() as backend:
        signals.repeated = backend.processes > 1
        _train(args, signals, backend)


def _train(args: argparse.Namespace, signals: Signals, backend: Backend) -> None:
    table = backend.leads and not (args.quiet or args.json)
    run, saved_run = backend.open_run(lambda: _open_run(args))
    try:
        options, new = vars(args), not (saved_run or vars(args)["from"])
        job = backend.together(
            lambda: prepare_job(
                run.folder, backend.defaults() | options if new else options, saved_run, backend
            )
        )
        with _log_to_stderr(quiet=args.quiet):
            training = backend.together(
                lambda: run_job(job, run, *args.checkpoint_every, comm=backend.comm)
            )
        signals.patient = True  # from here on a signal ends the run after a whole step
        epochs_done, steps_done = job.state[1:3] if job.state else (0, 0)
        if table:
            units, batch = "-".join(map(str, job.settings["layers"])), job.cfg.batch_size or "full"
            resumed = f"; resumed after epoch {epochs_done}, step {steps_done}" if saved_run else ""
            print(
                f"{units}, {job.settings['dtype']}: {len(job.data[0]):,} examples, "
                f"batch {batch}; {backend.describe(job.params, job.cfg.shards)}{resumed}"
            )
            if (epochs_done, steps_done) == (job.cfg.epochs, 0):
                print(f"nothing to train: {epochs_done} of {job.cfg.epochs} epochs are done")
            else:
                print(COLUMNS, flush=True)
        with tqdm(
            total=job.cfg.epochs,
            initial=epochs_done,
            unit="epoch",
            leave=False,
            disable=None if table else True,  # None: show the bar if stderr is a terminal
        ) as bar:
            signals.check()
            for figures in training:
                if figures is not None:
                    if not args.quiet:
                        with bar.external_write_mode():
                            line = LINE.format(**figures) if table else json.dumps(figures)
                            print(line, flush=True)
                    bar.update()
                signals.check()
    finally:
        files = run.close()
        if table and files:
            hint = f"to see it at work: purenet explain {run.folder}"
            parts = [f"{run.folder}: {', '.join(files)}", run.without_curves, hint]
            print("; ".join(filter(None, parts)))


def _open_run(args: argparse.Namespace) -> tuple[RunFolder, SavedRun | None]:
    """Return the locked folder of a run and, if it is resumed, what was saved there."""
    if args.resume and (args.output or args.overwrite or vars(args)["from"]):
        raise ValueError("--resume cannot be combined with --output, --overwrite or --from")
    run = RunFolder(args.resume or args.output or Path("purenet-run"), make=not args.resume)
    try:
        if args.resume:
            return run, run.resume()
        run.start(overwrite=args.overwrite)
    except BaseException:
        run.close()
        raise
    return run, None


@contextmanager
def _log_to_stderr(*, quiet: bool) -> Iterator[None]:
    """Print what the engines log: for example that compilation, which takes seconds, begins."""
    log, handler = logging.getLogger("purenet"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("purenet: %(message)s"))
    level = log.level
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _evaluate_command(args: argparse.Namespace, _: Signals) -> None:
    model = checkpoints.load(args.model)
    params, cfg, classes = model.params, model.cfg, model.classes
    x, y = datasets.load(args.data)[1]
    check_data(params, (x, y))
    names = classes or [str(label) for label in range(sizes(params)[-1])]
    found = datasets.class_names(args.data) or names
    if found != names[: len(found)]:
        raise ValueError(
            f"{args.data} has the classes {', '.join(found)}, {args.model} has {', '.join(names)}"
        )
    z = logits(params, x, input_scale=cfg.input_scale)
    loss, accuracy = evaluate_logits(params, z, y, l2=cfg.l2)
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (y, z.argmax(axis=1)), 1)
    print(f"{len(x):,} test examples: loss {loss:.4f}, accuracy {accuracy:.2%}")
    print("rows: label, columns: prediction")
    first = max(4, *map(len, names))
    width = max(len(str(confusion.max())), *map(len, names)) + 2
    for name, row in zip(["", *names], [names, *confusion], strict=True):
        print(f"{name:>{first}}", "".join(f"{cell:>{width}}" for cell in row))


def _option_type(parse: Callable[[str], Any], expected: str) -> Callable[[str], Any]:
    """Return `parse` with an error that says what the option expected."""

    def parse_or_explain(text: str) -> Any:
        try:
            return parse(text)
        except (ValueError, ZeroDivisionError):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}") from None

    return parse_or_explain


def _parse_interval(text: str) -> tuple[int, str]:
    match = re.fullmatch("([1-9][0-9]*)(s|steps|epochs)?", text)
    if not match:
        raise ValueError
    return int(match[1]), match[2] or "epochs"


LAYERS = _option_type(lambda text: [int(n) for n in text.split("-")], "sizes as 784-200-50-10")
BATCH_SIZE = _option_type(lambda text: None if text == "full" else int(text), "an integer or full")
INIT_SCALE = _option_type(lambda text: text if text == "he" else float(text), "a number or he")
FRACTION = _option_type(
    lambda text: reduce(truediv, map(float, text.split("/"))), "a number or fraction"
)
INTERVAL = _option_type(_parse_interval, "epochs as 2, seconds as 30s or steps as 500steps")


def _parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments. The error about an unknown option names the one that was meant."""
    args, unknown = make_parser().parse_known_args(argv)
    if not unknown:
        return args
    known = re.findall(r"--[a-z][a-z0-9-]+", args.format_help())
    by_initials = {"--" + "".join(re.findall("(?:-)([a-z])", name)): name for name in known}
    close = get_close_matches(unknown[0], known, n=1)
    meant = by_initials.get(unknown[0]) or next(iter(close), None)
    question = f": did you mean {meant}?" if meant else ""
    raise ValueError(f"unrecognized arguments: {' '.join(unknown)}{question}")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands.

    Returns
    -------
    argparse.ArgumentParser
        The parser, whose subparsers are the commands.
    """
    parser = _Parser(prog="purenet", description="Train and use a multilayer perceptron.")
    parser.add_argument("--version", action="version", version=f"purenet {purenet.__version__}")
    commands = parser.add_subparsers(
        required=True,
        metavar="train | predict | evaluate | explain | export | reproduce | check | vectors",
    )

    train = _add_command(
        commands, "train", _train_command, "train a network and save it in a folder"
    )
    _add_data(train, default=argparse.SUPPRESS)
    option = train.add_argument
    option(
        "--preset",
        choices=PRESETS,
        default=argparse.SUPPRESS,
        help="values of the options below that are not given; report: those of the report's first "
        "experiment, with raw pixels [default]",
    )
    for name, parse, metavar, text in (
        ("layers", LAYERS, "N-...-N", "units, inputs first and classes last [784-200-50-10]"),
        ("batch-size", BATCH_SIZE, "N", f"examples per update, or full [{Config.batch_size}]"),
        ("epochs", int, "N", f"passes over the data in total [{Config.epochs}]"),
        ("learning-rate", float, "X", f"step size [{Config.learning_rate:g}]"),
        ("momentum", float, "X", f"decay of the gradients' average, below 1 [{Config.momentum:g}]"),
        ("l2", float, "X", f"strength of the penalty on weights [{Config.l2:g}]"),
        ("init-scale", INIT_SCALE, "X", "standard deviation of the initial weights, or he [he]"),
        ("input-scale", FRACTION, "X", "factor of integer inputs, a number or fraction [1/255]"),
        ("seed", int, "N", f"seed of the initial weights and of the shuffling [{Config.seed}]"),
        ("shards", int, "N", "parts of each batch, a power of two [1; mpi: as many as processes]"),
    ):
        option(f"--{name}", type=parse, metavar=metavar, help=text, default=argparse.SUPPRESS)
    option(
        "--shuffle",
        action=argparse.BooleanOptionalAction,
        help="visit the examples in a new order each epoch [--shuffle]",
        default=argparse.SUPPRESS,
    )
    option(
        "--dtype",
        choices=DTYPES,
        help="floating-point type of the network [float32]",
        default=argparse.SUPPRESS,
    )
    option(
        "--backend",
        choices=BACKENDS,
        default="numpy",
        help="what trains: numpy (compiled workers if the extra fast is installed), jax (all "
        "devices), or mpi (the processes of mpirun) [numpy]",
    )
    option(
        "--mpi",
        action="store_const",
        dest="backend",
        const="mpi",
        help="the same as --backend mpi",
    )
    option("--output", type=Path, metavar="FOLDER", help="folder of the run [purenet-run]")
    option("--overwrite", action="store_true", help="replace an earlier run in the folder")
    option(
        "--resume",
        type=Path,
        metavar="FOLDER",
        help="continue the run in this folder from its last checkpoint, with its settings; only "
        "--epochs may change",
    )
    option(
        "--from",
        type=Path,
        metavar="RUN",
        help="begin with the network of this earlier run (a folder or a model file) and with its "
        "settings, which the other options may change",
    )
    option(
        "--checkpoint-every",
        type=INTERVAL,
        metavar="N",
        default=(1, "epochs"),
        help="interval between checkpoints: epochs as 2, seconds as 30s or steps as 500steps [1]",
    )
    printing = train.add_mutually_exclusive_group()
    printing.add_argument(
        "--quiet", action="store_true", help="print nothing but warnings and errors"
    )
    printing.add_argument(
        "--json", action="store_true", help="print one JSON object per epoch instead of the table"
    )

    reading = _add_command(
        commands,
        "predict",
        predict.predict,
        "print the predicted class of each image and its probability",
    )
    _add_model(reading)
    predict.add_options(reading)

    evaluate = _add_command(
        commands,
        "evaluate",
        _evaluate_command,
        "print loss, accuracy and confusion matrix on the test examples",
    )
    _add_model(evaluate)
    _add_data(evaluate, default="mnist")

    exporting = _add_command(
        commands,
        "export",
        export.export,
        "write a network in the formats of other tools",
    )
    _add_model(exporting)
    export.add_options(exporting)

    explaining = _add_command(
        commands,
        "explain",
        explain.explain,
        "write a page on which one example passes through a network",
    )
    _add_model(explaining)
    _add_data(explaining, default="mnist")
    explain.add_options(explaining)

    report = _add_command(
        commands,
        "reproduce",
        reproduce.reproduce,
        "run the report's experiments and write a page about them",
    )
    reproduce.add_options(report)

    survey = _add_command(
        commands, "check", check.check, "try the laws of purenet.testing on an implementation"
    )
    check.add_options(survey)

    judging = _add_command(
        commands,
        "vectors",
        vectors.vectors,
        "write test vectors for other languages, or judge the results of a program by them",
    )
    vectors.add_options(judging)
    return parser


def _add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace, Signals], None], text: str
) -> _Parser:
    parser: _Parser = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
    parser.set_defaults(command=run, format_help=parser.format_help)
    return parser


def _add_data(parser: argparse.ArgumentParser, *, default: str) -> None:
    parser.add_argument(
        "--data",
        default=default,
        help="mnist; digits, those of scikit-learn; an .npz file of x_train, y_train, x_test, "
        "y_test; a folder of IDX files, or of the .npz files of KMNIST; or a folder that has a "
        "folder of pictures for each class [mnist]",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="folder of a run, or a model file"
    )
