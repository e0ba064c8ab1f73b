"""Hold an implementation of the multilayer perceptron against its laws.

Give functions of your own where purenet's stand, NumPy arrays in and out, and each law is tried on
many networks and batches, hard places among them.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from purenet.testing.laws import Implementation, Law, network, optim, training

__all__ = ["LAWS", "Implementation", "check", "examples_until_caught"]

LAWS: dict[str, Law] = {
    name: value
    for module in (network, optim, training)
    for name, value in vars(module).items()
    if isinstance(value, Law)
}
"""Every law, by name."""


def check(implementation: Implementation, *laws: str, max_examples: int = 100) -> None:
    """Try laws on an implementation.

    Parameters
    ----------
    implementation : Implementation
        The functions under test.
    *laws : str
        Names from `LAWS`; all of them if none is given.
    max_examples : int
        How often each law is tried.

    Raises
    ------
    AssertionError
        A law that fails, with a small counterexample; whatever the implementation itself raises.

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
    (0,): -1.0 instead of -0.5, off by 0.5 where rounding explains 4.76e-15
    """
    for name in laws or LAWS:
        _try(
            name, lambda law, *drawn: law.holds(implementation, *drawn), max_examples, Phase.shrink
        )


def examples_until_caught(
    implementation: Implementation, law: str, *, max_examples: int = 1000
) -> int | None:
    """Count the examples that a law is tried on until it fails, the failing one included.

    Parameters
    ----------
    implementation : Implementation
        The functions under test.
    law : str
        A name from `LAWS`.
    max_examples : int
        How often the law is tried.

    Returns
    -------
    int or None
        The count, or None if the law did not fail.
    """
    tried, caught = 0, False

    def count(law: Law, *drawn: Any) -> None:
        nonlocal tried, caught
        tried += not caught
        try:
            law.holds(implementation, *drawn)
        except AssertionError:
            caught = True
            raise

    with suppress(AssertionError, Flaky):  # what ignores its seed fails once and then does not
        _try(law, count, max_examples)
    return tried if caught else None


def _try(name: str, trial: Callable[..., None], max_examples: int, *more: Phase) -> None:
    """Call ``trial(law, *drawn)`` on as many examples as told."""
    law = LAWS[name]

    @settings(
        max_examples=max_examples,
        phases=(Phase.generate, *more),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*law.strategies))
    def run(drawn: Any) -> None:
        trial(law, *drawn)

    run()
