"""Checkpoints: a network and, to resume its training, its state, in one safetensors file.

The file holds the arrays W1, b1, ..., WL, bL and, if a state is saved, velocity.W1, velocity.b1 and
so on. Its metadata have one key, ``purenet``. The value is a JSON object: format version,
configuration, counts of the state, fingerprint of the data, names of the classes, versions of the
libraries, and a checksum of all these and of the arrays.
"""

import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save as to_bytes

from purenet import __version__
from purenet.config import Config
from purenet.files import reading
from purenet.files.writing import write
from purenet.params import (
    A,
    Params,
    as_numpy,
    check_classes,
    check_finite,
    check_params,
    names,
    params_as_numpy,
)
from purenet.training import State, check_state

__all__ = ["MODEL", "Checkpoint", "load", "save"]

FORMAT = 1
MODEL = "model.safetensors"
"""Name of the file in the folder of a run."""
DTYPES = ("F16", "F32", "F64")
VELOCITY = "velocity."


class Checkpoint(NamedTuple):
    """Hold the content of a file.

    Parameters
    ----------
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL.
    cfg : Config
        Hyperparameters of their training.
    state : State or None
        The state from which training can resume, if it was saved.
    fingerprint : str or None
        The fingerprint of the data, if it was saved.
    versions : dict of str
        Versions of purenet, numpy, safetensors and python that wrote the file.
    classes : list of str or None
        The names of the classes, if they were saved.
    """

    params: Params
    cfg: Config
    state: State | None
    fingerprint: str | None
    versions: dict[str, str]
    classes: list[str] | None


def save(
    path: str | os.PathLike[str],
    params: dict[str, A],
    cfg: Config,
    *,
    state: State | None = None,
    fingerprint: str | None = None,
    classes: Sequence[str] | None = None,
) -> None:
    """Write a network to a file. An earlier file is replaced whole or not at all.

    A temporary file in the same folder is written, flushed to the disk and renamed. Whatever ends
    the process, the file is then either the earlier one or the new one.

    Parameters
    ----------
    path : path-like
        A .safetensors file.
    params : dict of array
        W1, b1, ..., WL, bL, in float16, float32 or float64. All values must be finite.
    cfg : Config
        Hyperparameters of the training. Predictions need ``cfg.input_scale`` too.
    state : State, optional
        The state that came with `params` from `purenet.epochs` or `purenet.train`. Training can
        resume from it.
    fingerprint : str, optional
        The `purenet.params.fingerprint` of the data, by which a resumed run recognises them.
    classes : sequence of str, optional
        The names of the classes, in the order of their labels.

    Raises
    ------
    ValueError
        Parameters or a state that are not as described above. An earlier file stays as it was.
    OSError
        The file cannot be written. An earlier file stays whole.

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
    tensors = params_as_numpy(params)
    metadata: dict[str, Any] = {"format": FORMAT, "config": asdict(cfg)}
    if state is not None:
        state = check_state(params, state)
        tensors |= {VELOCITY + k: as_numpy(VELOCITY + k, v) for k, v in state.velocity.items()}
        metadata["state"] = {key: getattr(state, key) for key in ("epochs", "steps", "loss_sum")}
    if not isinstance(fingerprint, str | None):
        raise ValueError(f"fingerprint must be a text, got {fingerprint!r}")
    metadata["fingerprint"] = fingerprint
    if classes is not None:
        metadata["classes"] = check_classes(params, classes)
    metadata["versions"] = {
        "purenet": __version__,
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
        "python": platform.python_version(),
    }
    metadata["checksum"] = _checksum(metadata, tensors)
    # One key only: safetensors writes several in no fixed order, so equal runs would give files
    # with different bytes.
    write(path, to_bytes(tensors, {"purenet": json.dumps(metadata)}))


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a network that `save` wrote. The file is not trusted, and no code from it is run.

    Parameters
    ----------
    path : path-like
        A .safetensors file, or the folder of a run, which holds one.

    Returns
    -------
    Checkpoint
        ``params``, ``cfg``, ``state``, ``fingerprint``, ``versions`` and ``classes``.

    Raises
    ------
    ValueError
        A file that does not hold a network, or whose checksum does not match.
    OSError
        A file that cannot be read.
    """
    if os.path.isdir(path):
        path = os.path.join(path, MODEL)
    with reading.open_regular(path):  # errors of safetensors lack the path
        try:
            # safetensors maps the file, and its header must account for every byte.
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
            return _parse_checkpoint(json.loads(metadata["purenet"]), tensors)
        except Exception as error:  # safetensors and json raise many types for other files
            raise ValueError(f"{os.fspath(path)} is not a purenet model: {error}") from error


def _checksum(metadata: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> str:
    digest = blake2b(json.dumps(metadata, sort_keys=True).encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _parse_checkpoint(metadata: Any, tensors: dict[str, NDArray[Any]]) -> Checkpoint:
    """Make a checkpoint of a file's metadata and arrays. Bad content raises errors of any type."""
    if not isinstance(metadata, dict):
        raise ValueError(f"its configuration is a {type(metadata).__name__}")
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its format is {metadata.get('format')}, this purenet reads {FORMAT}")
    if metadata.pop("checksum", None) != _checksum(metadata, tensors):
        raise ValueError("its checksum does not match its content: it is damaged")
    cfg, params = Config(**metadata["config"]), dict(tensors)
    velocity = {k.removeprefix(VELOCITY): params.pop(k) for k in tensors if k.startswith(VELOCITY)}
    check_params(params)
    check_finite("params", params)
    order = names(len(params) // 2)
    params = {name: params[name] for name in order}
    state, counts = None, metadata.get("state", {})
    if counts or velocity:
        state = check_state(params, State(velocity, **counts))
        state = state._replace(velocity={name: velocity[name] for name in order})
    versions, saved_fingerprint = metadata.get("versions", {}), metadata.get("fingerprint")
    texts = [*versions.values(), "" if saved_fingerprint is None else saved_fingerprint]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("its fingerprint and versions must be strings")
    classes = metadata.get("classes")
    if classes is not None:
        classes = check_classes(params, classes)
    return Checkpoint(params, cfg, state, saved_fingerprint, versions, classes)
