"""Judge results by the vectors, and show which flag catches which mistake."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purenet.testing.operations.checks import worst_share
from purenet.testing.operations.double_double import Double
from purenet.testing.operations.precision import FORMATS
from purenet.testing.vectors.mutants import MUTANTS
from purenet.testing.vectors.results import PRECISIONS, cast

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
    not_judged : list of str
        The operations without results.
    """

    program: str
    precision: str
    operations: list[OperationVerdict]
    not_judged: list[str]

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
        if self.not_judged:
            lines += [f"not judged, as there are no results: {', '.join(self.not_judged)}"]
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
    verdicts, not_judged = [], []
    for operation in dict.fromkeys(case["operation"] for case in cases):
        own = [
            case
            for case in cases
            if case["operation"] == operation
            and all(f"error.{precision}" in parts for parts in case["outputs"].values())
        ]
        if any(case["name"] in given for case in own):
            verdicts.append(_judge_operation(operation, own, given, precision))
        else:
            not_judged.append(operation)
    if not verdicts:
        raise ValueError(f"the results have no case with a bound for {precision}")
    program = str(results.get("program", "a program"))
    return VectorReport(program, precision, verdicts, not_judged)


def _judge_operation(
    operation: str, cases: Sequence[dict[str, Any]], given: dict[str, Any], precision: str
) -> OperationVerdict:
    worst, where, failures = 0.0, "no element", []
    for case in cases:
        share, element, problem = _judge_case(case, given.get(case["name"]), precision)
        if share > worst:
            worst, where = share, f"{element}, {case['name']}"
        if problem:
            notes = [f"{flag}: {case['notes'][flag]}" for flag in case["flags"]]
            failures.append(CaseFailure(case["name"], problem, notes))
    return OperationVerdict(operation, len(cases), worst, where, failures)


def _judge_case(case: dict[str, Any], outputs: Any, precision: str) -> tuple[float, str, str]:
    """Return the largest share of a bound, the element that has it, and what is wrong, or ""."""
    worst, element, problem = 0.0, "no element", ""
    if not isinstance(outputs, dict):
        return worst, element, "it has no results"
    if unknown := outputs.keys() - case["outputs"].keys():
        return worst, element, f"it has no result named {min(unknown)!r}"
    for name, parts in case["outputs"].items():
        high, error = parts["high"], parts[f"error.{precision}"]
        got = _as_array(outputs.get(name), high.shape)
        if got is None:
            return worst, element, f"{name} must hold numbers of shape {list(high.shape)}"
        missing = np.isnan(high)
        if (np.isnan(got) != missing).any():
            index = _index(np.isnan(got) != missing)
            expected = "NaN" if missing[index] else f"{high[index]:.9g}"
            return worst, element, f"{_label(name, index)} is {got[index]:.9g}, expected {expected}"
        exact = Double(np.where(missing, 0, high), np.where(missing, 0, parts["low"]))
        share, index = worst_share(np.where(missing, 0, got), exact, error, FORMATS[precision])
        if share > worst:
            worst, element = share, _label(name, index)
        if share > 1 and not problem:
            problem = (
                f"{_label(name, index)} is {got[index]:.9g}, exact {high[index]:.17g}: off by "
                f"{abs(got[index] - high[index]):.3g} where rounding explains {error[index]:.3g}"
            )
    return worst, element, problem


def _as_array(value: Any, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Return a result of a program as an array, or None. Lists may be flat."""
    words = {None: math.nan, "NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    try:
        array = np.asarray(value, object)
        if array.shape not in (shape, (math.prod(shape),)):
            return None
        numbers = [
            float(number) if type(number) in (int, float) else words[number]
            for number in array.ravel()
        ]
    except (TypeError, ValueError, KeyError, OverflowError):
        return None
    return np.array(numbers, float).reshape(shape)


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
            with np.errstate(all="ignore"):
                results = mutant.function(cast(case["inputs"], "float32"))
            listed = {name: np.asarray(array, float).tolist() for name, array in results.items()}
            if _judge_case(case, listed, "float32")[2]:
                caught |= set(case["flags"] or ["ordinary"])
        yield flag, mutant.operation, mutant.description, caught
