"""The command ``purenet check``: a survey of somebody's implementation."""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from purenet.cli.signals import Signals
from purenet.files.writing import write

__all__ = ["LawError", "add_options", "check"]


class LawError(ArithmeticError):
    """Report that laws failed; the command line exits with status 1."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of the command.
    """
    parser.add_argument(
        "name",
        metavar="MODULE:NAME",
        help="an Implementation or a Model of purenet.testing.conformance, importable from here",
    )
    parser.add_argument(
        "--law",
        action="append",
        metavar="LAW",
        help="a law to try; may be repeated [mathematics and purity]",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="[0]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings as JSON")
    parser.add_argument(
        "--replay", metavar="TEXT", help="try again the counterexample with this text, of one --law"
    )


def check(args: argparse.Namespace, _: Signals) -> None:
    """Survey an implementation, print the findings, and raise if a law failed.

    Parameters
    ----------
    args : argparse.Namespace
        The options.
    _ : Signals
        Not used: the command writes nothing before its end.

    Raises
    ------
    ValueError
        A name that cannot be found, or options that do not fit.
    LawError
        A law failed.
    """
    from purenet.testing.conformance import survey  # noqa: PLC0415  # needs the extra `testing`

    if args.replay and len(args.law or []) != 1:
        raise ValueError("--replay needs the --law of the counterexample")
    found = survey(_find(args.name), laws=args.law, seed=args.seed, replay=args.replay)
    tried = sum(finding.outcome in ("pass", "fail") for finding in found.findings)
    if not tried:
        raise ValueError(f"no law was tried: {found.findings[0].message}")
    if args.json:
        write(args.json, found.to_json().encode())
    print(found)
    if not found.ok:
        raise LawError(f"{args.name}: {len(found.failures)} of {tried} laws failed")


def _find(name: str) -> Any:
    """Import what a text such as ``package.module:name`` names."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"expected MODULE:NAME, as in package.module:name, got {name!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does
    try:
        return getattr(import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"cannot find {name}: {error}") from error
