"""Profiles of Hypothesis: derandomised by default, so that a failure here is a failure there."""

import jax
import pytest
from hypothesis import HealthCheck, settings

# Float64 stays float64.
jax.config.update("jax_enable_x64", val=True)  # type: ignore[no-untyped-call]

common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=60, derandomize=True, **common)  # type: ignore[arg-type]
settings.register_profile("thorough", max_examples=5000, **common)  # type: ignore[arg-type]
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--long``: the tests of reliability with all their kills, faults and files."""
    parser.addoption("--long", action="store_true", help="run the long forms of tests/reliability")


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Tell whether the long form of a test is asked for."""
    return bool(request.config.getoption("--long"))
