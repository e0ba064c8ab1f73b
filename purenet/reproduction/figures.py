"""Charts and pictures of a reproduction. They need the extra ``reproduce``."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter, ScalarFormatter
from numpy.typing import NDArray

from purenet.evaluation import logits
from purenet.files import checkpoints, plots
from purenet.files.datasets import LabelledImages
from purenet.network import log_softmax
from purenet.reproduction.experiments import ExperimentResult
from purenet.reproduction.explanations import DivisorFit, SubsetFit, SubsetTrial
from purenet.reproduction.findings import Findings
from purenet.reproduction.gradient_noise import GradientNoise
from purenet.reproduction.questions import BatchSizeRow, MomentumRow

__all__ = ["draw_figures"]

Array: TypeAlias = NDArray[Any]

OURS, PRINTED, THIRD, GREY = "#1f5fbf", "#d1495b", "#2a9d6f", "#8a8f98"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "figure.dpi": 160,
}
SIZE = (4.6, 3.2)  # inches: as wide as a phone, so that text is not shrunk there


def draw_figures(
    findings: Findings, models: Path, folder: Path, test: LabelledImages
) -> dict[str, str]:
    """Draw every figure, as an SVG file or, where that is smaller, as a PNG file.

    Parameters
    ----------
    findings : Findings
        All findings.
    models, folder : Path
        Folder of the networks, and the folder for the figures.
    test : (array, array)
        Test images and labels.

    Returns
    -------
    dict
        File names by name of the figure.
    """
    files = {}

    def save(
        name: str, paint: Callable[..., None], *args: Any, size: Any = SIZE, suffix: str = "svg"
    ) -> None:
        files[name] = f"{name}.{suffix}"
        with rc_context(STYLE):
            figure = Figure(figsize=size, layout="constrained")
            paint(figure.add_subplot(), *args)
            box = None if size == SIZE else "tight"
            plots.save_figure(figure, folder / files[name], bbox_inches=box)

    divisors, subset = findings.explanations.divisor, findings.explanations.subset
    for e in findings.experiments:
        number = e.report.number
        divisor = next((d for d in divisors if d.number == number), None)
        save(f"losses-{number}", _losses, e, divisor)
        save(f"accuracy-{number}", _accuracy, e)
    for fit, e, divisor in zip(subset.best, findings.experiments, divisors, strict=False):
        save(f"fit-{fit.number}", _fit, fit, e, divisor)
        save(f"misfit-{fit.number}", _misfit, [t for t in subset.grid if t.number == fit.number])
    params, cfg, *_ = checkpoints.load(models / str(findings.experiments[0].repeats.runs[0].model))
    x, y = test
    log_p = log_softmax(logits(params, x, input_scale=cfg.input_scale).astype(float))
    predicted = log_p.argmax(axis=1)
    worst = np.argsort(log_p[np.arange(len(y)), y])[:20]
    save("confusion", _confusion, y, predicted, log_p.shape[1], size=(4.6, 4.2))
    save("weights", _weights, params["W1"], size=(4.6, 4.75), suffix="png")
    save("worst", _worst, x[worst], y[worst], predicted[worst], size=(4.6, 5.4))
    for cost, label in (
        ("epochs", "epochs"),
        ("updates", "updates"),
        ("seconds", "seconds of training"),
    ):
        for value in ("loss", "accuracy"):
            save(f"batches-{value}-{cost}", _batches, findings.batch_sizes, cost, label, value)
    save("momentum-rates", _momentum_rates, findings.momenta.rows)
    save("momentum-curves", _momentum_curves, findings.momenta.rows)
    save("noise", _variances, findings.noise)
    return files


def _losses(axes: Axes, e: ExperimentResult, divisor: DivisorFit | None) -> None:
    for run in e.repeats.runs:
        label = "purenet, each seed" if run is e.repeats.runs[0] else None
        axes.plot(run.losses, color=OURS, alpha=0.8, lw=1.2, label=label)
    if divisor:
        label = f"median × {divisor.factor:.2f} (section 5)"
        axes.plot(divisor.scaled, color=THIRD, ls="--", label=label)
    epochs, printed = zip(*e.report.losses.items(), strict=True)
    axes.plot(epochs, printed, "o", color=PRINTED, label="report, printed")
    axes.set(title=f"Experiment {e.report.number}", xlabel=e.report.unit, ylabel="training loss")
    _log_y(axes)
    axes.legend()


def _accuracy(axes: Axes, e: ExperimentResult) -> None:
    for run in e.repeats.runs:
        label = "purenet, test, each seed" if run is e.repeats.runs[0] else None
        epochs = [test.epoch for test in run.tests]
        accuracies = [test.accuracy for test in run.tests]
        axes.plot(epochs, accuracies, color=OURS, alpha=0.7, lw=1.2, label=label)
    printed = e.report.accuracy
    axes.axhline(printed, color=PRINTED, ls="--", label="report, printed at the end")
    axes.set(
        title=f"Experiment {e.report.number}", xlabel=f"{e.report.unit}s done", ylabel="accuracy"
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    last = min(run.tests[-1].accuracy for run in e.repeats.runs)
    axes.set_ylim(min(0.9, last - 0.05), 1)
    axes.legend(loc="lower right")


def _confusion(axes: Axes, y: Array, predicted: Array, classes: int) -> None:
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (y, predicted), 1)
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    axes.imshow(wrong, cmap="Blues", vmax=wrong.max() * 1.6 or 1)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            if count:
                shade = GREY if i == j else "black"
                axes.text(j, i, count, ha="center", va="center", fontsize=7.5, color=shade)
    axes.set(xlabel="prediction", ylabel="label", xticks=range(len(counts)))
    axes.set_yticks(range(len(counts)))
    axes.grid(visible=False)


def _weights(axes: Axes, weights: Array) -> None:
    """Show the units with the largest weights, blue positive and red negative."""
    largest = np.argsort(-np.square(weights).sum(axis=0))[:100]
    scaled = (weights / np.abs(weights).max(axis=0)).T
    _sheet(axes, scaled[largest], 10, gap=2, cmap="RdBu", vmin=-1, vmax=1)


def _worst(axes: Axes, x: Array, y: Array, predicted: Array) -> None:
    columns, gap = 5, 14
    side = _sheet(axes, x, columns, gap, cmap="gray_r")
    for i, (label, prediction) in enumerate(zip(y, predicted, strict=True)):
        row, column = divmod(i, columns)
        across, down = column * (side + gap) + side / 2 - 0.5, row * (side + gap) + side
        text = f"{label}, not {prediction}"
        axes.text(across, down, text, ha="center", va="top", fontsize=8.5)


def _sheet(axes: Axes, images: Array, columns: int, gap: int, **style: Any) -> int:
    """Show square images, one in each row of an array, in a grid; return their side."""
    side = math.isqrt(images.shape[1])
    step, rows = side + gap, math.ceil(len(images) / columns)
    sheet = np.full((rows * step, columns * step - gap), np.nan)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        sheet[row * step :, column * step :][:side, :side] = image.reshape(side, side)
    axes.imshow(sheet, interpolation="nearest", **style)
    axes.set_axis_off()
    return side


def _fit(axes: Axes, fit: SubsetFit, e: ExperimentResult, divisor: DivisorFit) -> None:
    label = f"{fit.num:,} images, η = {fit.rate:g}"
    axes.plot(fit.repeats.median_losses, color=OURS, label=label)
    axes.plot(divisor.scaled, color=THIRD, label=f"all images, sum / {e.report.config.batch_size}")
    axes.plot(e.repeats.median_losses, color=GREY, ls=":", label="all images, mean")
    axes.plot([*e.report.losses.values()], "o", color=PRINTED, label="report, printed")
    axes.set(title=f"Experiment {fit.number}: explanations", xlabel="epoch", ylabel="training loss")
    _log_y(axes)
    axes.legend()


def _misfit(axes: Axes, grid: list[SubsetTrial]) -> None:
    nums, rates = sorted({t.num for t in grid}), sorted({t.rate for t in grid})
    table = np.full((len(nums), len(rates)), np.nan)
    for t in grid:
        if t.misfit is not None:
            table[nums.index(t.num), rates.index(t.rate)] = t.misfit
    axes.imshow(np.log(table), cmap="Blues_r", aspect="auto", vmax=np.log(2), vmin=np.log(0.03))
    for (i, j), value in np.ndenumerate(table):
        shade, weight = ("white", "bold") if value < 0.2 else ("black", "normal")
        text = "–" if np.isnan(value) else f"{value:.2f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color=shade, weight=weight)
    title = f"Experiment {grid[0].number}: misfit"
    axes.set(title=title, xlabel="learning rate η", ylabel="num")
    axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axes.set_yticks(range(len(nums)), [f"{num:,}" for num in nums])
    axes.grid(visible=False)


def _batches(axes: Axes, rows: list[BatchSizeRow], cost: str, label: str, value: str) -> None:
    for row, colour in zip(rows, _shades(len(rows)), strict=True):
        xs, ys = ([getattr(p, name) for p in row.points] for name in (cost, value))
        name = f"{row.batch_size:,} (η {row.rates.best:g})"
        axes.plot(xs, ys, color=colour, lw=1.3, label=name)
    axes.set(xscale="log", xlabel=label, title=f"against {label}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    if value == "loss":
        axes.set(ylabel="training loss")
        _log_y(axes)
    else:
        axes.set(ylabel="test accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if cost == "epochs" and value == "loss":
        axes.legend(title="batch size", title_fontsize=8, fontsize=7.5, labelspacing=0.25)


def _momentum_rates(axes: Axes, rows: list[MomentumRow]) -> None:
    losses: list[float] = []
    for row, colour in zip(rows, _shades(len(rows)), strict=True):
        pairs = [(rate, loss) for rate, loss in row.rates.losses.items() if loss is not None]
        axes.plot(*zip(*pairs, strict=True), ".-", color=colour, label=f"β = {row.momentum:g}")
        losses += [loss for _, loss in pairs]
    axes.set(xscale="log", xlabel="learning rate η", ylabel="loss of the last epoch")
    axes.set(title="Which rate suits each β")
    _log_y(axes)
    axes.set_ylim(0.8 * min(losses), min(1.2 * max(losses), 3))
    rates = list(rows[0].rates.losses)
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.minorticks_off()
    axes.legend()


def _momentum_curves(axes: Axes, rows: list[MomentumRow]) -> None:
    for row, colour in zip(rows, _shades(len(rows)), strict=True):
        losses = row.repeats.mean_losses
        label = f"β = {row.momentum:g}, η = {row.rates.best:g}"
        axes.plot(range(1, len(losses) + 1), losses, ".-", color=colour, label=label)
    axes.set(xlabel="epoch", ylabel="training loss, mean of seeds")
    axes.set(title="Each β at its best rate")
    _log_y(axes)
    axes.legend()


def _variances(axes: Axes, moments: list[GradientNoise]) -> None:
    for m, colour in zip(moments, (OURS, PRINTED), strict=True):
        when = "untrained" if m.epochs == 0 else f"after {m.epochs} epoch"
        n, N = np.geomspace(1, m.images * 0.98, 200), m.images
        axes.plot(m.sizes, m.variances, "o", color=colour, label=f"{when}, measured")
        axes.plot(n, m.trace / n, color=colour, lw=1, ls=":", label="trΣ / n")
        finite = m.trace / n * (N - n) / (N - 1)
        axes.plot(n, finite, color=colour, lw=1, label="… × (N − n)/(N − 1)")
    axes.set(xscale="log", yscale="log", xlabel="batch size n", ylabel="E‖g_B − g‖²")
    axes.set(title="Variance of a mini-batch's gradient")
    axes.legend(fontsize=8)


def _shades(count: int) -> Iterable[Any]:
    return colormaps["viridis"](np.linspace(0, 0.88, count))


def _log_y(axes: Axes) -> None:
    """Scale y logarithmically, with 0.2 and not 2 × 10⁻¹ at its ticks."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
