"""``purenet reproduce``: do the missing units, then write results, figures and page."""

import argparse
import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from purenet.cli.signals import Signals
from purenet.extras import require
from purenet.files import datasets, writing
from purenet.reproduction.findings import compute, count_units
from purenet.reproduction.plan import FULL, QUICK
from purenet.reproduction.work import Work

__all__ = ["add_options", "reproduce"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of ``purenet reproduce``.
    """
    option = parser.add_argument
    option("--quick", action="store_true", help="run a short form, within a minute")
    option(
        "--seeds",
        type=int,
        metavar="N",
        help="seeds of each experiment [10 of 1 and 2, 3 of 3; quick: 1]",
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
    with tqdm(total=count_units(plan, images), unit="unit", leave=False, disable=None) as bar:

        def done() -> None:
            bar.update()
            signals.check()

        work = Work(args.output / "records", train, test, done)
        findings = compute(work, plan, images)
    command = _command(args)
    everything = {"command": command, "environment": work.environment, **asdict(findings)}
    everything["records"] = work.records
    drawn = figures.draw_figures(findings, work.folder, args.output, test)
    writing.write(args.output / "results.json", json.dumps(everything, indent=1).encode())
    html = page.render(findings, drawn, args.output, environment=work.environment, command=command)
    writing.write(args.output / "index.html", html.encode())
    print(f"{args.output}: index.html, results.json, {len(drawn)} figures")


def _command(args: argparse.Namespace) -> str:
    words = ["purenet", "reproduce"]
    words += ["--quick"] if args.quick else []
    words += ["--seeds", str(args.seeds)] if args.seeds else []
    words += ["--dtype", args.dtype, "--output", str(args.output)]
    return shlex.join(words)
