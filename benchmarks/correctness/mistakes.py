"""Write docs/learn/mistakes.md: what each wrong program reaches on MNIST, and what catches it.

    python -m benchmarks.correctness.mistakes

Each program trains ten epochs from three seeds, which takes about half an hour on two cores. What
has been measured is kept in ``benchmarks/results/mistakes.json``, as long as the right program, the
settings and NumPy stay the same.
"""

import json
import re
import subprocess
import textwrap
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import purenet
from benchmarks.report import table
from purenet.files.writing import write
from purenet.params import fingerprint
from purenet.testing import mutants
from purenet.testing.conformance import MATHEMATICS, PURITY, examples_until_caught, survey
from purenet.testing.mutants import MUTANTS, Mutant, changed

SEEDS = (0, 1, 2)
SIZES = [784, 200, 50, 10]
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "learn" / "mistakes.md"
RESULTS = ROOT / "benchmarks" / "results" / "mistakes.json"
MEASURED = [mutants.SOURCE, repr(purenet.Config()), SIZES, np.__version__]  # what results hold for
HIDDEN, GOOD = 0.1, 97.0  # points below the right program; per cent of test images


class Reached(NamedTuple):
    """Hold what a program reaches.

    Parameters
    ----------
    accuracy : float
        Per cent of the test images that are read rightly. NaN if the program stopped.
    loss : float
        The mean training loss of the last epoch.
    bits : str
        A hash of the parameters.
    error : str
        The error that stopped the program.
    """

    accuracy: float
    loss: float = float("nan")
    bits: str = ""
    error: str = ""


@cache
def mnist() -> Any:
    """Return the training data and the test data."""
    return purenet.datasets.mnist()


def run(right: str, wrong: str, seed: int) -> Reached:
    """Train a changed program on MNIST."""
    program, cfg = changed(right, wrong), purenet.Config(seed=seed)
    data, (x, y) = mnist()
    try:
        with threadpool_limits(1), np.errstate(all="ignore"):
            params, _, history = program["train"](program["init"](SIZES, seed=seed), data, cfg)
            predicted = program["forward"](params, program["scaled"](x, cfg)).argmax(axis=1)
    except Exception as error:  # whatever a learner would see
        return Reached(float("nan"), error=f"{type(error).__name__}: {error}")
    accuracy = 100 * float((predicted == y).mean())
    return Reached(accuracy, history[-1]["loss"], fingerprint(*params.values()))


def measure(changes: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[Reached]]:
    """Return what programs reach from each seed; train those that have not been measured."""
    changes = dict.fromkeys(changes)
    keys = [(*change, seed) for seed in SEEDS for change in changes]
    known: dict[Any, Reached] = {}
    if RESULTS.exists():
        measured, kept = json.loads(RESULTS.read_text("utf-8"))
        known = {tuple(key): Reached(*values) for key, values in kept if measured == MEASURED}
    RESULTS.parent.mkdir(exist_ok=True)
    pool = ProcessPoolExecutor()
    futures = {key: pool.submit(run, *key) for key in keys if key not in known}
    try:
        for key, future in tqdm(futures.items(), disable=not futures):
            known[key] = future.result()
            write(RESULTS, json.dumps([MEASURED, list(known.items())]).encode())
    finally:
        pool.shutdown(cancel_futures=True)
    return {change: [known[*change, seed] for seed in SEEDS] for change in changes}


class Entry(NamedTuple):
    """Hold what the page says about a mutant."""

    mutant: Mutant
    runs: list[Reached]
    same: bool
    examples: int

    @property
    def error(self) -> str:
        """The error that stopped the program, from one of the seeds."""
        return next((one.error for one in self.runs if one.error), "")

    @property
    def accuracy(self) -> float:
        """The mean of the seeds."""
        return fmean(one.accuracy for one in self.runs)

    @property
    def cells(self) -> tuple[str, str]:
        """The accuracy, with its range if the seeds differ by more than a point, and the loss."""
        if self.error:
            return "stops", "stops"
        accuracies = [one.accuracy for one in self.runs]
        low, high = min(accuracies), max(accuracies)
        apart = f" ({low:.0f} to {high:.0f})" if high - low > 1 else ""
        loss = fmean(one.loss for one in self.runs)
        return f"{self.accuracy:.2f} %{apart}", f"{loss:.4f}" if loss < 100 else f"{loss:.2g}"


def entry(mutant: Mutant, runs: list[Reached], right: list[Reached]) -> Entry:
    """Sum up what a mutant reaches, and after how many examples it is caught."""
    same = [one.bits for one in runs] == [one.bits for one in right]
    count = examples_until_caught(mutant.implementation, mutant.caught_by, max_examples=200)
    if count is None:
        raise ValueError(f"{mutant.caught_by} does not catch {mutant.mistake!r}")
    return Entry(mutant, runs, same, count)


def diff(mutant: Mutant) -> str:
    """Return the lines of the right program, marked -, and those of the wrong one, marked +."""
    first = mutants.SOURCE.index(mutant.right)
    start = mutants.SOURCE.rindex("\n", 0, first) + 1
    end = mutants.SOURCE.index("\n", first + len(mutant.right))
    right = mutants.SOURCE[start:end]
    marked = {"-": right, "+": right.replace(mutant.right, mutant.wrong)}
    return "\n".join(
        f"{mark} {line}"
        for mark, text in marked.items()
        for line in textwrap.dedent(text).splitlines()
        if line.strip()
    )


def title(number: int, one: Entry) -> str:
    """Return the heading of a mutant."""
    return f"{number}. {one.mutant.mistake} ({one.mutant.function})"


def link(heading: str) -> str:
    """Return the anchor of a heading."""
    return "#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def section(heading: str, one: Entry) -> str:
    """Return what the page says about a mutant."""
    (finding,) = survey(
        one.mutant.implementation, laws=[one.mutant.caught_by], max_examples=200
    ).findings
    accuracy, loss = one.cells
    seen = f"The program stops: `{one.error}`." if one.error else f"{accuracy}, loss {loss}."
    if one.same:
        seen += " The network has the same bits as the right one."
    return f"""### {heading}

```diff
{diff(one.mutant)}
```

{seen} `{one.mutant.caught_by}` catches it at example {one.examples}. The
smallest counterexample:

```python
{finding.call}
```

```text
{finding.message}
```
"""


GROUPS = (
    (
        "Mistakes that the accuracy does not show",
        "Some show in the loss, if you know what it should be.",
    ),
    ("Mistakes that still read 97 %", "These programs are worse, and still look like a success."),
    ("Mistakes that show", "These stay below 97 %, as a mean of the seeds, or stop with an error."),
)


def group(one: Entry, right: float) -> int:
    """Return the number of the group of a mutant. A program that stops is in the last."""
    limits = (right - HIDDEN, GOOD)
    return next((k for k, least in enumerate(limits) if one.accuracy >= least), len(limits))


def page() -> str:
    """Return the page in Markdown."""
    itself = ("2 / fan_in", "2 / fan_in")  # the right program, as any fragment in its own place
    reached = measure([itself, *((m.right, m.wrong) for m in MUTANTS)])
    right = reached[itself]
    best = fmean(one.accuracy for one in right)
    entries = [entry(m, reached[m.right, m.wrong], right) for m in MUTANTS]

    def visible(one: Entry) -> tuple[float, int]:
        return 100 if one.error else max(best - HIDDEN - one.accuracy, 0), -one.examples

    entries.sort(key=visible)
    headings = [title(k, one) for k, one in enumerate(entries, 1)]
    rows = [
        (f"[{heading}]({link(heading)})", *one.cells, str(one.examples))
        for heading, one in zip(headings, entries, strict=True)
    ]
    hidden = sum(group(one, best) == 0 for one in entries)
    spread, loss = stdev(one.accuracy for one in right), fmean(one.loss for one in right)
    same, early = sum(e.same for e in entries), sum(e.examples <= 10 for e in entries)
    default = {*MATHEMATICS, *PURITY}
    other = sum(m.caught_by not in default for m in MUTANTS)
    text = f"""# {len(MUTANTS)} ways to get backpropagation wrong

Made by `python -m benchmarks.correctness.mistakes`.

Each program on this page is [purenet in plain NumPy](#the-right-program) with one mistake, in
`backward` or in what stands around it: `init`, `forward`, `loss`, the step, the training. Other
functions that call the wrong one are then wrong too. Each program was trained as the right one
was: a network of 784-200-50-10 units, ten epochs of MNIST, purenet's default settings, {len(SEEDS)}
seeds. The right program reads {best:.2f} % of the test digits (± {spread:.2f} between seeds), and
its training loss is {loss:.4f}.

**{sum(e.accuracy >= GOOD for e in entries)} of the {len(MUTANTS)} wrong programs reach 97 % all the
same, and {hidden} of them are at most {HIDDEN} points below the right one.** {same} even train the
same network, bit for bit, because their mistake shows elsewhere or on other data. A high accuracy
therefore says little about a program.

Laws tell right from wrong: each mistake breaks one of the
[laws of `purenet.testing`](../correctness.md#promises). A law is tried on one example after another
until it fails. An example is a small random network with a batch, and the examples have what
programs stumble over: odd and square shapes, units at their kink, huge and tiny numbers.
{early} mistakes are caught within the first ten examples. {other} mistakes break laws about
errors and about the form of results, which `survey` tries only where it is
[asked to](../check/network.md).

The table begins with what hides best. The first {hidden} programs are at most {HIDDEN} points below
the right one, about as much as [a seed makes](../train/first-run.md#what-it-reaches); they are in
the order of the examples that it takes to catch them. All others are in the order of their
accuracy. The loss is what the program itself reports for its last epoch.

{table(("mistake", "test accuracy", "loss", "caught at example"), rows)}
"""
    sections = zip(headings, entries, strict=True)
    for number, part in groupby(sections, key=lambda named: group(named[1], best)):
        name, sentence = GROUPS[number]
        text += f"## {name}\n\n{sentence}\n\n"
        text += "\n".join(section(heading, one) for heading, one in part) + "\n"
    return f"{text}## The right program\n\n```python\n{mutants.SOURCE}```\n"


def main() -> None:
    """Write the page."""
    with np.errstate(all="ignore"):
        write(PAGE, page().encode())
    subprocess.run(["ruff", "format", "-q", PAGE], check=True)


if __name__ == "__main__":
    main()
