"""Figure of what the sections have measured."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report import CONTESTS, NAMES, Results, contest_of, exponent, families


def draw(results: Results, path: Path) -> None:
    """Draw the sections that have results."""
    with rc_context({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}):
        fig = Figure(figsize=(10, 7), layout="constrained")
        axes = fig.subplots(2, 2)
        for panel, ax in zip((_bars, _costs, _accuracies, _sizes), axes.flat, strict=True):
            panel(results, ax)
        fig.savefig(path, dpi=150)


def _bars(results: Results, ax: Axes) -> None:
    y = {name: i for i, name in enumerate(reversed(NAMES))}
    for key, size, shift in (("mini-batch", 128, 0.2), ("full-batch", None, -0.2)):
        ratios = {name: figures["ratio"] for name, figures in contest_of(results, key).items()}
        for case in results.get("floor", []):
            if (case["batch_size"], case["dtype"]) == (size, "float32") and case["threads"] > 1:
                ratios["products"] = 1 / case["contestants"]["train"]["ratio"]
        if ratios:
            places = [y[name] + shift for name in ratios]
            bars = ax.barh(places, list(ratios.values()), 0.38, label=CONTESTS[key])
            ax.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
    ax.set_yticks(list(y.values()), [NAMES[name].replace("*", "").replace("`", "") for name in y])
    ax.set_title("Time, relative to purenet.train")
    _legend(ax)


def _costs(results: Results, ax: Axes) -> None:
    for dtype, style in (("float32", "o-"), ("float64", "s--")):
        cases = [c for c in results.get("step", []) if c.get("examples") and c["dtype"] == dtype]
        x = [c["batch_size"] or c["examples"] for c in cases]
        if cases:
            for unit, color in (("update", "C0"), ("example", "C1")):
                cost = [c["seconds"] / c[f"{unit}s"] * 1e6 for c in cases]
                ax.loglog(x, cost, style, color=color, label=f"per {unit}, {dtype}")
    ax.set(title="Cost by batch size", xlabel="batch size", ylabel="µs")
    _legend(ax)


def _accuracies(results: Results, ax: Axes) -> None:
    for goal, marker in (("90%", "o"), ("97%", "s"), ("98%", "^")):
        points = [
            (c["batch_size"] or 60_000, c["reached"][goal][1])
            for c in results.get("accuracy", [])
            if goal in c["reached"]
        ]
        if points:
            ax.loglog(*zip(*points, strict=True), marker=marker, label=goal)
    ax.set(title="Training time to a test accuracy", xlabel="batch size", ylabel="s")
    _legend(ax)


def _sizes(results: Results, ax: Axes) -> None:
    for kind, label in (("width", "wider"), ("depth", "deeper, width 256")):
        if kind in (growing := families(results)):
            _, seconds, parameters = growing[kind]
            k = exponent(parameters, seconds)
            ax.loglog(parameters, seconds * 1e3, "o-", label=f"{label}: parameters^{k:.2f}")
    ax.set(title="Cost of a step of 128 examples", xlabel="parameters", ylabel="ms")
    _legend(ax)


def _legend(ax: Axes) -> None:
    if ax.has_data():
        ax.legend(frameon=False)
