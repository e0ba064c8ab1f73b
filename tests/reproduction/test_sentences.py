"""Claims of the page's sentences: each has its evidence in the numbers that stand beside it."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from purenet.reproduction import page
from purenet.reproduction.findings import Findings
from purenet.reproduction.plan import FULL, QUICK, Plan
from purenet.reproduction.published import EXPERIMENTS
from purenet.reproduction.trainings import compare_seeds
from purenet.reproduction.work import describe_environment
from tests.reproduction.invented import World, invent
from tests.reproduction.pages import Page

TEMPLATE = Path(page.__file__).with_name("page.html.j2").read_text(encoding="utf-8")
FIGURES = re.findall(r'\("([a-z0-9-]+)", "[^"]*"\)', TEMPLATE)
DIVISOR = 128 / 469  # the mean batch loss that gives a printed loss, if the divisor explains it
ROUNDED = 0.5001  # percent: tables show ratios with two digits after the point
SHORT = replace(FULL, iterations=101)  # the full form with fewer invented iterations
PLANS = st.sampled_from(
    [QUICK, replace(QUICK, seeds=3, mini_seeds=3), replace(SHORT, mini_seeds=3), SHORT]
)
FACTORS = st.sampled_from([DIVISOR, 0.9 * DIVISOR, 0.5, 0.95, 1.0, 1.07, 1.2])
WORLDS = st.builds(
    World,
    seed=st.integers(0, 2**32 - 1),
    factors=st.tuples(FACTORS, FACTORS, FACTORS),
    spread=st.sampled_from([0.0, 0.01, 0.05, 0.3]),
    accuracy_spread=st.sampled_from([0.0, 0.001, 0.1]),
)


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Findings], Page]:
    """Return a function that writes the page of findings and reads it."""
    folder = tmp_path_factory.mktemp("figures")
    (folder / "empty.png").touch()
    environment = describe_environment()

    def write_and_read(findings: Findings) -> Page:
        pictures = dict.fromkeys(FIGURES, "empty.png")
        return Page(
            page.render(findings, pictures, folder, environment=environment, command="purenet")
        )

    return write_and_read


def numbers(cells: list[str]) -> list[float]:
    """Return the numbers in cells, without their units."""
    return [float(cell.split("\u202f")[0]) for cell in cells]


def off(ratios: list[float]) -> float:
    """Return the largest difference of ratios from 1, in percent."""
    return max(abs(100 * (ratio - 1)) for ratio in ratios)


def clear(percent: float) -> bool:
    """Return whether rounding does not decide if this is more or less than 10 %."""
    return abs(percent - 10) > ROUNDED


@given(plan=PLANS, world=WORLDS)
def test_bounds_hold_for_every_ratio_in_the_tables(
    write: Callable[[Findings], Page], plan: Plan, world: World
) -> None:
    """No loss is further from the printed one than the page says."""
    shown = write(invent(plan, world))
    plain = [numbers(row) for row in shown.rows_named("median / printed")]
    scaled = [numbers(row) for row in shown.rows_named("the same with sum / 128")]
    assert [len(row) for row in plain[:2] + scaled] == [10] * 4
    for number, (own, divided) in enumerate(zip(plain, scaled, strict=False), 1):
        said = re.search(
            rf"losses of experiment {number} (?:reproduce: all 10 are within ([\d.]+)|"
            r"do not reproduce\. They are up to ([\d.]+).*?all 10 are within ([\d.]+))",
            shown.text,
        )
        assert said
        for bound, ratios in zip(said.groups(), (own, own, divided), strict=True):
            if bound is not None:
                assert off(ratios) == pytest.approx(float(bound), abs=ROUNDED + 0.1)
        if clear(off(own)):
            assert (said[1] is not None) == (off(own) < 10)


@given(plan=PLANS, world=WORLDS)
def test_full_batch_reproduces_only_if_trained_losses_do(
    write: Callable[[Findings], Page], plan: Plan, world: World
) -> None:
    """The losses of experiment 3 reproduce where several are compared and all are near."""
    shown = write(invent(plan, world))
    ratios = numbers(shown.rows_named("median / printed")[2])
    assume(clear(off(ratios)))
    assert len(ratios) == (1 if plan.iterations <= 100 else 2)
    said = re.search(r"full batch, experiment 3, reproduce: (\d) of 5 .*? ([\d.]+)", shown.text)
    assert (said is not None) == (len(ratios) > 1 and off(ratios) < 10)
    if said:
        assert int(said[1]) == len(ratios)
        assert off(ratios) == pytest.approx(float(said[2]), abs=ROUNDED + 0.1)
    assert ("this run cannot tell: it ends after" in shown.text) == (
        len(ratios) == 1 and off(ratios) < 10
    )


@given(plan=PLANS, world=WORLDS)
def test_choices_fit_better_only_with_nine_of_ten_seeds(
    write: Callable[[Findings], Page], plan: Plan, world: World
) -> None:
    """A choice fits better, or worse, if the seeds in its row of the table say so."""
    shown = write(invent(plan, world))
    rows = [row for row in shown.rows if row[-1].startswith("with ") and row[0] in {"1", "2"}]
    assert len(rows) == 4
    for number, choice, *_, counts in rows:
        better, seeds = map(int, re.findall(r"\d+", counts))
        assert seeds == plan.mini_seeds
        claim = f"With {choice.strip()} the losses of experiment {number} fit "
        enough = seeds >= 3
        assert (claim + "better" in shown.text) == (enough and better >= 0.9 * seeds)
        assert (claim + "worse" in shown.text) <= (enough and better <= 0.1 * seeds)


@given(plan=PLANS, world=WORLDS)
def test_an_explanation_fits_better_only_with_nine_of_ten_seeds(
    write: Callable[[Findings], Page], plan: Plan, world: World
) -> None:
    """The sentence about divisor and subset follows the misfits of every seed."""
    findings = invent(plan, world)
    text = write(findings).text
    joint = findings.explanations.subset.joint

    def misfits(runs: Any, factor: float) -> Any:
        logs = [
            np.log(factor * np.array([run.losses for run in of_experiment]))
            - np.log([*e.losses.values()])
            for of_experiment, e in zip(runs, EXPERIMENTS, strict=False)
        ]
        return np.sqrt(sum(np.square(log).mean(axis=1) for log in logs))

    divisor = misfits([e.repeats.runs for e in findings.experiments[:2]], 469 / 128)
    subset = misfits([fit.repeats.runs for fit in joint], 1)
    better, worse, seeds = sum(divisor < subset), sum(divisor > subset), len(divisor)
    settings = len(plan.nums) * len(plan.rates)
    divisor_wins = f"The divisor fits better than the best of {settings} subsets of the images"
    assert (divisor_wins in text) == (seeds >= 3 and better >= 0.9 * seeds)
    assert ("fits better than the divisor" in text) == (seeds >= 3 and worse >= 0.9 * seeds)


@given(plan=PLANS, world=WORLDS)
def test_the_penalty_is_judged_by_trained_losses(
    write: Callable[[Findings], Page], plan: Plan, world: World
) -> None:
    """Whether the printed losses include the penalty follows from losses after training."""
    findings = invent(plan, world)
    text, third = write(findings).text, findings.experiments[2]
    misfits = [
        [
            sum(
                np.log((run.losses[k] - without * run.penalties[k]) / third.report.losses[k]) ** 2
                for k in third.ratios
            )
            for run in third.repeats.runs
        ]
        for without in (0, 1)
    ]
    verdict = compare_seeds(*misfits).verdict if plan.iterations > 100 else "unknown"
    assert ("seem to include it" in text) == (verdict == "better")
    assert ("seem not to include it" in text) == (verdict == "worse")


@given(world=WORLDS)
def test_one_seed_allows_no_verdict(write: Callable[[Findings], Page], world: World) -> None:
    """The quick form, with one seed, concludes nothing and says so for every question."""
    text = write(invent(QUICK, world)).text
    verdicts = (
        r"experiment 3, reproduce:|fits? (better|worse) than (in|the)|seems? (not )?to |"
        r"Momentum (helped|did not)"
    )
    assert re.search(verdicts, text) is None
    for unknown in (
        "One seed cannot tell whether the divisor or the best of 2 subsets of the images fits",
        "One seed cannot tell which choice fits better.",
        "it cannot tell whether the printed losses include the penalty",
        "this run does not answer the question",
        "One seed cannot tell whether momentum helps.",
        "One seed cannot tell whether they are test accuracies.",
    ):
        assert unknown in text


def test_printed_losses_reproduce_themselves(write: Callable[[Findings], Page]) -> None:
    """Where all losses are the printed ones, the full form says so, and the quick form cannot."""
    full, quick = write(invent(FULL, World())).text, write(invent(QUICK, World())).text
    assert "experiment 3, reproduce: 5 of 5 are compared, and they are within 0.0" in full
    assert "losses of experiment 1 reproduce: all 10 are within 0.0" in quick
    assert "Only iteration 0 is compared, which comes before any training." in quick


@pytest.mark.parametrize("plan", [QUICK, SHORT], ids=["quick", "full"])
def test_choices_are_compared_over_equal_epochs_and_seeds(plan: Plan) -> None:
    """The other choice of an ambiguity runs as long and as often as the choice of section 2."""
    findings = invent(plan, World())
    assert [v.number for v in findings.variants] == [1, 1, 2, 1]
    for v in findings.variants:
        own = findings.experiments[v.number - 1].repeats.runs
        assert [len(run.losses) for run in v.repeats.runs] == [len(run.losses) for run in own]
        assert len(own) == plan.mini_seeds


@pytest.mark.parametrize(
    ("better", "worse", "verdict"),
    [
        (10, 0, "better"),
        (9, 1, "better"),
        (8, 2, "unknown"),
        (0, 10, "worse"),
        (3, 0, "better"),
        (2, 1, "unknown"),
        (2, 0, "unknown"),
        (0, 1, "unknown"),
    ],
)
def test_a_verdict_needs_nine_of_ten_seeds(better: int, worse: int, verdict: str) -> None:
    """At least three seeds give a verdict, if at most one in ten is against it."""
    pairs = [(0.1, 0.2)] * better + [(0.2, 0.1)] * worse
    counts = compare_seeds(*zip(*pairs, strict=True))
    assert (counts.better, counts.worse, counts.seeds) == (better, worse, better + worse)
    assert counts.verdict == verdict


def test_equal_errors_are_for_neither() -> None:
    """A seed with equal errors counts as neither better nor worse."""
    counts = compare_seeds([0.1, 0.1, 0.1], [0.1, 0.1, 0.1])
    assert (counts.better, counts.worse, counts.verdict) == (0, 0, "unknown")
