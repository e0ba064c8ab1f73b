"""Trained networks on disk: parameters and their configuration in one safetensors file."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save as to_bytes

from purenet import _checks
from purenet._checks import Params
from purenet.config import Config

__all__ = ["load", "save"]


def save(path: str | os.PathLike[str], params: Params, cfg: Config) -> None:
    """Write a network to a file, which is replaced whole or not at all.

    Parameters
    ----------
    path : path-like
        A .safetensors file.
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL.
    cfg : Config
        How it was trained; ``input_scale`` belongs to the network as much as its weights.

    Raises
    ------
    ValueError
        Parameters that are not a network.
    OSError
        When the file cannot be written; an earlier file is then still whole.

    Examples
    --------
    >>> import tempfile
    >>> from purenet import init
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/model.safetensors", init([2, 3]), Config())
    ...     params, cfg = load(f"{folder}/model.safetensors")
    >>> params["b1"]
    array([0., 0., 0.], dtype=float32)
    """
    _checks.network(params)
    tensors = {name: np.ascontiguousarray(p) for name, p in params.items()}
    write(path, to_bytes(tensors, {"purenet": json.dumps(asdict(cfg))}))


def load(path: str | os.PathLike[str]) -> tuple[Params, Config]:
    """Read a network that `save` wrote.

    Parameters
    ----------
    path : path-like
        A .safetensors file.

    Returns
    -------
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL.
    cfg : Config
        How it was trained.

    Raises
    ------
    ValueError
        A file that does not hold a network.
    OSError
        A file that cannot be read.
    """
    with open(path, "rb"):  # safetensors' own errors leave out the path
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if "purenet" not in metadata:
                    raise ValueError("it has no configuration of purenet")
                cfg = Config(**json.loads(metadata["purenet"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            _, depth = _checks.network(tensors)
        except Exception as error:  # a foreign file makes safetensors and json raise many types
            raise ValueError(f"{path} is not a purenet model: {error}") from error
    return {
        f"{letter}{k}": tensors[f"{letter}{k}"] for k in range(1, depth + 1) for letter in "Wb"
    }, cfg


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all: a temporary file beside it, flushed, then renamed."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
