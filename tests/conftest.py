"""Profiles of Hypothesis, and the option --long.

The default profile is derandomised: every machine tests the same examples.
"""

import jax
import pytest
from hypothesis import HealthCheck, settings

# JAX would round float64 to float32 otherwise.
jax.config.update("jax_enable_x64", val=True)  # type: ignore[no-untyped-call]

common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=60, derandomize=True, **common)  # type: ignore[arg-type]
settings.register_profile("thorough", max_examples=5000, **common)  # type: ignore[arg-type]
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--long``, which runs the tests of reliability in full."""
    parser.addoption("--long", action="store_true", help="run the long forms of tests/reliability")


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Tell whether the tests of reliability run in full."""
    return bool(request.config.getoption("--long"))
