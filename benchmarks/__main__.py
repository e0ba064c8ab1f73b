"""Run benchmarks, all or by section, and write what has been measured so far.

Every section leaves a JSON file in the output folder, so that sections may run at different times;
tables and figures are made of those that are there.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks import figure, report

HERE = Path(__file__).parent


class Section(NamedTuple):
    """A part of the benchmarks."""

    tests: str
    description: str
    minutes: float  # on two cores


SECTIONS = {
    "step": Section("test_step.py", "a step and an epoch, for eight batch sizes", 2),
    "floor": Section("test_floor.py", "an epoch beside its matrix products alone", 2),
    "agreement": Section("test_peers.py::test_same_steps", "all libraries reach the same loss", 1),
    "mini-batch": Section("test_peers.py::test_mini_batch", "an epoch by other libraries", 2),
    "one-thread": Section("test_peers.py::test_one_thread", "the same on one core", 2),
    "full-batch": Section("test_peers.py::test_full_batch", "a full-batch step by others", 2),
    "by-hand": Section("test_peers.py::test_composed_by_hand", "100 steps of pure functions", 1),
    "busy": Section("test_busy.py", "an epoch beside a busy process, 1 to 16 threads", 2),
    "scaling": Section("test_scaling.py", "wider, deeper and longer, up to 10⁸ parameters", 2),
    "memory": Section("test_memory.py", "allocations, and a file larger than memory", 1),
    "accuracy": Section("test_accuracy.py::test_batch_size", "time to 90, 97 and 98 %", 2),
    "start": Section("test_accuracy.py::test_process", "the same from the start of a process", 1),
}
BY_NAME = {
    "rates": Section("test_accuracy.py::test_rates", "the choice of learning rates; no table", 4)
}


def main() -> int:
    """Run the sections that are named, or all."""
    if sys.platform != "linux":
        sys.exit("the benchmarks need Linux: they bind processes to cores and read /proc")
    sections = SECTIONS | BY_NAME
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            ["sections, and their minutes on two cores (rates runs only by name):"]
            + [f"  {name:10}  {s.minutes:2}  {s.description}" for name, s in sections.items()]
        ),
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="as listed below [all]")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="[%(default)s]")
    parser.add_argument("--report", action="store_true", help="only write tables and figures")
    parser.add_argument(
        "--docs", action="store_true", help="also bring docs/performance.md up to date"
    )
    args = parser.parse_args()
    if unknown := set(args.sections) - set(sections):
        parser.error(f"no section {', '.join(sorted(unknown))}: there are {', '.join(sections)}")
    args.output.mkdir(parents=True, exist_ok=True)
    status = 0
    for name in [] if args.report else args.sections or SECTIONS:
        section = sections[name]
        print(f"{name}: {section.description}, {section.minutes} min", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "-n0", f"benchmarks/{section.tests}"]
        command += [f"--benchmark-json={args.output.resolve() / name}.json"]
        command += ["--benchmark-disable-gc"] + ["--quick"] * args.quick
        status = max(status, subprocess.run(command, cwd=HERE.parent, check=False).returncode)
    machine, results = report.load(args.output)
    drawn = figure.draw(results, args.output / report.FOLDER)
    report.write(machine, results, args.output, drawn)
    if args.docs:
        report.publish(args.output, HERE.parent / "docs")
    return status


if __name__ == "__main__":
    sys.exit(main())
