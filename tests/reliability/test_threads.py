"""Claims about concurrent calls: the functions give the bits of one thread, on shared inputs."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import purenet
from purenet import Config
from purenet.engines import CHUNK, workers
from purenet.engines.workers import WorkersEngine
from tests.support.blas import unsafe
from tests.support.problems import problem, read_only

THREADS = 8
# A batch of this network is worth two workers, and this many examples are two chunks.
P, X, Y = read_only(problem(100, 80, 40, 10, n=CHUNK + 100, dtype="float32"))
V, G = purenet.init_velocity(P), purenet.backward(P, X, Y)[1]
CFG = Config(batch_size=64)
FUNCTIONS: dict[str, Callable[[], Any]] = {
    "init": lambda: purenet.init([100, 60, 10], seed=3),
    "forward": lambda: purenet.forward(P, X),
    "loss": lambda: purenet.loss(P, X, Y, l2=0.1),
    "backward": lambda: purenet.backward(P, X, Y, l2=0.1),
    "momentum_step": lambda: purenet.momentum_step(P, V, G, learning_rate=0.1, momentum=0.9),
    "predict_proba": lambda: purenet.predict_proba(P, X),
    "evaluate": lambda: purenet.evaluate(P, (X, Y), l2=0.1),
    "train": lambda: purenet.train(P, (X[:256], Y[:256]), CFG),
}


@pytest.fixture(autouse=True)
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each training run in two compiled workers, whatever the number of processors."""
    monkeypatch.setattr(workers, "processors", lambda: 2)
    assert WorkersEngine(P, V, X[:256], Y[:256], CFG).workers == 2


def bits(result: Any) -> Any:
    """Return every bit of a result."""
    if isinstance(result, dict):
        return {name: bits(value) for name, value in result.items()}
    if isinstance(result, tuple | list):
        return [bits(value) for value in result]
    return result.tobytes() if hasattr(result, "tobytes") else result


def assert_bits_of_one_thread(times: int) -> None:
    """Call all functions from all threads at once, and compare each result."""
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


def test_functions_are_pure_in_eight_threads(long: bool) -> None:  # noqa: FBT001
    """Eight different functions at once, with one BLAS thread each, give the bits of one thread."""
    with threadpool_limits(1, user_api="blas"):
        assert_bits_of_one_thread(1000 if long else 16)


def test_functions_are_pure_in_eight_threads_with_a_multithreaded_blas(
    long: bool,  # noqa: FBT001
) -> None:
    """A multithreaded BLAS gives the same bits; one with the known bug is held to one thread."""
    limit = 1 if any(map(unsafe, threadpool_info())) else None
    with threadpool_limits(limit, user_api="blas"):
        assert_bits_of_one_thread(1000 if long else 16)


def test_trainings_in_eight_threads_do_not_disturb_each_other(long: bool) -> None:  # noqa: FBT001
    """Eight trainings at once, of two compiled workers each, give the bits of one training."""
    expected = bits(FUNCTIONS["train"]())
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(100 if long else 3):
            results = [pool.submit(FUNCTIONS["train"]) for _ in range(THREADS)]
            assert all(bits(result.result(120)) == expected for result in results)


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
def test_versions_of_openblas_that_fail_in_threads_are_recognised(
    version: str | None,
    threads: int,
    expected: bool,  # noqa: FBT001
) -> None:
    """Multithreaded OpenBLAS is unsafe up to 0.3.33, and if it does not tell its version."""
    info = {"internal_api": "openblas", "version": version, "num_threads": threads}
    assert unsafe(info) == expected
    assert not unsafe(info | {"internal_api": "mkl"})
