"""Purenet obeys every law, and each wrong implementation of the catalogue breaks one."""

import itertools
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

import purenet
from benchmarks.correctness.mistakes import diff
from purenet.params import Params, sizes
from purenet.testing import conformance, mutants
from purenet.testing.code import imports_of
from purenet.testing.conformance import (
    FORM,
    LAWS,
    MATHEMATICS,
    PURITY,
    Finding,
    Implementation,
    Survey,
    check,
    examples_until_caught,
    parametrize,
    survey,
)
from purenet.testing.mutants import MUTANTS, TEXTBOOK, Mutant, changed
from purenet.testing.strategies import problems

PURENET = Implementation().with_purenet()
PAGE = Path(__file__).parents[2] / "docs" / "learn" / "mistakes.md"


@pytest.mark.parametrize("law", LAWS)
def test_purenet_obeys(law: str) -> None:
    """Purenet obeys each law, on half of the examples of the profile, because laws are many."""
    check(PURENET, law, max_examples=settings().max_examples // 2)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_mutant_is_caught(mutant: Mutant) -> None:
    """The law that the catalogue names for a mistake catches it."""
    assert examples_until_caught(mutant.implementation, mutant.caught_by, max_examples=200)


def test_mutants_are_right_but_for_their_mistake() -> None:
    """The textbook's program, which mutants are made from, obeys every law."""
    check(TEXTBOOK, *LAWS, max_examples=10)


def test_a_right_implementation_is_not_caught() -> None:
    """`examples_until_caught` returns None for an implementation that obeys the law."""
    law = "step_without_momentum_is_plain_descent"
    assert examples_until_caught(PURENET, law, max_examples=20) is None


def test_docs_show_the_catalogue() -> None:
    """The page has the right program, and the law and the lines of each mutant."""
    page = PAGE.read_text("utf-8")
    assert page.startswith(f"# {len(MUTANTS)} ways to get backpropagation wrong\n")
    assert mutants.SOURCE in page
    sections = page.split("\n### ")
    for mutant in MUTANTS:
        heading = f". {mutant.mistake} ({mutant.function})\n"
        (shown,) = [section for section in sections if heading in section[:200]]
        assert f"`{mutant.caught_by}` catches it at example " in shown
        assert f"```diff\n{diff(mutant)}\n```" in shown


def test_a_fragment_that_is_not_in_the_program_once_is_refused() -> None:
    """A mutant whose right fragment is missing or ambiguous is refused, not made unchanged."""
    for right, count in (("no such code", 0), ("params", mutants.SOURCE.count("params"))):
        with pytest.raises(ValueError, match=f"occur once in the program, got .*: {count} times"):
            changed(right, "")


def test_docs_name_every_law() -> None:
    """The table of promises in the docs names every law."""
    promises = PAGE.parents[1].joinpath("correctness.md").read_text("utf-8")
    assert [name for name in LAWS if f"`{name}`" not in promises] == []


def summing(params: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0) -> Any:
    """Return the loss, and a gradient that is summed over the batch."""
    value, grads = purenet.backward(params, x, y, l2=l2)
    return value, {name: g * len(x) for name, g in grads.items()}


@pytest.fixture(scope="module")
def surveyed() -> Survey:
    """Return the survey of a wrong `backward`."""
    slow = {"gradient_is_that_of_the_loss"}
    laws = [law for law in (*MATHEMATICS, *PURITY) if law not in slow]
    return survey(Implementation(backward=summing), laws=laws)


def test_a_survey_goes_on_after_a_failure(surveyed: Survey) -> None:
    """Every law is tried, laws about other functions are not, and only some fail."""
    outcomes = {finding.law: finding.outcome for finding in surveyed.findings}
    assert outcomes["gradient_is_additive"] == outcomes["gradient_is_within_rounding"] == "fail"
    assert outcomes["functions_are_pure"] == outcomes["backward_returns_the_loss"] == "pass"
    assert outcomes["logits_are_within_rounding"] == "not given"
    assert outcomes["step_is_linear"] == "not given"
    assert not surveyed.ok


def test_a_failure_shows_the_call_as_code_that_runs(surveyed: Survey) -> None:
    """The printed call gives the gradient that the message names."""
    found = finding(surveyed, "gradient_is_within_rounding")
    names: dict[str, Any] = {"backward": summing}
    exec(imports_of(found.call) + "result = " + found.call, names)
    _, grads = names["result"]
    name, index, got = re.match(r"gradient of (\w+)\[(.*?)\] is (\S+),", found.message).groups()  # type: ignore[union-attr]
    assert grads[name][tuple(map(int, index.split(", ")))] == float(got)


def finding(found: Survey, law: str) -> Finding:
    """Return the finding of a law."""
    (one,) = (one for one in found.findings if one.law == law)
    return one


def test_a_counterexample_is_tried_again_from_its_text(surveyed: Survey) -> None:
    """In another survey the replay fails in the same way, and a right function passes it."""
    found = finding(surveyed, "gradient_is_additive")
    again = survey(Implementation(backward=summing), laws=[found.law], replay=found.replay)
    assert (again.findings[0].message, again.findings[0].call) == (found.message, found.call)
    assert survey(PURENET, laws=[found.law], replay=found.replay).ok  # a mended function passes
    with pytest.raises(ValueError, match="replay must be the text of a finding, got 'nothing'"):
        survey(PURENET, laws=[found.law], replay="nothing")
    with pytest.raises(ValueError, match=r"replay '.*' is of another law or domain"):
        survey(PURENET, laws=["step_is_linear"], replay=found.replay)


def test_a_counterexample_is_small(surveyed: Survey) -> None:
    """It has one layer, two examples, and zeros wherever other numbers are not needed."""
    found = finding(surveyed, "gradient_is_within_rounding")
    assert "W2" not in found.call
    assert set(re.findall(r"[\d.]+(?=[,\]])", found.call)) <= {"0.0", "0", "1", "1.0"}


def test_a_slow_law_reports_the_counterexample_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once the time for making it smaller is over, the last counterexample still fails."""
    monkeypatch.setattr(conformance, "SHRINKING", 0.0)
    found = survey(Implementation(backward=summing), laws=["gradient_is_additive"]).findings[0]
    assert found.outcome == "fail"
    assert found.message.startswith("gradient of ")
    assert found.call


def test_a_survey_is_a_table_and_json(surveyed: Survey) -> None:
    """The text has a line for each law that was tried and one for the others, then the failures."""
    text, found = str(surveyed), finding(surveyed, "gradient_is_additive")
    tried = [one for one in surveyed.findings if one.outcome != "not given"]
    table = text.partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in table[:-1]] == [one.law for one in tried]
    others = len(surveyed.findings) - len(tried)
    assert table[-1] == f"laws not tried, as their functions are not given: {others}"
    for part in (found.claim, found.message, found.replay):
        assert part in text
    assert f"\n\nimport numpy as np\n{found.call}\n" in text
    assert json.loads(surveyed.to_json())["findings"][0]["outcome"] == "not given"
    with pytest.raises(AssertionError, match="gradient_is_additive"):
        surveyed.raise_if_wrong()


def test_what_is_printed_is_what_was_called() -> None:
    """A law that calls with np.float64(0.5) shows this l2, and arrays show their layout."""

    def wide(params: Params, x: NDArray[Any], y: NDArray[Any], *, l2: Any = 0.0) -> Any:
        return purenet.loss(params, x, y, l2=l2) * np.float64(1)

    found = survey(
        Implementation(loss=wide), laws=["results_have_the_form_of_the_parameters"]
    ).findings[0]
    assert "l2=np.float64(0.5)" in found.call

    def contiguous(params: Params, x: NDArray[Any]) -> Any:
        if not x.flags.c_contiguous:
            raise AssertionError("x is not contiguous")
        return purenet.forward(params, x)

    found = survey(Implementation(forward=contiguous), laws=["functions_are_pure"]).findings[0]
    assert found.message == "x is not contiguous"
    assert "lay_out(np.array(" in found.call


def test_the_domain_is_that_of_the_problems() -> None:
    """Networks of fixed sizes, one layout and one penalty are all that the functions get."""
    seen = set()

    def forward(params: Params, x: NDArray[Any]) -> Any:
        seen.add((tuple(sizes(params)), len(x), x.dtype, x.flags.c_contiguous))
        return purenet.forward(params, x)

    domain = problems([5, 4, 3], dtypes=[np.float32], layouts=["C"], ordinary=True, batch_sizes=[4])
    laws = ["logits_are_within_rounding", "rescaling_a_hidden_layer_changes_no_logit"]
    assert survey(Implementation(forward=forward), problems=domain, laws=laws).ok
    assert seen == {((5, 4, 3), 4, np.dtype("f4"), True)}


def test_the_penalty_is_that_of_the_problems() -> None:
    """A number for l2 is the only penalty."""
    seen = set()

    def loss(params: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0) -> Any:
        seen.add(l2)
        return purenet.loss(params, x, y, l2=l2)

    laws = ["loss_is_within_rounding"]
    assert survey(Implementation(loss=loss), problems=problems(l2=0.25), laws=laws).ok
    assert seen == {0.25}


def test_ordinary_problems_leave_out_what_a_naive_softmax_fails_on() -> None:
    """A softmax without the maximum fails on hard problems, and passes ordinary ones."""
    naive = next(m for m in MUTANTS if m.mistake == "no maximum subtracted").implementation
    laws = ["loss_is_within_rounding"]
    assert not survey(naive, laws=laws).ok
    assert survey(naive, laws=laws, problems=problems(ordinary=True), slack=1e-6).ok


def test_slack_admits_a_stated_deviation() -> None:
    """An epsilon of 1e-9 in the logarithm needs a slack of 1e-5 on ordinary problems."""

    def loss(params: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0) -> Any:
        p = purenet.predict_proba(params, x)[np.arange(len(y)), y]
        penalty = purenet.loss(params, x, y, l2=l2) - purenet.loss(params, x, y)
        return -np.log(p + 1e-9).mean() + penalty

    domain = problems([3, 2], dtypes=[np.float64], ordinary=True)
    given: dict[str, Any] = {"laws": ["loss_is_within_rounding"], "problems": domain}
    assert not survey(Implementation(loss=loss), **given).ok
    assert survey(Implementation(loss=loss), slack=1e-5, **given).ok


def test_laws_that_draw_their_own_networks_do_not_apply_to_fixed_sizes() -> None:
    """An implementation of one network is not asked for deeper ones."""
    fixed = Implementation(forward=purenet.forward, sizes=[3, 2])
    found = survey(fixed, laws=FORM)
    assert finding(found, "layers_go_by_number").outcome == "not applicable"


def test_a_law_about_two_functions_shows_both_calls() -> None:
    """Where the gradient is compared with the loss, either of them may be wrong."""
    both = Implementation(loss=purenet.loss, backward=summing)
    found = survey(both, laws=["backward_returns_the_loss", "gradient_is_that_of_the_loss"])
    failed = finding(found, "gradient_is_that_of_the_loss")
    assert [line.partition("(")[0] for line in failed.call.splitlines()] == ["backward", "loss"]


def test_the_exact_result_is_that_of_the_drawn_arguments() -> None:
    """A function that writes its input is not compared with the result for what it wrote."""

    def forward(params: Params, x: NDArray[Any]) -> Any:
        logits = purenet.forward(params, x)
        if x.flags.writeable:
            x[...] = 0
        return logits

    laws = ["logits_are_within_rounding", "functions_are_pure"]
    found = survey(Implementation(forward=forward), laws=laws)
    assert [one.outcome for one in found.findings] == ["pass", "fail"]


def test_any_exception_is_a_finding() -> None:
    """A function that raises, or that returns no pair, fails its laws with a message."""

    def backward(*_: Any, **__: Any) -> Any:
        raise KeyError("W2")

    given: dict[str, Any] = {"backward": backward, "sizes": [3, 2]}
    found = survey(Implementation(**given), laws=["gradient_is_additive"])
    assert found.findings[0].message == "KeyError: 'W2'"
    gradient = Implementation(backward=lambda *a, **k: purenet.backward(*a, **k)[1])
    found = survey(gradient, laws=["gradient_is_additive"])
    assert found.findings[0].message == "backward must return (loss, gradients), got dict"


@pytest.mark.parametrize(("key", "told"), [("W2", True), ("b3", True), ("W", False)])
def test_a_missing_layer_is_told_about_sizes(key: str, told: bool) -> None:  # noqa: FBT001
    """A function that looks for a layer which the network does not have may need `sizes`."""

    def forward(params: Params, _: NDArray[Any]) -> Any:
        return params[key]

    found = survey(Implementation(forward=forward), laws=["logits_are_within_rounding"])
    hint = ". If your function has a fixed number of layers, give sizes=[...]"
    assert found.findings[0].message == f"KeyError: '{key}'{hint * told}"


def infinite(_: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0) -> float:  # noqa: ARG001
    """Return infinity for a loss."""
    return math.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: survey(Implementation()), "gives no function, so there is nothing to check"),
        (lambda: survey(cast("Any", purenet)), "must be an Implementation or a Model, got <module"),
        (lambda: survey(PURENET, laws=["additivity"]), "laws must be among logits_are_within"),
        (lambda: survey(PURENET, laws=[]), r"laws must be a list of names, got \[\]"),
        (lambda: survey(PURENET, max_examples=0), "max_examples must be an integer >= 1, got 0"),
        (lambda: survey(PURENET, problems=cast("Any", 5)), "problems must be a strategy, got 5"),
        (lambda: survey(PURENET, dtypes="f4"), "dtypes must be a list of dtypes, got 'f4'"),
        (lambda: Implementation(loss=cast("Any", 5)), "loss must be a function, got 5"),
        (lambda: Implementation(sizes=[3]), "sizes must name at least inputs and classes"),
        (lambda: survey(PURENET, seed=-1), "seed must be an integer >= 0, got -1"),
        (
            lambda: survey(PURENET, slack=cast("Any", "much")),
            "slack must be a finite number >= 0, got 'much'",
        ),
        (lambda: parametrize(PURENET, expected_failures={"x": "y"}), "laws must be among"),
        (lambda: check(PURENET, "additivity"), "laws must be among logits_are_within_rounding"),
    ],
)
def test_bad_arguments_get_one_sentence(call: Callable[[], Any], message: str) -> None:
    """Names that are no laws, and what is no implementation, are ValueErrors."""
    with pytest.raises(ValueError, match=message):
        call()


def test_a_number_that_is_not_finite_is_named() -> None:
    """An infinite loss fails with a sentence about it."""
    found = survey(Implementation(loss=infinite), laws=["loss_is_within_rounding"])
    assert found.findings[0].message.startswith("loss is inf, exact ")
    found = survey(Implementation(loss=infinite), laws=["backward_returns_the_loss"])
    assert found.findings[0].message == "value of backward has nothing to be compared with: inf"


def test_what_depends_on_chance_is_named() -> None:
    """An implementation that gives other results at each call is reported as such."""

    def wrong_once() -> Callable[[Params, NDArray[Any]], NDArray[Any]]:
        calls = itertools.count()
        return lambda params, x: purenet.forward(params, x) + (next(calls) == 0)

    with pytest.raises(AssertionError, match="equal calls gave different"):
        check(Implementation(forward=wrong_once()), "functions_are_pure")
    with pytest.raises(AssertionError, match="equal calls gave different results"):
        check(Implementation(forward=wrong_once()), "logits_are_within_rounding")


class TestParametrize:
    """A test of each law, of which two are expected to fail."""

    reasons: ClassVar = {
        "gradient_is_additive": "it is a sum",
        "gradient_is_within_rounding": "it is a sum",
    }

    @parametrize(  # type: ignore[untyped-decorator]
        Implementation(backward=summing),
        expected_failures=reasons,
        laws=[*reasons, "functions_are_pure"],
        max_examples=10,
    )
    def test_law(self, law: Callable[[], None]) -> None:
        """The law holds, or is expected not to."""
        law()


def test_an_expected_failure_that_passes_is_an_error() -> None:
    """The mark of an expected failure is strict."""
    mark = parametrize(PURENET, laws=["step_is_linear"], expected_failures={"step_is_linear": "x"})
    (case,) = mark.args[1]
    assert case.id == "step_is_linear"
    assert case.marks[0].kwargs == {"strict": True, "reason": "x", "raises": AssertionError}


def test_a_law_that_cannot_be_tried_is_skipped() -> None:
    """A law about a function that is not given is no expected failure."""
    mark = parametrize(
        Implementation(forward=purenet.forward),
        laws=["step_is_linear"],
        expected_failures={"step_is_linear": ""},
    )
    (case,) = mark.args[1]
    assert case.marks[0].kwargs["strict"]
    with pytest.raises(pytest.skip.Exception, match="no momentum_step is given"):
        case.values[0]()
