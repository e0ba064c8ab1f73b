"""Units of work, each kept as a file, so that an interrupted reproduction can go on."""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, get_type_hints

import numpy as np

from purenet.config import Config
from purenet.files import checkpoints, environment, writing
from purenet.files.datasets import LabelledImages
from purenet.params import Params
from purenet.training import State, engine_class

__all__ = ["Work"]

T = TypeVar("T")


class DoUnit(Protocol):
    """How the sections of the page see `Work`: as a function that returns the result of a unit."""

    def __call__(self, unit: Callable[..., T], **settings: Any) -> T:
        """Return the result of a unit with these settings."""


class Work:
    """Do units of work on some data, or read their results from files.

    A unit is a function of this object and of keyword settings. It returns a dataclass of JSON
    values and lists of dataclasses. Function, settings and environment decide the name of its file.

    Parameters
    ----------
    folder : Path
        Folder of these files. It is made if it is missing.
    train, test : (array, array)
        Images and labels.
    done : callable
        Called after each unit, whether it was done or read.
    """

    def __init__(
        self,
        folder: Path,
        train: LabelledImages,
        test: LabelledImages,
        done: Callable[[], object],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.train, self.test, self.done = folder, train, test, done
        self.environment = describe_environment()
        self.records: dict[str, Any] = {}
        self._path = folder

    def __call__(self, unit: Callable[..., T], **settings: Any) -> T:
        """Return the result of a unit with these settings: from its file, or by doing it now."""
        # Times and last digits depend on the machine, so another environment does the unit again.
        given = {"unit": unit.__name__, "settings": settings, "environment": self.environment}
        key = json.dumps(given, default=asdict, sort_keys=True).encode()
        name = f"{unit.__name__}-{hashlib.sha256(key).hexdigest()[:16]}"
        self._path = self.folder / f"{name}.json"
        if not self._path.exists():
            record = {**given, "result": unit(self, **settings)}
            text = json.dumps(record, default=asdict, allow_nan=False, indent=1)
            writing.write(self._path, text.encode())
        self.records[name] = json.loads(self._path.read_text())
        self.done()
        kind: type[T] = get_type_hints(unit)["return"]
        return _from_json(kind, self.records[name]["result"])

    def save_model(self, params: Params, cfg: Config, state: State | None) -> str:
        """Save the network of the unit that is being done, and return the name of its file."""
        path = self._path.with_suffix(".safetensors")
        checkpoints.save(path, params, cfg, state=state)
        return path.name


def _from_json(kind: type[T], values: dict[str, Any]) -> T:
    """Rebuild a dataclass, whose lists may hold dataclasses, from its JSON object."""
    hints, found = get_type_hints(kind), dict(values)
    for name, value in values.items():
        for item in get_args(hints[name]):
            if isinstance(item, type) and is_dataclass(item):
                found[name] = [item(**row) for row in value]
    return kind(**found)


def describe_environment() -> dict[str, Any]:
    """Describe the machine, the engine and the libraries as JSON values."""
    engine = engine_class(np.zeros(0, np.float32))  # loads its libraries, for the list of pools
    return {
        "engine": engine.__name__,
        "versions": environment.versions("numpy", "scipy", "numba"),
        "pools": [p for p in environment.thread_pools() if p["user_api"] == "blas"],
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
