"""Claims about the command line as its user sees it: files, output and exit status."""

import errno
import io
import itertools
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import purenet
from purenet import Config, State, extras
from purenet.cli import job
from purenet.cli.commands import main
from purenet.cli.folder import RunFolder
from purenet.cli.signals import Signals
from purenet.engines.workers import WorkersEngine
from purenet.files import checkpoints, datasets, pictures, plots
from purenet.params import fingerprint
from tests.support.systems import POSIX

Cli = Callable[..., tuple[int, str, str]]

# 60 pictures of 4 × 4 pixels. The label is the number of bright pixels among the first two.
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (60, 16), dtype=np.uint8)
Y = (X[:, :2] > 127).sum(axis=1)
DATA, TEST = (X[:40], Y[:40]), (X[40:], Y[40:])
SIZES = [16, 200, 50, 3]
RUN = {"model.safetensors", "config.json", "history.jsonl", "curves.png"}
TRAIN = ("train", "--data", "digits.npz", "--epochs", 2)

# Weights grow fourfold in each step, so that logits overflow in float32 after some epochs.
DIVERGING = ("--learning-rate", 1, "--momentum", 0, "--l2", 5, "--epochs", 30, "--batch-size", 7)
DRAW = plots.curves


@pytest.fixture(autouse=True, scope="module")
def compiled() -> None:
    """Compile before the first test, so that no command has to announce it."""
    for dtype, x in (("float32", X), ("float32", X / 255), ("float64", X)):
        params = purenet.init(SIZES, dtype=dtype)
        WorkersEngine(params, purenet.init_velocity(params), x, Y, Config())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a data set, in a terminal of 80 columns, and without curves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(plots, "curves", lambda path, _: path.touch())
    write_data("digits.npz")
    return tmp_path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return a function that runs a command and returns exit status, stdout and stderr."""

    def run(*args: object) -> tuple[int, str, str]:
        status = main([str(arg) for arg in args])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def model(folder: Path) -> Path:
    """Return the path of a saved network that fits the data set."""
    path = folder / "model.safetensors"
    checkpoints.save(path, purenet.init(SIZES, seed=3), Config(input_scale=0.01))
    return path


def write_data(name: str, **arrays: Any) -> None:
    """Write the data set, some of its arrays replaced."""
    own = {"x_train": DATA[0], "y_train": DATA[1], "x_test": TEST[0], "y_test": TEST[1]}
    np.savez(name, **own | arrays)


def content(folder: str) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def names(folder: str) -> set[str]:
    """Return the names of the entries of a folder."""
    return set(os.listdir(folder))


def same_bits(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether networks are equal in keys, order, dtypes and every bit."""
    first, second = ([(k, p.dtype, p.tobytes()) for k, p in d.items()] for d in (one, other))
    return first == second


# What a run prints and saves.


def test_train_prints_a_table_and_saves_a_run(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """stdout has a heading, a line per epoch and the names of the files; stderr is empty."""
    monkeypatch.setattr(plots, "curves", DRAW)
    status, out, err = call(*TRAIN)
    heading, columns, *epochs, files = out.splitlines()
    assert (status, err) == (0, "")
    assert heading == "16-200-50-3, float32: 40 examples, batch 128; compiled workers"
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
    files, hint = files.split("; ")
    assert set(re.split(", |: ", files)) == {"purenet-run"} | RUN
    assert names("purenet-run") == RUN
    assert hint == "to see it at work: purenet explain purenet-run"


def test_json_prints_the_lines_of_the_history(call: Cli) -> None:
    """With --json, stdout is history.jsonl, a strict JSON object per epoch; stderr is empty."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    status, out, err = call(*TRAIN, "--json")
    rows = [json.loads(line, parse_constant=refuse) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert out == Path("purenet-run/history.jsonl").read_text()
    assert [row["epoch"] for row in rows] == [1, 2]


def test_quiet_prints_nothing_and_saves_the_run(call: Cli) -> None:
    """With --quiet, stdout and stderr are empty."""
    assert call(*TRAIN, "--quiet") == (0, "", "")
    assert names("purenet-run") == RUN


@pytest.mark.parametrize("options", [(), ("--json",), ("--quiet",)])
def test_logs_of_the_engines_go_to_stderr(
    call: Cli, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """What an engine logs is a line on stderr, unless --quiet is given; stdout does not change."""
    epochs, message = purenet.epochs, "compiling for float32, once: this takes some seconds"
    _, expected, _ = call(*TRAIN, *options)

    def logging_epochs(*args: Any, **more: Any) -> Any:
        logging.getLogger("purenet.engines.workers").info(message)
        return epochs(*args, **more)

    monkeypatch.setattr(purenet, "epochs", logging_epochs)
    status, out, err = call(*TRAIN, *options, "--overwrite")
    assert (status, err) == (0, "" if "--quiet" in options else f"purenet: {message}\n")
    assert without_times(out) == without_times(expected)
    assert logging.getLogger("purenet").handlers == []


def without_times(out: str) -> list[str]:
    """Return the first columns of each line, which do not depend on the time."""
    return [line[:40] for line in out.splitlines()]


@pytest.mark.parametrize(("options", "bar"), [([], "1/2 ["), (["--json"], ""), (["--quiet"], "")])
def test_a_terminal_shows_a_bar_on_stderr(
    call: Cli, monkeypatch: pytest.MonkeyPatch, options: list[str], bar: str
) -> None:
    """If stderr is a terminal, it shows a bar beside the table; stdout is the same as without."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    _, out, _ = call(*TRAIN, *options)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert without_times(call(*TRAIN, *options, "--overwrite")[1]) == without_times(out)
    assert bar in terminal.getvalue()
    assert bool(bar) == bool(terminal.getvalue())


def test_each_line_is_flushed_at_the_end_of_its_epoch(
    call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the figures of an epoch are saved, the lines of all earlier epochs are on stdout."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    add, lines = RunFolder.add, []

    def counting(*args: Any) -> None:
        lines.append(written.getvalue().count(b"\n"))
        add(*args)

    monkeypatch.setattr(RunFolder, "add", counting)
    call(*TRAIN)
    assert lines == [2, 3]


def test_the_figures_are_those_of_training_and_evaluation(
    call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses and accuracy are those of `train`; the times count training, not testing."""
    clock = itertools.count(0, 2)  # two seconds pass between two calls
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
def test_options_determine_the_run_and_are_saved(
    call: Cli, options: str, scale: str | float, dtype: str, cfg: Config
) -> None:
    """The saved network has the bits of `train` with these settings, which both files hold."""
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
    assert kept.fingerprint == fingerprint(*DATA, *TEST)
    assert json.loads(Path("purenet-run/config.json").read_text()) == {
        "purenet": purenet.__version__,
        "numpy": np.__version__,
        "data": "digits.npz",
        "layers": layers,
        "init_scale": scale,
        "dtype": dtype,
        **asdict(cfg),
    }


def test_default_layers_have_a_class_for_each_label(call: Cli) -> None:
    """The number of classes covers labels that only the test data have."""
    write_data("more.npz", y_test=TEST[1] + 4)
    assert call(*TRAIN, "--data", "more.npz", "--quiet")[0] == 0
    assert len(checkpoints.load("purenet-run/model.safetensors").params["b3"]) == 7


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", None])
def test_help_is_ascii_of_80_columns(
    command: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The help of every command is plain ASCII in lines of at most 80 characters."""
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"] if command else ["--help"])
    out, _ = capsys.readouterr()
    assert "--help" in out
    assert out.isascii()
    assert max(map(len, out.splitlines())) <= 80


def test_help_names_every_kind_of_data(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of --data has the names, the formats and the folders that `datasets.load` takes."""
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.partition("  --data")[2].split())
    for kind in ("mnist;", "digits,", ".npz file", "IDX files", "KMNIST", "folder of pictures"):
        assert kind in text


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the name and the version in one line."""
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"purenet {purenet.__version__}\n"


# Earlier runs.


def test_an_earlier_run_is_not_replaced_unasked(call: Cli) -> None:
    """Without --overwrite, a folder with a run is refused, and no file changes."""
    call(*TRAIN)
    before = content("purenet-run")
    status, out, err = call(*TRAIN, "--seed", 1)
    assert (status, out) == (2, "")
    assert "purenet-run holds an earlier run" in err
    assert content("purenet-run") == before


def test_overwrite_replaces_a_run_and_nothing_else(
    call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of the run are replaced, curves that cannot be drawn are removed, other files stay."""
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
    """A run that diverges in its first step changes no file, and prints no names of files."""
    call(*TRAIN)
    before = content("purenet-run")
    status, out, _ = call(*TRAIN, "--overwrite", "--learning-rate", 1e300)
    assert status == 1
    assert "purenet-run" not in out
    assert content("purenet-run") == before


def test_a_folder_in_use_is_refused(call: Cli) -> None:
    """While a run uses a folder, a new or resumed run there is refused with one line."""
    call(*TRAIN)
    run = RunFolder(Path("purenet-run"), make=False)
    before = content("purenet-run")
    refused = (2, "", "purenet: purenet-run is in use by another run\n")
    assert call(*TRAIN, "--overwrite") == refused
    assert call("train", "--resume", "purenet-run", "--epochs", 3) == refused
    assert content("purenet-run") == before
    run.close()


# Resuming.


def history(folder: str) -> list[dict[str, float]]:
    """Return the figures of a run without its times."""
    rows = [json.loads(line) for line in Path(folder, "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("s")} for row in rows]


def assert_same_runs(one: str, other: str) -> None:
    """Check that two runs have the same bytes of checkpoint and settings, and the same figures."""
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
    """A run of some epochs that is resumed ends with the files of the uninterrupted run."""
    interval = ("--checkpoint-every", every, "--quiet")
    assert call(*LONG, "--epochs", epochs, *interval) == (0, "", "")
    resumed = call("train", "--resume", "purenet-run", "--epochs", 4, *interval)
    assert resumed == (0, "", "")
    assert_same_runs("purenet-run", whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stop", [1, 5, 6, 7, 12, 23])
def test_a_signal_saves_the_next_whole_step(
    call: Cli, monkeypatch: pytest.MonkeyPatch, whole: str, number: signal.Signals, stop: int
) -> None:
    """The status is 130 or 143, and the resumed run ends with the files of an uninterrupted one."""
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
        "16-200-50-3, float32: 40 examples, batch 7; compiled workers; "
        f"resumed after epoch {stop // 6}, step {stop % 6}"
    )
    assert [line.split()[0] for line in out.splitlines()[2:-1]] == [*"1234"[stop // 6 :]]
    assert_same_runs("purenet-run", whole)


def test_a_signal_before_the_first_step_leaves_nothing(
    call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal while data are read, or while the engine is made, leaves no folder."""
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


def test_resuming_a_finished_run_changes_nothing(call: Cli, whole: str) -> None:
    """The command prints a heading and exits with 0, and no file changes."""
    before = content(whole)
    status, out, err = call("train", "--resume", whole)
    assert (status, err) == (0, "")
    assert out.splitlines()[0].endswith("resumed after epoch 4, step 0")
    assert len(out.splitlines()) == 2
    assert content(whole) == before


def test_a_run_without_a_checkpoint_can_be_resumed(call: Cli, whole: str) -> None:
    """A run that ended before its first checkpoint starts again with its settings."""
    shutil.copytree(whole, "again")
    Path("again/model.safetensors").unlink()
    Path("again/history.jsonl").write_text("half of a li")
    assert call("train", "--resume", "again", "--quiet") == (0, "", "")
    assert_same_runs("again", whole)


def test_the_data_of_a_run_may_be_moved(call: Cli, whole: str) -> None:
    """A run can be resumed with its data at another path; config.json then holds that path."""
    os.rename("digits.npz", "moved.npz")
    assert call("train", "--resume", whole, "--epochs", 5)[0] == 2
    moved = ("--data", "moved.npz", "--quiet")
    assert call("train", "--resume", whole, "--epochs", 5, *moved) == (0, "", "")
    assert json.loads(Path(whole, "config.json").read_text())["data"] == "moved.npz"


def test_options_that_change_nothing_may_be_repeated(call: Cli, whole: str) -> None:
    """The first command line of a run, with more epochs and --resume, resumes the run."""
    assert "batch_size 7" in call("train", "--resume", whole, "--preset", "default")[2]
    again = (*LONG, "--epochs", 5, "--layers", "16-200-50-3", "--dtype", "float32", "--l2", "1e-4")
    assert call(*again, "--resume", whole)[0] == 0
    assert len(history(whole)) == 5


def edited(name: str, value: object) -> None:
    """Change a setting in the config.json of a run, or remove it if the value is None."""
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
        ("--output other", "--resume cannot be combined with --output, --overwrite or --from"),
        ("--overwrite", "--resume cannot be combined with --output, --overwrite or --from"),
        ("--resume missing", "missing is not a folder"),
        ("--resume digits.npz", "digits.npz is not a folder"),
        ("--resume .", ". holds no run: it has no config.json"),
    ],
)
@pytest.mark.usefixtures("whole")
def test_resuming_refuses_what_would_be_another_run(call: Cli, options: str, message: str) -> None:
    """One line names the difference, and no file changes."""
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
        ("layers", "16-3", "whole/config.json does not belong to a run: it has no valid 'layers'"),
        ("data", 5, "has no valid 'data'"),
        ("dtype", "int8", "has no valid 'dtype'"),
        ("from", [1], "has no valid 'from'"),
        ("l2", None, "has no valid 'l2'"),
        ("epochs", "x", "epochs must be an integer >= 0, got 'x'"),
    ],
)
@pytest.mark.usefixtures("whole")
def test_edited_settings_are_refused(call: Cli, name: str, value: object, message: str) -> None:
    """Settings in config.json that are invalid, or not those of the checkpoint, are refused."""
    edited(name, value)
    status, out, err = call("train", "--resume", "whole")
    assert (status, out) == (2, "")
    assert message in err


def recorded_saves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list to which each later checkpoint adds its epochs and steps."""
    saved: list[tuple[int, int]] = []
    save = checkpoints.save

    def recording(*args: Any, state: State, **options: Any) -> None:
        saved.append((state.epochs, state.steps))
        save(*args, state=state, **options)

    monkeypatch.setattr(checkpoints, "save", recording)
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
def test_checkpoints_have_the_given_interval(
    call: Cli, monkeypatch: pytest.MonkeyPatch, every: str, expected: list[tuple[int, int]]
) -> None:
    """There is also a checkpoint at the end, and one after the first epoch at the latest."""
    saved = recorded_saves(monkeypatch)
    assert call(*LONG, "--checkpoint-every", every)[0] == 0
    assert saved == expected


def test_samples_per_second_count_this_process_alone(
    call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a resumed epoch, time and examples of the earlier process do not count."""
    monkeypatch.setattr(job, "PACE", 1)
    rows = iter(range(3))
    with monkeypatch.context() as patched:
        patched.setattr(Signals, "check", lambda _: None if next(rows) < 2 else interrupt())
        assert call(*LONG)[0] == 130
    clock = itertools.count(0, 2)  # two seconds pass between two calls
    monkeypatch.setattr(job, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    _, out, _ = call("train", "--resume", "purenet-run", "--json")
    first, second, *_ = map(json.loads, out.splitlines())
    # The earlier process trained 14 of 40 examples in 2 of 6 steps.
    assert (first["seconds"], first["samples_per_second"]) == (8, 3.2)
    assert (second["seconds"], second["samples_per_second"]) == (12, 3.3)


def interrupt() -> None:
    """Raise KeyboardInterrupt, as Ctrl-C does."""
    raise KeyboardInterrupt


def test_seconds_between_checkpoints_are_measured(
    call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 4s, a checkpoint follows the first step that ends 4 seconds after the last one."""
    clock = itertools.count()  # a second passes between two calls
    fake = SimpleNamespace(perf_counter=time.perf_counter, monotonic=lambda: next(clock))
    monkeypatch.setattr(job, "time", fake)
    monkeypatch.setattr(job, "PACE", 1)
    saved = recorded_saves(monkeypatch)
    assert call(*LONG, "--epochs", 2, "--checkpoint-every", "4s")[0] == 0
    assert saved == [(0, 4), (1, 2), (2, 0)]  # an epoch has six steps


# New settings from trained parameters.


def test_a_run_begins_with_the_network_of_another(call: Cli, whole: str) -> None:
    """--from takes network and settings of a run. Options change settings; epochs begin at 0."""
    options = ("--learning-rate", 0.05, "--epochs", 2, "--output", "other", "--quiet")
    assert call("train", "--from", whole, *options) == (0, "", "")
    start, kept = purenet.load(whole), purenet.load("other")
    cfg = replace(start.cfg, learning_rate=0.05, epochs=2)
    assert kept.cfg == cfg
    assert same_bits(kept.params, purenet.train(start.params, DATA, cfg).params)
    settings = json.loads(Path("other/config.json").read_text())
    assert (settings["from"], settings["data"], settings["init_scale"]) == (
        whole,
        "digits.npz",
        None,
    )
    assert call("train", "--resume", "other", "--epochs", 3, "--quiet") == (0, "", "")


def test_a_run_from_another_that_has_no_checkpoint_begins_again(call: Cli, whole: str) -> None:
    """A run with --from that ended before its first checkpoint starts from the same network."""
    options = ("--epochs", 2, "--dtype", "float64", "--output", "other", "--quiet")
    assert (
        call("train", "--from", f"{whole}/model.safetensors", "--data", "digits.npz", *options)[0]
        == 0
    )
    shutil.copytree("other", "again")
    Path("again/model.safetensors").unlink()
    assert call("train", "--resume", "again", "--quiet") == (0, "", "")
    assert_same_runs("again", "other")


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("--lr", "--learning-rate"),
        ("--bs", "--batch-size"),
        ("--learning_rate", "--learning-rate"),
        ("--weights", ""),
    ],
)
def test_an_unknown_option_is_answered_by_the_one_that_was_meant(
    call: Cli, option: str, meant: str
) -> None:
    """Initials and misspellings are recognised; other words get no guess."""
    question = f": did you mean {meant}?" if meant else ""
    line = f"purenet: unrecognized arguments: {option}{question}\n"
    assert call("train", option) == (2, "", line)


def test_no_epochs_are_said_to_be_none(call: Cli) -> None:
    """With --epochs 0 the command says that there is nothing to train, and leaves no folder."""
    status, out, err = call(*TRAIN, "--epochs", 0)
    assert (status, err) == (0, "")
    assert out.splitlines()[1:] == ["nothing to train: 0 of 0 epochs are done"]
    assert names(".") == {"digits.npz"}


def test_missing_curves_are_explained_in_the_last_line(
    call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Matplotlib, the line of the files says what to install for curves.png."""
    monkeypatch.setattr(plots, "curves", DRAW)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    last = call(*TRAIN)[1].splitlines()[-1]
    files = "purenet-run: model.safetensors, config.json, history.jsonl"
    assert last.startswith(f"{files}; plots need matplotlib: pip install 'purenet[plot]'")


# How a run ends early.


def test_divergence_saves_the_last_finite_state(call: Cli) -> None:
    """The command prints one line, exits with 1, and saves the network before that step."""
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
    records = purenet.epochs(purenet.init(SIZES), DATA, cfg, record_every=1)
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
    """A run without a finite step removes the folders that were made for it."""
    status, out, err = call(
        *TRAIN, "--learning-rate", rate, "--output", "a/b/c", "--batch-size", "full", "--json"
    )
    assert (status, out) == (1, "")
    assert err.startswith(f"purenet: {message}")
    assert err.count("\n") == 1
    assert names(".") == {"digits.npz"}


def test_an_interrupt_saves_the_epochs_done(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the evaluation of an epoch exits with 130 and saves the epochs before it."""
    evaluate, calls = purenet.evaluate, itertools.count()

    def interrupted(*args: Any, **options: Any) -> Any:
        if next(calls) == 3:  # once before training, then after each epoch
            raise KeyboardInterrupt
        return evaluate(*args, **options)

    monkeypatch.setattr(purenet, "evaluate", interrupted)
    status, out, err = call(*TRAIN, "--epochs", 9, "--checkpoint-every", 5)
    assert (status, err) == (130, "purenet: interrupted\n")
    assert "curves.png" in out.splitlines()[-1]
    assert len(Path("purenet-run/history.jsonl").read_text().splitlines()) == 2
    params = checkpoints.load("purenet-run/model.safetensors").params
    cfg = Config(epochs=2)
    assert same_bits(params, purenet.train(purenet.init(SIZES), DATA, cfg).params)


# The child handles Ctrl-C even if a shell started the tests with `&`, which makes them ignore it.
# It works without Numba, which may swallow Ctrl-C while it compiles.
MODULE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.modules["numba"] = None
runpy.run_module("purenet", run_name="__main__")
"""


def start(*options: str, code: str = MODULE) -> subprocess.Popen[bytes]:
    """Start an endless training in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, "train", "--epochs", str(10**6), *options],
        bufsize=0,  # `communicate` continues where `readline` stopped
        # Matplotlib finds no folder for its caches, which it must not report on stderr.
        env=os.environ | {"MPLCONFIGDIR": os.path.join(os.devnull, "none")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@POSIX
def test_ctrl_c_inside_the_first_epoch_saves_its_steps() -> None:
    """Ctrl-C inside the first epoch exits with 130 and leaves a checkpoint with its steps."""
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


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_training_saves_the_run(number: signal.Signals) -> None:
    """The history holds every line that was printed, and the checkpoint belongs to it."""
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


@POSIX
def test_a_second_ctrl_c_ends_the_process_at_once() -> None:
    """A second Ctrl-C ends a step that never returns; the last checkpoint is whole."""
    code = MODULE.replace(
        "import runpy",
        """
import time
from purenet.engines.inplace import InplaceEngine
gradient = InplaceEngine._gradient
def stuck(self, *args):
    if self.calls == 3:
        print("stuck", flush=True)
        while True:
            time.sleep(1)
    self.calls += 1
    return gradient(self, *args)
InplaceEngine.calls = 0
InplaceEngine._gradient = stuck
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


@POSIX
def test_a_closed_pipe_ends_the_run_without_a_traceback() -> None:
    """`purenet train --json | head -1` prints no traceback and saves the run."""
    with start("--data", "digits.npz", "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["epoch"] == 1
        process.stdout.close()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")
    assert names("purenet-run") == RUN


@POSIX
def test_a_closed_pipe_gives_exit_status_141(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    """The status is that of a process that SIGPIPE ended; later output is discarded."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["evaluate", str(model), "--data", "digits.npz"]) == 141
        print("more")


def test_a_process_without_stdout_and_stderr_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run though sys.stdout and sys.stderr are None, as without a console."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main([str(arg) for arg in TRAIN]) == 0
    assert main(["nonsense"]) == 2
    for stream in (sys.stdout, sys.stderr):
        stream.close()
    assert names("purenet-run") == RUN


def test_a_full_disk_gives_one_line(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the file that could not be written, and no file is left."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = call(*TRAIN)
    assert (status, err) == (2, "purenet: purenet-run/model.safetensors: No space left on device\n")
    assert names(".") == {"digits.npz"}


def test_an_error_without_a_message_is_named(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """MemoryError, which has no message, is printed with its name."""

    def exhausted(_: str) -> None:
        raise MemoryError

    monkeypatch.setattr(datasets, "load", exhausted)
    assert call(*TRAIN) == (2, "", "purenet: MemoryError()\n")


@pytest.mark.usefixtures("model")
def test_a_message_with_a_line_feed_is_one_line(call: Cli) -> None:
    """A line feed in a path is printed as a space."""
    assert call("predict", ".", "two\nlines.npy")[2].splitlines() == [
        "purenet: two lines.npy: No such file or directory"
    ]


# Missing extras.


def test_without_matplotlib_a_run_has_no_curves(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra `plot`, a run has its three other files."""
    monkeypatch.setattr(plots, "curves", DRAW)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, out, err = call(*TRAIN)
    assert (status, err) == (0, "")
    assert "curves.png" not in out
    assert names("purenet-run") == RUN - {"curves.png"}


ANSWER_WITHOUT_PILLOW = (
    "purenet: pictures need PIL: pip install 'purenet[images]', "
    "or pip install '.[images]' in a clone of purenet\n"
)


def test_without_pillow_only_arrays_are_predicted(
    call: Cli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra `images`, a picture is refused with a line that names the extra."""
    np.save("digits.npy", X[:1])
    Path("digit.png").touch()
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert call("predict", model, "digits.npy")[0] == 0
    assert call("predict", model, "digit.png") == (
        2,
        "",
        ANSWER_WITHOUT_PILLOW,
    )


# Prediction and evaluation.


def test_predict_prints_class_and_probability(call: Cli, model: Path) -> None:
    """Each row of an array has a line; integers are scaled as in training."""
    np.save("digits.npy", X[:5])
    params, cfg = checkpoints.load(model)[:2]
    p = purenet.predict_proba(params, X[:5] * cfg.input_scale)
    status, out, err = call("predict", model, "digits.npy")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"digits.npy[{i}]: {row.argmax()} {100 * row.max():.1f}%" for i, row in enumerate(p)
    ]


def test_a_picture_is_predicted_as_its_array(call: Cli, model: Path) -> None:
    """A PNG picture, the same with --no-invert, and an array of its pixels give the same line."""
    pixels = X[0].reshape(4, 4)
    np.save("digit.npy", pixels)
    Image.fromarray(pixels).save("light.png")
    _, out, _ = call("predict", model, "digit.npy", "light.png", "--no-invert")
    array, light = out.splitlines()
    assert array.startswith("digit.npy: ")
    assert array.split()[1:] == light.split()[1:]


def write_two_bars() -> list[str]:
    """Write a picture of two dark bars, and return the lines of a network that sees each alone."""
    paper = np.full((60, 100), 220, np.uint8)
    paper[10:50, 20:30] = paper[25:45, 50:90] = 30
    Image.fromarray(paper).save("two.png")
    params, cfg = checkpoints.load("model.safetensors")[:2]
    x = pictures.read("two.png", 16, split=True)
    p = purenet.predict_proba(params, x, input_scale=cfg.input_scale)
    return [f"two.png[{i}]: {row.argmax()} {100 * row.max():.1f}%" for i, row in enumerate(p)]


def test_several_characters_are_split_if_it_is_asked_for(call: Cli, model: Path) -> None:
    """With --split each character has a line; without it one line of error names the option."""
    lines = write_two_bars()
    assert len(lines) == 2
    assert call("predict", model, "two.png", "--split") == (0, "\n".join(lines) + "\n", "")
    status, out, err = call("predict", model, "two.png")
    assert (status, out) == (2, "")
    assert "found 2 apart from each other: split=True (--split)" in err


@pytest.mark.usefixtures("model")
def test_show_draws_what_the_network_sees(call: Cli) -> None:
    """The drawing stands above the line of each picture, or in a picture file side by side."""
    lines = write_two_bars()
    x = pictures.read("two.png", 16, split=True)
    drawn = "".join(f"{pictures.as_text(x[i])}\n{line}\n" for i, line in enumerate(lines))
    two = ("predict", "model.safetensors", "two.png", "--split", "--show")
    assert call(*two) == (0, drawn, "")
    assert call(*two, "seen.png") == (0, "\n".join(lines) + "\n", "")
    assert np.array_equal(np.asarray(Image.open("seen.png")), np.hstack([*x.reshape(2, 4, 4)]))


def test_show_takes_no_model_for_a_picture_file(call: Cli, model: Path) -> None:
    """Only a name that ends in .png is written to, so that nothing is lost if words are swapped."""
    before = model.read_bytes()
    status, _, err = call("predict", "--show", model, "a.png", "b.png")
    assert status == 2
    assert "argument --show: expected a file that ends in .png, or nothing after" in err
    assert model.read_bytes() == before


def test_show_replaces_no_file(call: Cli, model: Path) -> None:
    """An earlier picture stays as it was."""
    write_two_bars()
    np.save("digits.npy", X[:1])
    before = Path("two.png").read_bytes()
    for inputs in ((), ("digits.npy",)):  # a user may mean two.png as an input
        status, out, err = call("predict", model, "--show", "two.png", *inputs)
        assert (status, out) == (2, "")
        assert "two.png exists already: name a new file, or put --show last" in err
    assert Path("two.png").read_bytes() == before


def test_ink_and_paper_are_told_apart_unless_it_is_said(call: Cli, model: Path) -> None:
    """A picture and its negative give the same line; --invert and --no-invert say which it is."""
    paper = np.full((60, 60), 220, np.uint8)
    paper[10:50, 20:30] = 30
    Image.fromarray(paper).save("dark.png")
    Image.fromarray(255 - paper).save("light.png")
    run = [call("predict", model, name)[1] for name in ("dark.png", "light.png")]
    said = call("predict", model, "dark.png", "--invert")[1]
    assert run[0].split()[1:] == run[1].split()[1:] == said.split()[1:]
    assert "no ink found" in call("predict", model, "dark.png", "--no-invert")[2]


def test_a_resumed_run_keeps_the_names_of_its_classes(call: Cli) -> None:
    """The same data without names, as an .npz file, change nothing of the names."""
    pixels = datasets.mnist()[1][0][:24].reshape(-1, 28, 28)
    for i, digit in enumerate(pixels):
        Path("data", "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(digit).save(f"data/{'ab'[i % 2]}/{i:02}.png")
    (x, y), (x_test, y_test) = datasets.load("data")
    np.savez("same.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    assert call("train", "--data", "data", "--epochs", 1, "--quiet")[0] == 0
    resume = ("train", "--resume", "purenet-run", "--data", "same.npz", "--epochs", 2, "--quiet")
    assert call(*resume) == (0, "", "")
    assert checkpoints.load("purenet-run").classes == ["a", "b"]


def test_labels_that_a_mapping_lacks_have_a_question_mark(call: Cli) -> None:
    """A mapping of EMNIST that names fewer characters than there are labels is filled up."""
    Path("emnist").mkdir()
    for part, n in (("train", 9), ("test", 3)):
        images = np.full((n, 4, 4), 90, np.uint8)
        labels = (np.arange(n) % 3).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            sizes = b"".join(size.to_bytes(4) for size in array.shape)
            content = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
            Path("emnist", f"emnist-x-{part}-{name}-ubyte").write_bytes(content)
    Path("emnist", "emnist-x-mapping.txt").write_text("0 65\n1 66\n")
    assert call("train", "--data", "emnist", "--epochs", 1, "--quiet") == (0, "", "")
    assert checkpoints.load("purenet-run").classes == ["A", "B", "?"]


def test_predict_prints_nothing_before_an_error(call: Cli, model: Path) -> None:
    """If one of the pictures cannot be read, or the drawing not be written, stdout is empty."""
    np.save("digits.npy", X[:5])
    assert call("predict", model, "digits.npy", "missing.npy")[:2] == (2, "")
    assert call("predict", model, "digits.npy", "--show", "missing/seen.png")[:2] == (2, "")


@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_processes_of_mpirun_need_the_option(
    call: Cli, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open MPI and MPICH tell each process how many there are. One alone trains as always."""
    monkeypatch.setenv(name, "4")
    status, out, err = call(*TRAIN)
    assert (status, out) == (2, "")
    assert err == "purenet: mpirun started 4 processes: they need --mpi to train together\n"
    monkeypatch.setenv(name, "1")
    assert call(*TRAIN, "--quiet")[0] == 0


def test_export_writes_the_network_for_other_tools(call: Cli, model: Path) -> None:
    """The ONNX model scales pixels, the state dictionary has the weights, and files repeat."""
    saved = checkpoints.load(model)
    export = ("export", model, "--onnx", "model.onnx", "--torch", "state.safetensors")
    status, out, err = call(*export)
    files = {name: Path(name).read_bytes() for name in ("model.onnx", "state.safetensors")}
    assert (status, err) == (0, "")
    assert out == "".join(f"{name}: {len(file):,} bytes\n" for name, file in files.items())
    assert call(*export)[0] == 0
    assert files == {name: Path(name).read_bytes() for name in files}
    session = onnxruntime.InferenceSession("model.onnx")
    _, p, label = session.run(None, {"pixels": X})
    expected = purenet.predict_proba(saved.params, X, input_scale=saved.cfg.input_scale)
    np.testing.assert_allclose(p, expected, atol=1e-6)
    assert np.array_equal(label, expected.argmax(axis=1))
    again = purenet.export.from_state_dict(load_file("state.safetensors"))
    assert all(again[name].tobytes() == p.tobytes() for name, p in saved.params.items())


def test_an_exported_model_has_the_names_of_classes(call: Cli, folder: Path) -> None:
    """Its labels are the names; with --floats its input is floating-point numbers."""
    params = purenet.init(SIZES)
    checkpoints.save(folder / "named.safetensors", params, Config(), classes=["a", "b", "c"])
    assert call("export", "named.safetensors", "--onnx", "m.onnx", "--floats")[0] == 0
    x = (X / 255).astype(np.float32)
    label = onnxruntime.InferenceSession("m.onnx").run(["label"], {"x": x})[0]
    assert label.tolist() == ["abc"[i] for i in purenet.predict(params, x)]


def test_evaluate_counts_each_test_example_once(call: Cli, model: Path) -> None:
    """The rows of the confusion matrix are labels, and its trace gives the accuracy."""
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


def test_evaluate_takes_the_folder_of_a_run(call: Cli) -> None:
    """The folder and its model file both give the figures of the last epoch."""
    _, out, _ = call(*TRAIN, "--json")
    last = json.loads(out.splitlines()[-1])
    _, by_folder, _ = call("evaluate", "purenet-run", "--data", "digits.npz")
    _, by_file, _ = call("evaluate", "purenet-run/model.safetensors", "--data", "digits.npz")
    assert by_folder == by_file
    assert f"loss {last['test_loss']:.4f}, accuracy {last['test_accuracy']:.2%}" in by_folder


def test_classes_have_the_names_of_their_folders(call: Cli) -> None:
    """A network trained on a folder of pictures prints the names of its classes."""
    pixels = datasets.mnist()[1][0][:40].reshape(-1, 28, 28)
    for i, digit in enumerate(pixels):
        folder = Path("letters", "left" if i % 2 else "right")
        folder.mkdir(parents=True, exist_ok=True)
        moved = digit // 2
        moved[10:18, slice(4, 10) if i % 2 else slice(18, 24)] = 255
        Image.fromarray(moved).save(folder / f"{i:02}.png")
    train = ("train", "--data", "letters", "--layers", "784-2", "--epochs", 5, "--quiet")
    assert call(*train) == (0, "", "")
    assert checkpoints.load("purenet-run").classes == ["left", "right"]
    _, out, _ = call("predict", "purenet-run", "letters/left/01.png", "letters/right/02.png")
    assert [line.split()[1] for line in out.splitlines()] == ["left", "right"]
    _, out, _ = call("evaluate", "purenet-run", "--data", "letters")
    assert out.splitlines()[2].split() == ["left", "right"]
    assert [line.split()[0] for line in out.splitlines()[3:]] == ["left", "right"]
    assert {len(line) for line in out.splitlines()[2:]} == {len("right ") + 2 * len("  right")}
    Path("letters", "left").rename("letters/top")
    assert call("evaluate", "purenet-run", "--data", "letters")[2] == (
        "purenet: letters has the classes right, top, purenet-run has left, right\n"
    )
    assert call(*train[:3], "--layers", "784-3", "--overwrite")[2] == (
        "purenet: layers must end with 2, the number of classes of letters, got 3\n"
    )


def test_mnist_needs_no_options(call: Cli) -> None:
    """One epoch on the packaged MNIST gives an accuracy above 94 %, and a 7 is predicted as 7."""
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


# Bad input.


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
        (f"train --seed {2**128}", f"seed must be below 2**128, got {2**128}"),
        ("train --data missing", "missing: No such file or directory"),
        ("train --data empty", "empty: expected an .npz file"),
        (
            "train --data .",
            "expected the four files of a data set like MNIST (train-images-idx3-ubyte",
        ),
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
def test_bad_input_gives_one_line_and_exit_status_2(call: Cli, args: str, message: str) -> None:
    """The line names what is wrong; stdout is empty, and no file or folder is made."""
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_jax_trains_what_numpy_does(call: Cli, dtype: str) -> None:
    """--backend jax agrees with NumPy within rounding, and either goes on with the other."""
    options = ("--dtype", dtype, "--batch-size", 7, "--epochs", 2)
    status, out, _ = call(*TRAIN, *options, "--backend", "jax", "--output", "jax")
    assert status == 0
    assert "batch 7; JAX on 4 x cpu" in out.splitlines()[0]  # as conftest.py asks for
    assert call(*TRAIN, *options, "--output", "numpy")[0] == 0
    one, other = (checkpoints.load(name) for name in ("jax", "numpy"))
    for name, p in one.params.items():
        assert p.dtype == dtype
        np.testing.assert_allclose(p, other.params[name], atol=1e-5)
    assert call("train", "--resume", "jax", "--epochs", 3)[0] == 0
    assert call("train", "--resume", "numpy", "--epochs", 3, "--backend", "jax", "--quiet")[0] == 0
    for name, p in checkpoints.load("jax").params.items():
        np.testing.assert_allclose(p, checkpoints.load("numpy").params[name], atol=1e-5)


@pytest.mark.parametrize(("backend", "library"), [("jax", "jax"), ("mpi", "mpi4py")])
def test_a_backend_without_its_library_names_the_extra(
    call: Cli, monkeypatch: pytest.MonkeyPatch, backend: str, library: str
) -> None:
    """The message has the command that installs it, and nothing is written."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    status, _, err = call(*TRAIN, "--backend", backend)
    assert status == 2
    assert f"need {library}: pip install 'purenet[{backend}]'" in err
    assert not Path("purenet-run").exists()


def test_a_new_run_from_an_earlier_one_keeps_its_shards(call: Cli) -> None:
    """--from takes the shards too, and --shards changes them."""
    assert call(*TRAIN, "--shards", 4, "--output", "one")[0] == 0
    assert call("train", "--from", "one", "--output", "two")[0] == 0
    assert checkpoints.load("two").cfg.shards == 4
    assert call("train", "--from", "one", "--shards", 2, "--output", "three")[0] == 0
    assert checkpoints.load("three").cfg.shards == 2
