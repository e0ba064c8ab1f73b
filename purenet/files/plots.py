"""Plots of a run. They need the extra ``plot``."""

import os
from collections.abc import Sequence

__all__ = ["curves"]


def curves(path: str | os.PathLike[str], history: Sequence[dict[str, float]]) -> None:
    """Plot loss and test accuracy against epochs.

    Parameters
    ----------
    path : path-like
        File of the plot. Its suffix chooses the format.
    history : sequence of dict
        ``epoch``, ``loss``, ``test_loss`` and ``test_accuracy`` of each epoch.

    Raises
    ------
    ImportError
        Matplotlib is missing.
    OSError
        The file cannot be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import MaxNLocator, PercentFormatter  # noqa: PLC0415

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    losses = [(row["loss"], row["test_loss"]) for row in history]
    left.plot(epochs, losses, ".-", label=["training, before each update", "test"])
    yscale = "log" if min(map(min, losses)) > 0 else "linear"
    left.set(title="loss", xlabel="epoch", ylabel="nats per example", yscale=yscale)
    left.legend()
    right.plot(epochs, [row["test_accuracy"] for row in history], ".-", color="C1")
    right.set(title="test accuracy", xlabel="epoch")
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=150)
