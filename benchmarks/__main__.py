"""Run benchmarks, all or by section, and write what has been measured so far.

Every section leaves a JSON file in the output folder, so that sections may run at different times;
the table and the figure are made of those that are there.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks import figure, report

HERE = Path(__file__).parent
SECTIONS = {
    "step": "test_step.py",
    "floor": "test_floor.py",
    "agreement": "test_peers.py::test_same_steps",
    "mini-batch": "test_peers.py::test_mini_batch",
    "one-thread": "test_peers.py::test_one_thread",
    "full-batch": "test_peers.py::test_full_batch",
    "by-hand": "test_peers.py::test_composed_by_hand",
    "busy": "test_busy.py",
    "scaling": "test_scaling.py",
    "memory": "test_memory.py",
    "accuracy": "test_accuracy.py::test_batch_size",
    "start": "test_accuracy.py::test_process",
}
BY_NAME = {"rates": "test_accuracy.py::test_rates"}  # long, and not in the table


def main() -> int:
    """Run the sections that are named, or all."""
    if sys.platform != "linux":
        sys.exit("the benchmarks need Linux: they bind processes to cores and read /proc")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS | BY_NAME)
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="[%(default)s]")
    parser.add_argument("--report", action="store_true", help="only write table and figure")
    parser.add_argument(
        "--docs", action="store_true", help="also bring docs/performance.md up to date"
    )
    args = parser.parse_args()
    if unknown := set(args.sections) - set(SECTIONS | BY_NAME):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    args.output.mkdir(parents=True, exist_ok=True)
    status = 0
    for section in [] if args.report else args.sections or SECTIONS:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            f"benchmarks/{(SECTIONS | BY_NAME)[section]}",
        ]
        command += [f"--benchmark-json={args.output.resolve() / section}.json"]
        command += ["--benchmark-disable-gc"] + ["--quick"] * args.quick
        status = max(status, subprocess.run(command, cwd=HERE.parent, check=False).returncode)
    machine, results = report.load(args.output)
    report.write(machine, results, args.output)
    figure.draw(results, args.output / "performance.png")
    if args.docs:
        report.publish(args.output, HERE.parent / "docs")
    return status


if __name__ == "__main__":
    sys.exit(main())
