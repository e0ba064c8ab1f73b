"""The folder that a training run leaves behind."""

import json
from pathlib import Path
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
        A folder that holds a run, without `overwrite`.
    OSError
        A folder that cannot be made or written.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], *, overwrite: bool) -> None:
        self.folder, self.settings = folder, settings
        self.history: list[dict[str, float]] = []
        folder.mkdir(parents=True, exist_ok=True)
        earlier = [name for name in (MODEL, CONFIG, HISTORY, CURVES) if (folder / name).exists()]
        if earlier and not overwrite:
            raise ValueError(
                f"{folder} holds an earlier run ({', '.join(earlier)}): "
                "name another folder with --output, or replace it with --overwrite"
            )
        (folder / CONFIG).touch()  # fail now, not after an epoch
        if not earlier:
            (folder / CONFIG).unlink()

    def add(self, params: Params, cfg: Config, figures: dict[str, float]) -> None:
        """Save the network after an epoch, and the figures of all epochs."""
        if not self.history:
            (self.folder / CURVES).unlink(missing_ok=True)
            settings = json.dumps(self.settings, indent=2) + "\n"
            checkpoint.write(self.folder / CONFIG, settings.encode())
        self.history.append(figures)
        lines = "".join(json.dumps(row) + "\n" for row in self.history)
        checkpoint.save(self.folder / MODEL, params, cfg)
        checkpoint.write(self.folder / HISTORY, lines.encode())

    def finish(self) -> list[str]:
        """Draw the curves where that can be done, and return the names of the files."""
        if self.history and plots.available():
            plots.curves(self.folder / CURVES, self.history)
        return [name for name in (MODEL, CONFIG, HISTORY, CURVES) if (self.folder / name).exists()]


def model_file(path: Path) -> Path:
    """Return the model file of a run's folder, or a model file itself."""
    return path / MODEL if path.is_dir() else path
