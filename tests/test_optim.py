"""Claims about the step: moving-average momentum."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from purenet import init_velocity, momentum_step
from tests.support.libraries import LIBRARIES, to_numpy
from tests.support.problems import problem, read_only


def dictionaries(dtype: Any = np.float64) -> list[dict[str, Any]]:
    """Return parameters, a velocity and gradients."""
    return [read_only(problem(4, 3, 2, seed=seed, dtype=dtype)).params for seed in range(3)]


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_step_is_the_moving_average_of_gradients(dtype: Any, momentum: float) -> None:
    """After t steps, v = (1 - β) Σ_s β^(t-s) g_s, and p has moved by -η times the sum of all v."""
    params, _, _ = dictionaries(dtype)
    gradients = [problem(4, 3, 2, seed=10 + t, dtype=dtype).params for t in range(6)]
    p, v = params, init_velocity(params)
    for g in gradients:
        p, v = momentum_step(p, v, g, learning_rate=0.1, momentum=momentum)
    for name in params:
        history = np.array([g[name] for g in gradients], np.float64)
        power = momentum ** np.subtract.outer(np.arange(6), np.arange(6)).clip(0)
        velocities = (1 - momentum) * np.einsum("ts,s...->t...", np.tril(power), history)
        eps = 32 * np.finfo(dtype).eps  # 6 steps with 4 roundings of numbers of order 1
        np.testing.assert_allclose(v[name], velocities[-1], rtol=eps, atol=eps)
        moved = params[name] - 0.1 * velocities.sum(axis=0)
        np.testing.assert_allclose(p[name], moved, rtol=eps, atol=eps)


def test_first_step_from_rest_moves_by_one_minus_momentum() -> None:
    """The first step has no bias correction: from v = 0 it moves p by -η (1 - β) g."""
    p, v, g = ({"b1": np.array([value])} for value in (1.0, 0.0, 2.0))
    p, v = momentum_step(p, v, g, learning_rate=0.5, momentum=0.75)
    assert (p["b1"][0], v["b1"][0]) == (0.75, 0.5)


@pytest.mark.parametrize("library", LIBRARIES)
def test_step_agrees_in_every_array_library(library: str) -> None:
    """Arrays of any library give the numbers of NumPy."""
    given = dictionaries()
    expected = momentum_step(*given, learning_rate=0.1, momentum=0.9)
    asarray = LIBRARIES[library]
    converted = [{name: asarray(p.copy()) for name, p in one.items()} for one in given]
    got = momentum_step(*converted, learning_rate=0.1, momentum=0.9)
    for ours, theirs in zip(expected, got, strict=True):
        assert list(ours) == list(theirs)
        for name, p in ours.items():
            np.testing.assert_allclose(to_numpy(theirs[name]), p, rtol=1e-15, atol=1e-15)


def test_step_runs_inside_jit() -> None:
    """Inside `jax.jit` the step gives the same numbers."""
    step = jax.jit(lambda p, v, g: momentum_step(p, v, g, learning_rate=0.1, momentum=0.9))
    p, v, g = dictionaries()
    expected = momentum_step(p, v, g, learning_rate=0.1, momentum=0.9)
    for ours, jitted in zip(expected, step(p, v, g), strict=True):
        for name, array in ours.items():
            np.testing.assert_allclose(jitted[name], array, rtol=1e-15, atol=1e-15)


def test_float64_hyperparameters_do_not_widen_float32() -> None:
    """Hyperparameters of type np.float64 leave a float32 network in float32."""
    p, v, g = dictionaries(np.float32)
    for one in momentum_step(p, v, g, learning_rate=np.float64(0.1), momentum=np.float64(0.9)):
        assert {array.dtype for array in one.values()} == {np.dtype(np.float32)}


P, V, G = dictionaries()
BAD_CALLS: list[tuple[Callable[[], Any], str]] = [
    (lambda: momentum_step(P, V, {}, learning_rate=1, momentum=0), "grads must have the keys"),
    (
        lambda: momentum_step(P, V, G | {"b1": G["b2"]}, learning_rate=1, momentum=0),
        "grads['b1'] must have shape (3,) and dtype float64, got (2,) and float64",
    ),
    (
        lambda: momentum_step(P, V | {"b1": V["b1"].astype("f4")}, G, learning_rate=1, momentum=0),
        "velocity['b1'] must have shape (3,) and dtype float64, got (3,) and float32",
    ),
    (
        lambda: momentum_step(P, V, G, learning_rate=-1, momentum=0),
        "learning_rate must be a finite number >= 0, got -1",
    ),
    (
        lambda: momentum_step(P, V, G, learning_rate=1, momentum=1),
        "momentum must be a number in [0, 1), got 1",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message for _, message in BAD_CALLS])
def test_bad_arguments_are_named(call: Callable[[], Any], message: str) -> None:
    """A bad argument raises ValueError, which names the value and what was expected."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert message in str(caught.value)
