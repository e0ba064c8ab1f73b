"""Threads of our own, while BLAS has one for each."""

import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from purenet.engines import threads
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
            with it as before:
                if before != 2 or set(numbers()) != {1}:
                    wrong.append((before, numbers()))

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


def test_what_others_set_meanwhile_stays_theirs() -> None:
    """A limit that ends while somebody is inside puts back what it found, and that is kept."""
    it = OneThreadEach()
    limit = threadpool_limits(1, user_api="blas")
    with it as before:
        limit.restore_original_limits()
        assert set(numbers()) == {2}
    assert before == 1
    assert set(numbers()) == {2}


def test_threadpoolctl_can_limit_in_any_thread_afterwards() -> None:
    """Whoever was inside does not stay the one whose word counts."""
    seen = []

    def visit() -> None:
        with threadpool_limits(1, user_api="blas"):
            seen.append(numbers())

    with OneThreadEach():
        pass
    visitor = threading.Thread(target=visit)
    visitor.start()
    visitor.join()
    assert set(seen[0]) == {1}
    assert set(numbers()) == {2}


def test_the_child_of_a_fork_has_all_threads() -> None:
    """Nobody is inside there, and a lock that was held will not be opened."""
    it = OneThreadEach()
    it.__enter__()
    it.__enter__()
    it.leave_parent()
    assert set(numbers()) == {2}
    with it as before:
        assert before == 2
    OneThreadEach().leave_parent()
    assert set(numbers()) == {2}


class OfEachThread(threading.local):
    """A BLAS whose threads have limits of their own, as those that use OpenMP."""

    threading_layer = "openmp"
    num_threads = 2

    def set_num_threads(self, number: int) -> None:
        """Limit this thread."""
        self.num_threads = number


def test_limits_of_a_thread_are_set_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that work, those that enter, and all have theirs again that leave."""
    it, blas, seen = OneThreadEach(), OfEachThread(), []
    monkeypatch.setattr(it, "pools", [blas])
    monkeypatch.setattr(threads, "serial_blas", it)

    def visit() -> None:
        with it:
            seen.append(blas.num_threads)
        seen.append(blas.num_threads)

    with it:
        assert each(lambda _: blas.num_threads, range(5)) == [1] * 5
        visitor = threading.Thread(target=visit)
        visitor.start()
        visitor.join()
    assert seen == [1, 2]
    assert blas.num_threads == 2


@pytest.mark.parametrize("items", [[], [1], range(20)])
@pytest.mark.parametrize("number", [1, 2])
def test_each_returns_results_in_order(items: Any, number: int) -> None:
    """However many there are."""
    with threadpool_limits(number, user_api="blas"):
        assert each(lambda item: item**2, items) == [item**2 for item in items]


def test_each_is_in_the_context_of_its_caller() -> None:
    """NumPy warns, or not, as it was told outside."""
    zeros = np.zeros(3)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("error")
        assert np.isnan(each(lambda i: zeros[i] / zeros[i], range(3))).all()


def test_each_raises_the_first_error_and_begins_no_more() -> None:
    """As a loop does; of a thousand items, most have not begun by then."""
    begun = []

    def third_fails(i: int) -> int:
        begun.append(i)
        time.sleep(0.001)
        return 1 // (2 - i)

    with pytest.raises(ZeroDivisionError):
        each(third_fails, range(1000))
    assert len(begun) < 500
