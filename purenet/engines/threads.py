"""Threads of our own, while BLAS has one thread for each (the extra ``fast``).

The threads of a BLAS share single products, and go on spinning for a while after each. Here every
thread has products of its own, and does all that lies between them too.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import scipy.linalg.cython_blas  # noqa: F401  # what Numba calls; loaded, so that it is found below
from threadpoolctl import ThreadpoolController

__all__ = ["OneThreadEach", "each", "serial_blas"]


class OneThreadEach:
    """Hold every BLAS to one thread while anybody is inside; the last to leave puts back what was.

    Entering gives the number of threads that BLAS was set to before, by the environment or by
    threadpoolctl. A number that somebody else has changed meanwhile stays theirs.
    """

    def __init__(self) -> None:
        self.pools = ThreadpoolController().select(user_api="blas").lib_controllers
        self.lock, self.inside, self.before = threading.RLock(), 0, [1]

    def __enter__(self) -> int:
        """Limit."""
        with self.lock:
            if not self.inside:
                self.before = [pool.num_threads for pool in self.pools]
            self.limit()
            self.inside += 1
            return max(self.before, default=1)

    def __exit__(self, *_: object) -> None:
        """Put back, if this is the last."""
        with self.lock:
            self.inside -= 1
            for pool, number in zip(self.pools, self.before, strict=True):
                each_has_its_own = getattr(pool, "threading_layer", "") == "openmp"
                if pool.num_threads == 1 and (each_has_its_own or not self.inside):
                    _set(pool, number)

    def limit(self) -> None:
        """Hold every BLAS to one thread here, where each thread has a limit of its own."""
        with self.lock:
            for pool in self.pools:
                _set(pool, 1)

    def leave_parent(self) -> None:
        """Put back what was in the child of a fork, where nobody is inside."""
        self.lock = threading.RLock()
        if self.inside:
            self.inside = 1
            self.__exit__()


def _set(pool: Any, number: int) -> None:
    # threadpoolctl heeds only the thread that came first, until it is told to forget it.
    forget = getattr(pool, "clear_controlling_thread", lambda **_: None)
    forget(force=True)
    pool.set_num_threads(number)
    forget(force=True)


serial_blas = OneThreadEach()
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=serial_blas.leave_parent)


def each(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Return the results of a function of items, in their order, by as many threads as BLAS has."""
    if len(items) < 2:
        return [function(item) for item in items]
    # What NumPy says of overflow, and how, is a matter of the context.
    contexts = [copy_context() for _ in items]
    with serial_blas as threads, ThreadPoolExecutor(threads, initializer=serial_blas.limit) as pool:
        return list(pool.map(lambda c, item: c.run(function, item), contexts, items))
