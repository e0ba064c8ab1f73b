"""The command ``purenet vectors``: write test vectors, and judge the results of a program."""

import argparse
import json
from pathlib import Path

from purenet.cli.check import LawError
from purenet.cli.signals import Signals
from purenet.extras import require
from purenet.files import reading
from purenet.files.writing import write

__all__ = ["add_options", "vectors"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the two commands and their options to the parser of the command.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of the command.
    """
    parser.add_argument(
        "action",
        choices=("check", "write"),
        help="check: judge the results in PATH; write: write the vectors into the folder PATH",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="RESULTS.json, or a folder")
    parser.add_argument(
        "--vectors",
        type=Path,
        default=Path("vectors"),
        metavar="FOLDER",
        help="the vectors by which to judge [vectors]",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings as JSON")


def vectors(args: argparse.Namespace, _: Signals) -> None:
    """Write the vectors, or judge results and raise if a case failed.

    Parameters
    ----------
    args : argparse.Namespace
        The options.
    _ : Signals
        Not used: each file is written at once.

    Raises
    ------
    ValueError
        Results or vectors that cannot be read.
    LawError
        A case failed.
    OSError
        A file cannot be read or written.
    """
    require("test vectors", "testing", "mpmath", "ml_dtypes")
    from purenet.testing.vectors import judge, load, write_files  # noqa: PLC0415

    if args.action == "write":
        write_files(args.path)
        return
    with reading.open_regular(args.path) as file:
        try:
            results = json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{args.path}: expected JSON: {error}") from error
    try:
        report = judge(results, load(args.vectors))
    except ValueError as error:
        raise ValueError(f"{args.path}: {error}") from error
    if args.json:
        write(args.json, report.to_json().encode())
    print(report)
    if not report.ok:
        failed = sum(len(found.failures) for found in report.operations)
        tried = sum(found.cases for found in report.operations)
        raise LawError(f"{args.path}: {failed} of {tried} cases failed")
