"""Check an implementation of the multilayer perceptron against its laws.

Put your own functions, with NumPy arrays in and out, in place of purenet's. Each law is then tried
on many networks and batches, including the places where implementations break.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from numpy.typing import DTypeLike

from purenet.testing.laws import Implementation, Law, network, optim, training

__all__ = ["LAWS", "Implementation", "check", "examples_until_caught"]

LAWS: dict[str, Law] = {
    name: value
    for module in (network, optim, training)
    for name, value in vars(module).items()
    if isinstance(value, Law)
}
"""Every law, by name."""


def check(
    implementation: Implementation,
    *laws: str,
    max_examples: int = 100,
    dtypes: Sequence[DTypeLike] = (np.float64, np.float32),
) -> None:
    """Try laws on an implementation.

    Parameters
    ----------
    implementation : Implementation
        The functions under test.
    *laws : str
        Names from `LAWS`; all of them if none is given.
    max_examples : int
        The number of examples that each law is tried on.
    dtypes : sequence of dtype
        The dtypes of the examples: ``[np.float32]`` for an implementation that takes no other.

    Raises
    ------
    AssertionError
        A law that fails, with a small counterexample. Other errors of the implementation are
        raised as they are.
    ValueError
        A name that is not in `LAWS`.

    Examples
    --------
    A gradient that is summed where it should be averaged:

    >>> import purenet
    >>> def backward(params, x, y, *, l2=0.0):
    ...     value, grads = purenet.backward(params, x, y, l2=l2)
    ...     return value, {name: g * len(x) for name, g in grads.items()}
    >>> check(Implementation(backward=backward), "backward_returns_the_loss")
    >>> try:
    ...     check(Implementation(backward=backward), "gradient_is_additive")
    ... except AssertionError as error:
    ...     print(error)
    gradient of b1[0] is -1.0, exact -0.5: off by 0.5 where rounding explains 4.76e-15
    """
    for name in laws or LAWS:
        if name not in LAWS:
            raise ValueError(f"laws must be among {', '.join(LAWS)}, got {name!r}")

        def trial(law: Law, *drawn: Any) -> None:
            law.holds(implementation, *drawn)

        try:
            _try(LAWS[name], trial, max_examples, dtypes, phases=(Phase.generate, Phase.shrink))
        except Flaky as error:
            raise AssertionError(f"{name}: equal calls gave different results") from error
        except Exception as error:
            error.add_note(f"Law: {name}. {LAWS[name].holds.__doc__}")
            raise


def examples_until_caught(
    implementation: Implementation, law: str, *, max_examples: int = 100
) -> int | None:
    """Count the examples that a law is tried on until it fails, including the failing one.

    Parameters
    ----------
    implementation : Implementation
        The functions under test.
    law : str
        A name from `LAWS`.
    max_examples : int
        The largest number of examples to try.

    Returns
    -------
    int or None
        The count, which is the same at each call, or None if the law did not fail.
    """
    tried, caught = 0, False

    def count(law: Law, *drawn: Any) -> None:
        nonlocal tried, caught
        tried += not caught
        try:
            law.holds(implementation, *drawn)
        except Exception:  # a wrong implementation may fail in any way
            caught = True
            raise

    with suppress(Exception):
        _try(LAWS[law], count, max_examples, phases=(Phase.generate,), derandomize=True)
    return tried if caught else None


def _try(
    law: Law,
    trial: Callable[..., None],
    max_examples: int,
    dtypes: Sequence[DTypeLike] = (np.float64, np.float32),
    **more: Any,
) -> None:
    """Call ``trial(law, *drawn)`` on so many examples."""
    strategies = [
        drawn if isinstance(drawn, st.SearchStrategy) else drawn(dtypes=dtypes)
        for drawn in law.strategies
    ]

    @settings(
        max_examples=max_examples,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        **more,
    )
    @given(st.tuples(*strategies))
    def run(drawn: Any) -> None:
        trial(law, *drawn)

    run()
