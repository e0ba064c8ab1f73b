"""Claims about what results say of versions and thread pools."""

import platform

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import purenet
from purenet.files.environment import thread_pools, versions


def test_versions_are_those_of_installed_libraries() -> None:
    """Python and purenet are always named, and a library that is not installed never is."""
    assert versions("numpy", "no-such-library") == {
        "python": platform.python_version(),
        "purenet": purenet.__version__,
        "numpy": np.__version__,
    }


@pytest.mark.parametrize("threads", [1, 2])
def test_pools_have_the_threads_that_are_set(threads: int) -> None:
    """The number of threads of BLAS is that of the moment."""
    with threadpool_limits(threads, user_api="blas"):
        pools = [pool for pool in thread_pools() if pool["user_api"] == "blas"]
    assert {pool["num_threads"] for pool in pools} == {threads}
    assert all(pool["internal_api"] for pool in pools)
