"""Score somebody's own checker: which mistakes it catches, and what right code it refuses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from purenet.testing.operations.precision import Precision
from purenet.testing.operations.variants import RIGHT, WRONG

__all__ = ["Case", "Score", "score"]


class Case(NamedTuple):
    """Hold a function that a checker is tried on.

    Parameters
    ----------
    name : str
        What it claims to be: ``"backward"``, ``"linear"`` and so on.
    description : str
        The mistake; or, of a right function, how it computes.
    function : callable
        The function.
    """

    name: str
    description: str
    function: Callable[..., Any]


@dataclass(frozen=True)
class Score:
    """Hold how a checker did. `str` lists what it missed and what it refused.

    Parameters
    ----------
    caught, missed : tuple of Case
        Wrong functions that it raised on, or did not.
    accepted, refused : tuple of Case
        Right functions that it did not raise on, or did.
    """

    caught: tuple[Case, ...]
    missed: tuple[Case, ...]
    accepted: tuple[Case, ...]
    refused: tuple[Case, ...]

    def __str__(self) -> str:
        wrong, right = len(self.caught + self.missed), len(self.accepted + self.refused)
        caught = f"{len(self.caught)} of {wrong} wrong functions caught"
        lines = [f"{caught}, {len(self.accepted)} of {right} right ones accepted"]
        for title, cases in (("missed", self.missed), ("refused, though right", self.refused)):
            lines += [f"{title}: {case.name}, {case.description}" for case in cases]
        return "\n".join(lines)


def score(
    check: Callable[[str, Callable[..., Any]], object], functions: Sequence[str] | None = None
) -> Score:
    """Run a checker on wrong functions and on right ones.

    Parameters
    ----------
    check : callable
        ``check(name, function)`` raises if the function is not a right `name`: one of the functions
        of purenet (``"forward"``, ``"backward"`` and so on) or of its operations (``"linear"`` and
        so on). It raises NotImplementedError for a name that it does not check.
    functions : sequence of str, optional
        The names to try. Default: all.

    Returns
    -------
    Score
        What it caught and missed, accepted and refused.

    Raises
    ------
    ValueError
        A name that is not in the catalogue.

    Examples
    --------
    >>> import numpy as np
    >>> def check(name, momentum_step):
    ...     w = {"w": np.ones(1)}
    ...     p, _ = momentum_step(w, w, w, learning_rate=0.5, momentum=0.5)
    ...     assert p["w"] == 0.5
    >>> print(score(check, ["momentum_step"]).missed[0].description)
    β and 1 - β exchanged
    """
    if not callable(check):
        raise ValueError(f"check must be a function, got {check!r}")
    if isinstance(functions, str) or (functions is not None and not functions):
        raise ValueError(f"functions must be a list of names, got {functions!r}")
    wrong, right = _wrong(), _right()
    known = list(dict.fromkeys(case.name for case in wrong))
    for name in functions or ():
        if name not in known:
            raise ValueError(f"functions must be among {', '.join(known)}, got {name!r}")
    chosen = set(functions or known)
    verdicts: dict[tuple[bool, bool], list[Case]] = {
        (is_right, raised): [] for is_right in (False, True) for raised in (False, True)
    }
    for is_right, cases in ((False, wrong), (True, right)):
        for case in cases:
            if case.name not in chosen:
                continue
            try:
                check(case.name, case.function)
            except NotImplementedError:
                continue
            except Exception:  # however it raises
                verdicts[is_right, True].append(case)
            else:
                verdicts[is_right, False].append(case)
    return Score(
        caught=tuple(verdicts[False, True]),
        missed=tuple(verdicts[False, False]),
        accepted=tuple(verdicts[True, False]),
        refused=tuple(verdicts[True, True]),
    )


def _wrong() -> list[Case]:
    """Return the wrong functions."""
    from purenet.testing.mutants import MUTANTS  # noqa: PLC0415  # it takes Hypothesis to import

    networks = [
        Case(name, mutant.mistake, f)
        for mutant in MUTANTS
        for name, f in mutant.implementation.given.items()
    ]
    return networks + [Case(_name(v.operation), v.description, v.function) for v in WRONG]


def _right() -> list[Case]:
    """Return the right functions: purenet's, those of the textbook, and variants."""
    from purenet.testing.conformance import Implementation  # noqa: PLC0415  # as above
    from purenet.testing.mutants import TEXTBOOK  # noqa: PLC0415

    cases = []
    for title, implementation in (
        ("purenet's own", Implementation().with_purenet()),
        ("the textbook's", TEXTBOOK),
    ):
        cases += [Case(name, title, f) for name, f in implementation.given.items()]
    return cases + [
        Case(_name(v.operation), v.description, v.function)
        for v in RIGHT
        if v.precision == Precision("float32")  # one for a narrower format is wrong here
    ]


def _name(operation: str) -> str:
    """Return the name of an operation here: the step of one array has another than of networks."""
    return "momentum_step of arrays" if operation == "momentum_step" else operation
