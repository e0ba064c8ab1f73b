"""The folder that a training run leaves behind, and goes on in."""

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from purenet.config import Config
from purenet.files import checkpoints, plots, reading, writing
from purenet.params import Params
from purenet.training import State

__all__ = ["Earlier", "RunFolder", "model_file"]

MODEL, CONFIG, HISTORY, CURVES = "model.safetensors", "config.json", "history.jsonl", "curves.png"
LOCK = ".lock"
FIGURES = ("epoch", "loss", "test_loss", "test_accuracy")


class Earlier(NamedTuple):
    """What an earlier process of a run has left.

    Parameters
    ----------
    settings : dict
        What config.json holds.
    saved : Checkpoint or None
        The last checkpoint, if there is one yet.
    """

    settings: dict[str, Any]
    saved: checkpoints.Checkpoint | None


class RunFolder:
    """Write a run as it goes, so that whatever ends it, it can go on from its last checkpoint.

    A run's history is written before the checkpoint that it belongs to: it may be ahead of it,
    never behind. Until `close` no other run can take the folder, unless the process ends.

    Parameters
    ----------
    folder : Path
        Where the run is kept.
    make : bool
        Whether the folder is made if it is missing.

    Attributes
    ----------
    settings : dict
        What goes into config.json.
    history : list of dict
        The figures of each epoch.

    Raises
    ------
    ValueError
        A folder that another run is using; a file in its place.
    OSError
        A folder that is missing, or cannot be made or written.
    """

    def __init__(self, folder: Path, *, make: bool) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []
        self._kept: tuple[Any, ...] | None = None
        self._begun = False
        self._made = [f for f in (folder, *folder.parents) if make and not f.exists()]
        with suppress(FileExistsError):
            if make:
                folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder")
        self._lock = _lock(folder)
        for part in folder.glob(f"{writing.PART}*"):  # of a process that was killed as it wrote
            part.unlink()

    def start(self, *, overwrite: bool) -> None:
        """Refuse an earlier run, unless it is to be replaced at the first save of this one."""
        earlier = self._files()
        if earlier and not overwrite:
            raise ValueError(
                f"{self.folder} holds an earlier run ({', '.join(earlier)}): go on with --resume, "
                "name another folder with --output, or replace it with --overwrite"
            )

    def resume(self) -> Earlier:
        """Return what an earlier process has left, and take its history up to its checkpoint."""
        if not (self.folder / CONFIG).exists():
            raise ValueError(f"{self.folder} holds no run: it has no {CONFIG}")
        settings = _json_object(self.folder / CONFIG)
        if not (self.folder / MODEL).exists():  # it ended before its first checkpoint
            return Earlier(settings, None)
        saved = checkpoints.load(self.folder / MODEL)
        if saved.state is None:
            raise ValueError(f"{self.folder / MODEL} holds a network, but no state to go on from")
        self.history = _history(self.folder / HISTORY, saved.state.epochs)
        return Earlier(settings, saved)

    def add(self, figures: dict[str, float]) -> None:
        """Write the figures of an epoch."""
        self._begin()
        path = self.folder / HISTORY
        size = path.stat().st_size
        try:
            with path.open("a") as file:
                file.write(json.dumps(figures) + "\n")
        except OSError:
            os.truncate(path, size)  # no half of a line, which a full disk may leave
            raise
        self.history.append(figures)

    def keep(self, params: Params, cfg: Config, state: State, fingerprint: str) -> None:
        """Note what is to be saved, at the latest when the run is closed."""
        self._kept = params, cfg, state, fingerprint

    def save(self) -> None:
        """Save what was noted last, if it is not saved yet."""
        if self._kept is not None:
            params, cfg, state, fingerprint = self._kept
            self._kept = None  # what fails is not tried again
            self._begin()
            writing.flush(self.folder / HISTORY)
            path = self.folder / MODEL
            checkpoints.save(path, params, cfg, state=state, fingerprint=fingerprint)

    def close(self) -> list[str]:
        """Save, draw the curves if Matplotlib is there, and return the names of the files.

        A run that ended before its first step leaves nothing: folders made for it are removed.
        """
        try:
            self.save()
            if self.history and self._begun:
                with suppress(ImportError), writing.replacing(self.folder / CURVES) as part:
                    plots.curves(part, self.history)
            return self._files() if self._begun else []
        finally:
            (self.folder / LOCK).unlink()
            self._lock.close()
            with suppress(OSError):  # it holds something
                for folder in self._made:
                    folder.rmdir()

    def _begin(self) -> None:
        """Write the settings, and the history so far, in the place of earlier ones."""
        if not self._begun:
            (self.folder / CURVES).unlink(missing_ok=True)
            settings = json.dumps(self.settings, indent=2) + "\n"
            writing.write(self.folder / CONFIG, settings.encode())
            lines = "".join(json.dumps(figures) + "\n" for figures in self.history)
            writing.write(self.folder / HISTORY, lines.encode())
            self._begun = True

    def _files(self) -> list[str]:
        return [name for name in (MODEL, CONFIG, HISTORY, CURVES) if (self.folder / name).exists()]


def model_file(path: Path) -> Path:
    """Find the model file of a run.

    Parameters
    ----------
    path : Path
        The folder of a run, or a model file.

    Returns
    -------
    Path
        The model file.
    """
    return path / MODEL if path.is_dir() else path


def _lock(folder: Path) -> IO[bytes]:
    """Return the folder's lock, which the system releases however the process ends."""
    path = folder / LOCK
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError:
            file.close()
            raise ValueError(f"{folder} is in use by another run") from None
        except FileNotFoundError:
            pass
        file.close()  # its owner has removed it just now: it locks nothing


def _json_object(path: Path) -> dict[str, Any]:
    try:
        with reading.open_regular(path) as file:
            found = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON object: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a JSON object, got a {type(found).__name__}")
    return found


def _history(path: Path, epochs: int) -> list[dict[str, float]]:
    """Return the figures of so many epochs; lines of later ones are of what was not saved."""
    with reading.open_regular(path) as file:
        lines = file.read().splitlines()
    history = []
    for epoch in range(1, epochs + 1):
        try:
            figures = json.loads(lines[epoch - 1])
            if [type(figures[name]) for name in FIGURES] != [int, float, float, float]:
                raise TypeError
            if figures["epoch"] != epoch:
                raise ValueError
        except (IndexError, KeyError, TypeError, ValueError, RecursionError):
            raise ValueError(f"{path}: expected the figures of epoch {epoch} in its line") from None
        history.append(figures)
    return history
