"""Check an implementation of the multilayer perceptron against its laws.

Put your own functions, with NumPy arrays in and out, in place of purenet's. Each law is then tried
on many networks and batches, including the places where implementations break. `survey` tries them
all and says which hold; `check` raises on the first that fails. For networks of other
architectures, see `purenet.testing.models`; for modules of other libraries,
`purenet.testing.adapters`.
"""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias
from unittest.mock import patch

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import DidNotReproduce, Flaky, InvalidArgument
from hypothesis.internal.conjecture import engine
from numpy.typing import DTypeLike

from purenet.params import check_integer, check_number
from purenet.testing import strategies
from purenet.testing.code import as_call, imports_of
from purenet.testing.laws import SLACK, Implementation, Law, network, optim, training
from purenet.testing.models import MODEL_LAWS, Model

__all__ = [
    "ERRORS",
    "FORM",
    "LAWS",
    "MATHEMATICS",
    "PURITY",
    "Finding",
    "Implementation",
    "Model",
    "Survey",
    "check",
    "examples_until_caught",
    "parametrize",
    "survey",
]

Outcome: TypeAlias = Literal["pass", "fail", "not given", "not applicable"]

LAWS: dict[str, Law] = {
    name: value
    for module in (network, optim, training)
    for name, value in vars(module).items()
    if isinstance(value, Law)
}
"""Every law, by name."""


def _group(group: str) -> tuple[str, ...]:
    return tuple(name for name, law in LAWS.items() if law.group == group)


MATHEMATICS = _group("mathematics")
"""The laws that every right implementation obeys."""

PURITY = _group("purity")
"""The laws about arguments that are not written and equal calls that give equal bits."""

FORM = _group("form")
"""The laws about names, order, shapes and dtypes, as purenet has them."""

ERRORS = _group("errors")
"""The laws about what purenet refuses."""

SHRINKING = 4.0
"""The seconds for which a counterexample of a law is made smaller."""

# These draw networks of their own, which functions of one network cannot take.
OF_ANY_SIZES = ("layers_go_by_number", "init_draws_what_it_is_asked_for")


@dataclass(frozen=True)
class Finding:
    """Hold what a survey found about a law.

    Parameters
    ----------
    law : str
        The name of the law.
    claim : str
        What it claims.
    outcome : {"pass", "fail", "not given", "not applicable"}
        Whether the law held; or why it was not tried.
    message : str
        What was seen where the law failed, or why it was not tried.
    call : str
        The call that the law failed on, or two that it compares, as Python code.
    replay : str
        The text that `survey` takes as `replay` to try this counterexample alone.
    seconds : float
        How long it took.
    """

    law: str
    claim: str
    outcome: Outcome
    message: str = ""
    call: str = ""
    replay: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Survey:
    """Hold the findings of a survey. `str` gives a table, and then each failure.

    The table counts the laws whose functions are not given in one line.

    Parameters
    ----------
    findings : tuple of Finding
        One for each law.
    seed : int
        The seed of the examples.
    """

    findings: tuple[Finding, ...]
    seed: int

    @property
    def failures(self) -> list[Finding]:
        """Return the findings of the laws that failed."""
        return [finding for finding in self.findings if finding.outcome == "fail"]

    @property
    def ok(self) -> bool:
        """Tell whether at least one law held, and none failed."""
        return not self.failures and any(f.outcome == "pass" for f in self.findings)

    def raise_if_wrong(self) -> None:
        """Raise AssertionError, with the survey as its message, unless `ok`."""
        if not self.ok:
            raise AssertionError(str(self))

    def to_json(self) -> str:
        """Return the survey as a JSON object."""
        rows = [asdict(finding) for finding in self.findings]
        return json.dumps({"ok": self.ok, "seed": self.seed, "findings": rows}, indent=1)

    def __str__(self) -> str:
        listed = [f for f in self.findings if f.outcome != "not given"]
        width = max((len(f.law) for f in listed), default=0)
        lines = [f"{f.law:{width}}  {f.outcome:14}  {f.seconds:5.1f} s" for f in listed]
        if others := len(self.findings) - len(listed):
            lines += [f"laws not tried, as their functions are not given: {others}"]
        for f in self.failures:
            lines += ["", f"{f.law}: {f.claim}", f.message]
            if f.call:
                lines += ["", imports_of(f.call) + f.call]
            if f.replay:
                lines += ["", f"survey(..., laws=[{f.law!r}], replay={f.replay!r}) tries it again"]
        return "\n".join(lines)


def survey(
    implementation: Implementation | Model,
    *,
    problems: st.SearchStrategy[Any] | None = None,
    laws: Sequence[str] | None = None,
    slack: float = 0.0,
    seed: int = 0,
    max_examples: int = 25,
    dtypes: Sequence[DTypeLike] | None = None,
    replay: str | None = None,
) -> Survey:
    r"""Try laws on an implementation, and report which hold. It never stops at a failure.

    Parameters
    ----------
    implementation : Implementation or Model
        The functions under test. Only laws about functions that are given are tried.
    problems : strategy of Problem, optional
        The networks and batches, as ``strategies.problems(sizes=[5, 4, 3], ordinary=True)`` draws
        them. Default: networks of the sizes that the implementation takes, or of any.
    laws : sequence of str, optional
        Names from `LAWS`. Default: `MATHEMATICS`, what every right implementation obeys, and
        `PURITY`, that arguments are not written and equal calls give equal bits. Two other groups
        are purenet's own policies: `FORM`, the names, order, shapes and dtypes of results, and
        `ERRORS`, what is refused.
    slack : float
        A deviation that is admitted, such as that of an epsilon in a logarithm: this share of
        max(1, \|exact\|), beside what rounding explains.
    seed : int
        Seed of the examples.
    max_examples : int
        The number of examples that each law is tried on.
    dtypes : sequence of dtype, optional
        The dtypes of the examples. Default: those that the implementation takes.
    replay : str, optional
        The replay of an earlier finding: only its example is tried. It needs the law of the
        finding, the same `problems` and `dtypes`, and the same version of Hypothesis.

    Returns
    -------
    Survey
        A finding for each law.

    Raises
    ------
    ValueError
        An implementation without functions, names that are no laws, or a replay of something else.

    Examples
    --------
    A gradient that is summed where it should be averaged:

    >>> import purenet
    >>> def backward(params, x, y, *, l2=0.0):
    ...     value, grads = purenet.backward(params, x, y, l2=l2)
    ...     return value, {name: g * len(x) for name, g in grads.items()}
    >>> found = survey(Implementation(backward=backward), laws=["gradient_is_additive"])
    >>> print(found.findings[0].message)
    gradient of ... is ..., exact ...: off by ... where rounding explains ...
    """
    seed = check_integer("seed", seed, least=0)
    max_examples = check_integer("max_examples", max_examples, least=1)
    if problems is not None and not isinstance(problems, st.SearchStrategy):
        raise ValueError(f"problems must be a strategy, got {problems!r}")
    if isinstance(dtypes, str):
        raise ValueError(f"dtypes must be a list of dtypes, got {dtypes!r}")
    slack = check_number("slack", slack)
    token = SLACK.set(slack)
    try:
        if isinstance(implementation, Model):
            if replay is not None or dtypes is not None:
                raise ValueError("a Model has its own dtypes, and its findings have no replay")
            return Survey(_survey_model(implementation, problems, laws, seed), seed)
        if not isinstance(implementation, Implementation):
            raise ValueError(
                f"implementation must be an Implementation or a Model, got {implementation!r}"
            )
        if not implementation.given:
            raise ValueError("implementation gives no function, so there is nothing to check")
        dtypes = dtypes or implementation.dtypes
        if problems is None:
            sizes = implementation.sizes or strategies.layer_sizes()
            problems = strategies.problems(sizes, dtypes=dtypes)
        names = [*MATHEMATICS, *PURITY] if laws is None else _known(laws, LAWS)
        domain = Domain(problems, dtypes, max_examples, seed, replay)
        return Survey(tuple(_find(implementation, name, domain) for name in names), seed)
    finally:
        SLACK.reset(token)


def check(
    implementation: Implementation | Model,
    *laws: str,
    **options: Any,
) -> None:
    """Try laws on an implementation, and raise on the first that fails.

    Parameters
    ----------
    implementation : Implementation or Model
        The functions under test.
    *laws : str
        Names from `LAWS`. Default: as for `survey`.
    **options : object
        Other options of `survey`.

    Raises
    ------
    AssertionError
        A law that fails, with a small counterexample.
    ValueError
        As for `survey`.

    Examples
    --------
    >>> import purenet
    >>> check(Implementation(forward=purenet.forward), "logits_are_within_rounding")
    """
    for name in laws or [None]:
        chosen = None if name is None else [name]
        survey(implementation, laws=chosen, **options).raise_if_wrong()


def parametrize(
    implementation: Implementation | Model,
    *,
    expected_failures: Mapping[str, str] | None = None,
    laws: Sequence[str] | None = None,
    **options: Any,
) -> Any:
    """Make a test of each law, for pytest.

    Parameters
    ----------
    implementation : Implementation or Model
        The functions under test.
    expected_failures : mapping of str to str, optional
        Laws that do not hold, with the reason. If one of them holds, its test fails.
    laws : sequence of str, optional
        Names from `LAWS`. Default: as for `survey`.
    **options : object
        Other options of `survey`.

    Returns
    -------
    decorator
        It gives a test the argument `law`, a function without arguments that raises if the law
        fails.

    Raises
    ------
    ValueError
        An expected failure that is no law.

    Examples
    --------
    >>> import purenet
    >>> @parametrize(Implementation(forward=purenet.forward))
    ... def test_my_network(law):
    ...     law()
    """
    import pytest  # noqa: PLC0415  # whoever calls this has it

    expected = dict(expected_failures or {})
    known: Mapping[str, Any] = LAWS
    if isinstance(implementation, Model):
        known, default = MODEL_LAWS, list(MODEL_LAWS)
    else:
        default = _touching(implementation)
    names = default if laws is None else _known(laws, known)
    if expected:
        _known(expected, known)

    def claim(name: str) -> Callable[[], None]:
        def holds() -> None:
            found = survey(implementation, laws=[name], **options)
            (finding,) = found.findings
            if finding.outcome in ("not given", "not applicable"):
                pytest.skip(finding.message)
            found.raise_if_wrong()

        return holds

    cases = []
    for name in names:
        reason = expected.get(name, "")
        fails = pytest.mark.xfail(strict=True, reason=reason, raises=AssertionError)
        marks = [fails] if name in expected else []
        cases.append(pytest.param(claim(name), id=name, marks=marks))
    return pytest.mark.parametrize("law", cases)


def examples_until_caught(
    implementation: Implementation, law: str, *, max_examples: int = 100
) -> int | None:
    """Count the examples that a law is tried on until it fails, including the failing one.

    Parameters
    ----------
    implementation : Implementation
        The functions under test.
    law : str
        A name from `LAWS`.
    max_examples : int
        The largest number of examples to try.

    Returns
    -------
    int or None
        The count, which is the same at each call, or None if the law did not fail.
    """
    tried, caught = 0, False
    under_test = implementation.with_purenet()

    def count(*drawn: Any) -> None:
        nonlocal tried, caught
        tried += not caught
        try:
            LAWS[law].holds(under_test, *drawn)
        except Exception:  # a wrong implementation may fail in any way
            caught = True
            raise

    domain = Domain(strategies.problems(), max_examples=max_examples)
    with suppress(Exception):
        _try(LAWS[law], count, domain, phases=(Phase.generate,))
    return tried if caught else None


@dataclass(frozen=True)
class Domain:
    """Say which examples the laws are tried on."""

    problems: st.SearchStrategy[Any]
    dtypes: Sequence[DTypeLike] = (np.float64, np.float32)
    max_examples: int = 25
    seed: int = 0
    replay: str | None = None


def _known(laws: Any, known: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of laws, refusing those that are none."""
    if isinstance(laws, str) or not laws:
        raise ValueError(f"laws must be a list of names, got {laws!r}")
    for name in laws:
        if name not in known:
            raise ValueError(f"laws must be among {', '.join(known)}, got {name!r}")
    return list(laws)


def _touching(implementation: Implementation) -> list[str]:
    """Return the laws of the default about functions that are given."""
    names = [*MATHEMATICS, *PURITY]
    return [name for name in names if set(LAWS[name].functions) & set(implementation.given)]


def _find(implementation: Implementation, name: str, domain: Domain) -> Finding:
    """Try one law."""
    law = LAWS[name]
    claim = _claim(law.holds)
    if not set(law.functions) & set(implementation.given):
        return Finding(name, claim, "not given", f"no {' or '.join(law.functions)} is given")
    if implementation.sizes and name in OF_ANY_SIZES:
        reason = f"the functions take networks of {implementation.sizes} only"
        return Finding(name, claim, "not applicable", reason)
    recorder = Recorder(implementation)
    started = time.monotonic()

    def trial(*drawn: Any) -> None:
        law.holds(recorder.implementation, *drawn)

    outcome: Outcome = "pass"
    message = replay = ""
    try:
        _try(law, trial, domain, phases=(Phase.generate, Phase.shrink), print_blob=True)
    except DidNotReproduce as error:
        if "completed successfully" not in str(error):
            raise NoReplayError(f"replay {domain.replay!r} is of another law or domain") from error
    except NoReplayError:
        raise
    except Flaky:
        outcome, message = "fail", "equal calls gave different results"
    except Exception as error:  # the function under test may fail in any way
        outcome, message = "fail", _message(error)
        if not implementation.sizes and _lacks_a_layer(error):
            message += ". If your function has a fixed number of layers, give sizes=[...]"
        notes = "\n".join(getattr(error, "__notes__", []))
        blob = re.search(r"reproduce_failure\('[^']*', b'([^']*)'\)", notes)
        replay = blob[1] if blob else domain.replay or ""
    seconds = round(time.monotonic() - started, 3)
    call = recorder.calls_of(law.functions) if outcome == "fail" else ""
    return Finding(name, claim, outcome, message, call, replay, seconds)


def _claim(law: Callable[..., None]) -> str:
    """Return the claim of a law: its docstring, as one line."""
    return " ".join((law.__doc__ or "").split())


def _message(error: Exception) -> str:
    """Return the message of an error, with its type unless it is what laws raise."""
    message = str(error) or type(error).__name__
    return message if isinstance(error, AssertionError) else f"{type(error).__name__}: {message}"


def _lacks_a_layer(error: Exception) -> bool:
    """Tell whether a parameter was looked up that a network of another depth does not have."""
    return isinstance(error, KeyError) and bool(re.fullmatch(r"'[Wb]\d+'", str(error)))


def _try(law: Law, trial: Callable[..., None], domain: Domain, **more: Any) -> None:
    """Call ``trial(*drawn)`` on so many examples."""
    drawn_by = [
        domain.problems
        if drawn is strategies.problems
        else drawn
        if isinstance(drawn, st.SearchStrategy)
        else drawn(dtypes=domain.dtypes)
        for drawn in law.strategies
    ]

    @hypothesis.seed(domain.seed)
    @settings(
        max_examples=domain.max_examples,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
        **more,
    )
    @given(st.tuples(*drawn_by))
    def run(drawn: Any) -> None:
        trial(*drawn)

    if domain.replay is None:
        with patch.object(engine, "MAX_SHRINKING_SECONDS", SHRINKING):  # Hypothesis's is 300
            run()
        return
    try:
        again = hypothesis.reproduce_failure(hypothesis.__version__, domain.replay.encode())(run)
        again()
    except InvalidArgument as error:
        raise NoReplayError(
            f"replay must be the text of a finding, got {domain.replay!r}"
        ) from error


class NoReplayError(ValueError):
    """Report a text that is the replay of nothing, or of something else."""


class Recorder:
    """Stand in for the functions of an implementation, and keep the last call."""

    def __init__(self, implementation: Implementation) -> None:
        self.calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        recorded: dict[str, Any] = {
            name: self._record(name, f) for name, f in implementation.given.items()
        }
        self.implementation = replace(implementation, **recorded).with_purenet()

    def calls_of(self, functions: Sequence[str]) -> str:
        """Return the call that a law about these functions failed on, as code.

        It is the last one; but where a law compares the loss with its gradient, either may be
        wrong, and both are shown.
        """
        both = set(functions) == {"loss", "backward"}
        names = list(self.calls)[0 if both else -1 :]
        return "\n".join(as_call(name, *self.calls[name]) for name in names)

    def _record(self, name: str, f: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            self.calls.pop(name, None)  # so that the last call comes last
            self.calls[name] = _copies(args), _copies(kwargs)
            result = f(*args, **kwargs)
            pair = isinstance(result, tuple | list) and len(result) == 2
            if name in ("backward", "momentum_step") and not pair:
                expected = {"backward": "(loss, gradients)", "momentum_step": "(params, velocity)"}
                got = type(result).__name__
                raise AssertionError(f"{name} must return {expected[name]}, got {got}")
            return result

        return recorded


def _copies(values: Any) -> Any:
    """Return copies of arguments that keep the layouts of their arrays."""
    if isinstance(values, np.ndarray):
        return strategies.lay_out(values, strategies.layout_of(values))
    if isinstance(values, dict):
        return {key: _copies(value) for key, value in values.items()}
    if type(values) in (tuple, list):
        return type(values)(_copies(value) for value in values)
    return deepcopy(values)


def _survey_model(
    model: Model, batches: st.SearchStrategy[Any] | None, laws: Sequence[str] | None, seed: int
) -> tuple[Finding, ...]:
    """Try the laws of models."""
    if batches is not None:
        drawn: list[Any] = []

        @hypothesis.seed(seed)
        @settings(
            max_examples=20,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(batches)
        def draw(batch: Any) -> None:
            drawn.append(batch)

        draw()
        batch = drawn[-1]
        model = replace(model, data=(batch.x, batch.y) if hasattr(batch, "x") else tuple(batch))
    findings = []
    for name in MODEL_LAWS if laws is None else _known(laws, MODEL_LAWS):
        law = MODEL_LAWS[name]
        claim, started = _claim(law), time.monotonic()
        if model.data is None and name in ("gradient_is_additive", "order_changes_nothing"):
            findings.append(Finding(name, claim, "not applicable", "no data are given"))
            continue
        outcome: Outcome = "pass"
        message = ""
        try:
            law(model, np.random.default_rng(seed))
        except Exception as error:  # as above
            outcome, message = "fail", _message(error)
        seconds = round(time.monotonic() - started, 3)
        findings.append(Finding(name, claim, outcome, message, seconds=seconds))
    return tuple(findings)
