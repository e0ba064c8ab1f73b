"""Units of work, each kept as a file: an interrupted reproduction goes on where it stopped."""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import purenet
from purenet.config import Config
from purenet.files import checkpoints, writing
from purenet.params import Data

__all__ = ["Work", "environment"]


class Work:
    """Do units of work on some data, or find them done.

    A unit is a function of this object and of JSON values. It returns what JSON can hold and, as
    ``"network"``, parameters and state to be kept: ``"model"``, a file's name, takes their place.

    Parameters
    ----------
    folder : Path
        Where records are kept; made if missing.
    train, test : (array, array)
        Images and labels.
    done : callable
        Called after each unit, found or done.
    """

    def __init__(self, folder: Path, train: Data, test: Data, done: Callable[[], object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.train, self.test, self.done = folder, train, test, done
        self.environment = environment()
        self.records: dict[str, Any] = {}

    def __call__(self, unit: Callable[..., dict[str, Any]], **settings: Any) -> dict[str, Any]:
        """Return what a unit gives with these settings: from its file, or by doing it now."""
        # Times and last digits belong to the machine: elsewhere the unit is done again.
        given = {"unit": unit.__name__, "settings": settings, "environment": self.environment}
        key = json.dumps(given, sort_keys=True).encode()
        name = f"{unit.__name__}-{hashlib.sha256(key).hexdigest()[:16]}"
        path = self.folder / f"{name}.json"
        if not path.exists():
            result = unit(self, **settings)
            if "network" in result:
                model, (params, state) = path.with_suffix(".safetensors"), result.pop("network")
                checkpoints.save(model, params, Config(**settings["config"]), state=state)
                result["model"] = model.name
            record = json.dumps({**given, "result": result}, allow_nan=False, indent=1)
            writing.write(path, record.encode())
        self.records[name] = json.loads(path.read_text())
        self.done()
        result = self.records[name]["result"]
        return dict(result)


def environment() -> dict[str, Any]:
    """Describe what computes: versions, processor, threads of the linear algebra.

    Returns
    -------
    dict
        JSON values; ``blas`` is None where threadpoolctl is not installed.
    """
    blas = None
    if find_spec("threadpoolctl"):
        from threadpoolctl import threadpool_info  # noqa: PLC0415  # optional

        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        blas = [[p["internal_api"], p["version"], p["num_threads"]] for p in pools]
    return {
        "purenet": purenet.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": version("numba") if find_spec("numba") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "blas": blas,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
