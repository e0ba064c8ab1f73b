"""Charts and pictures of a reproduction; they need the extra ``reproduce``."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter, ScalarFormatter

from purenet.evaluation import logits
from purenet.files import checkpoints
from purenet.network import log_softmax
from purenet.params import Data

__all__ = ["draw", "predictions"]

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


def draw(results: dict[str, Any], models: Path, folder: Path, test: Data) -> dict[str, str]:
    """Draw every figure as a PNG file.

    Parameters
    ----------
    results : dict
        What results.json holds.
    models, folder : Path
        Where the networks are, and where the pictures go.
    test : (array, array)
        Test images and labels.

    Returns
    -------
    dict
        File names by name of the figure.
    """
    first = predictions(results, models, test)
    params = first["params"]
    files = {}

    def save(name: str, paint: Callable[..., None], *args: Any, size: Any = SIZE) -> None:
        with rc_context(STYLE):
            figure = Figure(figsize=size, layout="constrained")
            paint(figure.add_subplot(), *args)
            figure.savefig(folder / f"{name}.png", bbox_inches=None if size == SIZE else "tight")
        files[name] = f"{name}.png"

    for e in results["experiments"]:
        factor = next(
            (d["factor"] for d in results["divisor"] if d["experiment"] == e["number"]), None
        )
        save(f"losses-{e['number']}", _losses, e, factor)
        save(f"accuracy-{e['number']}", _accuracy, e)
    save("confusion", _confusion, first["confusion"], size=(4.6, 4.2))
    save("weights", _weights, params["W1"], size=(4.6, 4.75))
    save("worst", _worst, first, test[0], size=(4.6, 5.4))
    for fit in results["subset"]["best"]:
        printed = results["experiments"][fit["experiment"] - 1]
        (factor,) = {
            d["factor"] for d in results["divisor"] if d["experiment"] == fit["experiment"]
        }
        save(f"fit-{fit['experiment']}", _fit, fit, printed, factor)
        grid = [p for p in results["subset"]["grid"] if p["experiment"] == fit["experiment"]]
        save(f"misfit-{fit['experiment']}", _misfit, grid)
    for axis, label in (
        ("epochs", "epochs"),
        ("updates", "updates"),
        ("seconds", "seconds of training"),
    ):
        save(f"batches-loss-{axis}", _batches, results["batches"], axis, label, "loss")
        save(f"batches-accuracy-{axis}", _batches, results["batches"], axis, label, "accuracy")
    save("momentum-rates", _momentum_rates, results["momenta"])
    save("momentum-curves", _momentum_curves, results["momenta"])
    save("noise", _noise, results["noise"])
    return files


def predictions(results: dict[str, Any], folder: Path, test: Data) -> dict[str, Any]:
    """Ask the network of experiment 1 with the first seed about the test images.

    Parameters
    ----------
    results : dict
        What results.json holds.
    folder : Path
        Where the networks are.
    test : (array, array)
        Images and labels.

    Returns
    -------
    dict
        ``params``; ``confusion``, counts by label and prediction; ``worst``, the images with the
        highest loss, each with index, label, prediction and the probability of both.
    """
    run = results["experiments"][0]["runs"][0]
    params, cfg, *_ = checkpoints.load(folder / run["model"])
    x, y = test
    log_p = log_softmax(logits(params, x, input_scale=cfg.input_scale).astype(float))
    chosen = log_p.argmax(axis=1)
    classes = log_p.shape[1]
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (y, chosen), 1)
    losses = -log_p[np.arange(len(y)), y]
    worst = [
        {
            "index": int(i),
            "label": int(y[i]),
            "prediction": int(chosen[i]),
            "p_label": float(np.exp(log_p[i, y[i]])),
            "p_prediction": float(np.exp(log_p[i, chosen[i]])),
        }
        for i in np.argsort(-losses)[:20]
    ]
    return {"params": params, "confusion": confusion, "worst": worst}


def _losses(axes: Axes, e: dict[str, Any], factor: float | None) -> None:
    for run in e["runs"]:
        label = "purenet, each seed" if run is e["runs"][0] else None
        axes.plot(run["losses"], color=OURS, alpha=0.8, lw=1.2, label=label)
    if factor:
        axes.plot(
            _times(factor, e), color=THIRD, ls="--", label=f"median × {factor:.2f} (section 5)"
        )
    printed = {int(k): loss for k, loss in e["printed"]["losses"].items()}
    axes.plot(list(printed), list(printed.values()), "o", color=PRINTED, label="report, printed")
    axes.set(
        title=f"Experiment {e['number']}", xlabel=e["unit"], ylabel="training loss", yscale="log"
    )
    _plain_log(axes.yaxis)
    axes.legend()


def _times(factor: float, e: dict[str, Any]) -> Any:
    return factor * np.array(e["typical"])


def _accuracy(axes: Axes, e: dict[str, Any]) -> None:
    for run in e["runs"]:
        label = "purenet, test, each seed" if run is e["runs"][0] else None
        at, _, accuracy = zip(*run["tests"], strict=True)
        axes.plot(at, accuracy, color=OURS, alpha=0.7, lw=1.2, label=label)
    axes.axhline(
        e["printed"]["accuracy"], color=PRINTED, ls="--", label="report, printed at the end"
    )
    axes.set(title=f"Experiment {e['number']}", xlabel=f"{e['unit']}s done", ylabel="accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    last = min(run["tests"][-1][2] for run in e["runs"])
    axes.set_ylim(min(0.9, last - 0.05), 1)
    axes.legend(loc="lower right")


def _confusion(axes: Axes, counts: Any) -> None:
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


def _weights(axes: Axes, weights: Any) -> None:
    """Show the units with the largest weights, blue positive and red negative."""
    largest = np.argsort(-np.square(weights).sum(axis=0))[:100]
    side = round(len(weights) ** 0.5)
    pictures = [weights[:, j].reshape(side, side) / np.abs(weights[:, j]).max() for j in largest]
    _sheet(axes, pictures, 10, cmap="RdBu", vmin=-1, vmax=1)


def _worst(axes: Axes, first: dict[str, Any], x: Any) -> None:
    side = round(x.shape[1] ** 0.5)
    worst = first["worst"]
    gap = side // 2
    _sheet(axes, [x[w["index"]].reshape(side, side) for w in worst], 5, gap, cmap="gray_r")
    for i, w in enumerate(worst):
        row, column = divmod(i, 5)
        text = f"{w['label']}, not {w['prediction']}"
        across, down = column * (side + gap) + side / 2 - 0.5, row * (side + gap) + side
        axes.text(across, down, text, ha="center", va="top", fontsize=8.5)


def _sheet(axes: Axes, pictures: list[Any], columns: int, gap: int = 2, **how: Any) -> None:
    side = len(pictures[0])
    step = side + gap
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * step, columns * step - gap), np.nan)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        sheet[row * step :, column * step :][:side, :side] = picture
    axes.imshow(sheet, interpolation="nearest", **how)
    axes.set_axis_off()


def _fit(axes: Axes, fit: dict[str, Any], e: dict[str, Any], factor: float) -> None:
    printed = list(e["printed"]["losses"].values())
    axes.plot(fit["losses"], color=OURS, label=f"{fit['num']:,} images, η = {fit['rate']:g}")
    axes.plot(
        _times(factor, e), color=THIRD, label=f"all images, sum / {e['config']['batch_size']}"
    )
    axes.plot(_times(1, e), color=GREY, ls=":", label="all images, mean")
    axes.plot(printed, "o", color=PRINTED, label="report, printed")
    axes.set(
        title=f"Experiment {e['number']}: explanations",
        xlabel="epoch",
        ylabel="training loss",
        yscale="log",
    )
    _plain_log(axes.yaxis)
    axes.legend()


def _misfit(axes: Axes, grid: list[dict[str, Any]]) -> None:
    nums, rates = (sorted({p[name] for p in grid}) for name in ("num", "rate"))
    table = np.full((len(nums), len(rates)), np.nan)
    for p in grid:
        if p["misfit"] is not None:
            table[nums.index(p["num"]), rates.index(p["rate"])] = p["misfit"]
    axes.imshow(np.log(table), cmap="Blues_r", aspect="auto", vmax=np.log(2), vmin=np.log(0.03))
    for (i, j), value in np.ndenumerate(table):
        shade, weight = ("white", "bold") if value < 0.2 else ("black", "normal")
        text = "–" if np.isnan(value) else f"{value:.2f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color=shade, weight=weight)
    axes.set(
        title=f"Experiment {grid[0]['experiment']}: misfit", xlabel="learning rate η", ylabel="num"
    )
    axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axes.set_yticks(range(len(nums)), [f"{num:,}" for num in nums])
    axes.grid(visible=False)


def _batches(axes: Axes, batches: list[dict[str, Any]], axis: str, label: str, what: str) -> None:
    for b, colour in zip(batches, _shades(len(batches)), strict=True):
        points = [p for p in b["points"] if p["loss"] is not None]
        xs, ys = [p[axis] for p in points], [p[what] for p in points]
        axes.plot(xs, ys, color=colour, lw=1.3, label=f"{b['batch_size']:,} (η {b['rate']:g})")
    axes.set(xscale="log", xlabel=label, title=f"against {label}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    if what == "loss":
        axes.set(yscale="log", ylabel="training loss")
        _plain_log(axes.yaxis)
    else:
        axes.set(ylabel="test accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if axis == "epochs" and what == "loss":
        axes.legend(title="batch size", title_fontsize=8, fontsize=7.5, labelspacing=0.25)


def _momentum_rates(axes: Axes, momenta: list[dict[str, Any]]) -> None:
    for m, colour in zip(momenta, _shades(len(momenta)), strict=True):
        pairs = [(float(r), loss) for r, loss in m["losses"].items() if loss is not None]
        axes.plot(*zip(*pairs, strict=True), ".-", color=colour, label=f"β = {m['momentum']:g}")
    axes.set(xscale="log", yscale="log", xlabel="learning rate η", ylabel="loss of the last epoch")
    axes.set(title="Which rate suits each β")
    losses = [loss for m in momenta for loss in m["losses"].values() if loss is not None]
    axes.set_ylim(0.8 * min(losses), min(1.2 * max(losses), 3))
    rates = [float(r) for r in momenta[0]["losses"]]
    axes.set_xticks(rates, [f"{r:g}" for r in rates])
    axes.minorticks_off()
    _plain_log(axes.yaxis)
    axes.legend()


def _momentum_curves(axes: Axes, momenta: list[dict[str, Any]]) -> None:
    for m, colour in zip(momenta, _shades(len(momenta)), strict=True):
        epochs = range(1, len(m["curve"]) + 1)
        label = f"β = {m['momentum']:g}, η = {m['rate']:g}"
        axes.plot(epochs, m["curve"], ".-", color=colour, label=label)
    axes.set(yscale="log", xlabel="epoch", ylabel="training loss, mean of seeds")
    axes.set(title="Each β at its best rate")
    _plain_log(axes.yaxis)
    axes.legend()


def _noise(axes: Axes, moments: list[dict[str, Any]]) -> None:
    for m, colour in zip(moments, (OURS, PRINTED), strict=True):
        when = "untrained" if m["epochs"] == 0 else f"after {m['epochs']} epoch"
        n, N = np.geomspace(1, m["images"] * 0.98, 200), m["images"]
        axes.plot(m["sizes"], m["variances"], "o", color=colour, label=f"{when}, measured")
        axes.plot(n, m["trace"] / n, color=colour, lw=1, ls=":", label="trΣ / n")
        finite = m["trace"] / n * (N - n) / (N - 1)
        axes.plot(n, finite, color=colour, lw=1, label="… × (N − n)/(N − 1)")
    axes.set(xscale="log", yscale="log", xlabel="batch size n", ylabel="E‖g_B − g‖²")
    axes.set(title="Variance of a mini-batch's gradient")
    axes.legend(fontsize=8)


def _shades(count: int) -> Iterable[Any]:
    from matplotlib import colormaps  # noqa: PLC0415

    return colormaps["viridis"](np.linspace(0, 0.88, count))


def _plain_log(axis: Any) -> None:
    """Write 0.2, not 2 × 10⁻¹."""
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_formatter(NullFormatter())
