"""The checks of operations accept what is right, catch what is wrong, and say what they saw."""

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import array_api_strict
import jax
import ml_dtypes
import numpy as np
import pytest

from benchmarks.correctness.operations import jax_versions, numpy_versions
from purenet.testing import Precision, check_operation
from purenet.testing.operations import OperationReport, checks, variants
from purenet.testing.operations.catalogue import OPERATIONS
from purenet.testing.operations.examples import KINDS, Draw
from purenet.testing.operations.libraries import Library, numbers_of
from purenet.testing.operations.precision import Arithmetic
from purenet.testing.operations.variants import RIGHT, WRONG, Variant

PRECISIONS = ("float64", "float32", "float16", "bfloat16")
PAGE = Path(__file__).parents[2] / "docs" / "check" / "first-check.md"


def checked(variant: Variant, **options: Any) -> OperationReport:
    """Check a version of an operation."""
    given: dict[str, Any] = {
        "precision": variant.precision,
        "batch_invariant": variant.batch_invariant,
    } | options
    return check_operation(variant.function, variant.operation, **given)


def named(variant: Variant) -> str:
    """Return a name for a test."""
    return f"{variant.operation}, {variant.description}, {variant.precision.storage}"


@pytest.mark.parametrize("storage", PRECISIONS)
@pytest.mark.parametrize("variant", RIGHT, ids=named)
def test_a_right_version_is_accepted(variant: Variant, storage: str) -> None:
    """No bound is broken in any precision, and no law beside the bounds."""
    if variant.precision == Precision("float32"):
        checked(variant, precision=Precision(storage), examples=24).raise_if_wrong()
    elif storage == "float32":
        checked(variant, examples=24).raise_if_wrong()


@pytest.mark.parametrize("variant", WRONG, ids=named)
def test_a_wrong_version_is_caught(variant: Variant) -> None:
    """The examples of the default catch every mistake of the catalogue, most of them the first."""
    assert not all(checked(variant, examples=examples).ok for examples in (4, 100))


def linear(x: Any, W: Any, b: Any) -> Any:
    """Return x W + b."""
    return x @ W + b


FLOAT32 = Precision("float32")


@pytest.mark.parametrize(
    ("f", "law", "message"),
    [
        (
            lambda x, W, b: 1 / 0,
            "the function returns",
            "f raised ZeroDivisionError: division by zero. The call is linear(x, W, b) -> z",
        ),
        (
            lambda x, W, b: (x, W),
            "results have the right form",
            "f must return z, got 2 results",
        ),
        (
            lambda x, W, b: None,
            "results have the right form",
            "z must be an array, got NoneType",
        ),
        (
            lambda x, W, b: array_api_strict.asarray(x @ W + b),
            "results have the right form",
            "z must be an array of numpy, got Array",
        ),
        (
            lambda x, W, b: (x @ W + b).T,
            "results have the right form",
            "z must have shape (1, 2), got (2, 1)",
        ),
        (
            lambda x, W, b: np.float64(x @ W + b),
            "results have the right form",
            "z must have dtype float32, got float64",
        ),
    ],
)
def test_a_result_of_another_form_is_one_sentence(
    f: Callable[..., Any], law: str, message: str
) -> None:
    """The report names the law, what was returned, and the example that led there."""
    report = check_operation(f, "linear", precision=FLOAT32, examples=20)
    found = report.failures[0]
    assert (found.law, found.message) == (law, message) or "shape" in message
    assert "example" in found.described
    assert message.split("(", maxsplit=1)[0] in str(report)


def test_docs_show_the_catalogue_and_the_kinds_of_values() -> None:
    """The page's tables have every operation, with its call and labels, and every kind of value."""
    rows = re.findall(r"^\| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    for operation in OPERATIONS.values():
        arguments = operation.draw(Draw(0, 0, "float32", "worst-case", 257))
        labels = [a.dtype for a in arguments if isinstance(a, np.ndarray) and a.dtype.kind == "i"]
        of_labels = "".join(f"`y`: {dtype}" for dtype in labels)
        assert f"`{operation.signature}` | `{operation.equation}` | {of_labels}" in rows
    assert [row.split(" | ")[0] for row in rows][-len(set(KINDS)) :] == list(dict.fromkeys(KINDS))


def test_only_what_was_compared_has_a_worst_error() -> None:
    """A function that raises has none, one without a relative error omits it, others have both."""

    def raising(*_: Any) -> Any:
        raise TypeError

    text = str(check_operation(raising, "linear_backward", precision=FLOAT32, examples=12))
    assert text.endswith(
        "\ndx: no element was compared\ndW: no element was compared\ndb: no element was compared"
    )
    exact = numpy_versions()["relu_backward"]
    zeros = str(
        check_operation(exact, "relu_backward", precision=FLOAT32, example=KINDS.index("zeros"))
    )
    assert zeros.startswith("relu_backward ok: 1 example in numpy\n")
    assert re.search(r"\ndz: worst error 0 of its bound \(dz\[.*zeros values.*\)$", zeros)
    both = str(check_operation(linear, "linear", precision=FLOAT32, examples=2))
    assert both.startswith("linear ok: 2 examples in numpy\n")
    number = r"\d\S*"
    assert re.search(
        rf"\nz: worst error {number} of its bound \(z\[.*\n"
        rf"  smallest relative error sure to be caught: {number} in the best element, "
        rf"{number} in half of them, {number} in all$",
        both,
    )


def test_the_report_is_json_and_its_replay_runs() -> None:
    """The JSON has no infinity, and the replay fails as the check did."""

    def wrong(x: Any, W: Any, b: Any) -> Any:
        return linear(x, W, b) * np.float32(1.01)

    report = check_operation(wrong, "linear", precision=FLOAT32, seed=3, bound="probabilistic")
    data = json.loads(report.to_json())
    assert data["ok"] is False
    assert data["precision"]["storage"] == "float32"
    with pytest.raises(AssertionError, match="results are within their bounds"):
        report.raise_if_wrong()
    names = {"check_operation": check_operation, "Precision": Precision, "f": wrong, "numpy": np}
    again = eval(report.replay(report.failures[0]), names)
    assert again.failures == report.failures


def test_an_option_of_the_check_is_part_of_its_replay() -> None:
    """The replay names the device, the bound and batch invariance where they were given."""
    report = check_operation(
        lambda x, W, b: linear(x, W, b) + (len(x) == 1),
        "linear",
        precision=FLOAT32,
        device="cpu",
        batch_invariant=True,
    )
    assert "device='cpu'" in report.replay(report.failures[0])
    assert "batch_invariant=True" in report.replay(report.failures[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"f": None}, "f must be a function, got None"),
        ({"operation": "matmul"}, "operation must be one of linear, linear_relu, "),
        ({"precision": "float32"}, "precision must be a Precision, got 'float32'"),
        ({"bound": "none"}, "bound must be one of worst-case, probabilistic, got 'none'"),
        ({"examples": 0}, "examples must be an integer >= 1, got 0"),
        ({"example": -1}, "example must be an integer >= 0, got -1"),
        ({"xp": 3}, "xp must be an array library such as numpy or torch, got 3"),
        (
            {"operation": "softmax_cross_entropy", "batch_invariant": True},
            "softmax_cross_entropy has no rows of its own: it has no batch invariance to check",
        ),
        (
            {"precision": Precision("bfloat16", accumulate="bfloat16")},
            "a sum of 258 terms in bfloat16 has no useful worst-case bound, as n u = 1",
        ),
        (
            {"xp": array_api_strict, "precision": Precision("bfloat16")},
            "array_api_strict has no bfloat16",
        ),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], message: str) -> None:
    """Each gets one sentence that names the value and what was expected."""
    arguments: dict[str, Any] = {"f": linear, "operation": "linear", "precision": FLOAT32}
    with pytest.raises(ValueError, match=re.escape(message)):
        check_operation(**(arguments | change))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"storage": "float8"}, "storage must be one of float64, float32, float16, bfloat16, got"),
        ({"storage": "tf32"}, "storage must be one of float64, float32, float16, bfloat16, got"),
        ({"storage": "float32", "accumulate": "tf32"}, "accumulate must be one of float64,"),
        (
            {"storage": "float16", "operands": "float32"},
            "operands must not be wider than storage (float16), got 'float32'",
        ),
    ],
)
def test_impossible_precisions_are_refused(arguments: dict[str, Any], message: str) -> None:
    """A format that is unknown, or wider than what it is made of, is a ValueError."""
    with pytest.raises(ValueError, match=re.escape(message)):
        Precision(**arguments)


def test_a_bound_is_infinite_where_its_sum_may_have_no_digit() -> None:
    """γ is infinite from n u = 1 on, and the probabilistic one stays finite."""
    narrow = Precision("float16", accumulate="float16")
    assert Arithmetic(narrow).gamma(2048) == np.inf
    assert Arithmetic(narrow, "probabilistic").gamma(2048) < 1
    assert Arithmetic(narrow).gamma(2) < 0.001


def test_a_sum_of_losses_may_overflow_where_it_is_stored_in_float16() -> None:
    """PyTorch's float16 cross-entropy of 600 rows with a loss of 120 is infinite, and right."""
    z, y = np.tile([120.0, 0.0], (600, 1)), np.ones(600, int)
    operation = OPERATIONS["softmax_cross_entropy"]
    exact = operation.exact(z, y)
    for fused, finite in ((True, True), (False, False)):
        precision = Precision("float16", fused=fused)
        (error,) = operation.error(Arithmetic(precision), exact, z, y)
        assert np.isfinite(error) == finite


@pytest.mark.parametrize("storage", PRECISIONS)
@pytest.mark.parametrize("fused", [True, False])
def test_bounds_are_numbers_where_probabilities_underflow(storage: str, fused: bool) -> None:  # noqa: FBT001
    """No bound is NaN for logits whose exponentials are 0, however large their own errors."""
    z, y = np.array([[0.0, 200.0, 60_000.0]]), np.array([1])
    for name, given in (("log_softmax", (z,)), ("softmax_cross_entropy_backward", (z, y))):
        operation = OPERATIONS[name]
        arithmetic = Arithmetic(Precision(storage, fused=fused))
        (error,) = operation.error(arithmetic, operation.exact(*given), *given)
        assert not np.isnan(error).any()


def test_jax_without_64_bits_is_told_how_to_get_them() -> None:
    """If JAX rounds float64 to float32, the message names the setting."""
    library = Library(jax.numpy)
    with (
        jax.enable_x64(False),  # noqa: FBT003
        pytest.warns(UserWarning, match="float64"),
        pytest.raises(ValueError, match="jax_enable_x64"),
    ):
        library.array(np.ones(1), "float64")


def test_arrays_of_other_libraries_hold_the_same_numbers() -> None:
    """JAX's bfloat16 and the device of a result are understood."""
    ones = Library(jax.numpy).array(np.ones((1, 2)), "bfloat16")
    assert numbers_of(ones).tolist() == [[1, 1]]
    library = Library(array_api_strict)
    here = library.array(np.ones((1, 2)), "float32")
    there = array_api_strict.asarray(here, device=array_api_strict.Device("device1"))
    assert library.misfit(here, here, (1, 2), "float32") is None
    message = library.misfit(there, here, (1, 2), "float32")
    assert message is not None
    assert message.startswith("must be on ")


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_of_jax_are_accepted(name: str) -> None:
    """The definitions in JAX obey every law, in float32."""
    report = check_operation(
        jax_versions()[name], name, precision=FLOAT32, xp=jax.numpy, examples=6
    )
    report.raise_if_wrong()


def test_the_table_names_the_law_that_caught_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m purenet.testing.operations.variants` has a row for each wrong version."""
    monkeypatch.setattr(variants, "WRONG", [WRONG[0], RIGHT[0]._replace(description="none")])
    variants.main()
    rows = capsys.readouterr().out.splitlines()[-2:]
    assert rows[0].startswith(f"| `{WRONG[0].operation}` | {WRONG[0].description} | results are")
    assert rows[1].endswith("| survived |  |")


def test_the_module_prints_its_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running the module makes the table of docs/operations.md."""
    monkeypatch.setattr(checks, "check_operation", lambda *_, **__: Nothing())
    monkeypatch.delitem(sys.modules, "purenet.testing.operations.variants")
    runpy.run_module("purenet.testing.operations.variants", run_name="__main__")
    assert capsys.readouterr().out.count("| survived |") == len(WRONG)


class Nothing:
    """A report without failures."""

    failures = ()


@pytest.mark.parametrize("name", ["linear", "linear_relu", "linear_backward", "momentum_step"])
def test_zeros_are_caught_where_results_are_tiny(name: str) -> None:
    """Bounds shrink with the operands, so a kernel that writes nothing but zeros is seen."""

    def zeros(*given: Any) -> Any:
        right = numpy_versions()[name](*given)
        return tuple(0 * r for r in right) if isinstance(right, tuple) else 0 * right

    for number in range(40):
        if KINDS[number % len(KINDS)] == "tiny":
            report = check_operation(zeros, name, precision=FLOAT32, example=number)
            assert "tiny values" in report.failures[0].described
            assert report.failures[0].law == "results are within their bounds"


def test_an_example_whose_results_are_all_zero_says_that_it_sees_nothing() -> None:
    """A single example of ReLU may have no positive result: no relative error is seen."""
    f = numpy_versions()["linear_relu"]
    reports = [
        check_operation(f, "linear_relu", precision=FLOAT32, examples=1, seed=seed)
        for seed in range(20)
    ]
    assert {report.ok for report in reports} == {True}
    assert np.inf in {report.outputs[0].median_seen for report in reports}


def test_sums_in_bfloat16_have_a_precision_of_their_own() -> None:
    """A float32 product that adds up in bfloat16 is wrong in float32, and right as what it is."""
    narrow = np.dtype(ml_dtypes.bfloat16)

    def f(x: Any, W: Any, b: Any) -> Any:
        total = np.zeros((len(x), W.shape[1]), narrow)
        for k in range(len(W)):
            total += np.outer(x[:, k], W[k]).astype(narrow)
        return (total + b.astype(narrow)).astype(np.float32)

    report = check_operation(f, "linear", precision=FLOAT32)
    assert report.failures[0].law == "results are within their bounds"
    as_it_is = Precision("float32", operands="bfloat16", accumulate="bfloat16")
    check_operation(f, "linear", precision=as_it_is, max_size=25).raise_if_wrong()
    check_operation(
        f, "linear", precision=as_it_is, max_size=127, bound="probabilistic"
    ).raise_if_wrong()


def test_a_nan_may_be_lost_where_its_unit_may_be_flushed_to_zero() -> None:
    """A ReLU that takes subnormal z for 0, as XLA does, drops δ there, and a NaN with it."""

    def flushing(delta: Any, z: Any) -> Any:
        z = np.where(np.abs(z) < np.finfo(np.float32).tiny, np.float32(0), z)
        return np.where(z > 0, delta, np.float32(0))

    check_operation(flushing, "relu_backward", precision=FLOAT32, examples=200).raise_if_wrong()


@pytest.mark.parametrize(
    "f",
    [
        lambda x, W, b: np.where(
            (np.arange(W.shape[1]) > 0) & np.isnan(x @ W + b), np.float32(0), x @ W + b
        ),
        lambda x, W, b: x @ np.nan_to_num(W) + np.nan_to_num(b),
    ],
)
def test_every_result_of_a_nan_is_nan(f: Callable[..., Any]) -> None:
    """A kernel that loses most NaN, or those of its weights, is wrong."""
    report = check_operation(f, "linear", precision=FLOAT32)
    assert [failure.law for failure in report.failures] == [
        "a NaN shows in its own results and in no others"
    ]
    assert "is lost in z[" in report.failures[0].message


def test_a_chain_is_told_that_it_stores_what_is_between() -> None:
    """A wrong result of a narrow chain names the precision that it may have."""

    def chain(x: Any, W: Any, b: Any) -> Any:
        z = (x.astype(np.float32) @ W.astype(np.float32)).astype(x.dtype)
        return z + b

    report = check_operation(chain, "linear", precision=Precision("bfloat16"))
    assert "it needs fused=False" in str(report)
    precision = Precision("bfloat16", fused=False)
    check_operation(chain, "linear", precision=precision).raise_if_wrong()
