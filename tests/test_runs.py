"""The folder of a run: what is there after each step, and what is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from purenet import Config, checkpoint, init, runs
from purenet.runs import Run, model_file

CFG = Config(seed=4)
FIGURES = {"epoch": 1, "loss": 2.0, "test_loss": 2.5, "test_accuracy": 0.5}
FILES = ["model.safetensors", "config.json", "history.jsonl", "curves.png"]


def content(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def finished(folder: Path, epochs: int = 1) -> Run:
    """Make a run of some epochs and finish it."""
    run = Run(folder, {"seed": 4}, overwrite=True)
    for e in range(epochs):
        run.add(init([2, 3], seed=e), CFG, FIGURES | {"epoch": e + 1})
    run.finish()
    return run


def test_after_each_epoch_the_folder_holds_all_of_them(tmp_path: Path) -> None:
    """Whatever ends the process: settings, the last network, and a line for each epoch."""
    run = Run(tmp_path, {"seed": 4}, overwrite=False)
    for e in (1, 2, 3):
        params = init([2, 3], seed=e)
        run.add(params, CFG, FIGURES | {"epoch": e})
        assert sorted(content(tmp_path)) == sorted(FILES[:3])
        loaded, cfg = checkpoint.load(tmp_path / "model.safetensors")
        assert np.array_equal(loaded["W1"], params["W1"])
        assert cfg == CFG
        lines = (tmp_path / "history.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [
            FIGURES | {"epoch": i} for i in range(1, e + 1)
        ]
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 4}
    assert run.finish() == FILES


def test_folders_are_made_and_go_again_if_no_epoch_is_done(tmp_path: Path) -> None:
    """A run without epochs leaves the folders that were there before it, and no others."""
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "there", tmp_path / "there" / "a" / "b"):
        run = Run(folder, {}, overwrite=False)
        assert folder.is_dir()
        assert run.finish() == []
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_folder_that_others_use_by_now_stays(tmp_path: Path) -> None:
    """Only empty folders are removed."""
    run = Run(tmp_path / "a" / "b", {}, overwrite=False)
    (tmp_path / "a" / "notes.txt").touch()
    assert run.finish() == []
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", FILES)
def test_any_file_of_a_run_tells_an_earlier_run(tmp_path: Path, name: str) -> None:
    """The message names the file, and what to do."""
    (tmp_path / name).write_bytes(b"earlier")
    with pytest.raises(ValueError, match=rf"holds an earlier run \({name}\): .*--overwrite"):
        Run(tmp_path, {}, overwrite=False)
    assert content(tmp_path) == {name: b"earlier"}


def test_an_earlier_run_is_replaced_at_the_first_epoch(tmp_path: Path) -> None:
    """Until then all of it is there, after it nothing of it; other files stay as they are."""
    finished(tmp_path, epochs=3)
    (tmp_path / "notes.txt").write_bytes(b"mine")
    before = content(tmp_path)
    run = Run(tmp_path, {"seed": 9}, overwrite=True)
    assert content(tmp_path) == before
    run.add(init([2, 3], seed=9), CFG, FIGURES)
    after = content(tmp_path)
    assert sorted(after) == sorted([*FILES[:3], "notes.txt"])
    assert json.loads(after["history.jsonl"]) == FIGURES
    assert json.loads(after["config.json"]) == {"seed": 9}
    assert after["notes.txt"] == b"mine"


def test_a_folder_that_cannot_be_written_is_refused_before_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system is asked at once, by a file that leaves no trace."""

    def refuse(dir: Path) -> None:  # noqa: A002
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(runs, "TemporaryFile", refuse)
    with pytest.raises(PermissionError):
        Run(tmp_path, {}, overwrite=False)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """The message says what is wrong with the path."""
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(ValueError, match="file is not a folder"):
        Run(path, {}, overwrite=True)


def test_without_matplotlib_there_are_no_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names that `finish` returns are those that are there."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run = Run(tmp_path, {}, overwrite=False)
    run.add(init([2, 3]), CFG, FIGURES)
    assert run.finish() == FILES[:3]


def test_a_run_stands_for_its_model(tmp_path: Path) -> None:
    """A folder gives the file in it; any other path is the file itself."""
    assert model_file(tmp_path) == tmp_path / "model.safetensors"
    assert model_file(tmp_path / "other.safetensors") == tmp_path / "other.safetensors"
