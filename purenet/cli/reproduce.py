"""``purenet reproduce``: do the missing units, then write results, figures and page."""

import argparse
import json
import shlex
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from purenet.cli.signals import Signals
from purenet.extras import require
from purenet.files import datasets, writing
from purenet.reproduction.findings import PARTS, compute, count_units
from purenet.reproduction.plan import FULL, QUICK
from purenet.reproduction.work import Work

__all__ = ["add_options", "reproduce"]

LINE_EVERY = 10.0  # seconds between lines of progress, where stderr is not a terminal


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of ``purenet reproduce``.
    """
    parts = "; ".join(f"{name}: {text}" for name, text in PARTS.items())
    parser.epilog = f"It runs these parts, one after the other. {parts}."
    option = parser.add_argument
    option(
        "--quick",
        action="store_true",
        help="run a short form: two minutes instead of twenty minutes, on two cores",
    )
    option(
        "--seeds",
        type=int,
        metavar="N",
        help="number of seeds [10 for experiments 1 and 2 and what is compared with them, 3 for "
        "experiment 3 and for momenta; quick: 1]",
    )
    option("--dtype", choices=["float32", "float64"], default="float32", help="[float32]")
    option(
        "--output",
        type=Path,
        metavar="FOLDER",
        default=Path("purenet-report"),
        help="folder of the report; finished work in it is not done again [purenet-report]",
    )


def reproduce(args: argparse.Namespace, signals: Signals) -> None:
    """Run the command.

    Parameters
    ----------
    args : argparse.Namespace
        Values of the options.
    signals : Signals
        Checked after each unit, when its file is whole.

    Raises
    ------
    ImportError
        Matplotlib or Jinja2 is missing.
    ValueError
        A number of seeds below 1.
    """
    require("figures and page", "reproduce", "matplotlib", "jinja2")
    from purenet.reproduction import figures, page  # noqa: PLC0415  # optional libraries

    plan = replace(QUICK if args.quick else FULL, dtype=args.dtype)
    if args.seeds is not None:
        if args.seeds < 1:
            raise ValueError(f"--seeds must be at least 1, got {args.seeds}")
        plan = replace(plan, seeds=args.seeds, mini_seeds=args.seeds)
    train, test = datasets.mnist()
    images = len(train[0])
    progress = _Progress(count_units(plan, images))

    def done() -> None:
        progress.advance()
        signals.check()

    with progress.bar:
        work = Work(args.output / "records", train, test, done)
        findings = compute(work, plan, images, begin=progress.begin)
        progress.begin("figures and page")
        drawn = figures.draw_figures(findings, work.folder, args.output, test)
    command = _command(args)
    everything = {"command": command, "environment": work.environment, **asdict(findings)}
    everything["records"] = work.records
    writing.write(args.output / "results.json", json.dumps(everything, indent=1).encode())
    html = page.render(findings, drawn, args.output, environment=work.environment, command=command)
    writing.write(args.output / "index.html", html.encode())
    print(f"{args.output}: index.html, results.json, {len(drawn)} figures")


class _Progress:
    """How many units are done: a bar on a terminal, elsewhere a line now and then."""

    def __init__(self, total: int) -> None:
        self.bar = tqdm(total=total, unit="unit", leave=False, disable=None)
        self.total, self.done, self.part = total, 0, ""
        self.began = self.printed = time.monotonic()

    def begin(self, part: str) -> None:
        """Show that a part begins."""
        self.part = part
        self.bar.set_description(part)
        self._print_line()

    def advance(self) -> None:
        """Show that a unit is done."""
        self.done += 1
        self.bar.update()
        if time.monotonic() - self.printed >= LINE_EVERY:
            self._print_line()

    def _print_line(self) -> None:
        if self.bar.disable:
            self.printed = time.monotonic()
            seconds = self.printed - self.began
            print(
                f"purenet: {self.part}: {self.done} of {self.total} units after {seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )


def _command(args: argparse.Namespace) -> str:
    words = ["purenet", "reproduce"]
    words += ["--quick"] if args.quick else []
    words += ["--seeds", str(args.seeds)] if args.seeds else []
    words += ["--dtype", args.dtype, "--output", str(args.output)]
    return shlex.join(words)
