"""Claims about Python threads that each use one thread of BLAS."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from purenet.engines import threads
from purenet.engines.threads import HeldSignals, SerialBlas, map_in_threads, processors

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
    """Every thread that enters is told the number before the limit; the last one restores it."""
    it = SerialBlas()
    with it as first:
        assert set(numbers()) == {1}
        with it as second:
            pass
        assert set(numbers()) == {1}
    assert (first, second) == (2, 2)
    assert set(numbers()) == {2}


def test_threads_that_come_and_go_leave_all_as_it_was() -> None:
    """Four threads that enter and leave see one BLAS thread inside, and two are restored."""
    it, wrong = SerialBlas(), []

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
    """The limit works in a thread even if another thread holds a limit of threadpoolctl."""
    it, seen = SerialBlas(), []

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
    """A limit of threadpoolctl that ends meanwhile restores its own number, which is kept."""
    it = SerialBlas()
    limit = threadpool_limits(1, user_api="blas")
    with it as before:
        limit.restore_original_limits()
        assert set(numbers()) == {2}
    assert before == 1
    assert set(numbers()) == {2}


def test_threadpoolctl_can_limit_in_any_thread_afterwards() -> None:
    """threadpoolctl obeys any thread after the last one has left."""
    seen = []

    def visit() -> None:
        with threadpool_limits(1, user_api="blas"):
            seen.append(numbers())

    with SerialBlas():
        pass
    visitor = threading.Thread(target=visit)
    visitor.start()
    visitor.join()
    assert set(seen[0]) == {1}
    assert set(numbers()) == {2}


def test_the_child_of_a_fork_has_all_threads() -> None:
    """In the child of a fork no thread is inside, and the lock is free."""
    it = SerialBlas()
    it.__enter__()
    it.__enter__()
    it.lock.acquire()  # as before a fork
    it.reset_in_child()
    assert set(numbers()) == {2}
    with it as before:
        assert before == 2
    outside = SerialBlas()
    outside.lock.acquire()
    outside.reset_in_child()
    assert set(numbers()) == {2}


class OfEachThread(threading.local):
    """A BLAS whose threads have limits of their own, as those that use OpenMP."""

    threading_layer = "openmp"
    num_threads = 2

    def set_num_threads(self, number: int) -> None:
        """Limit this thread."""
        self.num_threads = number


def test_limits_of_a_thread_are_set_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a BLAS has a limit for each thread, each thread that enters is limited and restored."""
    it, blas, seen = SerialBlas(), OfEachThread(), []
    monkeypatch.setattr(it, "pools", [blas])
    monkeypatch.setattr(threads, "serial_blas", it)

    def visit() -> None:
        with it:
            seen.append(blas.num_threads)
        seen.append(blas.num_threads)

    with it:
        assert map_in_threads(lambda _: blas.num_threads, range(5)) == [1] * 5
        visitor = threading.Thread(target=visit)
        visitor.start()
        visitor.join()
    assert seen == [1, 2]
    assert blas.num_threads == 2


@pytest.mark.parametrize("items", [[], [1], range(20)])
@pytest.mark.parametrize("number", [1, 2])
def test_map_in_threads_returns_results_in_order(items: Any, number: int) -> None:
    """The results have the order of the items, whatever their number."""
    with threadpool_limits(number, user_api="blas"):
        assert map_in_threads(lambda item: item**2, items) == [item**2 for item in items]


def test_map_in_threads_is_in_the_context_of_its_caller() -> None:
    """NumPy's error state of the caller holds in the threads."""
    zeros = np.zeros(3)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("error")
        assert np.isnan(map_in_threads(lambda i: zeros[i] / zeros[i], range(3))).all()


def test_map_in_threads_raises_the_first_error_and_begins_no_more() -> None:
    """The first error is raised, and most of the later items are never begun."""
    begun = []

    def third_fails(i: int) -> int:
        begun.append(i)
        time.sleep(0.001)
        return 1 // (2 - i)

    with pytest.raises(ZeroDivisionError):
        map_in_threads(third_fails, range(1000))
    assert len(begun) < 500


@pytest.mark.parametrize(
    ("quota", "bound_to", "blas", "expected"),
    [
        ("max 100000", 8, 4, 4),
        ("max 100000", 2, 4, 2),
        ("300000 100000", 8, 4, 3),
        ("250000 100000", 8, 4, 2),
        ("50000 100000", 8, 4, 1),
        (None, 8, 4, 4),
    ],
)
def test_processors_are_those_that_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    quota: str | None,
    bound_to: int,
    blas: int,
    expected: int,
) -> None:
    """The quota of a container, the affinity of the process and the setting of BLAS all count."""
    if quota:
        (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(bound_to), raising=False)
    with threadpool_limits(blas, user_api="blas"):
        assert processors() == expected


@pytest.mark.parametrize(("count", "expected"), [(8, 2), (1, 1), (None, 1)])
def test_processors_without_affinity_are_those_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int | None, expected: int
) -> None:
    """On macOS and Windows a process cannot ask which processors it is bound to."""
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert processors() == expected


def test_libraries_that_are_loaded_later_are_found_inside_a_limit() -> None:
    """What BLAS was set to before is not forgotten when libraries are looked for again."""
    it = SerialBlas()
    with it:
        it.find_libraries()
        assert set(numbers()) == {1}
    assert set(numbers()) == {2}


def test_signals_wait_for_a_check_or_the_end() -> None:
    """A signal calls the handler of the caller at the next check, and the last one at the end."""
    calls: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda *_: calls.append(len(calls)))
    try:
        handler = signal.getsignal(signal.SIGINT)
        with HeldSignals() as signals:
            signal.raise_signal(signal.SIGINT)
            assert calls == []
            signals.check()
            signals.check()
            assert calls == [0]
            signal.raise_signal(signal.SIGINT)
        assert calls == [0, 1]
        assert signal.getsignal(signal.SIGINT) == handler
    finally:
        signal.signal(signal.SIGINT, previous)


def test_a_handler_that_is_set_while_signals_are_held_stays() -> None:
    """A handler that another program part sets in the meantime is not replaced at the end."""
    previous = signal.getsignal(signal.SIGINT)
    try:
        with HeldSignals():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


def test_a_signal_while_they_begin_to_be_held_leaves_the_handlers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the handler of the caller raises before all are replaced, those replaced come back."""
    getsignal, before = signal.getsignal, signal.getsignal(signal.SIGINT)

    def interrupting(number: int) -> Any:
        if number == signal.SIGTERM:
            raise KeyboardInterrupt
        return getsignal(number)

    monkeypatch.setattr(signal, "getsignal", interrupting)
    with pytest.raises(KeyboardInterrupt), HeldSignals():
        pass
    assert getsignal(signal.SIGINT) == before


def test_ctrl_c_ends_a_map_after_the_items_in_hand() -> None:
    """KeyboardInterrupt comes from `check`, and the items that have not begun are dropped."""
    begun = []

    def third_interrupts(item: int) -> None:
        begun.append(item)
        if item == 2:
            signal.raise_signal(signal.SIGINT)
        time.sleep(1e-3)

    # Ctrl-C is ignored in a process that a shell has started in the background.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            map_in_threads(third_interrupts, range(1000))
    finally:
        signal.signal(signal.SIGINT, previous)
    assert len(begun) < 500


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_no_fork_copies_a_lock_that_another_thread_holds() -> None:
    """A fork waits until no other thread changes the limits, so that the child finds them whole."""
    lock, stop, inside = threads.serial_blas.lock, threading.Event(), threading.Event()

    def hold() -> None:
        while not stop.is_set():
            with lock:
                inside.set()
                time.sleep(1e-3)
                inside.clear()
            time.sleep(1e-3)  # or the fork would hardly ever get the lock

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        for _ in range(20):
            with warnings.catch_warnings(action="ignore"):  # Python warns of forks beside threads
                child = os.fork()
            if child == 0:
                whole = not inside.is_set() and lock.acquire(timeout=5)
                os._exit(0 if whole else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        holder.join()


def test_a_second_signal_lets_the_first_one_through() -> None:
    """Held back, the first Ctrl-C reaches the caller's handler with the second, which is held."""
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        with HeldSignals():
            signal.raise_signal(signal.SIGINT)
            assert received == []
            signal.raise_signal(signal.SIGINT)
            assert received == [signal.SIGINT]
        assert received == [signal.SIGINT] * 2
    finally:
        signal.signal(signal.SIGINT, before)
