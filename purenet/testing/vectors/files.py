"""The vectors as files: JSON with small arrays written out, and safetensors with the others."""

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from purenet.files.writing import write
from purenet.testing.operations import OPERATIONS
from purenet.testing.vectors.cases import FLAGS, Case, cases
from purenet.testing.vectors.judging import flag_table
from purenet.testing.vectors.results import bounds, exact

__all__ = ["TENSORS", "load", "write_files"]

VERSION = 1
LARGE = 200  # elements; larger arrays are tensors
TENSORS = "tensors.safetensors"
TABLE = "flags.md"
SIGNATURES = {
    **{name: operation.signature for name, operation in OPERATIONS.items()},
    "forward": "forward(x, W1, b1, ..., WL, bL) -> logits",
    "loss": "loss(x, W1, b1, ..., WL, bL, y, l2) -> loss",
    "backward": "backward(x, W1, b1, ..., WL, bL, y, l2) -> (loss, W1, b1, ..., WL, bL)",
    "train": "train(x, W1, b1, ..., WL, bL, y, learning_rate, momentum, l2, batch_size, epochs) -> "
    "(losses, W1, b1, ..., WL, bL, velocity.W1, velocity.b1, ..., velocity.WL, velocity.bL)",
}
EQUATIONS = {
    **{name: operation.equation for name, operation in OPERATIONS.items()},
    "forward": "a_0 = x, z_k = a_{k-1} W_k + b_k, a_k = max(z_k, 0), logits = z_L",
    "loss": "J = -(1/n) Σ_i log softmax(logits_i)[y_i] + ½ l2 Σ_k Σ W_k²",
    "backward": "the loss and its derivatives; that of max(z, 0) is 0 at z = 0",
    "train": "ten steps over the batches in their order, v = 0 at first; losses has for each epoch "
    "the mean of the losses of its batches before their steps, weighted by their sizes",
}


def write_files(folder: Path) -> None:
    """Write the vectors: a JSON file for each operation, one file of tensors, and a table of flags.

    Parameters
    ----------
    folder : Path
        The folder. It is made if it does not exist.

    Raises
    ------
    OSError
        A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, NDArray[Any]] = {}
    documents: dict[str, dict[str, Any]] = {}
    for case in cases():
        document = documents.setdefault(case.operation, _head(case.operation))
        if case.flag in FLAGS:
            document["notes"][case.flag] = FLAGS[case.flag]
        document["cases"].append(_describe(case, tensors))
    for operation, document in documents.items():
        write(folder / f"{operation}.json", _as_text(document).encode())
    write(folder / TENSORS, to_bytes(tensors))
    write(folder / TABLE, _as_table(flag_table(load(folder))).encode())


def _as_table(rows: Iterable[tuple[str, str, str, set[str]]]) -> str:
    """Return the table of flags and mutants in Markdown."""
    lines = [
        "# Flags, and what only they catch",
        "",
        "For each flag, a wrong program in float32 that fails cases of this flag and no others:",
        "",
        "| flag | operation | mistake | caught by | what a failure usually means |",
        "|---|---|---|---|---|",
    ]
    for flag, operation, mistake, caught in rows:
        flags = ", ".join(sorted(caught)) or "nothing"
        lines.append(f"| {flag} | `{operation}` | {mistake} | {flags} | {FLAGS[flag]} |")
    return "\n".join(lines) + "\n"


def _head(operation: str) -> dict[str, Any]:
    return {
        "version": VERSION,
        "operation": operation,
        "signature": SIGNATURES[operation],
        "equation": EQUATIONS[operation],
        "notes": {},
        "cases": [],
    }


def _describe(case: Case, tensors: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return a case as JSON. Large arrays are added to the tensors."""
    found = exact(case)
    high = {name: np.array(_floats(value)) for name, value in found.items()}
    low = {name: np.array(_floats(value - high[name])) for name, value in found.items()}
    errors = {
        precision: {name: _round_up(error) for name, error in of_format.items()}
        for precision, of_format in bounds(case, high, low).items()
    }
    outputs = {}
    for name in found:
        arrays = {"high": high[name], "low": low[name]}
        arrays |= {f"error.{precision}": errors[precision][name] for precision in errors}
        outputs[name] = _array(f"{case.name}/{name}", arrays, tensors)
    return {
        "name": case.name,
        "flags": [case.flag] if case.flag in FLAGS else [],
        "inputs": {
            name: _array(f"{case.name}/{name}", {"values": np.asarray(value)}, tensors)
            for name, value in case.inputs.items()
        },
        "outputs": outputs,
    }


def _floats(value: Any) -> NDArray[np.float64]:
    floats: NDArray[np.float64] = np.vectorize(float, otypes=[float])(value)
    return floats


def _round_up(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return bounds with four digits, none of them smaller."""
    rounded: NDArray[np.float64] = np.vectorize(
        lambda e: float(f"{1.001 * e:.3e}"), otypes=[float]
    )(error)
    return rounded


def _array(
    name: str, arrays: dict[str, NDArray[Any]], tensors: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    """Return an array and what belongs to it as JSON, or as the name of tensors."""
    shape = list(next(iter(arrays.values())).shape)
    if np.prod(shape) > LARGE:
        tensors |= {f"{name}/{part}": np.ascontiguousarray(a) for part, a in arrays.items()}
        return {"shape": shape, "tensor": name}
    described: dict[str, Any] = {"shape": shape}
    for part, array in arrays.items():
        numbers = array.ravel().tolist()
        described[part] = [None if math.isnan(number) else number for number in numbers]
        if array.dtype.kind == "f" and not part.startswith("error"):
            described[f"{part}_hex"] = [float(number).hex() for number in numbers]
    return described


def _as_text(document: dict[str, Any]) -> str:
    """Return JSON with each list of numbers in one line."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m[0].split()), text) + "\n"


def load(folder: Path) -> list[dict[str, Any]]:
    """Read the cases of all operations, with arrays in the place of tensors.

    Parameters
    ----------
    folder : Path
        A folder that `write_files` wrote.

    Returns
    -------
    list of dict
        The cases: ``operation``, ``name``, ``flags``, ``notes``, ``inputs`` with arrays by their
        names, and ``outputs`` with ``high``, ``low`` and ``error.PRECISION`` of each.

    Raises
    ------
    OSError
        A file that cannot be read.
    ValueError
        A file that holds no vectors.
    """
    found = []
    try:
        tensors = from_bytes((folder / TENSORS).read_bytes())
        for operation in SIGNATURES:
            document = json.loads((folder / f"{operation}.json").read_text(encoding="utf-8"))
            if document["version"] != VERSION:
                raise ValueError(f"{operation}.json has the version {document['version']}")
            for case in document["cases"]:
                arrays = {
                    kind: {name: _parts(a, tensors) for name, a in case[kind].items()}
                    for kind in ("inputs", "outputs")
                }
                inputs = {name: parts["values"] for name, parts in arrays["inputs"].items()}
                if any(not {"high", "low"} <= parts.keys() for parts in arrays["outputs"].values()):
                    raise ValueError(f"{case['name']} has no exact results")
                found.append(
                    {**case, "operation": operation, "notes": document["notes"]}
                    | {"inputs": inputs, "outputs": arrays["outputs"]}
                )
    except (KeyError, TypeError, AttributeError, ValueError, SafetensorError) as error:
        raise ValueError(f"{folder} holds no vectors: {error!r}") from error
    return found


def _parts(described: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> dict[str, Any]:
    shape = described["shape"]
    if "tensor" in described:
        prefix = f"{described['tensor']}/"
        return {k.removeprefix(prefix): a for k, a in tensors.items() if k.startswith(prefix)}
    return {
        part: np.array([np.nan if n is None else n for n in numbers]).reshape(shape)
        for part, numbers in described.items()
        if part != "shape" and not part.endswith("_hex")
    }
