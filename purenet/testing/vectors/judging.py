"""Judge results by the vectors, and show which flag catches which mistake."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purenet.testing.operations.checks import worst_share
from purenet.testing.operations.double_double import Double
from purenet.testing.operations.precision import FORMATS
from purenet.testing.vectors.mutants import MUTANTS
from purenet.testing.vectors.results import PRECISIONS

__all__ = ["CaseFailure", "VectorReport", "flag_table", "judge"]


@dataclass(frozen=True)
class CaseFailure:
    """Hold a case that failed.

    Parameters
    ----------
    case : str
        Its name.
    message : str
        What was seen.
    notes : list of str
        What a failure of its flags usually means.
    """

    case: str
    message: str
    notes: list[str]


@dataclass(frozen=True)
class OperationVerdict:
    """Hold the findings of an operation.

    Parameters
    ----------
    operation : str
        Its name.
    cases : int
        The number of its cases that were judged.
    worst_share : float
        The largest error as a share of its bound; above 1 it is wrong.
    where : str
        The element and the case with this share.
    failures : list of CaseFailure
        The cases that failed.
    """

    operation: str
    cases: int
    worst_share: float
    where: str
    failures: list[CaseFailure]


@dataclass(frozen=True)
class VectorReport:
    """Hold the findings of `judge`. `str` gives a summary.

    Parameters
    ----------
    program : str
        The name that the results give.
    precision : str
        The precision that the results name.
    operations : list of OperationVerdict
        The findings of each operation with results.
    """

    program: str
    precision: str
    operations: list[OperationVerdict]

    @property
    def ok(self) -> bool:
        """Tell whether no case failed."""
        return not any(operation.failures for operation in self.operations)

    def to_json(self) -> str:
        """Return the report as a JSON object."""
        numbers = json.loads(json.dumps({"ok": self.ok, **asdict(self)}), parse_constant=str)
        return json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False)

    def __str__(self) -> str:
        lines = []
        for found in self.operations:
            answer = "WRONG" if found.failures else "ok"
            lines += [f"{found.operation} {answer}: {found.cases} cases in {self.program}"]
            for failure in found.failures:
                lines += [f"case failed: {failure.case}", f"  {failure.message}"]
                lines += [f"  {note}" for note in failure.notes]
            lines += [f"worst error {found.worst_share:.3g} of its bound ({found.where})"]
        return "\n".join([*lines, f"precision {self.precision}"])


def judge(results: Any, cases: Sequence[dict[str, Any]]) -> VectorReport:
    """Compare results with the exact ones, each element within its bound.

    Parameters
    ----------
    results : dict
        ``program``, a name; ``precision``, one of float64, float32 and bfloat16; and ``results``,
        for each case a dict of its outputs by their names, flat or nested lists of numbers, in
        which None, ``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` stand for what JSON lacks.
    cases : sequence of dict
        What `purenet.testing.vectors.load` returned.

    Returns
    -------
    VectorReport
        The findings. A case of an operation that has results counts as failed if it has none.

    Raises
    ------
    ValueError
        Results of another form, or of no known case.
    """
    if not isinstance(results, dict) or not isinstance(results.get("results"), dict):
        raise ValueError('expected an object with "program", "precision" and "results"')
    precision, given = results.get("precision"), results["results"]
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if unknown := given.keys() - {case["name"] for case in cases}:
        raise ValueError(f"there is no case named {min(unknown)!r}")
    verdicts = []
    for operation in dict.fromkeys(case["operation"] for case in cases):
        own = [
            case
            for case in cases
            if case["operation"] == operation
            and all(f"error.{precision}" in parts for parts in case["outputs"].values())
        ]
        if any(case["name"] in given for case in own):
            verdicts.append(_judge_operation(operation, own, given, precision))
    if not verdicts:
        raise ValueError(f"the results have no case with a bound for {precision}")
    return VectorReport(str(results.get("program", "a program")), precision, verdicts)


def _judge_operation(
    operation: str, cases: Sequence[dict[str, Any]], given: dict[str, Any], precision: str
) -> OperationVerdict:
    worst, where, failures = 0.0, "no element", []
    for case in cases:
        try:
            share, element = _worst_of_case(case, given.get(case["name"]), precision)
            if share > worst:
                worst, where = share, f"{element}, {case['name']}"
        except ValueError as problem:
            notes = [f"{flag}: {case['notes'][flag]}" for flag in case["flags"]]
            failures.append(CaseFailure(case["name"], str(problem), notes))
    return OperationVerdict(operation, len(cases), worst, where, failures)


def _worst_of_case(case: dict[str, Any], outputs: Any, precision: str) -> tuple[float, str]:
    """Return the largest share of a bound, and the element that has it, or raise ValueError."""
    worst, element = 0.0, "no element"
    if not isinstance(outputs, dict):
        raise ValueError("it has no results")
    for name, parts in case["outputs"].items():
        high, error = parts["high"], parts[f"error.{precision}"]
        got = _as_array(name, outputs.get(name), high.shape)
        missing = np.isnan(high)
        if (np.isnan(got) != missing).any():
            index = _index(np.isnan(got) != missing)
            expected = "NaN" if missing[index] else f"{high[index]:.9g}"
            raise ValueError(f"{_label(name, index)} is {got[index]:.9g}, expected {expected}")
        exact = Double(np.where(missing, 0, high), np.where(missing, 0, parts["low"]))
        share, index = worst_share(np.where(missing, 0, got), exact, error, FORMATS[precision])
        if share > 1:
            raise ValueError(
                f"{_label(name, index)} is {got[index]:.9g}, exact {high[index]:.17g}: off by "
                f"{abs(got[index] - high[index]):.3g} where rounding explains {error[index]:.3g}"
            )
        if share >= worst:
            worst, element = share, _label(name, index)
    return worst, element


def _as_array(name: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a result of a program as an array."""
    try:
        flat = np.asarray(value, object).ravel()
        numbers = [np.nan if number is None else float(number) for number in flat]
        return np.array(numbers, float).reshape(shape)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold numbers of shape {list(shape)}") from None


def _index(found: NDArray[np.bool]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(found.argmax()), found.shape))


def _label(name: str, index: tuple[int, ...]) -> str:
    return name + (str(list(index)) if index else "")


def flag_table(cases: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str, str, set[str]]]:
    """Try the mutant of each flag on all cases of its operation, in float32.

    Parameters
    ----------
    cases : sequence of dict
        What `purenet.testing.vectors.load` returned.

    Yields
    ------
    flag, operation, description : str
        The flag and its mutant.
    caught : set of str
        The flags whose cases the mutant fails, with ``"ordinary"`` for cases without a flag.
    """
    for flag, mutant in MUTANTS.items():
        caught: set[str] = set()
        for case in cases:
            if case["operation"] != mutant.operation:
                continue
            inputs = {name: _narrow(value) for name, value in case["inputs"].items()}
            with np.errstate(all="ignore"):
                results = mutant.function(inputs)
            try:
                _worst_of_case(case, results, "float32")
            except ValueError:
                caught |= set(case["flags"] or ["ordinary"])
        yield flag, mutant.operation, mutant.description, caught


def _narrow(value: NDArray[Any]) -> Any:
    """Return an input in float32: arrays as arrays, and scalars as numbers of Python."""
    if not value.shape:
        return value.item()
    return value.astype(np.float32) if value.dtype.kind == "f" else value
