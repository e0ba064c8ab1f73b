"""Claims about the figures that the benchmarks compute from their timings."""

import numpy as np
import pytest

from benchmarks.report import exponent, table


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
