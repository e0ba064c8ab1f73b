"""``purenet reproduce``: do what is missing, then write results.json, figures and the page."""

import argparse
import json
import shlex
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

from purenet.cli.signals import Signals
from purenet.files import datasets, writing
from purenet.reproduction import hypothesis, questions, runs
from purenet.reproduction.experiments import AMBIGUITIES, FULL, QUICK, Plan
from purenet.reproduction.work import Work

__all__ = ["add_options", "compute", "reproduce", "units"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of ``purenet reproduce``.
    """
    option = parser.add_argument
    option("--quick", action="store_true", help="a short form, within a minute")
    option(
        "--seeds",
        type=int,
        metavar="N",
        help="runs of each experiment [10 of 1 and 2, 3 of 3; quick: 1]",
    )
    option("--dtype", choices=["float32", "float64"], default="float32", help="[float32]")
    option(
        "--output",
        type=Path,
        metavar="FOLDER",
        default=Path("purenet-report"),
        help="where all goes; what is there already is not done again [purenet-report]",
    )


def reproduce(args: argparse.Namespace, signals: Signals) -> None:
    """Run the command.

    Parameters
    ----------
    args : argparse.Namespace
        Values of the options.
    signals : Signals
        Looked at after each unit: what is finished then is whole.

    Raises
    ------
    ImportError
        Matplotlib or Jinja2 is missing.
    ValueError
        A number of seeds below 1.
    """
    missing = [name for name in ("matplotlib", "jinja2") if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"reproduce needs {' and '.join(missing)}: pip install 'purenet[reproduce]'"
        )
    from purenet.reproduction import figures, page  # noqa: PLC0415  # optional libraries

    plan = QUICK if args.quick else FULL
    if args.seeds is not None and args.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {args.seeds}")
    plan = replace(plan, dtype=args.dtype)
    if args.seeds is not None:
        plan = replace(plan, seeds=args.seeds, mini_seeds=args.seeds)
    train, test = datasets.mnist()
    with tqdm(total=units(plan), unit="unit", leave=False, disable=None) as bar:

        def done() -> None:
            bar.update()
            signals.check()

        work = Work(args.output / "records", train, test, done)
        results = compute(work, plan)
    results["command"] = _command(args)
    pictures = figures.draw(results, work.folder, args.output, test)
    writing.write(args.output / "results.json", json.dumps(results, indent=1).encode())
    writing.write(args.output / "index.html", page.render(results, pictures, args.output).encode())
    print(f"{args.output}: index.html, results.json, {len(pictures)} figures")


def compute(work: Work, plan: Plan) -> dict[str, Any]:
    """Do all units of a plan that are not done yet.

    Parameters
    ----------
    work : Work
        Keeps the units.
    plan : Plan
        How much is run.

    Returns
    -------
    dict
        Every number: by section, and the ``records`` that they come from.
    """
    experiments = runs.experiments(work, plan)
    variants = runs.variants(work, plan, experiments)
    return {
        "plan": asdict(plan),
        "environment": work.environment,
        "train_images": len(work.train[0]),
        "experiments": experiments,
        "variants": variants,
        "initial": work(runs.initial_losses, dtype=plan.dtype, seeds=plan.initial_seeds),
        "divisor": hypothesis.divisor(experiments, variants, len(work.train[0])),
        "subset": hypothesis.subset(work, plan),
        "batches": questions.batches(work, plan),
        "momenta": questions.momenta(work, plan),
        "noise": questions.noise(work, plan),
        "records": work.records,
    }


def units(plan: Plan) -> int:
    """Count the units of a plan, found or done.

    Parameters
    ----------
    plan : Plan
        How much is run.

    Returns
    -------
    int
        As often as `Work` is called.
    """
    segments = -(-plan.iterations // runs.SEGMENT)
    experiments = 2 * plan.mini_seeds + plan.seeds * segments + 3
    variants = plan.seeds * sum(len(a.tried_on) for a in AMBIGUITIES)
    grid = 2 * len(plan.nums) * len(plan.rates) + 4 * plan.seeds
    batches = len(plan.batch_sizes) * len(plan.batch_rates)
    momenta = len(plan.momenta) * (len(plan.momentum_rates) + plan.seeds)
    return experiments + variants + 1 + grid + batches + momenta + 2


def _command(args: argparse.Namespace) -> str:
    words = ["purenet", "reproduce"]
    words += ["--quick"] if args.quick else []
    words += ["--seeds", str(args.seeds)] if args.seeds else []
    words += ["--dtype", args.dtype, "--output", str(args.output)]
    return shlex.join(words)
