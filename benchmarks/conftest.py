"""Record versions and thread pools with each result, and add the option ``--quick``."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np  # noqa: F401  # loads its BLAS, whose thread pool is recorded
import pytest
from threadpoolctl import threadpool_info

LIBRARIES = ("purenet", "numpy", "numba", "torch", "jax", "jaxlib", "scikit-learn")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="fewer rounds and smaller networks")


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Add versions and thread pools to what pytest-benchmark records."""
    machine_info["versions"] = {}
    for name in LIBRARIES:
        try:
            machine_info["versions"][name] = version(name)
        except PackageNotFoundError:
            continue
    machine_info["pools"] = [
        {key: pool.get(key) for key in ("internal_api", "version", "architecture", "num_threads")}
        for pool in threadpool_info()
    ]


@pytest.fixture
def quick(request: pytest.FixtureRequest) -> bool:
    """Tell whether ``--quick`` was given."""
    return bool(request.config.getoption("--quick"))
