"""The command line as its user meets it: files, output, exit status."""

import errno
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import purenet
from purenet import Config, State
from purenet.cli.commands import main
from purenet.cli.folder import RunFolder
from purenet.cli.signals import Signals
from purenet.engines.workers import WorkersEngine
from purenet.files import checkpoints, datasets, plots

Cli = Callable[..., tuple[int, str, str]]

# 60 pictures of 4 × 4 pixels; the label counts how many of the first two are bright.
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (60, 16), dtype=np.uint8)
Y = (X[:, :2] > 127).sum(axis=1)
DATA, TEST = (X[:40], Y[:40]), (X[40:], Y[40:])
SIZES = [16, 200, 50, 3]
RUN = {"model.safetensors", "config.json", "history.jsonl", "curves.png"}
TRAIN = ("train", "--data", "digits.npz", "--epochs", 2)

# Weights grow 4-fold a step: logits overflow in float32 after some epochs, not in the first.
DIVERGING = ("--learning-rate", 1, "--momentum", 0, "--l2", 5, "--epochs", 30, "--batch-size", 7)
DRAW = plots.curves


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder that holds a data set, in a terminal of 80 columns, and do not draw."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(plots, "curves", lambda path, _: path.touch())
    write_data("digits.npz")
    return tmp_path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return a function that runs a command and gives exit status, stdout and stderr."""

    def run(*args: object) -> tuple[int, str, str]:
        status = main([str(arg) for arg in args])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def model(folder: Path) -> Path:
    """Return the file of a network that fits the data set."""
    path = folder / "model.safetensors"
    checkpoints.save(path, purenet.init(SIZES, seed=3), Config(input_scale=0.01))
    return path


def write_data(name: str, **arrays: Any) -> None:
    """Write the data set, with other arrays in place of its own."""
    own = {"x_train": DATA[0], "y_train": DATA[1], "x_test": TEST[0], "y_test": TEST[1]}
    np.savez(name, **own | arrays)


def content(folder: str) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def names(folder: str) -> set[str]:
    """Return the names of what a folder holds."""
    return set(os.listdir(folder))


def same_bits(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether networks are equal in keys, order, dtypes and every bit."""
    first, second = ([(k, p.dtype, p.tobytes()) for k, p in d.items()] for d in (one, other))
    return first == second


# What a run prints and keeps.


def test_train_prints_a_table_and_keeps_a_run(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heading, a line per epoch and the names of the files; nothing on stderr."""
    monkeypatch.setattr(plots, "curves", DRAW)
    status, out, err = call(*TRAIN)
    heading, columns, *epochs, files = out.splitlines()
    assert (status, err) == (0, "")
    assert heading == "16-200-50-3, float32: 40 examples, batch 128"
    assert re.split("  +", columns) == [
        "epoch",
        "loss",
        "test loss",
        "test accuracy",
        "seconds",
        "samples/s",
    ]
    assert [line.split()[0] for line in epochs] == ["1", "2"]
    assert {len(line) for line in epochs} == {len(columns)}
    assert set(re.split(", |: ", files)) == {"purenet-run"} | RUN
    assert names("purenet-run") == RUN


def test_json_is_one_object_an_epoch_and_what_history_holds(call: Cli) -> None:
    """Each line of stdout is strict JSON, the lines are history.jsonl, and stderr is empty."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    status, out, err = call(*TRAIN, "--json")
    rows = [json.loads(line, parse_constant=refuse) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert out == Path("purenet-run/history.jsonl").read_text()
    assert [row["epoch"] for row in rows] == [1, 2]


def test_quiet_prints_nothing_and_keeps_the_run(call: Cli) -> None:
    """--quiet is silent on both streams."""
    assert call(*TRAIN, "--quiet") == (0, "", "")
    assert names("purenet-run") == RUN


@pytest.mark.parametrize(("options", "bar"), [([], "1/2 ["), (["--json"], ""), (["--quiet"], "")])
def test_a_terminal_sees_a_bar_which_leaves_stdout_alone(
    call: Cli, monkeypatch: pytest.MonkeyPatch, options: list[str], bar: str
) -> None:
    """The bar goes to stderr, if that is a terminal and the table is wanted."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def words(out: str) -> list[str]:  # but for the times
        return [line[:40] for line in out.splitlines()]

    _, out, _ = call(*TRAIN, *options)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert words(call(*TRAIN, *options, "--overwrite")[1]) == words(out)
    assert bar in terminal.getvalue()
    assert bool(bar) == bool(terminal.getvalue())


def test_each_line_is_there_when_its_epoch_ends(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Output into a pipe or file does not wait for a buffer to be full."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    add, lines = Run.add, []

    def counting(*args: Any) -> None:
        lines.append(written.getvalue().count(b"\n"))
        add(*args)

    monkeypatch.setattr(RunFolder, "add", counting)
    call(*TRAIN)
    assert lines == [2, 3]


def test_the_figures_are_those_of_training_and_evaluation(
    call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses and accuracy are what `train` reports; speed counts training, not testing."""
    clock = itertools.count(0, 2)  # each look at it takes two seconds
    monkeypatch.setattr(job, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    _, out, _ = call(*TRAIN, "--json")
    cfg = Config(epochs=2)
    history = purenet.train(purenet.init(SIZES), DATA, cfg, validation=TEST).history
    assert [json.loads(line) for line in out.splitlines()] == [
        {
            "epoch": row["epoch"],
            "loss": row["loss"],
            "test_loss": row["val_loss"],
            "test_accuracy": row["val_accuracy"],
            "seconds": 2,
            "samples_per_second": 20,
        }
        for row in history
    ]


# Options.


EVERY_OPTION = (
    "--layers 16-9-3 --batch-size 7 --epochs 3 --learning-rate 0.25 --momentum 0.5 --l2 0.01 "
    "--init-scale 0.5 --input-scale 3/1024 --no-shuffle --seed 5 --dtype float64"
)


@pytest.mark.parametrize(
    ("options", "scale", "dtype", "cfg"),
    [
        ("", "he", "float32", Config(epochs=2)),
        ("--batch-size full", "he", "float32", Config(batch_size=None, epochs=2)),
        (
            EVERY_OPTION,
            0.5,
            "float64",
            Config(0.25, 0.5, 0.01, 7, 3, shuffle=False, seed=5, input_scale=3 / 1024),
        ),
        (
            "--preset report",
            0.01,
            "float32",
            Config(0.01, 0.9, 1e-3, 128, 2, shuffle=False, seed=0, input_scale=1),
        ),
        (
            "--preset report --init-scale he --shuffle --input-scale 0.01",
            "he",
            "float32",
            Config(0.01, 0.9, 1e-3, 128, 2, shuffle=True, seed=0, input_scale=0.01),
        ),
    ],
    ids=["defaults", "full batch", "every option", "report", "report with options"],
)
def test_the_options_decide_the_network_and_are_kept(
    call: Cli, options: str, scale: str | float, dtype: str, cfg: Config
) -> None:
    """The kept network is what `train` gives for these settings, to the bit; both files say so."""
    assert call(*TRAIN, *options.split())[0] == 0
    layers = [16, 9, 3] if "--layers" in options else SIZES
    initial = purenet.init(layers, seed=cfg.seed, scale=scale, dtype=dtype)
    kept = checkpoints.load("purenet-run/model.safetensors")
    trained = purenet.train(initial, DATA, cfg)
    assert same_bits(kept.params, trained.params)
    assert kept.cfg == cfg
    assert kept.state is not None
    assert same_bits(kept.state.velocity, trained.state.velocity)
    assert kept.state[1:] == trained.state[1:]
    assert kept.fingerprint == checkpoints.fingerprint(*DATA, *TEST)
    assert json.loads(Path("purenet-run/config.json").read_text()) == {
        "purenet": purenet.__version__,
        "numpy": np.__version__,
        "data": "digits.npz",
        "layers": layers,
        "init_scale": scale,
        "dtype": dtype,
        **asdict(cfg),
    }


def test_default_layers_leave_room_for_labels_met_only_in_testing(call: Cli) -> None:
    """The number of classes comes from both parts of the data."""
    write_data("more.npz", y_test=TEST[1] + 4)
    assert call(*TRAIN, "--data", "more.npz", "--quiet")[0] == 0
    assert len(checkpoints.load("purenet-run/model.safetensors").params["b3"]) == 7


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", None])
def test_help_is_ascii_within_80_columns(
    command: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Help can be read in any terminal."""
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"] if command else ["--help"])
    out, _ = capsys.readouterr()
    assert "--help" in out
    assert out.isascii()
    assert max(map(len, out.splitlines())) <= 80


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints one line."""
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"purenet {purenet.__version__}\n"


# Earlier runs.


def test_an_earlier_run_is_refused_and_stays_as_it_is(call: Cli) -> None:
    """Without --overwrite no file of an earlier run changes."""
    call(*TRAIN)
    before = content("purenet-run")
    status, out, err = call(*TRAIN, "--seed", 1)
    assert (status, out) == (2, "")
    assert "purenet-run holds an earlier run" in err
    assert content("purenet-run") == before


def test_overwrite_replaces_a_run_and_nothing_else(
    call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the run are new, curves that cannot be drawn again go, other files stay."""
    call(*TRAIN)
    Path("purenet-run/notes.txt").write_text("mine")
    monkeypatch.setattr(plots, "curves", DRAW)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert call(*TRAIN, "--overwrite", "--seed", 1, "--epochs", 1)[0] == 0
    assert names("purenet-run") == RUN - {"curves.png"} | {"notes.txt"}
    assert len(Path("purenet-run/history.jsonl").read_text().splitlines()) == 1
    assert checkpoints.load("purenet-run/model.safetensors").cfg == Config(epochs=1, seed=1)
    assert json.loads(Path("purenet-run/config.json").read_text())["seed"] == 1


def test_overwrite_keeps_the_earlier_run_until_a_step_is_done(call: Cli) -> None:
    """A run that diverges at once destroys nothing, and does not claim the files as its own."""
    call(*TRAIN)
    before = content("purenet-run")
    status, out, _ = call(*TRAIN, "--overwrite", "--learning-rate", 1e300)
    assert status == 1
    assert "purenet-run" not in out
    assert content("purenet-run") == before


def test_a_folder_in_use_is_refused(call: Cli) -> None:
    """One clear line for a second run, and for one that would go on."""
    call(*TRAIN)
    run = Run(Path("purenet-run"), make=False)
    before = content("purenet-run")
    refused = (2, "", "purenet: purenet-run is in use by another run\n")
    assert call(*TRAIN, "--overwrite") == refused
    assert call("train", "--resume", "purenet-run", "--epochs", 3) == refused
    assert content("purenet-run") == before
    run.close()


# Going on.


def history(folder: str) -> list[dict[str, float]]:
    """Return the figures of a run that do not depend on the hour."""
    rows = [json.loads(line) for line in Path(folder, "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("s")} for row in rows]


def assert_same_runs(one: str, other: str) -> None:
    """Check that checkpoints and settings are equal in every byte, and histories but for times."""
    for name in ("model.safetensors", "config.json"):
        assert Path(one, name).read_bytes() == Path(other, name).read_bytes(), name
    assert history(one) == history(other)


LONG = ("train", "--data", "digits.npz", "--batch-size", 7, "--epochs", 4, "--checkpoint-every", 3)


@pytest.fixture
def whole(call: Cli) -> str:
    """Return the folder of a run that was not interrupted."""
    assert call(*LONG, "--output", "whole", "--quiet") == (0, "", "")
    return "whole"


@pytest.mark.parametrize("every", [*("1", "2epochs", "1steps", "4steps", "1000s")])
@pytest.mark.parametrize("epochs", [1, 3])
def test_a_run_can_be_extended(call: Cli, whole: str, epochs: int, every: str) -> None:
    """Some epochs and then the rest are the uninterrupted run, to the byte."""
    interval = ("--checkpoint-every", every, "--quiet")
    assert call(*LONG, "--epochs", epochs, *interval) == (0, "", "")
    resumed = call("train", "--resume", "purenet-run", "--epochs", 4, *interval)
    assert resumed == (0, "", "")
    assert_same_runs("purenet-run", whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stop", [1, 5, 6, 7, 12, 23])
def test_a_signal_saves_at_the_next_step_and_the_run_goes_on(
    call: Cli, monkeypatch: pytest.MonkeyPatch, whole: str, number: signal.Signals, stop: int
) -> None:
    """Exit status 130 or 143; what goes on is the uninterrupted run, to the byte."""
    run, calls = WorkersEngine.run, itertools.count(1)

    def interrupted(self: WorkersEngine, rows: Any) -> list[float]:
        if next(calls) == stop:
            signal.raise_signal(number)
        return run(self, rows)

    every = ("--checkpoint-every", "1000steps")
    monkeypatch.setattr(job, "PACE", 1)
    with monkeypatch.context() as patched:
        patched.setattr(WorkersEngine, "run", interrupted)
        status, _, err = call(*LONG, *every)
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert (status, err) == (128 + number, f"purenet: {word}\n")
    assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)
    saved = checkpoints.load("purenet-run/model.safetensors").state
    assert saved is not None
    assert saved.epochs * 6 + saved.steps == stop
    status, out, _ = call("train", "--resume", "purenet-run", *every)
    assert status == 0
    assert out.splitlines()[0] == (
        "16-200-50-3, float32: 40 examples, batch 7; "
        f"resumed after epoch {stop // 6}, step {stop % 6}"
    )
    assert [line.split()[0] for line in out.splitlines()[2:-1]] == [*"1234"[stop // 6 :]]
    assert_same_runs("purenet-run", whole)


def test_a_signal_before_the_first_step_leaves_nothing(
    call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While data are read it ends the command; while the engine is made it is noted."""
    for place in ((datasets, "load"), (purenet, "epochs")):
        whole = getattr(*place)

        def interrupted(*args: Any, whole: Any = whole, **options: Any) -> Any:
            signal.raise_signal(signal.SIGINT)
            return whole(*args, **options)

        with monkeypatch.context() as patched:
            patched.setattr(*place, interrupted)
            status, _, err = call(*TRAIN)
        assert (status, err) == (130, "purenet: interrupted\n")
        assert names(".") == {"digits.npz"}


def test_a_run_that_is_done_has_nothing_to_go_on_with(call: Cli, whole: str) -> None:
    """Exit status 0, and no file changes."""
    before = content(whole)
    status, out, err = call("train", "--resume", whole)
    assert (status, err) == (0, "")
    assert out.splitlines()[0].endswith("resumed after epoch 4, step 0")
    assert len(out.splitlines()) == 2
    assert content(whole) == before


def test_a_run_that_ended_before_its_first_checkpoint_goes_on(call: Cli, whole: str) -> None:
    """From its settings, which are written first."""
    shutil.copytree(whole, "again")
    Path("again/model.safetensors").unlink()
    Path("again/history.jsonl").write_text("half of a li")
    assert call("train", "--resume", "again", "--quiet") == (0, "", "")
    assert_same_runs("again", whole)


def test_the_data_of_a_run_may_lie_elsewhere(call: Cli, whole: str) -> None:
    """A fingerprint tells that they are the same."""
    os.rename("digits.npz", "moved.npz")
    assert call("train", "--resume", whole, "--epochs", 5)[0] == 2
    moved = ("--data", "moved.npz", "--quiet")
    assert call("train", "--resume", whole, "--epochs", 5, *moved) == (0, "", "")
    assert json.loads(Path(whole, "config.json").read_text())["data"] == "moved.npz"


def test_options_that_change_nothing_may_be_repeated(call: Cli, whole: str) -> None:
    """The whole command line of a run, with more epochs and --resume."""
    assert "batch_size 7" in call("train", "--resume", whole, "--preset", "default")[2]
    again = (*LONG, "--epochs", 5, "--layers", "16-200-50-3", "--dtype", "float32", "--l2", "1e-4")
    assert call(*again, "--resume", whole)[0] == 0
    assert len(history(whole)) == 5


def edited(name: str, value: object) -> None:
    """Write another setting into a run's config.json, or take one out."""
    path = Path("whole/config.json")
    settings = json.loads(path.read_text()) | {name: value}
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))


KEPT = "which cannot become {}: only epochs may change when a run goes on"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--learning-rate 0.5", "learning_rate 0.4, " + KEPT.format("0.5")),
        ("--momentum 0.8", "momentum 0.9, " + KEPT.format("0.8")),
        ("--l2 1", "l2 0.0001, " + KEPT.format("1.0")),
        ("--batch-size full", "batch_size 7, " + KEPT.format("None")),
        ("--no-shuffle", "shuffle True, " + KEPT.format("False")),
        ("--seed 1", "seed 0, " + KEPT.format("1")),
        ("--input-scale 1", "input_scale 0.00392156862745098, " + KEPT.format("1.0")),
        ("--init-scale 1", "init_scale he, " + KEPT.format("1.0")),
        ("--layers 16-9-3", "layers [16, 200, 50, 3], " + KEPT.format("[16, 9, 3]")),
        ("--dtype float64", "dtype float32, " + KEPT.format("float64")),
        ("--preset report", "whole is a run with "),
        ("--epochs 3", "cfg.epochs is the total: must be >= 4, got 3"),
        ("--data other.npz", "other.npz is not the data of whole: it is uint8 (40, 16), "),
        ("--output other", "--resume goes on in its folder: no --output or --overwrite with it"),
        ("--overwrite", "--resume goes on in its folder: no --output or --overwrite with it"),
        ("--resume missing", "missing is not a folder"),
        ("--resume digits.npz", "digits.npz is not a folder"),
        ("--resume .", ". holds no run: it has no config.json"),
    ],
)
@pytest.mark.usefixtures("whole")
def test_what_would_be_another_run_is_refused(call: Cli, options: str, message: str) -> None:
    """One sentence names the difference; no file changes."""
    write_data("other.npz", x_test=TEST[0] ^ 1)
    before, there = content("whole"), names(".")
    status, out, err = call("train", "--resume", "whole", *options.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert content("whole") == before
    assert names(".") == there


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rate", 0.5, "learning_rate 0.4, " + KEPT.format("0.5")),
        ("layers", [16, 3], "layers [16, 200, 50, 3], " + KEPT.format("[16, 3]")),
        ("layers", "16-3", "whole/config.json is not that of a run: look at its 'layers'"),
        ("data", 5, "look at its 'data'"),
        ("dtype", "int8", "look at its 'dtype'"),
        ("l2", None, "look at its 'l2'"),
        ("epochs", "x", "epochs must be an integer >= 0, got 'x'"),
    ],
)
@pytest.mark.usefixtures("whole")
def test_settings_that_somebody_edited_are_refused(
    call: Cli, name: str, value: object, message: str
) -> None:
    """What config.json says must be what the checkpoint was trained with."""
    edited(name, value)
    status, out, err = call("train", "--resume", "whole")
    assert (status, out) == (2, "")
    assert message in err


def noted_saves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list that the epochs and steps of each checkpoint will be put into."""
    saved: list[tuple[int, int]] = []
    save = checkpoints.save

    def noting(*args: Any, state: State, **options: Any) -> None:
        saved.append((state.epochs, state.steps))
        save(*args, state=state, **options)

    monkeypatch.setattr(checkpoints, "save", noting)
    return saved


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("1", [(1, 0), (2, 0), (3, 0), (4, 0)]),
        ("2", [(1, 0), (3, 0), (4, 0)]),
        ("1000s", [(1, 0), (4, 0)]),
        ("4steps", [(0, 4), (1, 4), (2, 4), (3, 4), (4, 0)]),
        ("6steps", [(1, 0), (2, 0), (3, 0), (4, 0)]),
    ],
)
def test_checkpoints_are_as_far_apart_as_was_said(
    call: Cli, monkeypatch: pytest.MonkeyPatch, every: str, expected: list[tuple[int, int]]
) -> None:
    """There is one at the latest after the first epoch, and one at the end."""
    saved = noted_saves(monkeypatch)
    assert call(*LONG, "--checkpoint-every", every)[0] == 0
    assert saved == expected


def test_speed_counts_the_examples_of_this_process(
    call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an epoch that an earlier process began, its own part alone."""
    monkeypatch.setattr(job, "PACE", 1)
    rows = iter(range(3))
    with monkeypatch.context() as patched:
        patched.setattr(Signals, "check", lambda _: None if next(rows) < 2 else interrupt())
        assert call(*LONG)[0] == 130
    clock = itertools.count(0, 2)  # each look at it takes two seconds
    monkeypatch.setattr(job, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    _, out, _ = call("train", "--resume", "purenet-run", "--json")
    first, second, *_ = map(json.loads, out.splitlines())
    # 14 of 40 examples in 2 of 6 steps were done before
    assert (first["seconds"], first["samples_per_second"]) == (8, 3.2)
    assert (second["seconds"], second["samples_per_second"]) == (12, 3.3)


def interrupt() -> None:
    """Do as Ctrl-C does."""
    raise KeyboardInterrupt


def test_seconds_between_checkpoints_are_those_of_the_clock(
    call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the next step after so many have gone by."""
    clock = itertools.count()  # each look at it takes a second
    fake = SimpleNamespace(perf_counter=time.perf_counter, monotonic=lambda: next(clock))
    monkeypatch.setattr(job, "time", fake)
    monkeypatch.setattr(job, "PACE", 1)
    saved = noted_saves(monkeypatch)
    assert call(*LONG, "--epochs", 2, "--checkpoint-every", "4s")[0] == 0
    assert saved == [(0, 4), (1, 2), (2, 0)]  # of six steps an epoch


# How a run ends early.


def test_divergence_keeps_the_last_finite_state(call: Cli) -> None:
    """Exit status 1, one line on stderr, and the network before the step where it happened."""
    status, out, err = call(*TRAIN, *DIVERGING, "--json")
    assert status == 1
    where = re.fullmatch(
        r"purenet: training stopped being finite in epoch (\d+), step (\d+): .*\n", err
    )
    assert where
    done, step = int(where[1]) - 1, int(where[2]) - 1
    assert done == len(out.splitlines()) >= 1
    saved = checkpoints.load("purenet-run/model.safetensors")
    assert saved.state is not None
    assert saved.state[1:3] == (done, step)
    cfg = Config(learning_rate=1, momentum=0, l2=5, epochs=30, batch_size=7)
    records = purenet.epochs(purenet.init(SIZES), DATA, cfg, steps=1)
    *_, last = itertools.islice(records, done * 6 + step)
    assert same_bits(saved.params, last.params)
    assert same_bits(saved.state.velocity, last.state.velocity)
    assert names("purenet-run") == RUN
    assert call("train", "--resume", "purenet-run")[0::2] == (1, err)
    assert checkpoints.load("purenet-run/model.safetensors").state[1:3] == (done, step)  # type: ignore[index]


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (1e300, "training stopped being finite in epoch 1, step 1: W1 has NaN or infinity"),
        (1e30, "the test loss stopped being finite in epoch 1"),
    ],
)
def test_divergence_in_the_first_step_leaves_no_folder(
    call: Cli, rate: float, message: str
) -> None:
    """Folders made for a run that learned nothing are removed, up to those that were there."""
    status, out, err = call(
        *TRAIN, "--learning-rate", rate, "--output", "a/b/c", "--batch-size", "full", "--json"
    )
    assert (status, out) == (1, "")
    assert err.startswith(f"purenet: {message}")
    assert err.count("\n") == 1
    assert names(".") == {"digits.npz"}


def test_an_interrupt_keeps_the_epochs_done(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 130, and the run is that of the epochs before the interrupt."""
    evaluate, calls = purenet.evaluate, itertools.count()

    def interrupted(*args: Any) -> Any:
        if next(calls) == 3:  # once before training, then once an epoch
            raise KeyboardInterrupt
        return evaluate(*args)

    monkeypatch.setattr(purenet, "evaluate", interrupted)
    status, out, err = call(*TRAIN, "--epochs", 9, "--checkpoint-every", 5)
    assert (status, err) == (130, "purenet: interrupted\n")
    assert "curves.png" in out.splitlines()[-1]
    assert len(Path("purenet-run/history.jsonl").read_text().splitlines()) == 2
    params = checkpoints.load("purenet-run/model.safetensors").params
    cfg = Config(epochs=2)
    assert same_bits(params, purenet.train(purenet.init(SIZES), DATA, cfg).params)


# What a shell starts with & ignores Ctrl-C, and so would the module; Numba, while it compiles, may
# swallow it.
MODULE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.modules["numba"] = None
runpy.run_module("purenet", run_name="__main__")
"""


def start(*options: str, code: str = MODULE) -> subprocess.Popen[bytes]:
    """Start a training in a process of its own, which goes on until it is ended."""
    return subprocess.Popen(
        [sys.executable, "-c", code, "train", "--epochs", str(10**6), *options],
        bufsize=0,  # so that `communicate` reads on where `readline` stopped
        # stderr is for what ends a run, not for where Matplotlib cannot keep its caches
        env=os.environ | {"MPLCONFIGDIR": os.path.join(os.devnull, "none")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_ctrl_c_inside_the_first_epoch_keeps_its_steps() -> None:
    """One line on stderr, exit status 130, and a checkpoint to go on from."""
    n = 100_000
    write_data("long.npz", x_train=np.zeros((n, 16), np.uint8), y_train=np.zeros(n, np.uint8))
    with start("--data", "long.npz", "--batch-size", "1") as process:
        assert process.stdout is not None
        heading = process.stdout.readline()
        process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert b"100,000 examples" in heading
    assert (process.returncode, err) == (130, b"purenet: interrupted\n")
    state = checkpoints.load("purenet-run/model.safetensors").state
    assert state is not None
    assert state.epochs == 0
    assert state.steps > 0
    assert names("purenet-run") == RUN - {"curves.png"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_training_keeps_what_was_learned(number: signal.Signals) -> None:
    """All that was printed is in the history, and the network can be read."""
    with start("--data", "digits.npz", "--json") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(number)
        rest, err = process.communicate(timeout=60)
    word = {signal.SIGINT: b"interrupted", signal.SIGTERM: b"terminated"}[number]
    assert (process.returncode, err) == (128 + number, b"purenet: " + word + b"\n")
    printed = (first + rest).splitlines()
    kept = Path("purenet-run/history.jsonl").read_bytes().splitlines()
    assert kept == printed
    saved = checkpoints.load("purenet-run/model.safetensors")
    assert list(saved.params) == ["W1", "b1", "W2", "b2", "W3", "b3"]
    assert saved.state is not None
    assert saved.state.epochs == len(kept)
    assert names("purenet-run") == RUN


def test_a_second_ctrl_c_leaves_at_once() -> None:
    """In the middle of a step that never ends; the last checkpoint is whole."""
    code = MODULE.replace(
        "import runpy",
        """
import time
from purenet.engines.inplace import InplaceEngine
run = InplaceEngine.run
def stuck(self, rows):
    if self.calls == 3:
        print("stuck", flush=True)
        while True:
            time.sleep(1)
    self.calls += 1
    return run(self, rows)
InplaceEngine.calls = 0
InplaceEngine.run = stuck
import runpy""",
    )
    with start("--data", "digits.npz", "--json", code=code) as process:
        assert process.stdout is not None
        while (line := process.stdout.readline()) != b"stuck\n":
            assert line
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT
    saved = checkpoints.load("purenet-run/model.safetensors").state
    assert saved is not None
    assert saved.epochs == 3


def test_a_reader_that_goes_away_ends_the_run_quietly() -> None:
    """As `purenet train --json | head -1`: no traceback, and the run is kept."""
    with start("--data", "digits.npz", "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["epoch"] == 1
        process.stdout.close()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")
    assert names("purenet-run") == RUN


def test_a_closed_pipe_is_exit_status_141(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    """What a shell reports of a process that a closed pipe ended; later output goes nowhere."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["evaluate", str(model), "--data", "digits.npz"]) == 141
        print("more")


def test_a_process_without_streams_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no console, or after `>&- 2>&-`, Python's streams are None."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main([str(arg) for arg in TRAIN]) == 0
    assert main(["nonsense"]) == 2
    for stream in (sys.stdout, sys.stderr):
        stream.close()
    assert names("purenet-run") == RUN


def test_a_full_disk_ends_with_one_line(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the file that could not be written; nothing is left."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = call(*TRAIN)
    assert (status, err) == (2, "purenet: purenet-run/config.json: No space left on device\n")
    assert names(".") == {"digits.npz"}


def test_an_error_without_a_message_is_named(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own MemoryError says nothing more."""

    def exhausted(_: str) -> None:
        raise MemoryError

    monkeypatch.setattr(datasets, "load", exhausted)
    assert call(*TRAIN) == (2, "", "purenet: MemoryError()\n")


@pytest.mark.usefixtures("model")
def test_a_message_is_one_line_whatever_it_names(call: Cli) -> None:
    """A path may hold a line feed."""
    assert call("predict", ".", "two\nlines.npy")[2].splitlines() == [
        "purenet: two lines.npy: No such file or directory"
    ]


# Missing extras.


def test_without_matplotlib_a_run_has_no_curves(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra `plot` is optional."""
    monkeypatch.setattr(plots, "curves", DRAW)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, out, err = call(*TRAIN)
    assert (status, err) == (0, "")
    assert "curves.png" not in out
    assert names("purenet-run") == RUN - {"curves.png"}


def test_without_pillow_arrays_are_predicted_and_pictures_refused(
    call: Cli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra `images` is optional; the message names it."""
    np.save("digits.npy", X[:1])
    Path("digit.png").touch()
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert call("predict", model, "digits.npy")[0] == 0
    assert call("predict", model, "digit.png") == (
        2,
        "",
        "purenet: pictures need Pillow: pip install 'purenet[images]'\n",
    )


# Prediction and evaluation.


def test_predict_prints_class_and_probability(call: Cli, model: Path) -> None:
    """Rows of an array are numbered; integers are scaled as in training."""
    np.save("digits.npy", X[:5])
    params, cfg = checkpoints.load(model)[:2]
    p = purenet.predict_proba(params, X[:5] * cfg.input_scale)
    status, out, err = call("predict", model, "digits.npy")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"digits.npy[{i}]: {row.argmax()} {100 * row.max():.1f}%" for i, row in enumerate(p)
    ]


def test_a_picture_is_predicted_as_its_array(call: Cli, model: Path) -> None:
    """PNG, its negative with --invert, and .npy of the same pixels give the same line."""
    pixels = X[0].reshape(4, 4)
    np.save("digit.npy", pixels)
    Image.fromarray(pixels).save("light.png")
    Image.fromarray(255 - pixels).save("dark.png")
    _, out, _ = call("predict", model, "digit.npy", "light.png")
    array, light = out.splitlines()
    _, dark, _ = call("predict", model, "dark.png", "--invert")
    _, wrong, _ = call("predict", model, "dark.png")
    assert array.startswith("digit.npy: ")
    assert array.split()[1:] == light.split()[1:] == dark.split()[1:] != wrong.split()[1:]


def test_evaluate_counts_each_test_example_once(call: Cli, model: Path) -> None:
    """The confusion matrix has the labels in rows; its trace is the accuracy."""
    status, out, err = call("evaluate", model, "--data", "digits.npz")
    assert (status, err) == (0, "")
    summary, _, columns, *rows = out.splitlines()
    labels, *confusion = np.array([row.split() for row in rows], int).T
    params, cfg = checkpoints.load(model)[:2]
    loss, accuracy = purenet.evaluate(params, TEST, l2=cfg.l2, input_scale=cfg.input_scale)
    assert summary == f"20 test examples: loss {loss:.4f}, accuracy {accuracy:.2%}"
    assert columns.split() == [*"012"]
    assert labels.tolist() == [0, 1, 2]
    matrix = np.transpose(confusion)
    assert matrix.trace() / matrix.sum() == accuracy
    assert matrix.sum(axis=1).tolist() == np.bincount(TEST[1]).tolist()
    predicted = purenet.predict(params, TEST[0] * cfg.input_scale)
    assert matrix.sum(axis=0).tolist() == np.bincount(predicted, minlength=3).tolist()


def test_a_run_serves_the_other_commands_by_its_folder(call: Cli) -> None:
    """Evaluation repeats the last epoch's figures, from the folder as from the file."""
    _, out, _ = call(*TRAIN, "--json")
    last = json.loads(out.splitlines()[-1])
    _, by_folder, _ = call("evaluate", "purenet-run", "--data", "digits.npz")
    _, by_file, _ = call("evaluate", "purenet-run/model.safetensors", "--data", "digits.npz")
    assert by_folder == by_file
    assert f"loss {last['test_loss']:.4f}, accuracy {last['test_accuracy']:.2%}" in by_folder


def test_mnist_needs_no_options(call: Cli) -> None:
    """One epoch from the package's own data is nearly right, and reads a picture of a digit."""
    status, out, _ = call("train", "--epochs", 1, "--json")
    assert status == 0
    assert json.loads(out)["test_accuracy"] > 0.94
    assert json.loads(Path("purenet-run/config.json").read_text())["layers"] == [784, 200, 50, 10]
    digit = datasets.mnist()[1][0][0]
    np.save("digit.npy", digit)
    Image.fromarray(digit.reshape(28, 28)).save("digit.png")
    _, out, _ = call("predict", "purenet-run", "digit.npy", "digit.png")
    array, picture = out.splitlines()
    assert array.split()[1:] == picture.split()[1:]
    assert array.split()[1] == "7"


# Bad input: one line on stderr, nothing on stdout, exit status 2, no folder.


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("", "the following arguments are required: train | predict | evaluate"),
        ("nonsense", "invalid choice: 'nonsense'"),
        ("train --nonsense", "unrecognized arguments: --nonsense"),
        ("train --quiet --json", "--json: not allowed with argument --quiet"),
        ("train --preset nonsense", "--preset: invalid choice"),
        ("train --dtype int8", "--dtype: invalid choice"),
        ("train --layers 16", "sizes must name at least inputs and classes, got [16]"),
        ("train --layers 16-x-3", "--layers: expected sizes as 784-200-50-10, got '16-x-3'"),
        ("train --layers 16-0-3", "sizes[1] must be an integer >= 1, got 0"),
        ("train --layers 17-3", "x must have shape (batch, 17), got (40, 16)"),
        ("train --layers 16-2", "y must hold labels from 0 to 1, got 2"),
        ("train --layers 16-999999999999999-3", "Unable to allocate"),
        ("train --batch-size 0", "batch_size must be an integer >= 1, got 0"),
        ("train --batch-size 1.5", "--batch-size: expected an integer or full, got '1.5'"),
        ("train --epochs -1", "epochs must be an integer >= 0, got -1"),
        ("train --epochs x", "--epochs: invalid int value: 'x'"),
        ("train --learning-rate nan", "learning_rate must be a finite number >= 0, got nan"),
        ("train --learning-rate x", "--learning-rate: invalid float value: 'x'"),
        ("train --momentum 1", "momentum must be a number in [0, 1), got 1.0"),
        ("train --l2 -1", "l2 must be a finite number >= 0, got -1.0"),
        ("train --init-scale x", "--init-scale: expected a number or he, got 'x'"),
        ("train --init-scale -1", "must be a finite number >= 0, got -1.0"),
        ("train --input-scale 1/0", "--input-scale: expected a number or fraction, got '1/0'"),
        ("train --input-scale 1e400", "input_scale must be a finite number >= 0, got inf"),
        ("train --checkpoint-every 0", "--checkpoint-every: expected epochs as 2, seconds as 30s"),
        ("train --checkpoint-every 5m", "or steps as 500steps, got '5m'"),
        ("train --seed -1", "seed must be an integer >= 0, got -1"),
        ("train --data missing", "missing: No such file or directory"),
        ("train --data empty", "empty: expected an .npz file"),
        ("train --data .", "expected one file named"),
        ("train --quiet --data nan.npz", "x must be finite"),
        ("train --data nan_test.npz", "x must be finite"),
        ("train --output empty", "empty is not a folder"),
        ("train --output empty/run", "empty/run: Not a directory"),
        ("predict model.safetensors", "the following arguments are required: IMAGE"),
        ("predict missing digits.npy", "missing: No such file or directory"),
        ("predict . missing.npy", "missing.npy: No such file or directory"),
        ("predict empty digits.npy", "empty is not a purenet model"),
        ("predict foreign.safetensors digits.npy", "foreign.safetensors is not a purenet model"),
        ("predict . .", ".: Is a directory"),
        ("predict . empty", "empty cannot be read: expected a PNG or JPEG picture"),
        ("predict . digits.npz", "digits.npz cannot be read: expected one array"),
        ("predict . wide.npy", "wide.npy cannot be read: expected real numbers of shape (n, 16)"),
        ("evaluate", "the following arguments are required: MODEL"),
        ("evaluate .", "x must have shape (batch, 16), got (10000, 784)"),
        ("evaluate . --data more.npz", "y must hold labels from 0 to 2, got 4"),
    ],
)
@pytest.mark.usefixtures("model")
def test_bad_input_is_one_line_and_exit_status_2(call: Cli, args: str, message: str) -> None:
    """Whatever is wrong is named; there is no traceback, and nothing is left behind."""
    Path("empty").touch()
    save_file({"a": np.zeros(3)}, "foreign.safetensors")
    np.save("wide.npy", np.zeros((2, 17)))
    write_data("more.npz", y_test=TEST[1] + 4)
    write_data("nan.npz", x_train=np.full((40, 16), np.nan))
    write_data("nan_test.npz", x_train=DATA[0] / 255, x_test=np.full((20, 16), np.nan))
    before = names(".")
    given = args.split()
    if given[:1] == ["train"] and "--data" not in given:
        given += ["--data", "digits.npz"]
    status, out, err = call(*given)
    assert (status, out) == (2, "")
    assert err.startswith("purenet: ")
    assert message in err
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert names(".") == before
