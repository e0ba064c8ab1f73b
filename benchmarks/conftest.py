"""Record versions and thread pools with each result, and add the option ``--quick``."""

from typing import Any

import numpy as np  # noqa: F401  # loads its BLAS, whose thread pool is recorded
import pytest

from purenet.files import environment

LIBRARIES = ("numpy", "numba", "torch", "jax", "jaxlib", "scikit-learn")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="fewer rounds and smaller networks")


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Add versions and thread pools to what pytest-benchmark records."""
    machine_info["versions"] = environment.versions(*LIBRARIES)
    machine_info["pools"] = environment.thread_pools()


@pytest.fixture
def quick(request: pytest.FixtureRequest) -> bool:
    """Tell whether ``--quick`` was given."""
    return bool(request.config.getoption("--quick"))
