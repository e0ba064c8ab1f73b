"""The strategies draw valid examples, reach the hard places, and shrink to readable examples."""

import subprocess
import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from purenet import backward, forward
from purenet.params import layers, names, sizes
from purenet.testing.strategies import Problem, batches, layer_sizes, networks, problems

Claim = Callable[[Problem], Any]


@given(problems())
def test_problems_are_valid_and_finite(problem: Problem) -> None:
    """`purenet` accepts every problem, and returns finite numbers for each."""
    params, x, y, l2 = problem
    value, grads = backward(params, x, y, l2=l2)
    assert all(np.isfinite(array).all() for array in (value, forward(params, x), *grads.values()))


@given(st.data())
def test_networks_and_batches_of_the_same_sizes_fit(data: st.DataObject) -> None:
    """A network and a batch that are drawn apart fit if they are given the same sizes."""
    units = data.draw(layer_sizes())
    params, (x, y) = data.draw(networks(units)), data.draw(batches(units))
    assert sizes(params) == units
    assert x.shape[1] == units[0]
    backward(params, x.astype(params["W1"].dtype), y)


@given(problems(layer_sizes(max_units=9, max_layers=2), dtypes=[np.float32], max_examples=12))
def test_problems_are_of_the_sizes_and_types_asked_for(problem: Problem) -> None:
    """Units, layers, examples and dtypes keep to the arguments of the strategy."""
    params, x, y, _ = problem
    assert len(params) <= 4
    assert all(p.dtype == np.float32 and max(p.shape) <= 9 for p in params.values())
    assert x.dtype == np.float32
    assert len(x) == len(y) <= 12


@settings(suppress_health_check=[])
@given(problems())
def test_draws_pass_every_health_check(problem: Problem) -> None:
    """Draws are neither slow nor large, and none is thrown away."""
    assert problem


@pytest.fixture(scope="module")
def drawn() -> list[Problem]:
    """Draw 300 problems."""
    seen: list[Problem] = []

    @settings(max_examples=300, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(problems())
    def draw(problem: Problem) -> None:
        seen.append(problem)

    draw()
    return seen


def units(problem: Problem) -> list[int]:
    """Return the units of each layer of the network."""
    return sizes(problem.params)


def numbers(problem: Problem) -> NDArray[Any]:
    """Return all parameters and inputs as one vector."""
    return np.concatenate([array.ravel() for array in (*problem.params.values(), problem.x)])


def logits(problem: Problem) -> NDArray[Any]:
    """Return the logits of the batch."""
    return forward(problem.params, problem.x)


def is_at_a_kink(problem: Problem) -> bool:
    """Tell whether ReLU'(0) = 1 would change the gradient."""
    params, x, y, _ = problem
    depth = len(layers(params))
    for k in range(1, depth):
        z_k = forward({name: params[name] for name in names(k)}, x)
        upper = [params[name] for name in names(depth)[2 * k :]]
        above = dict(zip(names(depth - k), upper, strict=True))
        for i, z in enumerate(z_k):
            delta = backward(above, np.maximum(z, 0)[None, :], y[i : i + 1])[1]["b1"]
            if ((z == 0) & (above["W1"] @ delta != 0)).any():
                return True
    return False


def subnormal(array: NDArray[Any]) -> NDArray[np.bool]:
    """Return where an array is subnormal."""
    found: NDArray[np.bool] = np.abs(array) < np.finfo(array.dtype).smallest_normal
    found &= array != 0
    return found


HARD_PLACES: dict[str, Claim] = {
    "one class": lambda p: units(p)[-1] == 1,
    "one input": lambda p: units(p)[0] == 1,
    "one hidden unit": lambda p: 1 in units(p)[1:-1],
    "six units in a layer": lambda p: 6 in units(p),
    "one layer": lambda p: len(units(p)) == 2,
    "four layers": lambda p: len(units(p)) == 5,
    "one example": lambda p: len(p.x) == 1,
    "eight examples": lambda p: len(p.x) == 8,
    "fewer examples than classes": lambda p: len(p.x) < units(p)[-1],
    "a row of distinct numbers twice": lambda p: any(
        len(set(row)) > 2 and (p.x == row).all(axis=1).sum() > 1 for row in p.x
    ),
    "a row with two labels": lambda p: (
        len(np.unique(p.x, axis=0)) < len(np.unique(np.column_stack([p.x, p.y]), axis=0))
    ),
    "thirty distinct numbers": lambda p: len(np.unique(numbers(p))) >= 30,
    "an example of zeros": lambda p: (p.x == 0).all(axis=1).any(),
    "no zeros": lambda p: numbers(p).all(),
    "minus zero": lambda p: (np.signbit(numbers(p)) & (numbers(p) == 0)).any(),
    "a kink that decides the gradient": is_at_a_kink,
    "a subnormal parameter": lambda p: any(subnormal(array).any() for array in p.params.values()),
    "a subnormal input": lambda p: subnormal(p.x).any(),
    "a square that underflows": lambda p: ((numbers(p) != 0) & (numbers(p) ** 2 == 0)).any(),
    "logits of 10⁴ and -10⁴ in a row": lambda p: (np.ptp(logits(p), axis=1) >= 2e4).any(),
    "a loss above 10⁴": lambda p: backward(*p[:3])[0] > 1e4,
    "no penalty": lambda p: p.l2 == 0,
    "a penalty": lambda p: p.l2 > 1e-3,
    "float32": lambda p: p.x.dtype == np.float32,
    "float64": lambda p: p.x.dtype == np.float64,
    "8-bit labels": lambda p: p.y.dtype == np.uint8,
    "64-bit labels": lambda p: p.y.dtype == np.int64,
}


@pytest.mark.parametrize("place", HARD_PLACES)
def test_hard_places_are_reached(place: str, drawn: list[Problem]) -> None:
    """At least one problem in a hundred is in each hard place."""
    assert sum(bool(HARD_PLACES[place](problem)) for problem in drawn) >= len(drawn) / 100


LAYOUTS: dict[str, Callable[[NDArray[Any]], bool]] = {
    "Fortran order": lambda array: array.flags.fnc,
    "negative strides": lambda array: min(array.strides) < 0 and not array.flags.forc,
    "gaps": lambda array: min(array.strides) > 0 and not array.flags.forc,
    "read-only": lambda array: not array.flags.writeable,
}
PARTS: dict[str, Callable[[Problem], NDArray[Any]]] = {
    "W1": lambda p: p.params["W1"],
    "x": lambda p: p.x,
    "y": lambda p: p.y,
}


@pytest.mark.parametrize(
    ("part", "layout"), sorted(set(product(PARTS, LAYOUTS)) - {("y", "Fortran order")})
)
def test_layouts_are_reached(part: str, layout: str, drawn: list[Problem]) -> None:
    """At least one array in a hundred has each layout, among parameters, inputs and labels."""
    arrays = [PARTS[part](problem) for problem in drawn]
    assert sum(LAYOUTS[layout](array) for array in arrays) >= len(drawn) / 100


SHRUNK: dict[str, tuple[st.SearchStrategy[Problem], Claim, list[int], int]] = {
    "anything": (problems(), lambda _: True, [1, 1], 0),
    "float32": (problems(), lambda p: p.x.dtype == np.float32, [1, 1], 0),
    "two layers": (problems(), lambda p: len(p.params) == 4, [1, 1, 1], 0),
    "a matrix": (problems(), lambda p: min(p.params["W1"].shape) == 2, [2, 2], 0),
    "a kink": (problems(layer_sizes(max_units=3, max_layers=2)), is_at_a_kink, [1, 1, 2], 1),
}


@pytest.mark.parametrize("kind", SHRUNK)
def test_problems_shrink_to_what_can_be_read(kind: str) -> None:
    """A problem shrinks to one example, the fewest units, and zeros and ones as numbers."""
    strategy, claim, least_units, ones = SHRUNK[kind]
    problem = find(strategy, claim)
    assert units(problem) == least_units
    assert sorted(numbers(problem)) == [0] * (numbers(problem).size - ones) + [1] * ones
    assert (len(problem.x), problem.y[0], problem.l2) == (1, 0, 0)
    assert problem.x.dtype == (np.float32 if kind == "float32" else np.float64)
    assert all(array.flags.carray for array in (*problem.params.values(), problem.x, problem.y))


def test_importing_purenet_does_not_import_what_only_tests_need() -> None:
    """Importing `purenet` imports neither Hypothesis nor mpmath."""
    code = "import sys, purenet; print({'hypothesis', 'mpmath'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"
