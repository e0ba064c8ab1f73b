"""The folder of a training run: its files, and how a later process resumes it."""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from filelock import lock_descriptor

from purenet.config import Config
from purenet.files import checkpoints, plots, reading, writing
from purenet.files.checkpoints import MODEL
from purenet.params import Params

__all__ = ["RunFolder", "SavedRun", "read_settings"]

CONFIG, HISTORY, CURVES = "config.json", "history.jsonl", "curves.png"
LOCK = ".lock"
WINDOWS: bool = sys.platform == "win32"
FIGURES = {"epoch": int, "loss": float, "test_loss": float, "test_accuracy": float}


class SavedRun(NamedTuple):
    """Hold what an earlier process saved of a run.

    Parameters
    ----------
    settings : dict
        Content of config.json.
    checkpoint : Checkpoint or None
        The last checkpoint, or None if the process ended before its first one.
    """

    settings: dict[str, Any]
    checkpoint: checkpoints.Checkpoint | None


class RunFolder:
    """Save a run while it trains, so that it can resume from its last checkpoint.

    The figures of an epoch are on the disk before the checkpoint of that epoch: the history may be
    ahead of the checkpoint but is never behind it. A lock keeps other runs out of the folder until
    `close` is called or the process ends.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    make : bool
        Whether to make the folder if it is missing.

    Attributes
    ----------
    settings : dict
        Content of config.json.
    history : list of dict
        The figures of each epoch.
    without_curves : str
        Why the curves were not drawn, or an empty string.

    Raises
    ------
    ValueError
        A folder that another run is using, or a file in its place.
    OSError
        A folder that is missing, or that cannot be made or written.
    """

    def __init__(self, folder: Path, *, make: bool) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []
        self.without_curves = ""
        self._staged: tuple[Params, Config, dict[str, Any]] | None = None
        self._is_new = self._taken_over = False
        self._made_folders = [f for f in (folder, *folder.parents) if make and not f.exists()]
        with suppress(FileExistsError):
            if make:
                folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder")
        self._lock_file = _acquire_lock(folder)
        for name in (MODEL, CONFIG, HISTORY, CURVES):
            for leftover in folder.glob(f"{writing.PART}*-{name}"):  # of a process that was killed
                leftover.unlink()

    def start(self, *, overwrite: bool) -> None:
        """Refuse a folder with an earlier run, unless this run's first save may replace it."""
        earlier_files = self._run_files()
        if earlier_files and not overwrite:
            raise ValueError(
                f"{self.folder} holds an earlier run ({', '.join(earlier_files)}): go on with "
                "--resume, name another folder with --output, or replace it with --overwrite"
            )
        self._is_new = True

    def resume(self) -> SavedRun:
        """Return what an earlier process saved, and load its history up to the checkpoint."""
        settings = read_settings(self.folder)
        if not (self.folder / MODEL).exists():  # the process ended before its first checkpoint
            return SavedRun(settings, None)
        checkpoint = checkpoints.load(self.folder / MODEL)
        if checkpoint.state is None:
            raise ValueError(f"{self.folder / MODEL} holds a network, but no state to go on from")
        self.history = _read_history(self.folder / HISTORY, checkpoint.state.epochs)
        return SavedRun(settings, checkpoint)

    def add(self, figures: dict[str, float]) -> None:
        """Append the figures of an epoch to the history and, after the first save, to its file."""
        if self._taken_over:
            path = self.folder / HISTORY
            size = path.stat().st_size
            try:
                with path.open("a", newline="\n") as file:  # as on every system
                    file.write(json.dumps(figures) + "\n")
            except OSError:
                os.truncate(path, size)  # a full disk may leave part of a line
                raise
        self.history.append(figures)

    def stage(self, params: Params, cfg: Config, **about: Any) -> None:
        """Set what the next call of `save` or `close` writes: arguments of `checkpoints.save`."""
        self._staged = params, cfg, about

    def save(self) -> None:
        """Write a checkpoint of the staged state, if there is one."""
        if self._staged is not None:
            params, cfg, about = self._staged
            self._staged = None  # a save that fails is not tried again
            path = self.folder / MODEL
            if self._taken_over:
                writing.flush(self.folder / HISTORY)
                checkpoints.save(path, params, cfg, **about)
            else:
                with writing.replacing(path) as part:
                    checkpoints.save(part, params, cfg, **about)
                    self._take_over()

    def close(self) -> list[str]:
        """Save, draw the curves if Matplotlib is installed, and return the names of the files.

        If the run ended before its first step, nothing is written, and folders that were made for
        it are removed.
        """
        try:
            self.save()
            if self.history and self._taken_over:
                try:
                    with writing.replacing(self.folder / CURVES) as part:
                        plots.curves(part, self.history)
                except ImportError as error:
                    self.without_curves = str(error)
            return self._run_files() if self._taken_over else []
        finally:
            _release_lock(self.folder / LOCK, self._lock_file)
            with suppress(OSError):  # a folder that is not empty stays
                for folder in self._made_folders:
                    folder.rmdir()

    def _take_over(self) -> None:
        """Replace the files of an earlier run with this run's settings and history.

        All new files, the checkpoint included, are on the disk before the first earlier one goes.
        The earlier checkpoint goes first: a crash leaves a run without a checkpoint, not the
        network of one run beside the history of another.
        """
        settings = json.dumps(self.settings, indent=2) + "\n"
        lines = "".join(json.dumps(figures) + "\n" for figures in self.history)
        with (
            writing.replacing(self.folder / HISTORY) as history,
            writing.replacing(self.folder / CONFIG) as config,
        ):
            writing.write(history, lines.encode())
            writing.write(config, settings.encode())
            for name in (MODEL, CURVES) if self._is_new else (CURVES,):
                (self.folder / name).unlink(missing_ok=True)
            writing.flush(self.folder)
        self._taken_over = True

    def _run_files(self) -> list[str]:
        return [name for name in (MODEL, CONFIG, HISTORY, CURVES) if (self.folder / name).exists()]


def _acquire_lock(folder: Path) -> IO[bytes]:
    """Return the locked lock file. The system releases the lock however the process ends."""
    path = folder / LOCK
    while True:
        file = path.open("ab")
        try:
            if not lock_descriptor(file.fileno(), blocking=False):
                raise ValueError(f"{folder} is in use by another run")
            if WINDOWS or os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()  # its owner removed the file after we opened it, so this lock protects nothing


def _release_lock(path: Path, file: IO[bytes]) -> None:
    """Remove the lock file and release the lock.

    The file is removed while it is locked, since afterwards it may be the lock of another run.
    Windows never removes an open file. So there the lock is released first, and a run that has
    opened the file by then removes it in its turn.
    """
    if WINDOWS:
        file.close()
        with suppress(PermissionError):
            path.unlink()
    else:
        with file:
            path.unlink()


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the content of a run's config.json.

    Parameters
    ----------
    folder : Path
        The folder of a run.

    Returns
    -------
    dict
        The settings, as they were read.

    Raises
    ------
    ValueError
        A folder without config.json, or one that does not hold a JSON object.
    """
    path = folder / CONFIG
    if not path.exists():
        raise ValueError(f"{folder} holds no run: it has no {CONFIG}")
    try:
        with reading.open_regular(path) as file:
            content = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON object: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got a {type(content).__name__}")
    return content


def _read_history(path: Path, epochs: int) -> list[dict[str, float]]:
    """Return the figures of the first epochs. Later lines belong to epochs that were not saved."""
    with reading.open_regular(path) as file:
        lines = file.read().splitlines()
    history = []
    for epoch in range(1, epochs + 1):
        try:
            figures = json.loads(lines[epoch - 1])
            if figures["epoch"] != epoch or any(
                type(figures[name]) is not kind for name, kind in FIGURES.items()
            ):
                raise ValueError
        except (IndexError, KeyError, TypeError, ValueError, RecursionError):
            raise ValueError(
                f"{path}: expected the figures of epoch {epoch} in line {epoch}"
            ) from None
        history.append(figures)
    return history
