"""Trained networks on disk: parameters and what is needed to train on, in one safetensors file.

The file holds the arrays W1, b1, ..., WL, bL and, of a run that can go on, velocity.W1, ...; its
metadata hold, under the one key ``purenet``, a JSON object of the format's version, configuration,
epochs and steps done, the fingerprint of the data, versions of libraries, and a checksum of it all.
"""

import json
import os
import platform
import re
from dataclasses import asdict
from hashlib import blake2b
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save as to_bytes

from purenet.config import Config
from purenet.files import reading
from purenet.files.writing import write
from purenet.params import A, Array, Params, check_params, names
from purenet.training import State, check_state

__all__ = ["Checkpoint", "fingerprint", "load", "save"]

FORMAT = 1
DTYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
VELOCITY = "velocity."
SAMPLE = 1 << 30
"""The most bytes of an array that `fingerprint` reads: 1 GiB."""


class Checkpoint(NamedTuple):
    """What a file holds.

    Parameters
    ----------
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL.
    cfg : Config
        How they were trained.
    state : State or None
        What training needs to go on from them, if that was saved.
    fingerprint : str or None
        What `fingerprint` gave for the data, if that was saved.
    versions : dict of str
        Versions of purenet, numpy, safetensors and python that wrote the file.
    """

    params: Params
    cfg: Config
    state: State | None
    fingerprint: str | None
    versions: dict[str, str]


def save(
    path: str | os.PathLike[str],
    params: dict[str, A],
    cfg: Config,
    *,
    state: State | None = None,
    fingerprint: str | None = None,
) -> None:
    """Write a network to a file, which is replaced whole or not at all.

    A temporary file in the same folder is written, flushed to the disk and renamed: whatever ends
    the process, the file is the earlier one or the new one.

    Parameters
    ----------
    path : path-like
        A .safetensors file.
    params : dict of array
        W1, b1, ..., WL, bL, in float16, float32 or float64; all finite.
    cfg : Config
        How it was trained; ``input_scale`` belongs to the network as much as its weights.
    state : State, optional
        What came with `params` from `purenet.epochs` or `purenet.train`, to train on from here.
    fingerprint : str, optional
        What `fingerprint` gives for the data, to know them again.

    Raises
    ------
    ValueError
        Parameters or a state that are not as above; an earlier file is left alone.
    OSError
        When the file cannot be written; an earlier file is then still whole.

    Examples
    --------
    >>> import tempfile
    >>> from purenet import init
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/model.safetensors", init([2, 3]), Config())
    ...     loaded = load(f"{folder}/model.safetensors")
    >>> loaded.params["b1"]
    array([0., 0., 0.], dtype=float32)
    """
    check_params(params)
    tensors = {name: _plain(name, p) for name, p in params.items()}
    metadata: dict[str, Any] = {"format": FORMAT, "config": asdict(cfg)}
    if state is not None:
        state = check_state(params, state)
        tensors |= {VELOCITY + k: _plain(VELOCITY + k, v) for k, v in state.velocity.items()}
        metadata["state"] = {key: getattr(state, key) for key in ("epochs", "steps", "loss_sum")}
    if not isinstance(fingerprint, str | None):
        raise ValueError(f"fingerprint must be a text, got {fingerprint!r}")
    metadata["fingerprint"] = fingerprint
    metadata["versions"] = {
        "purenet": version("purenet"),
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
        "python": platform.python_version(),
    }
    metadata["checksum"] = _checksum(metadata, tensors)
    # One key: safetensors keeps several in no fixed order, and equal runs would differ in bytes.
    write(path, to_bytes(tensors, {"purenet": json.dumps(metadata)}))


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a network that `save` wrote; the file is data, never code, and is not believed.

    Parameters
    ----------
    path : path-like
        A .safetensors file.

    Returns
    -------
    Checkpoint
        ``params``, ``cfg``, ``state``, ``fingerprint`` and ``versions``.

    Raises
    ------
    ValueError
        A file that does not hold a network, or whose checksum differs.
    OSError
        A file that cannot be read.
    """
    with reading.open_regular(path):  # safetensors' own errors leave out the path
        try:
            # It maps the file, whose length its header must account for, byte by byte.
            with safetensors.safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if "purenet" not in metadata:
                    raise ValueError("it has no configuration of purenet")
                for name in file.keys():  # noqa: SIM118
                    dtype = file.get_slice(name).get_dtype()
                    if not re.fullmatch(rf"({re.escape(VELOCITY)})?[Wb][1-9][0-9]*", name):
                        raise ValueError(f"it holds an array named {name[:40]!r}")
                    if dtype not in DTYPES:
                        raise ValueError(f"{name} is of {dtype}, not of {', '.join(DTYPES)}")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return _checkpoint(json.loads(metadata["purenet"]), tensors)
        except Exception as error:  # a foreign file makes safetensors and json raise many types
            raise ValueError(f"{os.fspath(path)} is not a purenet model: {error}") from error


def fingerprint(*arrays: Array) -> str:
    """Describe data so that other data can be told from them: dtypes, shapes and a hash.

    The hash is BLAKE2b of all bytes of an array of up to 1 GiB. Of a larger one, which may be a
    memory map, it is that of as many bytes: of blocks of rows, of a megabyte each, at even
    distances; what changes between them is not noticed.

    Parameters
    ----------
    *arrays : array
        Of any dtype, layout and at least one axis.

    Returns
    -------
    str
        The same for equal arrays, whatever their layout in memory.

    Examples
    --------
    >>> fingerprint(np.zeros((2, 3), np.uint8), np.array([1, 0]))
    'uint8 (2, 3), int64 (2,), blake2b fe3d13e20689728632ce8d44a02fe200'
    """
    digest = blake2b(digest_size=16)
    told = []
    for array in arrays:
        told.append(f"{array.dtype} {tuple(array.shape)}")
        row = np.asarray(array[:1]).nbytes
        rows = max(1, reading.CHUNK // max(1, row))
        size = row * array.shape[0]
        distance = rows * max(1, -(-size // SAMPLE))
        for start in range(0, array.shape[0], distance):
            block = np.asarray(array[start : start + rows])
            digest.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
    return f"{', '.join(told)}, blake2b {digest.hexdigest()}"


def _plain(name: str, array: Array) -> NDArray[Any]:
    """Return an array as safetensors takes it; it writes others' bytes in another order."""
    plain = reading.native(np.asarray(array))
    if plain.dtype not in DTYPES.values():
        raise ValueError(f"{name} must be of float16, float32 or float64, got {plain.dtype}")
    if not np.isfinite(plain).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return plain


def _checksum(metadata: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> str:
    digest = blake2b(json.dumps(metadata, sort_keys=True).encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _checkpoint(metadata: Any, tensors: dict[str, NDArray[Any]]) -> Checkpoint:
    """Return what a file's metadata and arrays mean, or raise whatever error they lead to."""
    if not isinstance(metadata, dict):
        raise ValueError(f"its configuration is a {type(metadata).__name__}")
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its format is {metadata.get('format')}, this purenet reads {FORMAT}")
    if metadata.pop("checksum", None) != _checksum(metadata, tensors):
        raise ValueError("its checksum is of another content: it is damaged")
    cfg, params = Config(**metadata["config"]), dict(tensors)
    velocity = {k.removeprefix(VELOCITY): params.pop(k) for k in tensors if k.startswith(VELOCITY)}
    check_params(params)
    order = names(len(params) // 2)
    params = {name: _plain(name, params[name]) for name in order}
    state, counts = None, metadata.get("state", {})
    if counts or velocity:
        state = check_state(params, State(velocity, **counts))
        velocity = {name: _plain(VELOCITY + name, velocity[name]) for name in order}
        state = state._replace(velocity=velocity)
    found, versions = metadata.get("fingerprint"), metadata.get("versions", {})
    if not isinstance(found, str | None) or not all(isinstance(v, str) for v in versions.values()):
        raise ValueError("its fingerprint or versions are no text")
    return Checkpoint(params, cfg, state, found, versions)
