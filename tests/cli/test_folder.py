"""Claims about the folder of a run: what it holds at each moment, and what is refused."""

import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import lock_descriptor

from purenet import Config, State, init, init_velocity
from purenet.cli import folder as folders
from purenet.cli.folder import RunFolder
from purenet.files import checkpoints
from tests.support.systems import POSIX, watch_flushes

CFG = Config(seed=4)
FIGURES = {"epoch": 1, "loss": 2.0, "test_loss": 2.5, "test_accuracy": 0.5}
FILES = ["model.safetensors", "config.json", "history.jsonl", "curves.png"]


def content(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def opened(folder: Path, *, overwrite: bool = False, seed: int = 4) -> RunFolder:
    """Start a new run in a folder."""
    run = RunFolder(folder, make=True)
    run.start(overwrite=overwrite)
    run.settings = {"seed": seed}
    return run


def add(run: RunFolder, e: int, *, seed: int = 0) -> dict[str, Any]:
    """Write the figures and a checkpoint of epoch e, counted from 1; return its parameters."""
    params = init([2, 3], seed=seed + e)
    run.add(FIGURES | {"epoch": e})
    run.stage(params, CFG, state=State(init_velocity(params), e), fingerprint="of the data")
    run.save()
    return params


def finished(folder: Path, epochs: int = 1) -> None:
    """Leave a run that trained for some epochs."""
    run = opened(folder, overwrite=True)
    for e in range(epochs):
        add(run, e + 1)
    run.close()


def test_after_each_epoch_the_folder_holds_the_whole_run(tmp_path: Path) -> None:
    """After each epoch the files hold the settings, the last network and a line per epoch."""
    run = opened(tmp_path)
    for e in (1, 2, 3):
        params = add(run, e)
        assert sorted(content(tmp_path)) == sorted([".lock", *FILES[:3]])
        loaded, cfg, state, found, *_ = checkpoints.load(tmp_path / "model.safetensors")
        assert np.array_equal(loaded["W1"], params["W1"])
        assert state is not None
        assert (cfg, state.epochs, found) == (CFG, e, "of the data")
        lines = (tmp_path / "history.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [
            FIGURES | {"epoch": i} for i in range(1, e + 1)
        ]
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 4}
    assert run.close() == FILES
    assert sorted(content(tmp_path)) == sorted(FILES)


def test_close_saves_the_state_that_was_staged_last(tmp_path: Path) -> None:
    """A state that was staged after the last checkpoint is saved when the run is closed."""
    run = opened(tmp_path)
    for seed in (1, 2):
        params = init([2, 3], seed=seed)
        run.stage(
            params, CFG, state=State(init_velocity(params), 0, seed), fingerprint="of the data"
        )
    assert sorted(content(tmp_path)) == [".lock"]
    assert run.close() == ["model.safetensors", "config.json", "history.jsonl"]
    saved = checkpoints.load(tmp_path / "model.safetensors")
    assert saved.state is not None
    assert saved.state.steps == 2
    assert np.array_equal(saved.params["W1"], params["W1"])
    assert (tmp_path / "history.jsonl").read_text() == ""


def test_the_history_is_flushed_before_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the disk, the history may be ahead of the checkpoint but never behind it."""
    run = opened(tmp_path)
    add(run, 1)
    done: list[str] = []
    watch_flushes(monkeypatch, lambda path: done.append(path.name))
    add(run, 2)
    assert done[0] == "history.jsonl"
    assert [name for name in done if "model" in name] == done[1:2]
    run.close()


def test_folders_are_removed_if_nothing_is_saved(tmp_path: Path) -> None:
    """A run without a step leaves only the folders that existed before it."""
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "there", tmp_path / "there" / "a" / "b"):
        run = opened(folder)
        assert folder.is_dir()
        assert run.close() == []
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_folder_with_other_files_is_not_removed(tmp_path: Path) -> None:
    """A folder that was made for a run stays if somebody has put a file into it."""
    run = opened(tmp_path / "a" / "b")
    (tmp_path / "a" / "notes.txt").touch()
    assert run.close() == []
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", FILES)
def test_any_file_of_a_run_counts_as_an_earlier_run(tmp_path: Path, name: str) -> None:
    """The error names the file and the three options to choose from."""
    (tmp_path / name).write_bytes(b"earlier")
    message = rf"holds an earlier run \({name}\): go on with --resume, .*--output, .*--overwrite"
    run = RunFolder(tmp_path, make=True)
    with pytest.raises(ValueError, match=message):
        run.start(overwrite=False)
    run.close()
    assert content(tmp_path) == {name: b"earlier"}


def test_the_first_save_replaces_an_earlier_run(tmp_path: Path) -> None:
    """The earlier run is whole before the first save and gone after it; other files stay."""
    finished(tmp_path, epochs=3)
    (tmp_path / "notes.txt").write_bytes(b"mine")
    before = content(tmp_path)
    run = opened(tmp_path, overwrite=True, seed=9)
    assert content(tmp_path) == before | {".lock": b""}
    add(run, 1, seed=9)
    after = content(tmp_path)
    assert sorted(after) == sorted([".lock", *FILES[:3], "notes.txt"])
    assert json.loads(after["history.jsonl"]) == FIGURES
    assert json.loads(after["config.json"]) == {"seed": 9}
    assert after["notes.txt"] == b"mine"
    run.close()


# Two runs at once.


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A second run can take a folder only after the first one is closed."""
    run = opened(tmp_path)
    add(run, 1)
    before = content(tmp_path)
    message = f"^{re.escape(str(tmp_path))} is in use by another run$"
    for make in (True, False):
        with pytest.raises(ValueError, match=message):
            RunFolder(tmp_path, make=make)
    assert content(tmp_path) == before
    run.close()
    RunFolder(tmp_path, make=False).close()


@POSIX
@pytest.mark.parametrize("others", [0, 1])
def test_a_lock_file_that_its_owner_removed_is_not_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """A run locks another file if the owner removes the first one between open and lock."""
    calls: list[int] = []

    def late(descriptor: int, *, blocking: bool) -> bool:
        if not calls:
            os.unlink(tmp_path / ".lock")
            if others:
                (tmp_path / ".lock").touch()
        calls.append(descriptor)
        return lock_descriptor(descriptor, blocking=blocking)

    monkeypatch.setattr(folders, "lock_descriptor", late)
    run = RunFolder(tmp_path, make=False)
    assert len(calls) == 2
    with pytest.raises(ValueError, match="in use"):
        RunFolder(tmp_path, make=False)
    run.close()


@pytest.mark.parametrize("others", [0, 1])
def test_on_windows_the_lock_is_released_before_its_file_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """Windows removes no open file: that of a run that came in between stays its lock."""
    came: list[RunFolder] = []
    unlink = Path.unlink

    def unlink_closed(path: Path, **options: Any) -> None:
        if len(came) < others:
            came.append(RunFolder(tmp_path, make=False))
        with path.open("ab") as file:
            if not lock_descriptor(file.fileno(), blocking=False):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
        unlink(path, **options)

    monkeypatch.setattr(folders, "WINDOWS", True)
    monkeypatch.setattr(Path, "unlink", unlink_closed)
    RunFolder(tmp_path, make=False).close()
    for run in came:
        assert sorted(content(tmp_path)) == [".lock"]
        with pytest.raises(ValueError, match="in use"):
            RunFolder(tmp_path, make=False)
        run.close()
    assert content(tmp_path) == {}


def test_unfinished_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    """The next run removes temporary files of a process that was killed; whole files stay."""
    finished(tmp_path)
    (tmp_path / ".part-1234-model.safetensors").write_bytes(b"half")
    RunFolder(tmp_path, make=False).close()
    assert sorted(content(tmp_path)) == sorted(FILES)


# Resuming.


def test_a_run_resumes_with_its_settings_checkpoint_and_history(tmp_path: Path) -> None:
    """The first save after that drops the lines of epochs that are not in the checkpoint."""
    finished(tmp_path, epochs=2)
    history = tmp_path / "history.jsonl"
    whole = history.read_bytes()
    history.write_bytes(whole + b'{"epoch": 3, "loss": 1.0, "test_loss": 1.0}\n{"epo')
    before = content(tmp_path)
    run = RunFolder(tmp_path, make=False)
    settings, saved = run.resume()
    assert settings == {"seed": 4}
    assert saved is not None
    assert saved.state is not None
    assert saved.state.epochs == 2
    assert run.history == [FIGURES, FIGURES | {"epoch": 2}]
    assert content(tmp_path) == before | {".lock": b""}
    run.settings = {"seed": 5}
    add(run, 3)
    run.close()
    lines = history.read_bytes().splitlines(keepends=True)
    assert b"".join(lines[:2]) == whole
    assert json.loads(lines[2]) == FIGURES | {"epoch": 3}
    assert len(lines) == 3
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 5}


def test_a_run_without_a_checkpoint_resumes_from_its_settings(tmp_path: Path) -> None:
    """A process that ended before its first checkpoint leaves the settings alone."""
    finished(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    run = RunFolder(tmp_path, make=False)
    assert run.resume() == ({"seed": 4}, None)
    assert run.history == []
    run.close()


def change(name: str, text: str) -> Callable[[Path], object]:
    """Return a function that writes this text to a file of a run."""
    return lambda folder: (folder / name).write_text(text)


def without_state(folder: Path) -> None:
    """Replace the checkpoint by one without a state."""
    checkpoints.save(folder / "model.safetensors", init([2, 3]), CFG)


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no settings": (lambda folder: (folder / "config.json").unlink(), "holds no run"),
    "settings no JSON": (change("config.json", "{"), "config.json: expected a JSON object: "),
    "settings a list": (change("config.json", "[]"), "config.json: .* object, got a list"),
    "settings too deep": (change("config.json", "[" * 10**5), "config.json: expected a JSON"),
    "settings no text": (
        lambda folder: (folder / "config.json").write_bytes(b"\xff{}"),
        "config.json: expected a JSON object: ",
    ),
    "no checkpoint": (change("model.safetensors", "{"), "model.safetensors is not a purenet model"),
    "no state": (without_state, "model.safetensors holds a network, but no state to go on from"),
    "no line": (change("history.jsonl", ""), "expected the figures of epoch 1 in line 1"),
    "no JSON": (change("history.jsonl", "{\n{\n"), "expected the figures of epoch 1"),
    "too deep": (change("history.jsonl", "[" * 10**5), "expected the figures of epoch 1"),
    "a list": (change("history.jsonl", "[1]\n"), "expected the figures of epoch 1"),
    "no figures": (change("history.jsonl", '{"epoch": 1}\n'), "expected the figures of epoch 1"),
    "figures of text": (
        change("history.jsonl", json.dumps(FIGURES | {"loss": "1"})),
        "expected the figures of epoch 1",
    ),
    "another epoch": (
        change("history.jsonl", json.dumps(FIGURES) + "\n" + json.dumps(FIGURES)),
        "expected the figures of epoch 2",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_run_is_not_resumed(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    """The error names the file, and no file changes."""
    finished(tmp_path, epochs=2)
    damage(tmp_path)
    before = content(tmp_path)
    run = RunFolder(tmp_path, make=False)
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path))}.*{message}"):
        run.resume()
    run.close()
    assert content(tmp_path) == before


# Errors of the system.


def test_a_folder_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making the lock file shows that the folder cannot be written, before any training."""
    whole = io.open

    def refuse(path: Any, *args: Any, **options: Any) -> Any:
        if str(path).startswith(str(tmp_path)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return whole(path, *args, **options)

    monkeypatch.setattr(io, "open", refuse)
    with pytest.raises(PermissionError):
        RunFolder(tmp_path, make=True)


def test_a_full_disk_leaves_no_part_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk is full, the history and the checkpoint stay as they were."""
    run = opened(tmp_path)
    add(run, 1)
    before = content(tmp_path)

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            super().write(bytes(data)[:5])
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened_full(self: Path, mode: str, **_: Any) -> io.TextIOWrapper:
        return io.TextIOWrapper(Full(self, mode), write_through=True)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opened_full)
        with pytest.raises(OSError, match="No space left"):
            run.add(FIGURES | {"epoch": 2})
    assert run.history == [FIGURES]
    assert content(tmp_path) == before
    run.close()


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    """The error says that the path is not a folder."""
    path = tmp_path / "file"
    path.touch()
    for make in (True, False):
        with pytest.raises(ValueError, match="file is not a folder"):
            RunFolder(path, make=make)
    with pytest.raises(ValueError, match="missing is not a folder"):
        RunFolder(tmp_path / "missing", make=False)


def test_a_run_without_matplotlib_has_no_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`close` returns the names of the other three files."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run = opened(tmp_path)
    add(run, 1)
    assert run.close() == FILES[:3]
