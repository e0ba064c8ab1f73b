"""Claims about the dictionary of parameters: its names, its layers and its vector."""

import numpy as np
import pytest

from purenet.params import copy, flat_views, is_weight, layers, names, sizes
from tests.support.libraries import LIBRARIES, to_numpy
from tests.support.problems import problem, read_only


def test_names_go_layer_by_layer() -> None:
    """The names of three layers are W1, b1, W2, b2, W3, b3, and those with W are weights."""
    assert names(3) == ["W1", "b1", "W2", "b2", "W3", "b3"]
    assert [name for name in names(3) if is_weight(name)] == ["W1", "W2", "W3"]


def test_layers_and_sizes_go_by_name() -> None:
    """Layers come in the order of their numbers, whatever the order of the dictionary."""
    params = problem(*range(2, 14)).params  # eleven layers: "W10" sorts before "W2"
    for ordered in (params, dict(reversed(params.items())), dict(sorted(params.items()))):
        assert [W.shape for W, _ in layers(ordered)] == [(k, k + 1) for k in range(2, 13)]
        assert [b.shape for _, b in layers(ordered)] == [(k + 1,) for k in range(2, 13)]
        assert sizes(ordered) == [*range(2, 14)]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_copy_shares_no_memory(library: str) -> None:
    """A copy has the keys, the order and the numbers of the parameters, in other arrays."""
    params = read_only(problem(4, 3, 2)).params
    copied = copy({name: LIBRARIES[library](p.copy()) for name, p in params.items()})
    assert list(copied) == list(params)
    for name, p in params.items():
        np.testing.assert_array_equal(to_numpy(copied[name]), p, strict=True)
    ours = copy(params)
    assert not any(np.shares_memory(ours[name], p) for name, p in params.items())


def test_flat_views_put_weights_before_biases() -> None:
    """The vector holds W1, ..., WL, b1, ..., bL, whatever the order of the dictionary."""
    params = problem(4, 3, 2).params
    weights_first = [params[name] for name in ("W1", "W2", "b1", "b2")]
    expected = np.concatenate([p.ravel() for p in weights_first])
    for ordered in (params, dict(reversed(params.items()))):
        vector = np.zeros(expected.size)
        views = flat_views(vector, ordered)
        assert list(views) == list(ordered)
        for name, p in ordered.items():
            views[name][...] = p
        np.testing.assert_array_equal(vector, expected)
