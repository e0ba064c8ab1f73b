"""Python threads that each use one thread of BLAS.

A BLAS that shares one product between its threads synchronises them after every product, and they
spin while they wait. On a busy machine this can take ten times as long. Here each Python thread
computes products of its own, and they do not depend on how many threads there are.
"""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from typing import Any, Self

from threadpoolctl import ThreadpoolController

__all__ = ["HeldSignals", "SerialBlas", "map_in_threads", "processors", "serial_blas"]

QUOTA = Path("/sys/fs/cgroup/cpu.max")


class SerialBlas:
    """Hold every BLAS library to one thread while any thread is inside this context.

    Entering returns the number of threads that BLAS had before, as set by the environment or by
    threadpoolctl. The last thread to leave restores that number, unless it was changed in the
    meantime.
    """

    def __init__(self) -> None:
        self.lock, self.inside = threading.RLock(), 0
        self.pools: list[Any] = []
        self.before: list[int] = []
        self.find_libraries()

    def find_libraries(self) -> None:
        """Look for the BLAS libraries that are loaded by now."""
        with self.lock:
            limited = {
                pool.filepath: number
                for pool, number in zip(self.pools, self.before, strict=True)
                if self.inside
            }
            self.pools = ThreadpoolController().select(user_api="blas").lib_controllers
            self.before = [limited.get(pool.filepath, pool.num_threads) for pool in self.pools]

    def __enter__(self) -> int:
        """Limit every BLAS to one thread."""
        with self.lock:
            if not self.inside:
                self.before = [pool.num_threads for pool in self.pools]
            self.limit()
            self.inside += 1
            return self.threads()

    def __exit__(self, *_: object) -> None:
        """Restore the numbers of threads, if this is the last thread to leave."""
        with self.lock:
            self.inside -= 1
            for pool, number in zip(self.pools, self.before, strict=True):
                limit_is_per_thread = getattr(pool, "threading_layer", "") == "openmp"
                if pool.num_threads == 1 and (limit_is_per_thread or not self.inside):
                    _set_threads(pool, number)

    def threads(self) -> int:
        """Return the number of threads that BLAS has, or had before the limit."""
        with self.lock:
            numbers = self.before if self.inside else [pool.num_threads for pool in self.pools]
            # threadpoolctl does not know every BLAS: Apple's is one that it does not.
            return max(numbers, default=os.cpu_count() or 1)

    def limit(self) -> None:
        """Limit BLAS to one thread in this thread; some libraries keep a limit for each thread."""
        with self.lock:
            for pool in self.pools:
                _set_threads(pool, 1)

    def reset_in_child(self) -> None:
        """Free the lock and restore the numbers in the child of a fork: no thread is inside."""
        self.lock.release()
        if self.inside:
            self.inside = 1
            self.__exit__()


def _set_threads(pool: Any, number: int) -> None:
    # threadpoolctl obeys only the thread that called it first, until it forgets that thread.
    forget = getattr(pool, "clear_controlling_thread", lambda **_: None)
    forget(force=True)
    pool.set_num_threads(number)
    forget(force=True)


serial_blas = SerialBlas()
# No fork copies the lock while another thread holds it. Windows has no forks.
register_at_fork: Any = getattr(os, "register_at_fork", lambda **_: None)
register_at_fork(
    before=serial_blas.lock.acquire,
    after_in_parent=serial_blas.lock.release,
    after_in_child=serial_blas.reset_in_child,
)


class HeldSignals:
    """Hold Ctrl-C and SIGTERM back in this context, until the next `check`, the end, or a second.

    Python calls a signal handler between any two instructions of the main thread. If the handler
    raises where a lock of a thread pool is taken, the lock stays taken and the pool never ends.
    Only the main thread receives signals, so in other threads this class does nothing.
    """

    def __init__(self) -> None:
        self.handlers: dict[int, Any] = {}  # of the caller
        self.received: list[tuple[int, Any]] = []

    def __enter__(self) -> Self:
        """Put a handler that only records the signal in place of those of the caller."""
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler) and threading.current_thread() is threading.main_thread():
                    self.handlers[number] = handler
                    signal.signal(number, self._record)
        except BaseException:  # a handler of the caller raised
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the handlers, unless others were set in the meantime, and call those due."""
        try:
            self._restore()
        finally:
            self._restore()  # a handler that was restored may have raised before the next one was
            self.check()

    def check(self) -> None:
        """Call the caller's handler if a signal has come. It may raise KeyboardInterrupt."""
        while self.received:
            number, frame = self.received.pop(0)
            self.handlers[number](number, frame)

    def _restore(self) -> None:
        for number, handler in self.handlers.items():
            if signal.getsignal(number) == self._record:
                signal.signal(number, handler)

    def _record(self, number: int, frame: Any) -> None:
        """Keep the first signal, and let a second one through after it: somebody insists."""
        if not self.received:
            self.received.append((number, frame))
            return
        self.check()
        signal.raise_signal(number)


def processors() -> int:
    """Return how many processors this process may use at once.

    It is the least of what BLAS is set to, the processors that the process is bound to, and the
    quota of processor time that its container has (cgroup v2).
    """
    allowed = serial_blas.threads()
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with suppress(OSError, ValueError):  # no such file, or "max"
        quota, period = map(int, QUOTA.read_text().split())
        allowed = min(allowed, quota // period)
    return max(1, min(allowed, available or 1))


def map_in_threads(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Return the results of a function of each item, in the order of the items.

    A single item is computed in this thread, and BLAS keeps its own threads.
    """
    if len(items) < 2:
        return [function(item) for item in items]
    # How NumPy reports an overflow is kept in the context, which a new thread does not inherit.
    contexts = [copy_context() for _ in items]
    with (
        HeldSignals() as signals,
        serial_blas,
        ThreadPoolExecutor(processors(), initializer=serial_blas.limit) as pool,
    ):
        futures = [
            pool.submit(c.run, function, item) for c, item in zip(contexts, items, strict=True)
        ]
        results = []
        try:
            for future in futures:
                results.append(future.result())
                signals.check()
        finally:
            pool.shutdown(cancel_futures=True)
        return results
