"""Measure design decisions beside their alternatives, and print the tables of docs/design.md.

python -m benchmarks.decisions            # all of them
python -m benchmarks.decisions rows kink  # some
"""

import argparse
import importlib
from pathlib import Path
from typing import Any

from benchmarks.report import put_between

DOCS = Path(__file__).parents[2] / "docs"
MINUTES = {"dictionary": 1, "start": 3, "clipping": 1, "kink": 2, "momentum": 4, "rows": 1}


def publish(name: str, tables: str) -> None:
    """Put the tables of a decision between its marks in docs/design.md."""
    put_between(DOCS / "design.md", f"<!-- {name} -->", tables, f"<!-- end of {name} -->")


def main() -> None:
    """Measure the decisions that are named, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decisions",
        description="Measure design decisions beside their alternatives.",
        epilog="Minutes on two cores: " + ", ".join(f"{n} {m}" for n, m in MINUTES.items()),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(MINUTES)} [all]")
    parser.add_argument("--docs", action="store_true", help="also bring docs/design.md up to date")
    args = parser.parse_args()
    if unknown := set(args.names) - set(MINUTES):
        parser.error(f"no decision {', '.join(sorted(unknown))}: there are {', '.join(MINUTES)}")
    for name in args.names or MINUTES:
        decision: Any = importlib.import_module(f"benchmarks.decisions.{name}")
        tables = decision.tables()
        print(f"## {name}\n\n{tables}", flush=True)
        if args.docs:
            publish(name, tables)
            if hasattr(decision, "draw"):
                decision.draw(DOCS / "figures" / "design")


if __name__ == "__main__":
    main()
