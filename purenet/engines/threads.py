"""Threads of our own, while BLAS has one thread for each (the extra ``fast``).

The threads of a BLAS share single products, and go on spinning for a while after each. Here every
thread has products of its own, and does all that lies between them too.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import scipy.linalg.cython_blas  # noqa: F401  # what Numba calls; loaded, so that it is found below
from threadpoolctl import ThreadpoolController

__all__ = ["OneThreadEach", "each"]


class OneThreadEach:
    """Hold every BLAS to one thread while anybody is inside; the last to leave puts back what was.

    Entering gives the number of threads that BLAS was set to before, by the environment or by
    threadpoolctl.
    """

    def __init__(self) -> None:
        self.pools = ThreadpoolController().select(user_api="blas").lib_controllers
        self.lock, self.inside, self.before = threading.RLock(), 0, [1]

    def __enter__(self) -> int:
        """Limit, if this is the first."""
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
            if not self.inside:
                self._set(self.before)

    def limit(self) -> None:
        """Hold every BLAS to one thread here, where each thread has a limit of its own."""
        self._set([1] * len(self.pools))

    def _set(self, numbers: list[int]) -> None:
        with self.lock:
            for pool, number in zip(self.pools, numbers, strict=True):
                if hasattr(pool, "clear_controlling_thread"):  # else another's word may count
                    pool.clear_controlling_thread(force=True)
                pool.set_num_threads(number)


serial_blas = OneThreadEach()


def each(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Return the results of a function of items, in their order, by as many threads as BLAS has."""
    with serial_blas as threads:
        if min(threads, len(items)) == 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(threads, initializer=serial_blas.limit) as pool:
            # What NumPy says of overflow, and how, is a matter of the context.
            futures = [pool.submit(copy_context().run, function, item) for item in items]
            return [future.result() for future in futures]
