"""Plots of a run. They need the extra ``plot``."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from purenet.extras import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves", "save_figure"]


def curves(path: str | os.PathLike[str], history: Sequence[dict[str, float]]) -> None:
    """Plot losses and accuracies against epochs.

    Parameters
    ----------
    path : path-like
        File of the plot. Its suffix chooses the format.
    history : sequence of dict
        ``epoch`` and ``loss`` of each epoch. Further losses and accuracies are named by their data:
        ``val_loss`` and ``val_accuracy``, as from `purenet.train`, or ``test_loss`` and
        ``test_accuracy``, as in history.jsonl.

    Raises
    ------
    ImportError
        Matplotlib is missing.
    OSError
        The file cannot be written.
    """
    require("plots", "plot", "matplotlib")
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import MaxNLocator, PercentFormatter  # noqa: PLC0415

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [row["loss"] for row in history], ".-", label="training, before each update")
    for prefix, label in (("val", "validation"), ("test", "test")):
        if f"{prefix}_loss" in history[0]:
            left.plot(epochs, [row[f"{prefix}_loss"] for row in history], ".-", label=label)
            right.plot(epochs, [row[f"{prefix}_accuracy"] for row in history], ".-", label=label)
            right.legend()
    positive = all(v > 0 for row in history for name, v in row.items() if name.endswith("loss"))
    yscale = "log" if positive else "linear"
    left.set(title="loss", xlabel="epoch", ylabel="nats per example", yscale=yscale)
    left.legend()
    right.set(title="accuracy", xlabel="epoch")
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    save_figure(figure, path, dpi=150)


def save_figure(figure: "Figure", path: str | os.PathLike[str], **options: Any) -> None:
    """Write a figure. Equal figures give equal bytes, and an SVG file holds its text as text.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    path : path-like
        The file. Its suffix chooses the format.
    **options : object
        Other options of ``figure.savefig``.
    """
    from matplotlib import rc_context  # noqa: PLC0415

    style: dict[Any, Any] = {}
    if os.fspath(path).endswith(".svg"):
        options["metadata"] = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # leave them out
        style = {
            "svg.fonttype": "none",
            "svg.hashsalt": "purenet",
            "font.sans-serif": ["DejaVu Sans"],  # or else the reader's own
        }
    with rc_context(style):
        figure.savefig(path, **options)
