"""Compare gradient checkers on right and wrong gradients: ours, PyTorch's and JAX's.

    python -m benchmarks.correctness.checkers > docs/checkers.md

Each case is a network with ReLU, a gradient that is claimed for it, and a place: none of its units
is near a kink, one is near its kink for one example, or one is exactly at it. At the kink, a right
gradient has ReLU′(0) = 0.
"""

import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from jax.test_util import check_grads
from numpy.typing import NDArray

import purenet
from purenet.params import Params
from purenet.testing.gradients import check_gradients

SIZES, EXAMPLES, SEEDS = [3, 4, 3], 5, 20
PLACES = {"away": None, "near": 1e-5, "at": 0.0}
CLAIMS = ("right", "one array × 1.001", "one number × 1.1", "one array of zeros")
FLOAT32 = {"eps": 1e-3, "atol": 1e-3, "rtol": 1e-2}  # gradcheck's defaults are for float64

jax.config.update("jax_enable_x64", val=True)


class Case(NamedTuple):
    """Hold a network, a batch and a gradient that is claimed."""

    params: Params
    x: NDArray[Any]
    y: NDArray[Any]
    grads: Params


def case(claim: str, place: str, dtype: Any, seed: int) -> Case:
    """Draw a network with one unit at a distance from its kink, and claim a gradient."""
    rng = np.random.default_rng(seed)
    params = purenet.init(SIZES, seed=seed, dtype=dtype)
    for name in ("b1", "b2"):
        params[name] = (0.3 * rng.standard_normal(params[name].shape)).astype(dtype)
    x = rng.normal(size=(EXAMPLES, SIZES[0])).astype(dtype)
    if (distance := PLACES[place]) is not None:
        x[0] = [1, 0, 0]
        params["b1"][0] = -params["W1"][0, 0] + dtype(distance)
    y = rng.integers(0, SIZES[-1], EXAMPLES)
    exact = {k: p.astype(np.float64) for k, p in params.items()}
    grads = purenet.backward(exact, x.astype(np.float64), y)[1]
    grads = {name: g.astype(dtype) for name, g in grads.items()}
    if claim == "one array × 1.001":
        grads["W2"] *= dtype(1.001)
    elif claim == "one number × 1.1":
        grads["W2"].flat[np.argmax(np.abs(grads["W2"]))] *= dtype(1.1)
    elif claim == "one array of zeros":
        grads["W2"][:] = 0
    return Case(params, x, y, grads)


def ours(c: Case) -> str:
    """Return the verdict of `purenet.testing.gradients.check_gradients`."""
    report = check_gradients(lambda p: purenet.loss(p, c.x, c.y), c.grads, c.params)
    if report.count("disagrees"):
        return "refused"
    return "accepted" if report.ok else "inconclusive"


def gradcheck(c: Case) -> str:
    """Return the verdict of `torch.autograd.gradcheck`."""
    x, y = torch.tensor(c.x), torch.tensor(c.y)

    class Loss(torch.autograd.Function):  # type: ignore[misc,unused-ignore]
        @staticmethod
        def forward(ctx: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> Any:  # noqa: ARG004
            z = torch.relu(x @ W1 + b1) @ W2 + b2
            return torch.nn.functional.cross_entropy(z, y)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:  # noqa: ARG004
            return tuple(g * torch.tensor(array) for array in c.grads.values())

    inputs = [torch.tensor(p, requires_grad=True) for p in c.params.values()]
    more: Any = FLOAT32 if c.x.dtype == np.float32 else {}
    ok = torch.autograd.gradcheck(Loss.apply, inputs, raise_exception=False, **more)
    return "accepted" if ok else "refused"


def jax_check_grads(c: Case) -> str:
    """Return the verdict of `jax.test_util.check_grads`."""

    @jax.custom_vjp
    def f(p: Any) -> Any:
        z = jax.nn.relu(c.x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
        return -jax.nn.log_softmax(z)[jax.numpy.arange(len(c.y)), c.y].mean()

    grads = {name: jax.numpy.asarray(g) for name, g in c.grads.items()}
    f.defvjp(lambda p: (f(p), None), lambda _, g: ({k: g * a for k, a in grads.items()},))
    try:
        params = {name: jax.numpy.asarray(p) for name, p in c.params.items()}
        check_grads(f, (params,), order=1, modes=["rev"])
    except AssertionError:
        return "refused"
    return "accepted"


CHECKERS: dict[str, Callable[[Case], str]] = {
    "`check_gradients`": ours,
    "`gradcheck` of PyTorch": gradcheck,
    "`check_grads` of JAX": jax_check_grads,
}

INTRODUCTION = f"""\
# Gradient checkers compared

Made by `python -m benchmarks.correctness.checkers`, with PyTorch {torch.__version__} and JAX
{jax.__version__}. Each row has {SEEDS} networks of {SIZES} units whose gradient is right, and
{(len(CLAIMS) - 1) * SEEDS} in which one array or one number is wrong, by a factor of 1.001, by one
of 1.1, or by being 0. The input of one hidden unit, for one example, is far away from its kink,
near to it, at 10⁻⁵, or exactly at it. All checkers have their defaults, but `gradcheck` in float32:
eps=1e-3, atol=1e-3, rtol=1e-2.
"""


def main() -> None:
    """Print the page."""
    print(INTRODUCTION)
    head = ("checker", "dtype", "kink", "false alarms", "misses", "inconclusive", "ms a check")
    print(f"| {' | '.join(head)} |\n|---|---|---|--:|--:|--:|--:|")
    for name, checker in CHECKERS.items():
        for dtype in (np.float64, np.float32):
            for place in PLACES:
                found: Counter[tuple[bool, str]] = Counter()
                times = []
                for seed in range(SEEDS):
                    for claim in CLAIMS:
                        c = case(claim, place, dtype, seed)
                        began = time.perf_counter()
                        with warnings.catch_warnings():
                            warnings.simplefilter("ignore")  # gradcheck's about float32
                            verdict = checker(c)
                        times.append(time.perf_counter() - began)
                        found[claim == "right", verdict] += 1
                alarms, misses = found[True, "refused"], found[False, "accepted"]
                unclear = found[True, "inconclusive"] + found[False, "inconclusive"]
                cells = (
                    *(name, dtype.__name__, place),
                    *(f"{alarms} of {SEEDS}", f"{misses} of {(len(CLAIMS) - 1) * SEEDS}", unclear),
                    f"{1e3 * np.median(times):.0f}",
                )
                print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
