"""Atomic instructions that Numba lacks.

Each function has a body for Python and, below it, a generator of its compiled instructions. Numba's
cache on disk does not notice a change of this file: touch `workers.py` after one.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import lower_builtin, type_callable
from numba.np.arrayobj import make_array
from numpy.typing import NDArray

__all__ = ["fetch_add", "give_way", "load_acquire", "pause"]


def machine_code(function: Any, result: Any, *arguments: Any) -> Callable[[Any], Any]:
    """Return a decorator that registers a generator as the compiled form of a function."""
    type_callable(function)(lambda _: result)
    register: Callable[[Any], Any] = lower_builtin(function, *arguments)
    return register


_lock = threading.Lock()


def fetch_add(counter: NDArray[Any]) -> int:
    """Add one to a counter, and return what it was: atomic, acquire and release."""
    with _lock:
        counter[0] += 1
        return int(counter[0]) - 1


@machine_code(fetch_add, lambda counter: types.int64, types.Array)  # noqa: ARG005
def generate_fetch_add(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Generate an atomic addition."""
    place = make_array(signature.args[0])(context, builder, args[0]).data
    return builder.atomic_rmw("add", place, context.get_constant(types.int64, 1), "acq_rel")


def load_acquire(counter: NDArray[Any]) -> int:
    """Return a counter. What other threads wrote before they added to it is visible afterwards."""
    return int(counter[0])


@machine_code(load_acquire, lambda counter: types.int64, types.Array)  # noqa: ARG005
def generate_load_acquire(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Generate an atomic load."""
    place = make_array(signature.args[0])(context, builder, args[0]).data
    return builder.load_atomic(place, "acquire", 8)


def pause() -> None:
    """Wait for some cycles: without this, spinning slows down the other thread of the core."""


@machine_code(pause, lambda: types.none)
def generate_pause(context: Any, builder: Any, *_: Any) -> Any:
    """Generate a fence."""
    builder.fence("seq_cst")  # portable, and slow enough
    return context.get_dummy_value()


def give_way() -> None:
    """Let another thread run on this core."""
    time.sleep(0)


@machine_code(give_way, lambda: types.none)
def generate_give_way(context: Any, builder: Any, *_: Any) -> Any:
    """Generate a call of `sched_yield` on POSIX systems, and nothing elsewhere."""
    if os.name == "posix":
        kind = ir.FunctionType(ir.IntType(32), ())
        builder.call(get_or_insert_function(builder.module, kind, "sched_yield"), ())
    return context.get_dummy_value()
