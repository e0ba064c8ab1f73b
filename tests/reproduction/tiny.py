"""The reproduction in a tiny form: few images, few epochs."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purenet.cli import reproduce as command
from purenet.cli.signals import Signals
from purenet.files import datasets
from purenet.reproduction.findings import Findings, compute
from purenet.reproduction.plan import QUICK
from purenet.reproduction.work import Work

__all__ = ["TINY", "few_digits", "nothing", "read_findings", "reproduce"]

TINY = replace(
    QUICK,
    dtype="float64",
    seeds=2,
    mini_seeds=2,
    iterations=3,
    nums=(50, 200),
    rates=(0.005, 1e30),
    batch_sizes=(16, None),
    batch_rates=(0.001, 1e30),
    batch_epochs=2,
    least_updates=3,
    momentum_rates=(0.001, 1e30),
    noise_draws=256,
)


def few_digits() -> tuple[Any, Any]:
    """Return 200 training and 100 test images, with labels."""
    (x, y), (x_test, y_test) = datasets.mnist()
    return (x[:200], y[:200]), (x_test[:100], y_test[:100])


def nothing() -> None:
    """Stand for a progress bar."""


def reproduce(folder: Path, **options: Any) -> None:
    """Run the command on few images, in the tiny form."""
    few = few_digits()
    given = {"quick": True, "seeds": None, "dtype": "float64", "output": folder} | options
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(command, "QUICK", TINY)
        patch.setattr(datasets, "mnist", lambda: few)
        command.reproduce(argparse.Namespace(**given), Signals())


def read_findings(folder: Path) -> Findings:
    """Return the findings of a reproduction that is done, from its files."""
    return compute(Work(folder / "records", *few_digits(), nothing), TINY, 200)
