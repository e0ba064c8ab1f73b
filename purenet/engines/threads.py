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
        self.pools = ThreadpoolController().select(user_api="blas")
        self.lock, self.inside, self.threads = threading.Lock(), 0, 1
        self.limits: Any = None

    def __enter__(self) -> int:
        """Limit, if this is the first."""
        with self.lock:
            if not self.inside:
                self.threads = max((p.num_threads for p in self.pools.lib_controllers), default=1)
                self.limits = self.pools.limit(limits=1)
            self.inside += 1
            return self.threads

    def __exit__(self, *_: object) -> None:
        """Put back, if this is the last."""
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.limits.restore_original_limits()


serial_blas = OneThreadEach()


def each(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Return the results of a function of items, in their order, by as many threads as BLAS has."""
    with serial_blas as threads:
        if min(threads, len(items)) == 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(threads) as pool:
            # What NumPy says of overflow, and how, is a matter of the context.
            futures = [pool.submit(copy_context().run, function, item) for item in items]
            return [future.result() for future in futures]
