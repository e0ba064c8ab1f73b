"""Run mutmut, and compare the surviving mutants with the list in docs/mutation.md.

Mutmut skips decorated functions. This script also mutates those that Numba compiles; Python runs
their originals and their mutants. The counts are printed as a table. The script fails if a mutant
survives that is not listed, or if a listed one is killed.
"""

import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import libcst as cst
from mutmut import __main__ as mutmut
from mutmut.mutation import file_mutation
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.state import state
from mutmut.stats import status_by_exit_code
from mutmut.workers.isolation import ForkServerRunner

# Each mutant runs in a forked process, and threads do not survive a fork.
os.environ |= {"NUMBA_DISABLE_JIT": "1", "OPENBLAS_NUM_THREADS": "1"}


def is_compiled(node: cst.CSTNode) -> bool:
    """Tell whether a node is a function that Numba compiles."""
    names = [d.decorator for d in node.decorators] if isinstance(node, cst.FunctionDef) else []
    return [getattr(name, "value", None) for name in names] in (
        ["compiled"],
        ["inlined"],
        ["cached"],
    )


def mutate_compiled_functions() -> None:
    """Make mutmut mutate compiled functions, and choose among the mutants outside compiled code."""
    visitor = file_mutation.MutationVisitor
    skip, arrange = visitor._skip_node_and_children, file_mutation.function_trampoline_arrangement

    def skip_less(self: Any, node: cst.CSTNode) -> bool:
        return not is_compiled(node) and skip(self, node)

    def arrange_compiled(function: cst.FunctionDef, *args: Any, **kwargs: Any) -> Any:
        first, (chooser, *functions), *rest = arrange(function, *args, **kwargs)
        if is_compiled(function):
            chooser = chooser.with_changes(decorators=chooser.decorators[1:])
        return first, [chooser, *functions], *rest

    visitor._skip_node_and_children = skip_less
    file_mutation.function_trampoline_arrangement = arrange_compiled


def run_quick_tests_first() -> None:
    """Make mutmut run the fastest tests of each mutant first."""
    submit = ForkServerRunner.submit

    def submit_sorted(self: Any, name: str, tests: list[str], *rest: Any) -> None:
        submit(self, name, sorted(tests, key=state().duration_by_test.__getitem__), *rest)

    ForkServerRunner.submit = submit_sorted


def change(mutant: str, path: Path) -> tuple[str, str, str]:
    """Return the function that a mutant changes, the original code and the changed code."""
    lines = get_diff_for_mutant(mutant, path=path).splitlines()[2:]
    old, new = (
        " ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in ("-", "+")
    )
    function = mutant.rpartition("__mutmut_")[0].replace(".x_", ".").replace(".xǁ", ".")
    return function.replace("ǁ", "."), old, new


def listed() -> set[tuple[str, ...]]:
    """Return the mutants in the table of docs/mutation.md."""
    rows = [line.split(" | ") for line in Path("docs/mutation.md").read_text().splitlines()]
    cells = [
        [cell.strip("| `") for cell in row[:3]] for row in rows if row[0].startswith("| `purenet")
    ]
    return {tuple(row) for row in cells}


def main() -> None:
    """Mutate, test, print the counts, and compare the survivors with the list."""
    mutate_compiled_functions()
    run_quick_tests_first()
    shutil.rmtree("mutants", ignore_errors=True)
    mutmut._run((), max_children=None)

    survivors = set()
    print("\n| file | mutants | killed | timed out or crashed | survived |\n|---|--:|--:|--:|--:|")
    for path, data in sorted(mutmut.collect_source_file_mutation_data(mutant_names=())[1].items()):
        status = {name: status_by_exit_code[code] for name, code in data.exit_code_by_key.items()}
        count = Counter(status.values())
        broken = count["timeout"] + count["segfault"]
        alive = len(status) - count["killed"] - broken
        print(f"| `{path}` | {len(status)} | {count['killed']} | {broken} | {alive} |")
        survivors |= {
            change(name, data.path)
            for name, what in status.items()
            if what not in {"killed", "timeout", "segfault"}
        }
    unlisted, stale = survivors - listed(), listed() - survivors
    for title, mutants in (
        ("survives, but is not listed", unlisted),
        ("is listed, but killed", stale),
    ):
        for function, old, new in sorted(mutants):
            print(f"\n{title}: {function}\n  - {old}\n  + {new}")
    sys.exit(bool(unlisted or stale))


if __name__ == "__main__":
    main()
