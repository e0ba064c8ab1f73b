"""Validate docstrings with numpydoc, by the checks that pyproject.toml selects.

The names in every `__all__` are checked, except those of the engines and of `purenet.params`, which
users do not call.
"""

import importlib
import inspect
import sys
import tomllib
from pathlib import Path

from numpydoc.validate import ERROR_MSGS, validate

options = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["numpydoc_validation"]
checks = set(ERROR_MSGS) - set(options["except"])

internal = {*Path("purenet/engines").iterdir(), Path("purenet/params.py")}
files = set(Path("purenet").rglob("[!_]*.py")) - internal
modules = [".".join(path.with_suffix("").parts) for path in files]
names = {
    f"{module}.{name}": getattr(importlib.import_module(module), name)
    for module in ["purenet", *sorted(modules)]
    for name in getattr(importlib.import_module(module), "__all__", ())
}
failures = [
    f"{name}: {code} {message}"
    for name, thing in names.items()
    if inspect.isfunction(thing) or inspect.isclass(thing)
    for code, message in validate(name)["errors"]
    if code in checks
]
print(*failures, f"{len(names)} public names, {len(failures)} failures", sep="\n")
sys.exit(bool(failures))
