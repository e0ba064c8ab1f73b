"""Claims about the test vectors: what they hold, what they catch, and how results are judged."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from safetensors.numpy import load as from_bytes

import purenet
from purenet.cli.commands import main
from purenet.testing.mutants import changed
from purenet.testing.operations import OPERATIONS, variants
from purenet.testing.vectors import FLAGS, Case, cases, files, flag_table, judge, load
from purenet.testing.vectors.results import bounds, cast, check_signs, compute, exact, params_of

FOLDER = Path(__file__).parents[2] / "vectors"
CASES = load(FOLDER)


def results_of(precision: str, function: Callable[[str, dict[str, Any]], Any]) -> dict[str, Any]:
    """Return what a program would write: its results of all cases that it can compute."""
    results = {}
    for case in CASES:
        bounded = all(f"error.{precision}" in parts for parts in case["outputs"].values())
        if bounded and (precision != "bfloat16" or case["operation"] in OPERATIONS):
            with np.errstate(all="ignore"):
                outputs = function(case["operation"], cast(case["inputs"], precision))
            results[case["name"]] = {
                name: np.asarray(array, float).tolist() for name, array in outputs.items()
            }
    return {"program": "a test", "precision": precision, "results": results}


# The files.


def test_the_files_follow_their_schema() -> None:
    """Each JSON file is valid, has notes on its flags, and the same numbers in both spellings."""
    schema = json.loads((FOLDER / "schema.json").read_text())
    for path in FOLDER.glob("*.json"):
        if "schema" in path.name:
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.validate(document, schema)
        assert document["operation"] == path.stem
        for case in document["cases"]:
            assert set(case["flags"]) <= document["notes"].keys() <= FLAGS.keys()
            for array in (*case["inputs"].values(), *case["outputs"].values()):
                for part in {"values", "high", "low"} & array.keys():
                    if f"{part}_hex" in array:
                        numbers = [np.nan if n is None else n for n in array[part]]
                        spelled = [float.fromhex(text) for text in array[f"{part}_hex"]]
                        assert np.array_equal(numbers, spelled, equal_nan=True)


def test_there_are_300_cases_and_less_than_10_mb() -> None:
    """Each flag has a case, each name is there once, and each operation has an ordinary case."""
    assert len({case["name"] for case in CASES}) == len(CASES) >= 300
    assert {flag for case in CASES for flag in case["flags"]} == set(FLAGS)
    assert len({case["operation"] for case in CASES if not case["flags"]}) == 12
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 10_000_000


def some_cases() -> Iterator[Case]:
    """Yield the first case of each operation, and some with large arrays, NaN or batches."""
    more = {"linear-long-sum-2", "log_softmax-nan-1", "train-partial-batch-3"}
    return (case for case in cases() if case.name.endswith("-ordinary-1") or case.name in more)


def test_the_files_are_made_again_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some cases, made again, equal those in the files, and so do their tensors and the table."""
    monkeypatch.setattr(files, "cases", some_cases)
    monkeypatch.setattr(files, "load", lambda folder: CASES)
    assert main(["vectors", "write", str(tmp_path / "new")]) == 0
    made = from_bytes((tmp_path / "new" / files.TENSORS).read_bytes())
    kept = from_bytes((FOLDER / files.TENSORS).read_bytes())
    assert made
    assert all(np.array_equal(array, kept[name]) for name, array in made.items())
    for path in (tmp_path / "new").glob("*.json"):
        again, before = (
            json.loads(each.read_text(encoding="utf-8")) for each in (path, FOLDER / path.name)
        )
        by_name = {case["name"]: case for case in before["cases"]}
        assert all(case == by_name[case["name"]] for case in again["cases"])
    table = (tmp_path / "new" / "flags.md").read_text(encoding="utf-8")
    assert table == (FOLDER / "flags.md").read_text(encoding="utf-8")


def test_files_that_hold_no_vectors_are_refused(tmp_path: Path) -> None:
    """A missing file is an error of the system, and a damaged one names the folder."""
    with pytest.raises(FileNotFoundError):
        load(tmp_path)
    (tmp_path / "tensors.safetensors").write_bytes((FOLDER / "tensors.safetensors").read_bytes())
    (tmp_path / "linear.json").write_text("[]")
    with pytest.raises(ValueError, match="holds no vectors"):
        load(tmp_path)


# The cases.


def test_each_flag_catches_a_mistake_that_no_other_flag_catches() -> None:
    """The mutant of a flag fails cases of this flag, and no others."""
    found = {flag: caught for flag, _, _, caught in flag_table(CASES)}
    assert found == {flag: {flag} for flag in FLAGS}


def test_the_exact_results_are_those_of_the_operations() -> None:
    """High and low agree with the exact results of check_operation, to 28 digits."""
    for case in CASES:
        if case["operation"] in OPERATIONS and "nan" not in case["flags"]:
            arguments = cast(case["inputs"], "float64").values()
            of_operation = OPERATIONS[case["operation"]].exact(*arguments)
            for parts, one in zip(case["outputs"].values(), of_operation, strict=True):
                difference = (parts["high"] - one.high) + (parts["low"] - one.low)
                assert np.abs(difference).max() <= 1e-28 * np.abs(one.high).max(), case["name"]


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_purenet_passes_all_cases(precision: str) -> None:
    """Every result of purenet's functions and of the right operations is within its bound."""
    report = judge(results_of(precision, compute), CASES)
    assert report.ok, str(report)
    assert sum(operation.cases for operation in report.operations) == len(CASES)
    assert "not judged" not in str(report)


def test_operations_that_store_bfloat16_pass_their_cases() -> None:
    """Sums in float32 and results in bfloat16 are within their bounds."""
    right: dict[str, Callable[..., Any]] = {
        variant.operation: variant.function for variant in reversed(variants.RIGHT)
    }

    def function(operation: str, inputs: dict[str, Any]) -> dict[str, Any]:
        results = right[operation](*inputs.values())
        return dict(
            zip(
                OPERATIONS[operation].outputs,
                results if isinstance(results, tuple) else (results,),
                strict=True,
            )
        )

    report = judge(results_of("bfloat16", function), CASES)
    assert report.ok, str(report)
    assert len(report.operations) == len(OPERATIONS)


def test_the_bound_of_training_is_neither_broken_nor_far_away() -> None:
    """Training in float32 reaches more than a thousandth of its bound, and less than all of it."""
    (case,) = (case for case in cases() if case.name == "train-ordinary-2")
    found = exact(case)
    high = {name: np.vectorize(float, otypes=[float])(value) for name, value in found.items()}
    low = {name: np.zeros_like(value) for name, value in high.items()}
    of_32 = bounds(case, high, low)["float32"]
    got = compute("train", cast(case.inputs, "float32"))
    shares = [
        np.max(np.abs(got[name].astype(float) - high[name]) / of_32[name])
        for name in high
        if np.all(of_32[name] > 0)
    ]
    assert shares
    assert 1e-3 < max(shares) < 1


def test_a_unit_that_rounding_may_turn_on_is_refused() -> None:
    """A bound of first order does not hold near a kink, so none is given."""
    params = purenet.init([2, 2, 2], dtype=np.float64)
    params["W1"][:, 0] = [1, -1]
    x = np.array([[0.5, 0.5 + 2.0**-24]])
    with pytest.raises(ValueError, match="a hidden unit is too near 0"):
        check_signs(params, x, np.float32, np.zeros(1))


# Judging.


def one_result(change: Callable[[Any], Any], name: str = "linear-square-1") -> dict[str, Any]:
    """Return the results of float32 for the cases of `linear`, of which one is changed."""
    found = results_of("float32", compute)
    found["results"] = {k: v for k, v in found["results"].items() if k.startswith("linear-")}
    found["results"][name]["z"] = change(found["results"][name]["z"])
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: [[z[0][0] + 1e-4, *z[0][1:]], *z[1:]], r"z\[0, 0\] is .*, exact .* explains"),
        (lambda z: [["NaN", *z[0][1:]], *z[1:]], r"z\[0, 0\] is nan, expected "),
        (lambda z: [["Infinity", *z[0][1:]], *z[1:]], r"z\[0, 0\] is inf, exact"),
        (lambda z: z[:-1], r"z must hold numbers of shape \[\d, 4\]"),
        (lambda z: [[True, *z[0][1:]], *z[1:]], r"z must hold numbers of shape"),
        (lambda z: [["1.5", *z[0][1:]], *z[1:]], r"z must hold numbers of shape"),
        (lambda z: [[10**400, *z[0][1:]], *z[1:]], r"z must hold numbers of shape"),
        (lambda z: [[[number] for row in z for number in row]], r"z must hold numbers of shape"),
        (lambda z: "text", r"z must hold numbers of shape"),
        (lambda z: None, r"z must hold numbers of shape"),
    ],
)
def test_a_wrong_result_is_named(change: Callable[[Any], Any], message: str) -> None:
    """The report has the case, the element, both numbers, and the note of the flag."""
    report = judge(one_result(change), CASES)
    assert not report.ok
    (failure,) = report.operations[0].failures
    assert failure.case == "linear-square-1"
    assert failure.notes == [f"square: {FLAGS['square']}"]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(str(report))
    assert json.loads(report.to_json())["operations"][0]["failures"][0]["case"] == failure.case


@pytest.mark.parametrize(("times", "ok"), [(0.99, True), (1.01, False), (1.5, False)])
def test_an_error_is_shown_as_a_share_of_its_bound(times: float, ok: bool) -> None:  # noqa: FBT001
    """Up to its bound a result is right, and from there on wrong."""
    (case,) = (case for case in CASES if case["name"] == "linear-square-1")
    parts = case["outputs"]["z"]
    z = parts["high"].copy()
    z[1, 2] += times * parts["error.float32"][1, 2]
    found = judge(one_result(lambda _: z.tolist()), CASES).operations[0]
    assert abs(found.worst_share - times) < 1e-3
    assert found.where == "z[1, 2], linear-square-1"
    assert bool(found.failures) != ok


def test_what_is_not_judged_is_named() -> None:
    """The report lists the operations without results, and refuses results of unknown names."""
    found = one_result(lambda z: z)
    report = judge(found, CASES)
    assert len(report.not_judged) == 11
    assert "not judged, as there are no results: linear_relu, " in str(report)
    found["results"]["linear-square-1"]["other"] = 1
    assert judge(found, CASES).operations[0].failures[0].message == "it has no result named 'other'"


def relu_at_zero(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return a gradient that passes through ReLU where its input is 0."""
    wrong = changed("(z[k - 1] > 0)", "(z[k - 1] >= 0)")["backward"]
    loss, grads = wrong(params_of(inputs), inputs["x"], inputs["y"], l2=inputs["l2"])
    return {"loss": loss, **grads}


def first_rows(n: int) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    """Return a change that leaves the first result 0 from row n on."""

    def change(_: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
        name, array = next(iter(results.items()))
        return results | {name: array * (np.arange(len(array)) < n)[:, None]}

    return change


FURTHER: dict[str, tuple[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]]] = {
    "ReLU passes at 0": ("backward", lambda inputs, _: relu_at_zero(inputs)),
    "probabilities clipped at 1e-12": ("softmax_cross_entropy", lambda inputs, _: {
        "loss": -np.maximum(variants.log_softmax(inputs["z"])[
            np.arange(len(inputs["y"])), inputs["y"]], np.float32(-27.6)).mean()}),
    "rows from 17 on not written, linear": ("linear", first_rows(17)),
    "rows from 17 on not written, log_softmax": ("log_softmax", first_rows(17)),
    "rows from 17 on not written, dx": ("linear_backward", first_rows(17)),
    "small inputs of ReLU are off": ("relu_backward", lambda inputs, _: {
        "dz": np.where(inputs["z"] > 1e-4, inputs["delta"], np.float32(0))}),
    "ReLU6": ("relu_backward", lambda inputs, results: {
        "dz": results["dz"] * (inputs["z"] < 6)}),
    "the first logit subtracted": ("log_softmax", lambda inputs, _: {
        "log_p": inputs["z"] - inputs["z"][:, :1] - np.log(np.exp(
            inputs["z"] - inputs["z"][:, :1]).sum(axis=1, keepdims=True))}),
    "velocity clipped at 1": ("momentum_step", lambda inputs, results: {
        "p": results["p"], "v": np.clip(results["v"], -1, 1)}),
}  # fmt: skip


@pytest.mark.parametrize(("operation", "change"), FURTHER.values(), ids=FURTHER)
def test_further_mistakes_are_caught(
    operation: str, change: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
) -> None:
    """A wrong program in float32 fails a case of its operation."""

    def function(of: str, inputs: dict[str, Any]) -> dict[str, Any]:
        results = compute(of, inputs)
        return change(inputs, results) if of == operation else results

    report = judge(results_of("float32", function), CASES)
    assert [found.operation for found in report.operations if found.failures] == [operation]


def test_the_example_of_the_readme_is_a_case() -> None:
    """The README shows a case of the files, with all its numbers."""
    (text,) = re.findall(r"```json\n(.*?)```", (FOLDER / "README.md").read_text("utf-8"), re.DOTALL)
    shown = json.loads(text)
    document = json.loads((FOLDER / "relu_backward.json").read_text("utf-8"))
    assert shown in document["cases"]


@pytest.mark.parametrize("damage", ["cut", "version", "no high"])
def test_damaged_vectors_are_refused(tmp_path: Path, damage: str) -> None:
    """A file that is cut off, of another version, or without exact results raises ValueError."""
    for path in FOLDER.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if damage == "cut":
        path = tmp_path / "tensors.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path = tmp_path / "linear.json"
        old, new = ('"version": 1', '"version": 2') if damage == "version" else ('"high"', '"hi"')
        path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    with pytest.raises(ValueError, match="holds no vectors"):
        load(tmp_path)


def test_flat_lists_and_null_are_understood() -> None:
    """Results may be flat, and null stands for NaN."""
    flat = one_result(lambda z: [number for row in z for number in row])
    flat["results"]["linear-nan-1"]["z"] = [
        [None if np.isnan(number) else number for number in row]
        for row in flat["results"]["linear-nan-1"]["z"]
    ]
    assert judge(flat, CASES).ok


def test_a_lost_nan_is_a_failure() -> None:
    """Where the exact result is NaN, a number is wrong."""
    report = judge(one_result(lambda z: np.nan_to_num(z).tolist(), "linear-nan-1"), CASES)
    assert "expected NaN" in report.operations[0].failures[0].message


def test_a_case_without_results_is_a_failure() -> None:
    """All cases of an operation belong to it."""
    found = one_result(lambda z: z)
    del found["results"]["linear-large-1"]
    (failure,) = judge(found, CASES).operations[0].failures
    assert (failure.case, failure.message) == ("linear-large-1", "it has no results")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "expected JSON"),
        ("[]", 'expected an object with "program", "precision" and "results"'),
        ('{"results": []}', 'expected an object with "program", "precision" and "results"'),
        ('{"precision": "float8", "results": {}}', "precision must be one of float64, float32, bf"),
        ('{"precision": "float32", "results": {}}', "no case with a bound for float32"),
        ('{"precision": "float32", "results": {"a-1": {}}}', "there is no case named 'a-1'"),
    ],
)
def test_results_of_another_form_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    """The command prints one line, with the file and what was expected."""
    (tmp_path / "results.json").write_text(content)
    status = main(["vectors", "check", str(tmp_path / "results.json"), "--vectors", str(FOLDER)])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith(f"purenet: {tmp_path / 'results.json'}: ")
    assert message in err


def test_the_command_judges_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints the report and exits with 1 if a case failed; it finds the vectors in ./vectors."""
    monkeypatch.chdir(FOLDER.parent)
    schema = json.loads((FOLDER / "results.schema.json").read_text())
    path, findings = tmp_path / "results.json", tmp_path / "findings.json"
    for change, expected in ((lambda z: z, 0), (lambda z: z[::-1], 1)):
        found = one_result(change)
        jsonschema.validate(found, schema)
        path.write_text(json.dumps(found))
        assert main(["vectors", "check", str(path), "--json", str(findings)]) == expected
        out, err = capsys.readouterr()
        assert str(judge(found, CASES)) + "\n" == out
        assert json.loads(findings.read_text())["ok"] == (expected == 0)
        assert main(["vectors", "check", str(path)]) == expected
        assert capsys.readouterr() == (out, err)
    assert err == f"purenet: {path}: 1 of 39 cases failed\n"
