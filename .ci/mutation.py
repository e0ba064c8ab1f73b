"""Run mutmut on a copy of purenet, and compare the surviving mutants with .ci/survivors.txt.

Mutmut mutates no decorated function, and cannot choose a mutant inside compiled code. So the copy
lacks the decorators that compile: Python runs these functions, and their mutants. The script prints
the counts as a table. It fails if a mutant survives that is not listed, or if a listed one is
killed. Its arguments go to ``mutmut run``.

Pytest loads this file as a plugin, which makes it faster.
"""

import gc
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

COPY = Path("mutants")
COMPILING = re.compile("^@(compiled|inlined|cached)\n", re.MULTILINE)
MEASURED = Path("mutmut-stats.json")  # in the folder where mutmut runs the tests


def pytest_configure() -> None:
    """Leave what all mutants share to no garbage collector, which would take half of the time."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Sort tests by the time that they took without a mutant."""
    if MEASURED.exists():
        seconds = json.loads(MEASURED.read_text())["duration_by_test"]
        items.sort(key=lambda item: seconds.get(item.nodeid, 0))


def make_copy() -> None:
    """Copy what the tests need, without the decorators that compile."""
    shutil.rmtree(COPY, ignore_errors=True)
    for folder in ("purenet", "tests"):
        shutil.copytree(folder, COPY / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("pyproject.toml", COPY)
    workers = COPY / "purenet/engines/workers.py"
    workers.write_text(COMPILING.sub("", workers.read_text()))


def mutmut(*args: str, **options: Any) -> str:
    """Run mutmut in the copy, and return what it prints."""
    command = [Path(sys.executable).with_name("mutmut"), *args]
    done = subprocess.run(command, cwd=COPY, check=True, text=True, **options)
    return done.stdout or ""


def change(mutant: str) -> tuple[str, str, str]:
    """Return the function that a mutant changes, the original code and the changed code."""
    lines = mutmut("show", mutant, stdout=subprocess.PIPE).splitlines()[3:]
    old, new = (
        " ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in ("-", "+")
    )
    function = mutant.rpartition("__mutmut_")[0].replace(".x_", ".").replace(".xǁ", ".")
    return function.replace("ǁ", "."), old, new


def listed() -> set[tuple[str, ...]]:
    """Return the mutants in .ci/survivors.txt: a function, then its old and its new code."""
    text = Path(".ci/survivors.txt").read_text(encoding="utf-8")
    found = re.findall(r"^(purenet\S+)\n-(.*)\n\+(.*)$", text, re.MULTILINE)
    return {tuple(part.strip() for part in mutant) for mutant in found}


def main() -> None:
    """Mutate, test, print the counts, and compare the survivors with the list."""
    make_copy()
    # Each mutant runs in a forked process, and threads of BLAS do not survive a fork.
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    plugin = {"PYTEST_PLUGINS": "mutation", "PYTHONPATH": str(Path(__file__).resolve().parent)}
    mutmut("run", *sys.argv[1:], env={**os.environ, **one_thread, **plugin})

    survivors, counts = set(), defaultdict(Counter)
    for line in mutmut("results", "--all", "true", stdout=subprocess.PIPE).splitlines():
        mutant, _, status = line.strip().partition(": ")
        killed = status in {"killed", "timeout", "segfault"}
        counts[re.split(r"\.x[_ǁ]", mutant)[0]]["killed" if killed else "survived"] += 1
        if not killed:
            survivors.add(change(mutant))
    print("\n| module | mutants | killed | survived |\n|---|--:|--:|--:|")
    for module, count in sorted(counts.items()):
        print(f"| `{module}` | {count.total()} | {count['killed']} | {count['survived']} |")
    for title, mutants in (
        ("survives, but is not listed", survivors - listed()),
        ("is listed, but killed", listed() - survivors),
    ):
        for function, old, new in sorted(mutants):
            print(f"\n{title}:\n{function}\n- {old}\n+ {new}")
    sys.exit(survivors != listed())


if __name__ == "__main__":
    main()
