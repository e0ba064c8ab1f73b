"""Profiles of Hypothesis, the option --long, and which purenet is tested.

The default profile is derandomised: every machine tests the same examples.
"""

import os
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # scikit-learn's checks of estimators ask for it
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # there is a process for each core

import pytest
from hypothesis import HealthCheck, Phase, settings

import purenet

if find_spec("jax"):
    import jax

    jax.config.update("jax_num_cpu_devices", 4)  # the first one is used unless a test asks for more
    # JAX would round float64 to float32 otherwise.
    jax.config.update("jax_enable_x64", val=True)
    # The next run reads what this one compiles: hundreds of operations, one for each shape.
    compiled = Path(__file__).parent.parent / ".pytest_cache" / "jax"
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    for least in (
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    ):
        jax.config.update(least, 0)

common = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
    # To explain a counterexample takes ten times as long as to make it small.
    "phases": set(Phase) - {Phase.explain},
}
settings.register_profile("default", max_examples=40, derandomize=True, **common)  # type: ignore[arg-type]
settings.register_profile("thorough", max_examples=5000, **common)  # type: ignore[arg-type]
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options: ``--long`` runs tests of reliability in full, ``--mpi`` those of ``mpirun``."""
    parser.addoption("--long", action="store_true", help="run the long forms of tests/reliability")
    parser.addoption("--mpi", action="store_true", help="run tests/mpi, which calls mpirun")
    parser.addoption(
        "--programs", action="store_true", help="run tests/programs, which calls node and cc"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out ``tests/mpi`` and ``tests/programs`` unless they are asked for."""
    asked = {name: config.getoption(f"--{name}") for name in ("mpi", "programs")}
    return not asked.get(collection_path.name, True) or None


def pytest_report_header() -> str:
    """Say which purenet is tested: an installed one, or the checkout."""
    return f"purenet: {purenet.__version__} in {Path(purenet.__file__).parent}"


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Tell whether the tests of reliability run in full."""
    return bool(request.config.getoption("--long"))
