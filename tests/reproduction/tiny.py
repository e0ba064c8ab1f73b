"""The reproduction in a short form: few images, few epochs."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purenet.cli.signals import Signals
from purenet.files import datasets
from purenet.reproduction import command
from purenet.reproduction.experiments import QUICK

__all__ = ["TINY", "digits", "reproduce"]

TINY = replace(
    QUICK,
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


def digits() -> tuple[Any, Any]:
    """Return 200 training and 100 test images."""
    (x, y), (x_test, y_test) = datasets.mnist()
    return (x[:200], y[:200]), (x_test[:100], y_test[:100])


def reproduce(folder: Path, **options: Any) -> None:
    """Run the command on few images, in the tiny form."""
    few = digits()
    given = {"quick": True, "seeds": None, "dtype": "float64", "output": folder} | options
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(command, "QUICK", TINY)
        patch.setattr(datasets, "mnist", lambda: few)
        command.reproduce(argparse.Namespace(**given), Signals())
