"""The pure functions, called from many threads at once on shared inputs."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import purenet
from purenet import Config
from tests.support.blas import unsafe
from tests.support.problems import problem, read_only

THREADS = 8
P, X, Y = read_only(problem(100, 60, 40, 10, n=257, dtype=np.float32))
V, G = purenet.init_velocity(P), purenet.backward(P, X, Y)[1]
CFG = Config(batch_size=16, epochs=2)
FUNCTIONS: dict[str, Callable[[], Any]] = {
    "init": lambda: purenet.init([100, 60, 10], seed=3),
    "forward": lambda: purenet.forward(P, X),
    "loss": lambda: purenet.loss(P, X, Y, l2=0.1),
    "backward": lambda: purenet.backward(P, X, Y, l2=0.1),
    "momentum_step": lambda: purenet.momentum_step(P, V, G, learning_rate=0.1, momentum=0.9),
    "predict_proba": lambda: purenet.predict_proba(P, X),
    "evaluate": lambda: purenet.evaluate(P, (X, Y), l2=CFG.l2, input_scale=CFG.input_scale),
    "train": lambda: purenet.train(P, (X, Y), CFG),
}


def bits(result: Any) -> Any:
    """Return every bit of a result."""
    if isinstance(result, dict):
        return {name: bits(value) for name, value in result.items()}
    if isinstance(result, tuple | list):
        return [bits(value) for value in result]
    return result.tobytes() if hasattr(result, "tobytes") else result


def assert_bits_of_one_thread(times: int) -> None:
    """Call all functions at once from all threads, and compare each result."""
    expected = {name: bits(function()) for name, function in FUNCTIONS.items()}
    together = threading.Barrier(THREADS)

    def work(offset: int) -> list[str]:
        wrong = []
        for i in range(times):
            together.wait(60)
            name = list(FUNCTIONS)[(i + offset) % len(FUNCTIONS)]
            if bits(FUNCTIONS[name]()) != expected[name]:
                wrong.append(name)
        return wrong

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(work, range(THREADS))) == [[]] * THREADS


def test_functions_are_pure_under_threads(long: bool) -> None:  # noqa: FBT001
    """Eight threads, different functions beside each other, one thread of the BLAS for each."""
    with threadpool_limits(1, user_api="blas"):
        assert_bits_of_one_thread(1000 if long else 16)


def test_functions_are_pure_under_threads_where_the_blas_has_threads_of_its_own(
    long: bool,  # noqa: FBT001
) -> None:
    """Where the BLAS is one that is known to mix up concurrent products, it is given one thread."""
    limit = 1 if any(map(unsafe, threadpool_info())) else None
    with threadpool_limits(limit, user_api="blas"):
        assert_bits_of_one_thread(1000 if long else 16)


@pytest.mark.parametrize(
    ("version", "threads", "expected"),
    [
        ("0.3.33", 2, True),
        ("0.3.31.dev", 2, True),
        ("0.3.9", 8, True),
        ("0.3.33", 1, False),
        ("0.3.33.112.0", 2, False),
        ("0.3.34", 2, False),
        ("0.4.0", 2, False),
        ("1.0", 2, False),
        (None, 2, True),
    ],
)
def test_unsafe_versions_of_openblas_are_known(
    version: str | None,
    threads: int,
    expected: bool,  # noqa: FBT001
) -> None:
    """Up to 0.3.33 with more than one thread; a version that cannot be told is not trusted."""
    info = {"internal_api": "openblas", "version": version, "num_threads": threads}
    assert unsafe(info) == expected
    assert not unsafe(info | {"internal_api": "mkl"})
