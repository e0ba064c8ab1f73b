"""The reproduction in a tiny form: 200 images, a few epochs."""

import io
import json
import math
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import purenet
from purenet.cli import commands
from purenet.cli import reproduce as command
from purenet.reproduction import figures, page, plain, questions, work
from purenet.reproduction.experiments import compare_with_report, initial_losses
from purenet.reproduction.explanations import fit_divisor
from purenet.reproduction.findings import PARTS, Findings, compute, count_units
from purenet.reproduction.gradient_noise import measure_noise
from purenet.reproduction.plan import Plan
from purenet.reproduction.published import EXPERIMENTS, SIZES, initial_params
from purenet.reproduction.trainings import MeanStd, misfit, summarise, train_and_test
from tests.reproduction.pages import Page
from tests.reproduction.tiny import TINY, few_digits, nothing, read_findings, reproduce


@pytest.fixture(scope="module", name="few")
def few_images() -> tuple[Any, Any]:
    """Return 200 training and 100 test images, with labels."""
    return few_digits()


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Findings]:
    """Return the folder of a tiny reproduction, with its page, and the findings."""
    folder = tmp_path_factory.mktemp("report")
    reproduce(folder)
    return folder, read_findings(folder)


def undone(*_: Any, **__: Any) -> Any:
    """Stand for a function that only units call."""
    raise AssertionError("a finished unit was done again")


def test_presets_are_the_reports() -> None:
    """Network, hyperparameters and printed results are those of the report's section 6."""
    first, second, third = EXPERIMENTS
    assert SIZES == (784, 200, 50, 10)
    assert [e.config.momentum for e in EXPERIMENTS] == [0.9, 0, 0]
    assert [e.config.batch_size for e in EXPERIMENTS] == [128, 128, None]
    assert [e.config.epochs for e in EXPERIMENTS] == [10, 10, 500]
    for e in EXPERIMENTS:
        assert (e.config.learning_rate, e.config.l2, e.config.input_scale) == (0.01, 1e-3, 1)
    assert [round(loss, 4) for loss in first.losses.values()] == [
        *(1.4276, 0.5259, 0.3635, 0.2774, 0.2217, 0.1787, 0.1458, 0.1227, 0.1081, 0.0992)
    ]
    assert [round(loss, 4) for loss in second.losses.values()] == [
        *(1.3497, 0.4956, 0.3450, 0.2596, 0.2014, 0.1628, 0.1316, 0.1107, 0.1012, 0.0890)
    ]
    assert {k: round(loss, 4) for k, loss in third.losses.items()} == {
        0: 2.3042,
        100: 0.3175,
        200: 0.2059,
        300: 0.1616,
        400: 0.1340,
    }
    assert [e.accuracy for e in EXPERIMENTS] == [0.9738, 0.9773, 0.9641]
    assert [round(e.seconds, 1) for e in EXPERIMENTS] == [30.2, 23.8, 505.1]


def test_networks_start_as_the_reports() -> None:
    """Weights have standard deviation 0.01, and biases are zero."""
    params = initial_params(0, "float64")
    weights = params["W1"].ravel()
    assert abs(weights.std() / 0.01 - 1) < 5 / math.sqrt(2 * weights.size)  # five standard errors
    assert not params["b1"].any()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_plain_algorithm_is_purenets(number: int, few: tuple[Any, Any]) -> None:
    """The losses of two epochs of both algorithms agree up to rounding.

    Each loss and step is a few sums of at most 784 terms. In two or four steps at this learning
    rate their errors grow by less than a hundred.
    """
    (x, y), _ = few
    cfg = replace(EXPERIMENTS[number - 1].config, epochs=2)
    params, velocity, columns = plain.start(initial_params(0, "float64"), x)
    ours = [record.loss for record in purenet.epochs(initial_params(0, "float64"), (x, y), cfg)]
    theirs = [plain.epoch(params, velocity, columns, y, cfg) for _ in range(2)]
    assert theirs == pytest.approx(ours, rel=100 * 784 * np.finfo(float).eps)
    assert ours[0] != ours[1]


def test_misfit_is_the_mean_square_of_logarithms() -> None:
    """Twice the printed loss everywhere is a misfit of log 2, and so is half of it."""
    assert misfit([2, 1], [1, 2]) == pytest.approx(math.log(2))


def test_divisor_explains_a_sum_over_the_batch_size() -> None:
    """Printed losses that are batches / batch size times the real ones have no misfit left."""
    losses = [loss * 128 / 469 for loss in EXPERIMENTS[0].losses.values()]
    fit = fit_divisor(1, {}, losses, 60_000)
    assert fit.misfit == pytest.approx(0, abs=1e-12)
    assert fit.factor == 469 / 128
    assert fit.best_factor == pytest.approx(469 / 128)
    assert fit.misfit_of_mean == pytest.approx(math.log(469 / 128))


@dataclass(frozen=True)
class Number:
    """The result of a unit."""

    value: float


@dataclass(frozen=True)
class Numbers:
    """The result of a unit, with records in a list."""

    numbers: list[Number]


def test_equal_settings_are_not_done_again(tmp_path: Path, few: tuple[Any, Any]) -> None:
    """Work finds a unit by its settings, does others, and reads what was returned."""
    done: list[int] = []

    def unit(_: work.Work, *, number: int) -> Numbers:
        done.append(number)
        return Numbers([Number(0.1), Number(number)])

    first = work.Work(tmp_path, *few, nothing)
    results = [first(unit, number=number) for number in (1, 2, 1)]
    again = work.Work(tmp_path, *few, nothing)(unit, number=2)
    assert done == [1, 2]
    assert results == [Numbers([Number(0.1), Number(number)]) for number in (1, 2, 1)]
    assert again == results[1]


def test_another_machine_does_units_again(
    tmp_path: Path, few: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times belong to a machine, so that work finds nothing in another environment."""

    def unit(_: work.Work) -> Number:
        return Number(work.describe_environment()["cores"])

    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert work.Work(tmp_path, *few, nothing)(unit) == Number(1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert work.Work(tmp_path, *few, nothing)(unit) == Number(2)


def test_interruption_leaves_whole_units(tmp_path: Path, few: tuple[Any, Any]) -> None:
    """A unit that is interrupted leaves no file, and the files of those before it stay."""
    keep = work.Work(tmp_path, *few, nothing)

    def unit(_: work.Work, *, stop: bool) -> Number:
        if stop:
            raise KeyboardInterrupt
        return Number(1)

    keep(unit, stop=False)
    with pytest.raises(KeyboardInterrupt):
        keep(unit, stop=True)
    (record,) = tmp_path.iterdir()
    assert json.loads(record.read_text())["result"] == {"value": 1}


def test_segments_are_the_whole_run(tmp_path: Path, few: tuple[Any, Any]) -> None:
    """Full batch in segments gives the bits of full batch in one, with momentum too."""
    cfg = replace(EXPERIMENTS[2].config, momentum=0.5)
    losses = []
    for cuts in ([4], [1, 3, 4]):
        keep, model = work.Work(tmp_path, *few, nothing), None
        curve: list[float] = []
        for stop in cuts:
            part = keep(
                train_and_test,
                cfg=replace(cfg, epochs=stop),
                dtype="float32",
                model=model,
                save=True,
            )
            model, curve = part.model, curve + part.losses
        losses.append(curve)
    assert len(losses[0]) == 4
    assert losses[0] == losses[1]


def test_penalties_are_the_losses_without_data(tmp_path: Path, few: tuple[Any, Any]) -> None:
    """Loss minus penalty is the loss with l2 = 0 of the same parameters."""
    keep = work.Work(tmp_path, *few, nothing)
    losses = keep(initial_losses, dtype="float64", seeds=1)
    x, y = few[0]
    bare = purenet.loss(initial_params(0, "float64"), x.astype(float), y)
    assert losses.without_penalty == [pytest.approx(bare, rel=1e-12)]
    assert losses.with_penalty[0] > losses.without_penalty[0]


def test_gradient_noise_falls_as_one_over_n(tmp_path: Path, few: tuple[Any, Any]) -> None:
    """Variances estimate tr Σ (N − n) / n (N − 1), with tr Σ from the gradients of all images."""
    x, y = (part[:60] for part in few[0])
    params = initial_params(0, "float64")
    each = np.stack(
        [
            np.concatenate(
                [
                    g.ravel()
                    for g in purenet.backward(params, x[i : i + 1] * 1.0, y[i : i + 1])[1].values()
                ]
            )
            for i in range(len(x))
        ]
    )
    trace = float(np.square(each - each.mean(axis=0)).sum() / len(x))
    keep = work.Work(tmp_path, (x, y), few[1], nothing)
    found = keep(
        measure_noise,
        cfg=replace(EXPERIMENTS[1].config, epochs=0),
        dtype="float64",
        sizes=[8, 30],
        draws=64 * 256,
    )
    n = np.array(found.sizes)
    expected = trace / n * (len(x) - n) / (len(x) - 1)
    # A squared distance spreads by about its own size: 64 of them by an eighth; four of these.
    np.testing.assert_allclose(found.variances, expected, rtol=4 / 8)
    assert found.trace == pytest.approx(trace, rel=4 / 8)


def test_trajectory_counts_what_it_did(tmp_path: Path, few: tuple[Any, Any]) -> None:
    """Epochs and updates follow from the stops, and the end is that of `epochs` itself."""
    cfg = replace(questions.SHUFFLED, batch_size=50, epochs=2)
    keep = work.Work(tmp_path, *few, nothing)
    points = keep(questions.train_in_parts, cfg=cfg, dtype="float64", stops=[50, 200, 400]).points
    assert [(p.epochs, p.updates) for p in points] == [(0.25, 1), (1, 4), (2, 8)]
    *_, last = purenet.epochs(initial_params(0, "float64"), few[0], cfg)
    assert points[-1].loss == pytest.approx(
        purenet.evaluate(last.params, few[0], l2=cfg.l2, input_scale=cfg.input_scale).loss,
        rel=1e-9,
    )


def test_tests_come_after_whole_batches_within_the_budget() -> None:
    """Stops start within the first epoch and end at the cap on updates or epochs."""
    plan = Plan(batch_epochs=2, least_updates=3, most_updates=100)
    assert questions.stops_for_tests(64, 1, plan) == [1, 2, 4, 8, 16, 32, 64, 100]
    assert questions.stops_for_tests(64, 64, plan) == [64, 128, 192]
    assert all(stop % 16 == 0 for stop in questions.stops_for_tests(100, 16, plan))


def test_results_hold_every_record(reproduced: tuple[Path, Findings]) -> None:
    """Command, versions, processor, plan and all units are in results.json."""
    folder, findings = reproduced
    written = json.loads((folder / "results.json").read_text())
    assert written["command"].startswith("purenet reproduce --quick")
    environment = written["environment"]
    assert environment.keys() == {"engine", "versions", "pools", "system", "processor", "cores"}
    assert {"python", "purenet", "numpy"} <= environment["versions"].keys()
    assert written["plan"]["seeds"] == 2
    files = {
        path.stem: json.loads(path.read_text()) for path in (folder / "records").glob("*.json")
    }
    assert written["records"] == files
    assert len(written["experiments"]) == 3
    sections = json.loads(json.dumps(asdict(findings)))
    assert sections == {name: written[name] for name in sections}


def test_learning_rates_that_diverge_lose(reproduced: tuple[Path, Findings]) -> None:
    """A rate of 1e30 is recorded as diverged and never chosen."""
    _, findings = reproduced
    searches = [row.rates for row in findings.batch_sizes]
    searches += [row.rates for row in findings.momenta.rows]
    for search in searches:
        assert search.losses[1e30] is None
        assert search.best == 0.001
    subset = findings.explanations.subset
    assert {trial.misfit for trial in subset.grid if trial.rate > 1} == {None}
    assert {fit.rate for fit in subset.joint} == {0.005}


def test_finished_reproduction_does_nothing(
    reproduced: tuple[Path, Findings], few: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run finds every unit and gives equal findings, and the bar counts all its units."""
    folder, findings = reproduced
    monkeypatch.setattr(purenet, "epochs", undone)
    calls: list[None] = []
    again = work.Work(folder / "records", *few, lambda: calls.append(None))
    assert compute(again, TINY, 200) == findings
    assert len(calls) == count_units(TINY, 200)


def test_seeds_are_those_asked_for(
    reproduced: tuple[Path, Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `--seeds 1` everything runs with one seed, the first of more."""
    folder, findings = reproduced
    written: dict[Path, bytes] = {}
    monkeypatch.setattr(figures, "draw_figures", lambda *_: {})
    monkeypatch.setattr(page, "render", lambda *_, **__: "")
    monkeypatch.setattr(purenet, "epochs", undone)
    monkeypatch.setattr(
        "purenet.files.writing.write", lambda path, text: written.update({path: text})
    )
    reproduce(folder, seeds=1)
    found = json.loads(written[folder / "results.json"])
    runs = [e["repeats"]["runs"] for e in found["experiments"]]
    assert [len(of_experiment) for of_experiment in runs] == [1, 1, 1]
    assert runs[0][0] == asdict(findings.experiments[0].repeats.runs[0])
    assert "--seeds 1" in found["command"]


def test_loss_that_overflows_on_the_test_images_is_divergence(
    tmp_path: Path, few: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run ends where its parameters are finite and its logits are not, and says so."""
    monkeypatch.setattr(purenet, "evaluate", lambda *_, **__: purenet.Evaluation(math.nan, 0.1))
    keep = work.Work(tmp_path, *few, nothing)
    run = keep(train_and_test, cfg=EXPERIMENTS[1].config, dtype="float64")
    assert (run.diverged, run.tests, len(run.losses)) == (1, [], 1)


def test_trajectory_whose_loss_overflows_ends_there(
    tmp_path: Path, few: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trajectory ends, without a loss, at parameters that are finite and logits that are not."""
    monkeypatch.setattr(purenet, "evaluate", lambda *_, **__: purenet.Evaluation(math.nan, 0.1))
    keep = work.Work(tmp_path, *few, nothing)
    (point,) = keep(
        questions.train_in_parts, cfg=questions.SHUFFLED, dtype="float64", stops=[128, 256]
    ).points
    assert (point.updates, point.loss, point.accuracy) == (1, None, None)


def test_page_is_whole_and_loads_nothing(reproduced: tuple[Path, Findings]) -> None:
    """Every element closes, every image is inlined, and nothing refers to elsewhere."""
    source = (reproduced[0] / "index.html").read_text()
    parsed = Page(source)
    assert parsed.open == []
    drawn = [len(list(reproduced[0].glob(f"*.{suffix}"))) for suffix in ("svg", "png")]
    kinds = [reference.partition(",")[0] for _, reference in parsed.references]
    assert [kinds.count(f"data:image/{kind};base64") for kind in ("svg+xml", "png")] == drawn
    assert len(kinds) == sum(drawn) > 20
    assert {tag for tag, _ in parsed.references} == {"img"}
    assert not re.search(r"https?:|url\(|@import|<script", source)
    assert "None" not in parsed.text
    assert "nan" not in parsed.text.split()


def test_page_has_its_sections(reproduced: tuple[Path, Findings]) -> None:
    """The page has all sections of a short paper, and the quick form says what it is."""
    parsed = Page((reproduced[0] / "index.html").read_text())
    assert parsed.ids == [
        *("abstract", "network", "experiments", "ambiguities", "learned", "explanations"),
        *("batches", "momentum", "not-reproduced", "made"),
    ]
    assert "This is the quick form." in parsed.text
    assert "2 seeds, 3 of the 500 iterations of experiment 3, and small grids" in parsed.text


@pytest.mark.parametrize(
    ("loss", "accuracy", "std", "sentence"),
    [
        (0.5, 0.5, 0.01, "Momentum did not help."),
        (0.1, 0.5, 0.01, "Momentum helped in training loss, not in test accuracy."),
        (0.5, 0.9, 0.01, "Momentum helped in test accuracy, not in training loss."),
        (0.1, 0.9, 0.01, "Momentum helped."),
        (0.1, 0.1, 0.01, "Momentum helped in one respect and hurt in the other."),
        (0.9, 0.5, 0.01, "Momentum did not help."),
        (0.1, 0.9, 0.9, "Momentum did not help."),
        (0.1, 0.9, None, "One seed cannot tell whether momentum helps."),
    ],
)
def test_page_says_what_the_numbers_say(
    reproduced: tuple[Path, Findings],
    loss: float,
    accuracy: float,
    std: float | None,
    sentence: str,
) -> None:
    """The sentence about momentum follows the numbers of its table."""
    folder, findings = reproduced
    rows = [
        replace(
            row,
            repeats=replace(row.repeats, last_loss=MeanStd(a, std), test_accuracy=MeanStd(b, std)),
        )
        for row, (a, b) in zip(findings.momenta.rows, ((0.5, 0.5), (loss, accuracy)), strict=True)
    ]
    pictures = {path.stem: path.name for path in folder.glob("*.[sp][vn]g")}
    html = page.render(
        replace(findings, momenta=questions.compare_momenta(rows)),
        pictures,
        folder,
        environment=work.describe_environment(),
        command="",
    )
    assert sentence in Page(html).text


def test_losses_as_printed_are_said_to_reproduce(reproduced: tuple[Path, Findings]) -> None:
    """If the losses are the printed ones, none is off in any of the three experiments."""
    _, findings = reproduced
    for e in findings.experiments:
        losses = [e.report.losses.get(k, 1.0) for k in range(e.epochs)]
        runs = [replace(run, losses=losses) for run in e.repeats.runs]
        compared = compare_with_report(e.report, e.epochs, summarise(runs), e.race)
        assert (compared.off, compared.largest) == ([], 0)
    assert [bool(e.off) for e in findings.experiments][:2] == [True, True]


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_missing_libraries_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Without Matplotlib or Jinja2 nothing runs, and the error says what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"{missing}: pip install 'purenet\[reproduce\]'"):
        reproduce(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_number_of_seeds_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line refuses `--seeds 0`."""
    assert commands.main(["reproduce", "--seeds", "0", "--output", "none"]) == 2
    assert capsys.readouterr().err == "purenet: --seeds must be at least 1, got 0\n"


def test_processor_is_pythons_where_proc_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc/cpuinfo the processor is the one that Python's platform module names."""
    monkeypatch.setattr(Path, "exists", lambda _: False)
    monkeypatch.setattr("platform.processor", lambda: "a processor")
    assert work.describe_environment()["processor"] == "a processor"


def test_the_environment_is_the_same_before_and_after_training() -> None:
    """A new process finds the records of one that has trained, which has loaded more libraries."""
    code = """
import numpy as np, purenet
from purenet.reproduction.work import describe_environment
before, params = describe_environment(), purenet.init([2, 2])
purenet.train(params, (np.ones((4, 2)), np.zeros(4, int)), purenet.Config(epochs=1))
print(before == describe_environment())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "True\n"


def replay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command on a finished reproduction, without its figures and its page."""
    monkeypatch.setattr(figures, "draw_figures", lambda *_: {})
    monkeypatch.setattr(page, "render", lambda *_, **__: "")
    monkeypatch.setattr("purenet.files.writing.write", lambda *_: None)
    reproduce(folder)


def test_progress_is_lines_where_stderr_is_no_terminal(
    reproduced: tuple[Path, Findings],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every part has a line when it begins, and every unit one after enough time."""
    monkeypatch.setattr(command, "LINE_EVERY", 0)
    replay(reproduced[0], monkeypatch)
    lines = capsys.readouterr().err.splitlines()
    total = count_units(TINY, 200)
    found = [
        re.fullmatch(r"purenet: ([a-z ]+): (\d+) of (\d+) units after \d+ s", line)
        for line in lines
    ]
    assert all(found)
    parts = [match[1] for match in found if match]
    assert list(dict.fromkeys(parts)) == [*PARTS, "figures and page"]
    assert {int(match[2]) for match in found if match} == set(range(total + 1))
    assert {int(match[3]) for match in found if match} == {total}


def test_progress_is_not_a_line_for_every_unit(
    reproduced: tuple[Path, Findings],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Units that follow each other at once have no lines of their own."""
    monkeypatch.setattr(command, "LINE_EVERY", 1e9)
    replay(reproduced[0], monkeypatch)
    assert len(capsys.readouterr().err.splitlines()) == len(PARTS) + 1


def test_progress_is_a_bar_on_a_terminal(
    reproduced: tuple[Path, Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the bar names the part, and no line is printed."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    replay(reproduced[0], monkeypatch)
    assert "figures and page: 100%" in terminal.getvalue()
    assert "purenet:" not in terminal.getvalue()


def test_help_says_what_runs_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    """The help names every part, in order, and the times of both forms."""
    with pytest.raises(SystemExit):
        commands.main(["reproduce", "--help"])
    shown = "".join(capsys.readouterr().out.split())  # lines are broken after hyphens too
    places = [shown.index("".join(f"{name}: {text}".split())) for name, text in PARTS.items()]
    assert places == sorted(places)
    assert shown.count("minute") == 2
