"""The reproduction in a short form: 200 images, a few epochs."""

import importlib.util
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import purenet
from purenet.reproduction import command, figures, hypothesis, page, plain, questions, runs, work
from purenet.reproduction.experiments import EXPERIMENTS, SIZES, Plan, network, settings
from tests.reproduction.tiny import TINY, digits, reproduce


def nothing() -> None:
    """Stand for a progress bar."""


@pytest.fixture(scope="module", name="digits")
def few_digits() -> tuple[Any, Any]:
    """Return 200 training and 100 test images."""
    return digits()


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, Any]]:
    """Return the folder and results of a tiny reproduction, with its page."""
    folder = tmp_path_factory.mktemp("report")
    reproduce(folder)
    return folder, json.loads((folder / "results.json").read_text())


def undone(*_: Any, **__: Any) -> Any:
    """Stand for units that must not be done again."""
    raise AssertionError("a finished unit was done again")


def test_presets_are_the_reports() -> None:
    """Network, hyperparameters and printed figures are those of the report's section 6."""
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
    """Weights have standard deviation 0.01, biases are zero."""
    params = network(0, "float64")
    weights = params["W1"].ravel()
    assert abs(weights.std() / 0.01 - 1) < 5 / math.sqrt(2 * weights.size)  # five standard errors
    assert not params["b1"].any()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_plain_algorithm_is_purenets(number: int, digits: tuple[Any, Any]) -> None:
    """Two epochs of both agree in their losses to rounding.

    Each loss and step is some sums of at most 784 terms; in two steps or four, at this learning
    rate, their errors grow by less than a hundred.
    """
    (x, y), _ = digits
    cfg = replace(EXPERIMENTS[number - 1].config, epochs=2)
    params, velocity, columns = plain.start(network(0, "float64"), x)
    ours = [record.loss for record in purenet.epochs(network(0, "float64"), (x, y), cfg)]
    theirs = [plain.epoch(params, velocity, columns, y, cfg) for _ in range(2)]
    assert theirs == pytest.approx(ours, rel=100 * 784 * np.finfo(float).eps)
    assert ours[0] != ours[1]


def test_misfit_is_the_mean_square_of_logarithms() -> None:
    """Twice the printed loss everywhere is a misfit of log 2; so is half of it."""
    assert hypothesis.misfit([2, 1], [1, 2]) == pytest.approx(math.log(2))


def test_divisor_explains_a_sum_over_the_batch_size() -> None:
    """Printed losses that are batches / batch size times the real ones have no misfit left."""
    printed = list(EXPERIMENTS[0].losses.values())
    curve = {"number": 1, "typical": [loss * 128 / 469 for loss in printed]}
    (row,) = hypothesis.divisor([curve], [], 60_000)
    assert row["misfit"] == pytest.approx(0, abs=1e-12)
    assert row["factor"] == 469 / 128
    assert row["best_factor"] == pytest.approx(469 / 128)
    assert row["without"] == pytest.approx(math.log(469 / 128))


def test_equal_settings_are_not_done_again(tmp_path: Path, digits: tuple[Any, Any]) -> None:
    """A unit is found by its settings; others are done; what is found equals what was done."""
    done: list[int] = []

    def unit(_: work.Work, *, number: int) -> dict[str, Any]:
        done.append(number)
        return {"tuple": (number, 0.1)}

    first = work.Work(tmp_path, *digits, nothing)
    results = [first(unit, number=number) for number in (1, 2, 1)]
    again = work.Work(tmp_path, *digits, nothing)(unit, number=2)
    assert done == [1, 2]
    assert results == [{"tuple": [1, 0.1]}, {"tuple": [2, 0.1]}, {"tuple": [1, 0.1]}]
    assert again == results[1]


def test_another_machine_does_units_again(
    tmp_path: Path, digits: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times belong to a machine, so that a changed environment finds nothing."""

    def unit(_: work.Work) -> dict[str, Any]:
        return {"cores": work.environment()["cores"]}

    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert work.Work(tmp_path, *digits, nothing)(unit) == {"cores": 1}
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert work.Work(tmp_path, *digits, nothing)(unit) == {"cores": 2}


def test_interruption_leaves_whole_units(tmp_path: Path, digits: tuple[Any, Any]) -> None:
    """What a unit that was interrupted left behind is no record; those before it stay."""
    keep = work.Work(tmp_path, *digits, nothing)

    def unit(_: work.Work, *, stop: bool) -> dict[str, Any]:
        if stop:
            raise KeyboardInterrupt
        return {"whole": True}

    keep(unit, stop=False)
    with pytest.raises(KeyboardInterrupt):
        keep(unit, stop=True)
    (record,) = tmp_path.iterdir()
    assert json.loads(record.read_text())["result"] == {"whole": True}


def test_segments_are_the_whole_run(tmp_path: Path, digits: tuple[Any, Any]) -> None:
    """Full batch in segments gives the bits of full batch in one, with momentum too."""
    config = replace(EXPERIMENTS[2].config, epochs=4, momentum=0.5)
    losses = []
    for cuts in ([4], [1, 3, 4]):
        keep, model, start = work.Work(tmp_path, *digits, nothing), None, 0
        curve: list[float] = []
        for stop in cuts:
            part = keep(
                runs.training,
                config=settings(config, epochs=stop),
                dtype="float32",
                start=start,
                model=model,
                keep=True,
            )
            model, start, curve = part["model"], stop, curve + part["losses"]
        losses.append(curve)
    assert losses[0] == losses[1]


def test_penalties_are_the_losses_without_data(tmp_path: Path, digits: tuple[Any, Any]) -> None:
    """Loss minus penalty is the loss with l2 = 0, of the same parameters."""
    keep = work.Work(tmp_path, *digits, nothing)
    losses = keep(runs.initial_losses, dtype="float64", seeds=1)
    x, y = digits[0]
    bare = purenet.loss(network(0, "float64"), x.astype(float), y)
    assert losses["without"] == [pytest.approx(bare, rel=1e-12)]
    assert losses["with"][0] > losses["without"][0]


def test_gradient_noise_falls_as_one_over_n(tmp_path: Path, digits: tuple[Any, Any]) -> None:
    """Variances estimate tr Σ (N − n) / n (N − 1), with tr Σ from the gradients of all images."""
    x, y = (part[:60] for part in digits[0])
    params = network(0, "float64")
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
    keep = work.Work(tmp_path, (x, y), digits[1], nothing)
    found = keep(
        questions.gradient_noise,
        config=settings(EXPERIMENTS[1].config, epochs=0),
        dtype="float64",
        sizes=[8, 30],
        draws=64 * 256,
    )
    n = np.array(found["sizes"])
    expected = trace / n * (len(x) - n) / (len(x) - 1)
    # A squared distance spreads by about its own size: 64 of them by an eighth; four of these.
    np.testing.assert_allclose(found["variances"], expected, rtol=4 / 8)
    assert found["trace"] == pytest.approx(trace, rel=4 / 8)


def test_trajectory_counts_what_it_did(tmp_path: Path, digits: tuple[Any, Any]) -> None:
    """Epochs and updates follow from the checkpoints; the end is that of `epochs` itself."""
    cfg = replace(questions.DRAWN, batch_size=50, epochs=2)
    keep = work.Work(tmp_path, *digits, nothing)
    points = keep(
        questions.trajectory, config=settings(cfg), dtype="float64", checkpoints=[50, 200, 400]
    )["points"]
    assert [(p["epochs"], p["updates"]) for p in points] == [(0.25, 1), (1, 4), (2, 8)]
    *_, last = purenet.epochs(network(0, "float64"), digits[0], cfg)
    assert points[-1]["loss"] == pytest.approx(
        purenet.evaluate(last.params, digits[0], l2=cfg.l2, input_scale=cfg.input_scale).loss,
        rel=1e-9,
    )


def test_checkpoints_are_whole_batches_within_the_budget() -> None:
    """They start within the first epoch and end at the cap on updates or epochs."""
    plan = Plan(batch_epochs=2, least_updates=3, most_updates=100)
    assert questions._checkpoints(64, 1, plan) == [1, 2, 4, 8, 16, 32, 64, 100]
    assert questions._checkpoints(64, 64, plan) == [64, 128, 192]
    assert all(at % 16 == 0 for at in questions._checkpoints(100, 16, plan))


def test_results_hold_every_record(finished: tuple[Path, dict[str, Any]]) -> None:
    """Command, versions, processor, plan and all units are in results.json."""
    folder, results = finished
    assert results["command"].startswith("purenet reproduce --quick")
    assert {"purenet", "numpy", "python", "processor", "cores", "blas"} <= results[
        "environment"
    ].keys()
    assert results["plan"]["seeds"] == 2
    files = {
        path.stem: json.loads(path.read_text()) for path in (folder / "records").glob("*.json")
    }
    assert results["records"] == files
    assert len(results["experiments"]) == 3


def test_learning_rates_that_diverge_lose(finished: tuple[Path, dict[str, Any]]) -> None:
    """A rate of 1e30 is recorded as diverged, and never chosen."""
    _, results = finished
    for row in results["batches"] + results["momenta"]:
        assert row["losses"]["1e+30"] is None
        assert row["rate"] == 0.001
    assert {p["misfit"] for p in results["subset"]["grid"] if p["rate"] > 1} == {None}
    assert results["subset"]["joint"]["rate"] == 0.005


def test_finished_reproduction_does_nothing(
    finished: tuple[Path, dict[str, Any]], digits: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run finds every unit, gives equal results, and counts as many as the bar has."""
    folder, results = finished
    monkeypatch.setattr(purenet, "epochs", undone)
    calls: list[None] = []
    again = work.Work(folder / "records", *digits, lambda: calls.append(None))
    plan = replace(TINY, dtype="float64")
    found = json.loads(json.dumps(command.compute(again, plan)))
    assert found == {name: value for name, value in results.items() if name != "command"}
    assert len(calls) == command.units(plan)


def test_seeds_are_those_asked_for(
    finished: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--seeds 1` is one seed of everything, and the first of more."""
    folder, results = finished
    monkeypatch.setattr(figures, "draw", lambda *_: {})
    monkeypatch.setattr(page, "render", lambda *_: "")
    monkeypatch.setattr(purenet, "epochs", undone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "purenet.files.checkpoints.write", lambda path, text: written.update({path: text})
        )
        written: dict[Path, bytes] = {}
        reproduce(folder, seeds=1)
    found = json.loads(written[folder / "results.json"])
    assert [len(e["runs"]) for e in found["experiments"]] == [1, 1, 1]
    assert found["experiments"][0]["runs"][0] == results["experiments"][0]["runs"][0]
    assert "--seeds 1" in found["command"]


def test_loss_that_overflows_on_the_test_images_is_divergence(
    tmp_path: Path, digits: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters may be finite and their logits not: the run ends there, and says so."""
    monkeypatch.setattr(purenet, "evaluate", lambda *_: purenet.Evaluation(math.nan, 0.1))
    keep = work.Work(tmp_path, *digits, nothing)
    run = keep(runs.training, config=settings(EXPERIMENTS[1].config), dtype="float64")
    assert (run["diverged"], run["tests"], len(run["losses"])) == (1, [], 1)


class Page(HTMLParser):
    """Collect what a page refers to, and check that its elements close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember an element."""
        if tag not in {"img", "meta", "link", "br"}:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "srcset", "data", "action"}:
                self.references.append((tag, value or ""))
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        """Close an element."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the text outside of styles."""
        if "style" not in self.open:
            self.text += data


def test_page_is_whole_and_loads_nothing(finished: tuple[Path, dict[str, Any]]) -> None:
    """Every element closes, every image is inlined, and nothing refers to elsewhere."""
    source = (finished[0] / "index.html").read_text()
    parsed = Page()
    parsed.feed(source)
    parsed.close()
    assert parsed.open == []
    assert len(parsed.references) == len(list(finished[0].glob("*.png"))) > 20
    for tag, reference in parsed.references:
        assert tag == "img"
        assert reference.startswith("data:image/png;base64,")
    assert not re.search(r"https?:|url\(|@import|<script", source)
    assert "None" not in parsed.text
    assert "nan" not in parsed.text.split()


def test_page_has_its_sections(finished: tuple[Path, dict[str, Any]]) -> None:
    """A short paper: from the abstract to how it was made; the quick form says so."""
    parsed = Page()
    parsed.feed((finished[0] / "index.html").read_text())
    assert parsed.ids == [
        *("abstract", "network", "experiments", "ambiguities", "learned", "explanations"),
        *("batches", "momentum", "not-reproduced", "made"),
    ]
    assert "This is the quick form." in parsed.text
    assert "cut to 3 of its" in parsed.text


@pytest.mark.parametrize(
    ("loss", "accuracy", "spread", "sentence"),
    [
        (0.5, 0.5, 0.01, "Momentum did not help:"),
        (0.1, 0.5, 0.01, "Momentum helped in training loss, not in test accuracy:"),
        (0.5, 0.9, 0.01, "Momentum helped in test accuracy, not in training loss:"),
        (0.1, 0.9, 0.01, "Momentum helped:"),
        (0.1, 0.1, 0.01, "Momentum helped in one respect and hurt in the other:"),
        (0.9, 0.5, 0.01, "Momentum did not help:"),
        (0.1, 0.9, 0.9, "Momentum did not help:"),
        (0.1, 0.9, None, "One seed cannot tell:"),
    ],
)
def test_page_says_what_the_numbers_say(
    finished: tuple[Path, dict[str, Any]],
    loss: float,
    accuracy: float,
    spread: float | None,
    sentence: str,
) -> None:
    """The sentence about momentum follows the figures of its table."""
    folder, results = finished
    without, best = ({**row} for row in results["momenta"])
    for row, numbers in ((without, (0.5, 0.5)), (best, (loss, accuracy))):
        for name, mean in zip(("last_loss", "test_accuracy"), numbers, strict=True):
            row[name] = {"mean": mean, "spread": spread}
    pictures = {path.stem: path.name for path in folder.glob("*.png")}
    parsed = Page()
    parsed.feed(page.render({**results, "momenta": [without, best]}, pictures, folder))
    assert sentence in " ".join(parsed.text.split())


def test_losses_as_printed_are_said_to_reproduce(finished: tuple[Path, dict[str, Any]]) -> None:
    """If the losses were the printed ones, the page would say so, in all three experiments."""
    _, results = finished
    experiments = [{**e} for e in results["experiments"]]
    for e in experiments:
        printed = e["printed"]["losses"]
        e["typical"] = [printed.get(str(k), 1.0) for k in range(e["epochs"])]
    found = page.findings({**results, "experiments": experiments})["experiments"]
    assert [e["agrees"] for e in found] == [True, True, True]
    real = page.findings(results)["experiments"]
    assert [e["agrees"] for e in real][:2] == [False, False]


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_missing_libraries_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Without Matplotlib or Jinja2 nothing is run, and the error says what to install."""
    monkeypatch.setattr(
        command,
        "find_spec",
        lambda name: None if name == missing else importlib.util.find_spec(name),
    )
    with pytest.raises(ImportError, match=rf"{missing}: pip install 'purenet\[reproduce\]'"):
        reproduce(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_number_of_seeds_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    """No seeds, no reproduction: the command line says so."""
    assert commands.main(["reproduce", "--seeds", "0", "--output", "none"]) == 2
    assert capsys.readouterr().err == "purenet: --seeds must be at least 1, got 0\n"


def test_environment_says_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without threadpoolctl and Numba, threads and version are null, not an error."""
    monkeypatch.setattr(work, "find_spec", lambda _: None)
    monkeypatch.setattr(Path, "exists", lambda _: False)
    found = work.environment()
    assert found["blas"] is None
    assert found["numba"] is None
    assert isinstance(found["processor"], str)
