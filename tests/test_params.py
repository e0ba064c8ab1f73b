"""Claims about the dictionary of parameters: its names, its layers and its vector."""

import re
from pathlib import Path

import numpy as np
import pytest

from purenet import params
from purenet.params import (
    copy,
    fingerprint,
    flat_views,
    from_layers,
    is_weight,
    layers,
    names,
    sizes,
)
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


DATA = np.random.default_rng(0).integers(0, 256, (50, 7), dtype=np.uint8)


def test_the_fingerprint_depends_on_values_alone(tmp_path: Path) -> None:
    """Equal data have one fingerprint, in any layout, in a memory map or in another library."""
    import jax.numpy as jnp

    np.save(tmp_path / "data.npy", DATA)
    mapped = np.load(tmp_path / "data.npy", mmap_mode="r")
    same = (np.asfortranarray(DATA), np.repeat(DATA, 2, axis=1)[:, ::2], mapped, jnp.asarray(DATA))
    assert {fingerprint(one, DATA[:, 0]) for one in same} == {fingerprint(DATA, DATA[:, 0])}


@pytest.mark.parametrize("chunk", [1, 7, 16, 1 << 20])
def test_any_change_of_data_changes_the_fingerprint(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """Another bit, dtype, shape, order of rows or order of arrays gives another fingerprint."""
    monkeypatch.setattr(params, "BLOCK", chunk)
    changed = [DATA.view(np.int8), DATA.reshape(7, 50), DATA[::-1], DATA[:-1], DATA[:0]]
    for i in range(DATA.size):
        one = DATA.copy()
        one.flat[i] ^= 1
        changed.append(one)
    found = [fingerprint(one) for one in [DATA, *changed]]
    found += [fingerprint(DATA, DATA[0]), fingerprint(DATA[0], DATA)]
    assert len(set(found)) == len(found)


def test_blocks_of_large_data_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If only 20 of 50 rows may be read, these are rows 1 to 10 and 31 to 40."""
    monkeypatch.setattr(params, "BLOCK", 10 * 7)
    monkeypatch.setattr(params, "SAMPLE", 2 * 10 * 7)
    data = np.zeros((50, 7), np.uint8)
    noticed = []
    for row in range(50):
        one = data.copy()
        one[row, 3] = 1
        noticed.append(fingerprint(one) != fingerprint(data))
    assert noticed == ([True] * 10 + [False] * 20) + [True] * 10 + [False] * 10


def test_parameters_of_another_byte_order_are_refused() -> None:
    """Libraries differ in what they do with such arrays, so the message says how to convert."""
    swapped = {name: p.astype(">f4") for name, p in problem(4, 3, 2).params.items()}
    expected = (
        "params must have the byte order of this machine, W1 has dtype >f4: "
        "convert with astype('float32')"
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        params.check_params(swapped)


def test_examples_of_another_library_are_refused() -> None:
    """NumPy's operators would take most arrays, and convert them silently."""
    ours, x, _ = problem(4, 3, 2)
    with pytest.raises(
        ValueError, match="params is a numpy ndarray, x is a array_api_strict Array"
    ):
        params.check_example_shape(ours, LIBRARIES["array_api_strict"](x))


def test_layers_make_the_dictionary_that_they_came_from() -> None:
    """`from_layers` is the inverse of `layers`, and gives the names in order."""
    ours = problem(4, 3, 2).params
    assert list(from_layers(layers(ours)).items()) == list(ours.items())
