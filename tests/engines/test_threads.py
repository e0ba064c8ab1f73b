"""Threads of our own, while BLAS has one for each."""

import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from purenet.engines.threads import OneThreadEach, each

POOLS = ThreadpoolController().select(user_api="blas")


def numbers() -> list[int]:
    """Return the number of threads of each BLAS."""
    return [pool.num_threads for pool in POOLS.lib_controllers]


@pytest.fixture(autouse=True)
def two() -> Iterator[None]:
    """Give every BLAS two threads."""
    with threadpool_limits(2, user_api="blas"):
        yield


def test_blas_has_one_thread_until_the_last_has_left() -> None:
    """Those who come later are told what the first found; all is put back."""
    it = OneThreadEach()
    with it as first:
        assert set(numbers()) == {1}
        with it as second:
            pass
        assert set(numbers()) == {1}
    assert (first, second) == (2, 2)
    assert set(numbers()) == {2}


def test_threads_that_come_and_go_leave_all_as_it_was() -> None:
    """Whoever is inside finds one thread, and is told of two."""
    it, wrong = OneThreadEach(), []

    def visit() -> None:
        for _ in range(200):
            with it as threads:
                if threads != 2 or set(numbers()) != {1}:
                    wrong.append((threads, numbers()))

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert not wrong
    assert set(numbers()) == {2}


def test_a_thread_limits_blas_inside_of_a_limit_of_another() -> None:
    """Whoever may set numbers of threads by threadpoolctl, whose word is the first's alone."""
    it, seen = OneThreadEach(), []

    def visit() -> None:
        with it:
            seen.append(numbers())

    with threadpool_limits(2, user_api="blas"):
        visitor = threading.Thread(target=visit)
        visitor.start()
        visitor.join()
        assert set(numbers()) == {2}
    assert set(seen[0]) == {1}


@pytest.mark.parametrize("items", [[], [1], range(20)])
@pytest.mark.parametrize("threads", [1, 2])
def test_each_returns_results_in_order(items: Any, threads: int) -> None:
    """However many there are."""
    with threadpool_limits(threads, user_api="blas"):
        assert each(lambda item: item**2, items) == [item**2 for item in items]


def test_each_is_in_the_context_of_its_caller() -> None:
    """NumPy warns, or not, as it was told outside."""
    zeros = np.zeros(3)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("error")
        assert np.isnan(each(lambda i: zeros[i] / zeros[i], range(3))).all()


def test_each_raises_the_first_error() -> None:
    """As a loop does."""
    with pytest.raises(ZeroDivisionError):
        each(lambda i: [][i] if i == 2 else 1 // (1 - i), range(3))
