"""Networks on disk: what comes back, what others can read, what is refused."""

import errno
import json
import os
import platform
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import purenet
from purenet import Config, State, epochs, init, init_velocity
from purenet.files import checkpoints
from purenet.files.checkpoints import fingerprint, load, save, write
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
    loaded, cfg, state, told, _ = load(path)
    assert (cfg, state, told) == (CFG, None, None)
    assert list(loaded) == list(params)
    for name, p in params.items():
        assert loaded[name].dtype == dtype
        assert loaded[name].tobytes() == p.tobytes()
        assert loaded[name].flags.writeable


def test_layers_stay_in_order_beyond_nine(path: Path) -> None:
    """W10 comes after W9, not after W1, whatever order the file has."""
    params = init([2] * 12)
    save(path, params, CFG)
    assert list(load(path).params) == list(params)


def test_the_layout_in_memory_does_not_matter(path: Path) -> None:
    """Transposed, strided, read-only and big-endian arrays are saved by their values."""
    W = np.arange(12.0).reshape(3, 4)
    for stored in (W, W.T.copy().T, np.repeat(W, 2, axis=1)[:, ::2], W.astype(">f8")):
        stored.flags.writeable = False
        save(path, {"W1": stored, "b1": np.zeros(4, stored.dtype)}, CFG)
        assert np.array_equal(load(path).params["W1"], W)


def test_arrays_of_other_libraries_are_saved(path: Path) -> None:
    """JAX arrays come back as NumPy arrays."""
    import jax.numpy as jnp

    save(path, {"W1": jnp.ones((2, 3)), "b1": jnp.zeros(3)}, CFG)
    loaded = load(path).params
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
        told = json.loads(file.metadata()["purenet"])
    assert told["format"] == 2
    assert told["config"] == asdict(CFG)


@pytest.mark.parametrize("steps", [None, 1])
def test_a_run_goes_on_from_a_file_as_from_memory(path: Path, steps: int | None) -> None:
    """State, between epochs and inside one, comes back in every bit."""
    params, x, y = problem(4, 5, 3, dtype=np.float32)
    cfg = Config(batch_size=3, epochs=2)
    record = next(epochs(params, (x, y), cfg, steps=steps))
    save(path, record.params, cfg, state=record.state, fingerprint="of these")
    loaded = load(path)
    assert loaded.fingerprint == "of these"
    assert loaded.versions == {
        "purenet": purenet.__version__,
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
        "python": platform.python_version(),
    }
    assert loaded.state is not None
    assert loaded.state[1:] == record.state[1:]
    for got, expected in (
        (loaded.params, record.params),
        (loaded.state.velocity, record.state.velocity),
    ):
        assert [(k, p.dtype, p.tobytes()) for k, p in got.items()] == [
            (k, p.dtype, p.tobytes()) for k, p in expected.items()
        ]


def test_equal_networks_are_equal_files(path: Path) -> None:
    """Nothing of the hour, the process or the order of a hash is in the file."""
    contents = set()
    for _ in range(5):
        params = init([4, 5, 3])
        save(path, params, CFG, state=State(purenet.init_velocity(params), 2), fingerprint="of x")
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_a_checksum_is_of_names_and_shapes_too(path: Path) -> None:
    """The same bytes, cut into the arrays of another network, are not taken for the first one's."""
    params = {"W1": np.arange(6.0).reshape(2, 3), "b1": np.arange(3.0)}
    params |= {"W2": np.arange(6.0).reshape(3, 2), "b2": np.arange(2.0)}
    save(path, params, CFG)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    biases = np.concatenate([params["b1"], params["b2"]])
    other = {"W1": params["W1"].reshape(3, 2), "b1": biases[:2]}
    other |= {"W2": params["W2"].reshape(2, 3), "b2": biases[2:]}
    save_file(other, path, metadata)
    with pytest.raises(ValueError, match="its checksum is of another content"):
        load(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_files_of_the_first_format_are_read(path: Path, dtype: type) -> None:
    """Parameters and configuration; they hold no more."""
    params = init([4, 5, 3], dtype=dtype)
    save_file(params, path, {"purenet": json.dumps(asdict(CFG))})
    loaded = load(path)
    assert loaded[1:] == (CFG, None, None, {})
    assert list(loaded.params) == list(params)
    assert all(np.array_equal(loaded.params[name], p) for name, p in params.items())


def test_what_is_no_network_is_not_saved(path: Path) -> None:
    """What `load` would refuse, `save` refuses, and leaves an earlier file alone."""
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError, match=re.escape("b1 must have shape (3,), got (4,)")):
        save(path, {"W1": np.ones((2, 3)), "b1": np.ones(4)}, CFG)
    assert path.read_bytes() == b"earlier"


UNFIT: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "NaN": (lambda p: {"params": p | {"W1": p["W1"] * np.nan}}, "W1 must be finite"),
    "NaN in the velocity": (
        lambda p: {"params": p, "state": State(p | {"b1": p["b1"] - np.inf}, 1)},
        "velocity.b1 must be finite",
    ),
    "other velocity": (
        lambda p: {"params": p, "state": State({"W1": p["W1"]}, 1)},
        "velocity must have the keys",
    ),
    "long numbers": (
        lambda p: {"params": {k: v.astype(np.longdouble) for k, v in p.items()}},
        "W1 must be of float16, float32 or float64, got float128",
    ),
    "complex numbers": (
        lambda p: {"params": {k: v.astype(np.complex64) for k, v in p.items()}},
        "W1 must be of float16, float32 or float64, got complex64",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), UNFIT.values(), ids=UNFIT)
def test_what_could_not_be_trained_on_is_not_saved(
    path: Path, arguments: Callable[[dict[str, Any]], Any], message: str
) -> None:
    """The last finite network stays; no file is written that `load` would refuse."""
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError, match=re.escape(message)):
        save(path, cfg=CFG, **arguments(init([2, 3])))
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


def test_pipes_are_refused_without_waiting(tmp_path: Path) -> None:
    """Nobody writes to this one."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"pipe is not a regular file$"):
        load(tmp_path / "pipe")


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


def of_format_2(checked: bool = True, **changes: Any) -> Callable[[Path], None]:  # noqa: FBT001, FBT002
    """Return a function that writes a network with changed metadata, under a right checksum."""

    def write(path: Path) -> None:
        params = init([2, 3])
        metadata = {"format": 2, "config": asdict(CFG), "versions": {}} | changes
        tensors = params | (
            {f"velocity.{k}": p for k, p in params.items()} if "state" in changes else {}
        )
        if checked:
            metadata["checksum"] = checkpoints._checksum(metadata, tensors)
        save_file(tensors, path, {"purenet": json.dumps(metadata)})

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
    "configuration a list": (with_metadata("[1]"), "its configuration is a list"),
    "configuration null": (with_metadata("null"), "its configuration is a NoneType"),
    "configuration too deep": (with_metadata("[" * 100_000), ""),
    "configuration a huge number": (with_metadata('{"epochs": ' + "9" * 5000 + "}"), ""),
    "unknown field": (rewrite(nesterov=True), "'nesterov'"),
    "field out of range": (rewrite(learning_rate=-1), "learning_rate must be .*, got -1"),
    "field beyond floats": (rewrite(learning_rate=10**400), ""),
    "field of another type": (rewrite(input_scale="1"), "input_scale must be .*, got '1'"),
    "no arrays": (with_tensors(), "params must have the keys W1, b1"),
    "arrays of others": (with_tensors(a=np.ones(3)), "it holds an array named 'a'"),
    "a long name": (with_tensors(**{"W1" * 99: np.ones(3)}), "'(W1){20}'$"),
    "a layer 0": (
        with_tensors(W0=np.ones((2, 3)), b0=np.ones(3)),
        "it holds an array named '[Wb]0'",
    ),
    "an array more": (
        with_tensors(W1=np.ones((2, 3)), b1=np.ones(3), b2=np.ones(3)),
        "the keys W1",
    ),
    "NaN": (with_tensors(W1=np.full((2, 3), np.nan), b1=np.ones(3)), "W1 must be finite"),
    "velocity alone": (with_tensors(**{"velocity.W1": np.ones((2, 3))}), "the keys W1, b1"),
    "velocity of format 1": (
        with_tensors(**{f"{v}{k}": p for v in ("", "velocity.") for k, p in init([2, 3]).items()}),
        "epochs must be an integer >= 0, got None",
    ),
    "a later format": (of_format_2(format=3), "its format is 3, this purenet reads 1 and 2$"),
    "no checksum": (of_format_2(checked=False), "its checksum is of another content"),
    "another checksum": (
        of_format_2(checked=False, checksum="0" * 32),
        "its checksum is of another",
    ),
    "negative epochs": (
        of_format_2(state={"epochs": -1}),
        "epochs must be an integer >= 0, got -1",
    ),
    "half a step": (of_format_2(state={"epochs": 1, "steps": 0.5}), "steps must be .*, got 0.5"),
    "no loss": (of_format_2(state={"epochs": 1, "steps": 1}), "loss must be .*, got None"),
    "state a list": (of_format_2(state=[1]), "no attribute 'get'"),
    "fingerprint a number": (of_format_2(fingerprint=5), "fingerprint or versions are no text"),
    "versions numbers": (of_format_2(versions={"numpy": 2}), "fingerprint or versions are no text"),
    "no bias": (with_tensors(W1=np.ones((2, 3))), "params must have the keys W1, b1"),
    "shapes": (with_tensors(W1=np.ones((2, 3)), b1=np.ones(2)), r"b1 must have shape \(3,\)"),
    "integers": (
        with_tensors(W1=np.ones((2, 3), int), b1=np.ones(3, int)),
        "[Wb]1 is of I64, not of F16",
    ),
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


# The fingerprint of data.


DATA = np.random.default_rng(0).integers(0, 256, (50, 7), dtype=np.uint8)


def test_a_fingerprint_is_of_values_not_of_memory(tmp_path: Path) -> None:
    """Of any layout, of a memory map, and of another library's array, it is the same."""
    import jax.numpy as jnp

    np.save(tmp_path / "data.npy", DATA)
    mapped = np.load(tmp_path / "data.npy", mmap_mode="r")
    same = (np.asfortranarray(DATA), np.repeat(DATA, 2, axis=1)[:, ::2], mapped, jnp.asarray(DATA))
    assert {fingerprint(one, DATA[:, 0]) for one in same} == {fingerprint(DATA, DATA[:, 0])}


@pytest.mark.parametrize("chunk", [1, 7, 16, 1 << 20])
def test_any_change_of_data_changes_the_fingerprint(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """One bit anywhere, a dtype, a shape, another order of rows or arrays."""
    monkeypatch.setattr(reading, "CHUNK", chunk)
    changed = [DATA.view(np.int8), DATA.reshape(7, 50), DATA[::-1], DATA[:-1], DATA[:0]]
    for i in range(DATA.size):
        one = DATA.copy()
        one.flat[i] ^= 1
        changed.append(one)
    told = [fingerprint(one) for one in [DATA, *changed]]
    told += [fingerprint(DATA, DATA[0]), fingerprint(DATA[0], DATA)]
    assert len(set(told)) == len(told)


def test_of_large_data_blocks_at_even_distances_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a third may be read, it is ten rows in thirty; what changes between is not noticed."""
    monkeypatch.setattr(reading, "CHUNK", 10 * 7)
    monkeypatch.setattr(checkpoints, "SAMPLE", 2 * 10 * 7)
    data = np.zeros((50, 7), np.uint8)
    noticed = []
    for row in range(50):
        one = data.copy()
        one[row, 3] = 1
        noticed.append(fingerprint(one) != fingerprint(data))
    assert noticed == ([True] * 10 + [False] * 20) + [True] * 10 + [False] * 10


# Writing.


def test_a_write_that_takes_a_part_is_gone_on_with(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may write fewer bytes than it was given."""
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, data[:3]))
    write(path, bytes(range(100)))
    assert path.read_bytes() == bytes(range(100))


def test_file_and_folder_are_flushed_in_that_order(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename may reach the disk before the bytes do: they go first, and the name after it."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        done.append(f"fsync {Path(name).relative_to(path.parents[1])}")
        fsync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        done.append(f"rename {source.name} {target.name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write(path, b"content")
    part = f".part-{os.getpid()}-{path.name}"
    folder = path.parent.name
    assert done == [f"fsync {folder}/{part}", f"rename {part} {path.name}", f"fsync {folder}"]


def test_an_error_of_writing_names_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own errors of open files do not."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        save(path, init([2, 3]), CFG)
    assert (caught.value.filename, caught.value.errno) == (str(path), errno.ENOSPC)
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"state": (0, -1, 0.0)}, "state.steps must be an integer >= 0, got -1"),
        ({"state": (0, 1, float("nan"))}, "state.loss must be a finite number >= 0, got nan"),
        ({"fingerprint": 3}, "fingerprint must be a text, got 3"),
    ],
)
def test_what_load_refuses_is_not_saved(tmp_path: Path, bad: Any, message: str) -> None:
    """The earlier file stays."""
    path, params = tmp_path / "model.safetensors", init([2, 3])
    checkpoints.save(path, params, Config())
    before = path.read_bytes()
    if "state" in bad:
        bad = {"state": State(init_velocity(params), *bad["state"])}
    with pytest.raises(ValueError, match=re.escape(message)):
        checkpoints.save(path, params, Config(), **bad)
    assert path.read_bytes() == before
