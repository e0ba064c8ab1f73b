"""Networks on disk: what comes back, what others can read, what is refused."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from purenet import Config, init
from purenet.checkpoint import load, save
from tests.support.problems import problem

CFG = Config(0.25, 0.5, 0.01, None, 7, shuffle=False, seed=5, input_scale=1 / 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a network may be written."""
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_network_comes_back_in_every_bit(path: Path, dtype: type) -> None:
    """Parameters and configuration are what was saved; the arrays can be written."""
    params = problem(4, 5, 3, dtype=dtype).params
    save(path, params, CFG)
    loaded, cfg = load(path)
    assert cfg == CFG
    assert list(loaded) == list(params)
    for name, p in params.items():
        assert loaded[name].dtype == dtype
        assert loaded[name].tobytes() == p.tobytes()
        assert loaded[name].flags.writeable


def test_layers_stay_in_order_beyond_nine(path: Path) -> None:
    """W10 comes after W9, not after W1, whatever order the file has."""
    params = init([2] * 12)
    save(path, params, CFG)
    assert list(load(path)[0]) == list(params)


def test_the_layout_in_memory_does_not_matter(path: Path) -> None:
    """Transposed, strided, read-only and big-endian arrays are saved by their values."""
    W = np.arange(12.0).reshape(3, 4)
    for stored in (W, W.T.copy().T, np.repeat(W, 2, axis=1)[:, ::2], W.astype(">f8")):
        stored.flags.writeable = False
        save(path, {"W1": stored, "b1": np.zeros(4, stored.dtype)}, CFG)
        assert np.array_equal(load(path)[0]["W1"], W)


def test_arrays_of_other_libraries_are_saved(path: Path) -> None:
    """JAX arrays come back as NumPy arrays."""
    import jax.numpy as jnp

    save(path, {"W1": jnp.ones((2, 3)), "b1": jnp.zeros(3)}, CFG)
    loaded, _ = load(path)
    assert isinstance(loaded["W1"], np.ndarray)
    assert np.array_equal(loaded["W1"], np.ones((2, 3), np.float32))


def test_the_file_is_plain_safetensors(path: Path) -> None:
    """Other programs read the arrays by name, and the configuration as JSON."""
    params = init([4, 5, 3])
    save(path, params, CFG)
    tensors = load_file(path)
    assert set(tensors) == set(params)
    assert all(np.array_equal(tensors[name], p) for name, p in params.items())
    with safe_open(path, framework="numpy") as file:
        assert json.loads(file.metadata()["purenet"]) == asdict(CFG)


def test_what_is_no_network_is_not_saved(path: Path) -> None:
    """What `load` would refuse, `save` refuses, and leaves an earlier file alone."""
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError, match=re.escape("b1 must have shape (3,), got (4,)")):
        save(path, {"W1": np.ones((2, 3)), "b1": np.ones(4)}, CFG)
    assert path.read_bytes() == b"earlier"


def test_a_failed_save_leaves_the_earlier_file_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt while writing is no different from never having begun."""
    save(path, init([2, 3]), CFG)
    before = path.read_bytes()

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(path, init([4, 3]), CFG)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_that_is_missing_is_named(path: Path) -> None:
    """Saving makes no folders."""
    with pytest.raises(FileNotFoundError, match="missing"):
        save(path.parent / "missing" / path.name, init([2, 3]), CFG)


@pytest.mark.parametrize(
    ("name", "error"), [("missing", FileNotFoundError), (".", IsADirectoryError)]
)
def test_a_file_that_cannot_be_opened_is_named(
    tmp_path: Path, name: str, error: type[OSError]
) -> None:
    """The system's error, with the path."""
    with pytest.raises(error) as caught:
        load(tmp_path / name)
    assert caught.value.filename == str(tmp_path / name)


def rewrite(**changes: object) -> Callable[[Path], None]:
    """Return a function that writes a network's file with changed metadata."""

    def write(path: Path) -> None:
        metadata = {"purenet": json.dumps(asdict(CFG) | changes)}
        save_file(init([2, 3]), path, metadata)

    return write


def with_metadata(text: str) -> Callable[[Path], None]:
    """Return a function that writes a network's file with this text as its configuration."""
    return lambda path: save_file(init([2, 3]), path, {"purenet": text})


def with_tensors(**tensors: Any) -> Callable[[Path], None]:
    """Return a function that writes these arrays with a configuration."""
    return lambda path: save_file(tensors, path, {"purenet": "{}"})


def cut(length: int) -> Callable[[Path], None]:
    """Return a function that writes the beginning, or all but the end, of a network's file."""

    def write(path: Path) -> None:
        save(path, init([2, 3]), CFG)
        path.write_bytes(path.read_bytes()[:length])

    return write


NO_MODELS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (cut(0), ""),
    "only a part of the header's length": (cut(5), ""),
    "half a header": (cut(100), ""),
    "one byte less": (cut(-1), ""),
    "a zip file": (lambda path: path.write_bytes(b"PK\3\4" * 50), ""),
    "no metadata": (lambda path: save_file(init([2, 3]), path), "no configuration of purenet"),
    "other metadata": (lambda path: save_file({}, path, {"a": "1"}), "no configuration of purenet"),
    "configuration no JSON": (with_metadata("{"), ""),
    "configuration a list": (with_metadata("[1]"), "not list"),
    "configuration null": (with_metadata("null"), "not NoneType"),
    "configuration too deep": (with_metadata("[" * 100_000), ""),
    "configuration a huge number": (with_metadata('{"epochs": ' + "9" * 5000 + "}"), ""),
    "unknown field": (rewrite(nesterov=True), "'nesterov'"),
    "field out of range": (rewrite(learning_rate=-1), "learning_rate must be .*, got -1"),
    "field beyond floats": (rewrite(learning_rate=10**400), ""),
    "field of another type": (rewrite(input_scale="1"), "input_scale must be .*, got '1'"),
    "no arrays": (with_tensors(), "params must have the keys W1, b1"),
    "arrays of others": (with_tensors(a=np.ones(3)), "params must have the keys W1, b1"),
    "no bias": (with_tensors(W1=np.ones((2, 3))), "params must have the keys W1, b1"),
    "shapes": (with_tensors(W1=np.ones((2, 3)), b1=np.ones(2)), r"b1 must have shape \(3,\)"),
    "integers": (with_tensors(W1=np.ones((2, 3), int), b1=np.ones(3, int)), "floating-point"),
    "dtypes": (with_tensors(W1=np.ones((2, 3)), b1=np.ones(3, "f4")), "b1 has dtype float32"),
}


@pytest.mark.parametrize(("write", "message"), NO_MODELS.values(), ids=NO_MODELS)
def test_what_is_no_model_is_refused(
    path: Path, write: Callable[[Path], None], message: str
) -> None:
    """One error type, with the path and the reason."""
    write(path)
    expected = f"{path} is not a purenet model: "
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}(?=.).*{message}"):
        load(path)


def test_a_reader_sees_the_earlier_file_or_the_new_one(path: Path) -> None:
    """Who has opened the file before it was replaced reads all of the earlier one."""
    save(path, init([2, 3]), CFG)
    before = path.read_bytes()
    with path.open("rb") as reader:
        save(path, init([200, 3]), CFG)
        assert reader.read() == before
    assert path.stat().st_size > len(before)
    assert os.listdir(path.parent) == [path.name]
