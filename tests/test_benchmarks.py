"""Claims about the figures that the benchmarks compute from their timings."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import figure, report
from benchmarks.correctness import mistakes
from benchmarks.decisions import __main__ as decisions
from benchmarks.decisions import clipping, kink
from benchmarks.report import exponent, table
from purenet import backward
from purenet.testing.gradients import check_gradients
from purenet.testing.mutants import MUTANTS
from tests.support.problems import problem

PAIR = {"train": {"ratio": 1.0}, "train_numpy": {"ratio": 2.0}}
FIGURES = {"seconds": 1.0, "ratio IQR": 0.0, "peak bytes": 1e6}
RESULTS: report.Results = {  # of three sections
    "mini-batch": [{"contestants": {name: FIGURES | ratio for name, ratio in PAIR.items()}}],
    "step": [
        {"test": "test_epoch", "batch_size": size, "dtype": "float32", "seconds": 1.0}
        | {"examples": 60, "updates": 60 // size}
        for size in (1, 2)
    ],
    "scaling": [
        {"case": f"width {width}", "seconds": width / 1e3, "parameters": width**2}
        for width in (1, 2)
    ],
}


@pytest.mark.parametrize("k", [0.5, 1.0, 2.0])
def test_fitted_exponent_is_that_of_a_power_law(k: float) -> None:
    """The exponent fitted to 7 xᵏ is k, up to the rounding of logarithms that are below 10."""
    x = np.array([1.0, 10.0, 300.0, 5000.0])
    assert exponent(x, 7 * x**k) == pytest.approx(k, abs=100 * np.finfo(float).eps)


def test_table_has_a_line_for_each_row_below_its_header() -> None:
    """A table in Markdown has equally many columns in each line."""
    assert table(["a", "b"], [["1", "2"], ["3", "4"]]).splitlines() == [
        "| a | b |",
        "| --- | --: |",
        "| 1 | 2 |",
        "| 3 | 4 |",
    ]


def test_figures_are_those_of_the_sections_with_results(tmp_path: Path) -> None:
    """Each section that was run has its figure beside its table, with its command."""
    drawn = figure.draw(RESULTS, tmp_path / report.FOLDER)
    assert drawn == ["peers", "batch-sizes", "sizes"]
    assert {path.stem for path in (tmp_path / report.FOLDER).iterdir()} == {*drawn}
    report.write({}, RESULTS, tmp_path, drawn)
    text = (tmp_path / "table.md").read_text()
    assert [text.count(f"]({report.FOLDER}/{name}.svg)") for name in figure.PANELS] == [1, 1, 0, 1]
    assert "`python -m benchmarks scaling --docs`*\n\n| what grows |" in text
    assert figure.PANELS.keys() == report.FIGURES.keys()


def test_page_gets_tables_and_figures_and_keeps_its_text(tmp_path: Path) -> None:
    """What stands between the marks is replaced, and the figures lie where the page has them."""
    output, docs = tmp_path / "results", tmp_path / "docs"
    docs.mkdir()
    page = docs / "performance.md"
    page.write_text(f"before {report.BEGIN} old {report.END} after")
    drawn = figure.draw(RESULTS, output / report.FOLDER)
    report.write({}, RESULTS, output, drawn)
    report.publish(output, docs)
    before, measured, after = re.split("<!--.*?-->", page.read_text())
    assert (before, after) == ("before ", " after")
    assert measured.strip() == (output / "table.md").read_text().strip()
    files = re.findall(r"\]\((.*?)\)", measured)
    assert len(files) == len(drawn)
    for file in files:
        assert (docs / file).read_text().count("</svg>") == 1


def test_a_mistake_is_shown_as_lines_of_the_program() -> None:
    """The page shows whole lines, removed and added, also where two lines or none take part."""
    diffs = {mutant.mistake: mistakes.diff(mutant) for mutant in MUTANTS}
    assert diffs["the seed ignored"] == (
        "- rng = np.random.default_rng(seed)\n+ rng = np.random.default_rng(0)"
    )
    assert diffs["no maximum subtracted"] == "- z = z - z.max(axis=1, keepdims=True)"
    assert diffs["dictionaries paired by position"].splitlines()[:2] == [
        "- for name, p in params.items():",
        "-     v, g = velocity[name], grads[name]",
    ]
    assert diffs["dictionaries paired by position"].count("+ for (name, p), v, g in zip(") == 1


def test_each_decision_has_its_place_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables replace those between its marks, and nothing else changes."""
    page = (decisions.DOCS / "design.md").read_text(encoding="utf-8")
    monkeypatch.setattr(decisions, "DOCS", tmp_path)
    for name in decisions.MINUTES:
        (tmp_path / "design.md").write_text(page, encoding="utf-8")
        decisions.publish(name, "| new |\n")
        before, _, after = re.split(rf"<!-- (?:end of )?{name} -->", page)
        new = f"{before}<!-- {name} -->\n\n| new |\n\n<!-- end of {name} -->{after}"
        assert (tmp_path / "design.md").read_text(encoding="utf-8") == new


def test_a_unit_at_its_kink_has_the_slope_that_is_measured() -> None:
    """With 0 the gradient is purenet's; it changes with the slope, in proportion to it."""
    params, x, y = problem(4, 5, 3)
    params["W1"][:, 2] = params["b1"][2] = 0  # for seven examples
    (g0, zeros), (g_half, _), (g1, _) = (
        kink.gradient(params, x, y, 0.1, at_zero) for at_zero in (0.0, 0.5, 1.0)
    )
    assert zeros == len(x)
    assert np.abs(g1["b1"] - g0["b1"]).argmax() == 2
    for name, g in backward(params, x, y, l2=0.1)[1].items():
        tolerance = 100 * np.finfo(float).eps  # sums of seven examples, of numbers below 10
        np.testing.assert_allclose(g0[name], g, rtol=0, atol=tolerance)
        np.testing.assert_allclose(g_half[name], (g0[name] + g1[name]) / 2, rtol=0, atol=tolerance)


def test_gradient_of_the_clipped_loss_is_its_derivative() -> None:
    """Finite differences of the clipped loss agree with it, and not with purenet's gradient."""
    params, x, y = problem(4, 5, 3)
    params["b2"][:2] = 40  # examples of the third class lie below the clip
    assert 0 < (y == 2).sum() < len(y)

    def clipped_loss(params: Any) -> Any:
        log_p = np.maximum(clipping.log_of_label(params, x, y), np.log(clipping.CLIP))
        return -log_p.mean() + 0.05 * sum((params[name] ** 2).sum() for name in ("W1", "W2"))

    grads = clipping.clipped_gradient(params, x, y, 0.1)
    assert check_gradients(clipped_loss, grads, params).ok
    assert not check_gradients(clipped_loss, backward(params, x, y, l2=0.1)[1], params).ok
