"""The folder that a training run leaves behind."""

import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from purenet import checkpoint, plots
from purenet._checks import Params
from purenet.config import Config

__all__ = ["Run", "model_file"]

MODEL, CONFIG, HISTORY, CURVES = "model.safetensors", "config.json", "history.jsonl", "curves.png"


class Run:
    """Write a run as it goes, so that whatever ends it, all whole epochs are there.

    Parameters
    ----------
    folder : Path
        Made if missing.
    settings : dict
        What goes into config.json.
    overwrite : bool
        Whether an earlier run in the folder is replaced, at the first epoch.

    Raises
    ------
    ValueError
        A folder that holds a run, without `overwrite`; a file in its place.
    OSError
        A folder that cannot be made or written.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], *, overwrite: bool) -> None:
        self.folder, self.settings = folder, settings
        self.history: list[dict[str, float]] = []
        self.made = [f for f in (folder, *folder.parents) if not f.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise ValueError(f"{folder} is not a folder") from None
        earlier = self._files()
        if earlier and not overwrite:
            raise ValueError(
                f"{folder} holds an earlier run ({', '.join(earlier)}): "
                "name another folder with --output, or replace it with --overwrite"
            )
        with TemporaryFile(dir=folder):
            pass  # a folder that cannot be written fails now, not after an epoch

    def add(self, params: Params, cfg: Config, figures: dict[str, float]) -> None:
        """Save the network after an epoch, and the figures of the epoch."""
        if not self.history:
            (self.folder / CURVES).unlink(missing_ok=True)
            settings = json.dumps(self.settings, indent=2) + "\n"
            checkpoint.write(self.folder / CONFIG, settings.encode())
        checkpoint.save(self.folder / MODEL, params, cfg)
        with (self.folder / HISTORY).open("a" if self.history else "w") as file:
            file.write(json.dumps(figures) + "\n")
        self.history.append(figures)

    def finish(self) -> list[str]:
        """Draw the curves if Matplotlib is there, and return the names of the files.

        A run that ended before its first epoch leaves nothing: folders made for it are removed.
        """
        if not self.history:
            with suppress(OSError):  # somebody else has put something there
                for folder in self.made:
                    folder.rmdir()
            return []
        with suppress(ImportError):
            plots.curves(self.folder / CURVES, self.history)
        return self._files()

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
