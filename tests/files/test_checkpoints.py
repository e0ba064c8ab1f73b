"""Claims about networks on disk: what `load` returns, what others can read, what is refused."""

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
from purenet.files.checkpoints import load, save
from tests.support.problems import problem
from tests.support.systems import POSIX

CFG = Config(0.25, 0.5, 0.01, None, 7, shuffle=False, seed=5, input_scale=1 / 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file to write."""
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_load_returns_every_bit_that_was_saved(path: Path, dtype: type) -> None:
    """Parameters and configuration are those that were saved, and the arrays are writable."""
    params = problem(4, 5, 3, dtype=dtype).params
    save(path, params, CFG)
    loaded, cfg, state, found, _, classes = load(path)
    assert (cfg, state, found, classes) == (CFG, None, None, None)
    assert list(loaded) == list(params)
    for name, p in params.items():
        assert loaded[name].dtype == dtype
        assert loaded[name].tobytes() == p.tobytes()
        assert loaded[name].flags.writeable


def test_the_names_of_classes_are_kept(path: Path) -> None:
    """Names in any script come back in their order."""
    save(path, init([2, 3]), CFG, classes=("cat", "犬", ""))
    assert load(path).classes == ["cat", "犬", ""]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["a", "b"], "classes must be 3 texts, as the network has outputs, got 2"),
        ("abc", "classes must be printable texts, got 'abc'"),
        (3, "classes must be printable texts, got 3"),
        (["a", "b", "\udcff"], "classes must be printable texts, got"),
        (["a", "b", 3], r"classes must be printable texts, got \['a', 'b', 3\]"),
    ],
)
def test_names_that_do_not_fit_the_network_are_refused(
    path: Path, classes: list[str], message: str
) -> None:
    """The error says how many names there must be, and of what type; nothing is written."""
    with pytest.raises(ValueError, match=message):
        save(path, init([2, 3]), CFG, classes=classes)
    assert not path.exists()


def test_layers_are_in_the_order_of_their_numbers(path: Path) -> None:
    """W10 comes after W9, not after W1, whatever the order in the file."""
    params = init([2] * 12)
    save(path, params, CFG)
    assert list(load(path).params) == list(params)


def test_arrays_of_any_layout_are_saved_by_their_values(path: Path) -> None:
    """Transposed, strided and read-only arrays are saved as contiguous ones."""
    W = np.arange(12.0).reshape(3, 4)
    for stored in (W, W.T.copy().T, np.repeat(W, 2, axis=1)[:, ::2]):
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


def test_a_checkpoint_is_a_plain_safetensors_file(path: Path) -> None:
    """Other programs can read the arrays by name and the configuration as JSON."""
    params = init([4, 5, 3])
    save(path, params, CFG)
    tensors = load_file(path)
    assert set(tensors) == set(params)
    assert all(np.array_equal(tensors[name], p) for name, p in params.items())
    with safe_open(path, framework="numpy") as file:
        metadata = json.loads(file.metadata()["purenet"])
    assert metadata["format"] == 1
    assert metadata["config"] == asdict(CFG)


@pytest.mark.parametrize("steps", [None, 1])
def test_load_returns_the_state_of_a_run(path: Path, steps: int | None) -> None:
    """Every bit of a state comes back, between epochs and inside an epoch."""
    params, x, y = problem(4, 5, 3, dtype=np.float32)
    cfg = Config(batch_size=3, epochs=2)
    record = next(epochs(params, (x, y), cfg, record_every=steps))
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


def test_equal_networks_give_equal_files(path: Path) -> None:
    """The bytes of a file depend on neither the time nor the process nor a hash order."""
    contents = set()
    for _ in range(5):
        params = init([4, 5, 3])
        save(path, params, CFG, state=State(purenet.init_velocity(params), 2), fingerprint="of x")
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_the_checksum_covers_names_and_shapes(path: Path) -> None:
    """The same bytes as arrays of other shapes have another checksum."""
    params = {"W1": np.arange(6.0).reshape(2, 3), "b1": np.arange(3.0)}
    params |= {"W2": np.arange(6.0).reshape(3, 2), "b2": np.arange(2.0)}
    save(path, params, CFG)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    biases = np.concatenate([params["b1"], params["b2"]])
    other = {"W1": params["W1"].reshape(3, 2), "b1": biases[:2]}
    other |= {"W2": params["W2"].reshape(2, 3), "b2": biases[2:]}
    save_file(other, path, metadata)
    with pytest.raises(ValueError, match="its checksum does not match its content"):
        load(path)


def test_parameters_of_no_network_are_not_saved(path: Path) -> None:
    """`save` refuses parameters that `load` would refuse, and leaves the earlier file."""
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError, match=re.escape("b1 must have shape (3,), got (4,)")):
        save(path, {"W1": np.ones((2, 3)), "b1": np.ones(4)}, CFG)
    assert path.read_bytes() == b"earlier"


UNFIT: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "NaN": (
        lambda p: {"params": p | {"W1": p["W1"] * np.nan}},
        "params must be finite",
    ),
    "NaN in the velocity": (
        lambda p: {"params": p, "state": State(p | {"b1": p["b1"] - np.inf}, 1)},
        "velocity must be finite, got NaN or infinity in b1",
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
def test_parameters_that_load_would_refuse_are_not_saved(
    path: Path, arguments: Callable[[dict[str, Any]], Any], message: str
) -> None:
    """`save` refuses numbers and velocities that `load` would refuse; the earlier file stays."""
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError, match=re.escape(message)):
        save(path, cfg=CFG, **arguments(init([2, 3])))
    assert path.read_bytes() == b"earlier"


def test_an_interrupted_save_leaves_the_earlier_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupt while writing, the folder holds the earlier file and nothing else."""
    save(path, init([2, 3]), CFG)
    before = path.read_bytes()

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(path, init([4, 3]), CFG)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_save_makes_no_folder(path: Path) -> None:
    """A missing folder is an error of the system, which names it."""
    with pytest.raises(FileNotFoundError, match="missing"):
        save(path.parent / "missing" / path.name, init([2, 3]), CFG)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """The error of the system names the path, or the file that a folder lacks."""
    for path, named in ((tmp_path / "missing", "missing"), (tmp_path, "model.safetensors")):
        with pytest.raises(FileNotFoundError) as caught:
            load(path)
        assert caught.value.filename == str(tmp_path / named)


def test_the_folder_of_a_run_stands_for_its_model(tmp_path: Path) -> None:
    """`load` reads the model file in a folder."""
    save(tmp_path / "model.safetensors", init([2, 3]), CFG)
    assert load(tmp_path).cfg == CFG


@POSIX
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    """A pipe that nobody writes to is refused at once."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"pipe is not a regular file$"):
        load(tmp_path / "pipe")


def with_metadata(text: str) -> Callable[[Path], None]:
    """Return a function that writes a network with this text as its metadata."""
    return lambda path: save_file(init([2, 3]), path, {"purenet": text})


def cut(length: int) -> Callable[[Path], None]:
    """Return a function that writes the first bytes of a network's file, up to `length`."""

    def write(path: Path) -> None:
        save(path, init([2, 3]), CFG)
        path.write_bytes(path.read_bytes()[:length])

    return write


def with_tensors(**tensors: Any) -> Callable[[Path], None]:
    """Return a function that writes these arrays under right metadata."""
    return signed({}, tensors)


def with_config(**changes: object) -> Callable[[Path], None]:
    """Return a function that writes a network with a changed configuration."""
    return signed({"config": asdict(CFG) | changes})


def with_state(state: object) -> Callable[[Path], None]:
    """Return a function that writes a network, a velocity and this state."""
    params = init([2, 3])
    return signed({"state": state}, params | {f"velocity.{k}": p for k, p in params.items()})


def signed(changes: dict[str, Any], tensors: Any = None) -> Callable[[Path], None]:
    """Return a function that writes a file with changed metadata and a right checksum.

    A change to None leaves out the entry; a checksum among the changes is written as it is.
    """
    tensors = init([2, 3]) if tensors is None else tensors
    metadata = {"format": 1, "config": asdict(CFG), "versions": {}} | changes
    metadata = {name: value for name, value in metadata.items() if value is not None}
    metadata.setdefault("checksum", checkpoints._checksum(metadata, tensors))
    return lambda path: save_file(tensors, path, {"purenet": json.dumps(metadata)})


LAYER = {"W1": np.ones((2, 3)), "b1": np.ones(3)}
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
    "no format": (
        with_metadata(json.dumps(asdict(CFG))),
        "its format is None, this purenet reads 1$",
    ),
    "a later format": (signed({"format": 2}), "its format is 2, this purenet reads 1$"),
    "no checksum": (
        with_metadata(json.dumps({"format": 1, "config": asdict(CFG)})),
        "its checksum does not match its content",
    ),
    "another checksum": (signed({"checksum": "0" * 32}), "its checksum does not match its content"),
    "no configuration": (signed({"config": None}), "'config'"),
    "unknown field": (with_config(nesterov=True), "'nesterov'"),
    "field out of range": (with_config(learning_rate=-1), "learning_rate must be .*, got -1"),
    "field beyond floats": (with_config(learning_rate=10**400), "learning_rate must be"),
    "field of another type": (with_config(input_scale="1"), "input_scale must be .*, got '1'"),
    "no arrays": (with_tensors(), "params must have the keys W1, b1"),
    "arrays of others": (with_tensors(a=np.ones(3)), "it holds an array named 'a'"),
    "a long name": (with_tensors(**{"W1" * 99: np.ones(3)}), "'(W1){20}'$"),
    "a layer 0": (
        with_tensors(W0=np.ones((2, 3)), b0=np.ones(3)),
        "it holds an array named '[Wb]0'",
    ),
    "an array more": (with_tensors(**LAYER, b2=np.ones(3)), "the keys W1"),
    "no bias": (with_tensors(W1=np.ones((2, 3))), "params must have the keys W1, b1"),
    "shapes": (with_tensors(**LAYER | {"b1": np.ones(2)}), r"b1 must have shape \(3,\)"),
    "integers": (
        with_tensors(**{name: p.astype(int) for name, p in LAYER.items()}),
        "[Wb]1 is of I64, not of F16",
    ),
    "dtypes": (with_tensors(**LAYER | {"b1": np.ones(3, "f4")}), "b1 has dtype float32"),
    "NaN": (
        with_tensors(**LAYER | {"W1": np.full((2, 3), np.nan)}),
        "params must be finite",
    ),
    "velocity alone": (with_tensors(**{"velocity.W1": np.ones((2, 3))}), "the keys W1, b1"),
    "velocity without a state": (with_state({}), "'epochs'"),
    "a state without velocity": (signed({"state": {"epochs": 1}}), "velocity must have the keys"),
    "negative epochs": (with_state({"epochs": -1}), "epochs must be an integer >= 0, got -1"),
    "half a step": (with_state({"epochs": 1, "steps": 0.5}), "steps must be .*, got 0.5"),
    "loss of text": (with_state({"epochs": 1, "loss_sum": "1"}), "loss_sum must be .*, got '1'"),
    "unknown state": (with_state({"epochs": 1, "loss": 1.0}), "'loss'"),
    "state a list": (with_state([1]), "must be a mapping, not list"),
    "fingerprint a number": (
        signed({"fingerprint": 5}),
        "fingerprint and versions must be strings",
    ),
    "versions numbers": (
        signed({"versions": {"numpy": 2}}),
        "fingerprint and versions must be strings",
    ),
}


@pytest.mark.parametrize(("write", "message"), NO_MODELS.values(), ids=NO_MODELS)
def test_a_file_that_is_no_checkpoint_is_refused(
    path: Path, write: Callable[[Path], None], message: str
) -> None:
    """Another file than a checkpoint raises ValueError, which names the path and the reason."""
    write(path)
    expected = f"{path} is not a purenet model: "
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}(?=.).*{message}"):
        load(path)


def test_an_open_file_is_not_changed_by_a_save(path: Path) -> None:
    """A reader that opened the file before it was replaced reads all of the earlier file."""
    save(path, init([2, 3]), CFG)
    before = path.read_bytes()
    with path.open("rb") as reader:
        save(path, init([200, 3]), CFG)
        assert reader.read() == before
    assert path.stat().st_size > len(before)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"state": (0, -1, 0.0)}, "state.steps must be an integer >= 0, got -1"),
        ({"state": (0, 1, float("nan"))}, "state.loss_sum must be a finite number >= 0, got nan"),
        ({"fingerprint": 3}, "fingerprint must be a text, got 3"),
    ],
)
def test_a_state_that_load_would_refuse_is_not_saved(
    tmp_path: Path, bad: Any, message: str
) -> None:
    """`save` names the bad value, and leaves the earlier file."""
    path, params = tmp_path / "model.safetensors", init([2, 3])
    checkpoints.save(path, params, Config())
    before = path.read_bytes()
    if "state" in bad:
        bad = {"state": State(init_velocity(params), *bad["state"])}
    with pytest.raises(ValueError, match=re.escape(message)):
        checkpoints.save(path, params, Config(), **bad)
    assert path.read_bytes() == before
