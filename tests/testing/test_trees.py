"""Trees of arrays: names, numbers and autodiff in every library."""

from importlib.util import find_spec
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from purenet.testing.gradients import check_gradients
from purenet.testing.trees import Tree


class Pair(NamedTuple):
    """Hold two arrays."""

    w: Any
    b: Any


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        (np.ones(2), ["params"]),
        ({"w": np.ones(2), "b": np.ones(())}, ["w", "b"]),
        ([np.ones(2), (np.ones(1), np.ones(1))], ["[0]", "[1][0]", "[1][1]"]),
        ({"a": {"b": [np.ones(1)]}}, ["a.b[0]"]),
        (Pair(np.ones(2), np.ones(1)), ["[0]", "[1]"]),
    ],
)
def test_gradients_of_any_tree_are_checked(tree: Any, names: list[str]) -> None:
    """A sum of squares over a tree has the gradient 2 p, by name."""

    def square(tree: Any) -> Any:
        return sum(np.sum(a**2) for a in Tree("params", tree).leaves.values())

    it = Tree("params", tree)
    assert list(it.arrays) == names
    grads = it.build([2 * a for a in it.arrays.values()])
    assert type(grads) is type(tree)
    report = check_gradients(square, grads, tree)
    assert list(report.by_array()) == names
    assert report.ok
    wrong = it.build([2 * a * (1.1 if k == 0 else 1) for k, a in enumerate(it.arrays.values())])
    assert f"{names[0]}: " in str(check_gradients(square, wrong, tree))
    assert check_gradients(square, wrong, tree).by_array()[names[0]].keys() == {"disagrees"}


def test_jax_arrays_have_their_own_gradient() -> None:
    """Without grads, jax.grad gives them, in float64 and in float32."""
    for dtype in (jnp.float64, jnp.float32):
        params = [jnp.asarray([0.5, -2.0], dtype), jnp.asarray(3.0, dtype)]
        assert check_gradients(lambda p: jnp.sum(jnp.sin(p[0])) * p[1], params=params).ok


if find_spec("torch"):
    import torch

    def test_torch_tensors_have_their_own_gradient() -> None:
        """Parameters that need a gradient are taken as they are, and unused ones have zeros."""
        w = torch.nn.Parameter(torch.tensor([0.5, -2.0], dtype=torch.float64))
        unused = torch.zeros(1, dtype=torch.float64)
        report = check_gradients(lambda p: torch.sin(p["w"]).sum(), params={"w": w, "u": unused})
        assert report.by_array()["w"] == {"agrees": 2}
        assert report.ok


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"params": np.ones(2)}, "grads must be given: only PyTorch and JAX arrays have autodiff"),
        ({"grads": np.ones(2)}, "params must be given: the point at which"),
        (
            {"grads": [np.ones(2)], "params": [np.ones(2, int)]},
            r"params\['\[0\]'\] must be float32",
        ),
        (
            {"grads": np.ones(2), "params": np.ones(2, int)},
            "params must be float32 or float64, got",
        ),
        (
            {"grads": 1.0, "params": {"a": {"b": np.ones(2)}, "a.b": np.ones(2)}},
            r"two arrays of a tree are named 'a\.b'",
        ),
        ({"grads": [], "params": []}, r"params must hold at least one number, got \[\]"),
    ],
)
def test_what_is_no_tree_is_refused(arguments: dict[str, Any], message: str) -> None:
    """Other dtypes, no numbers, and missing gradients get one sentence."""
    with pytest.raises(ValueError, match=message):
        check_gradients(np.sum, **arguments)
