"""Figures of what the sections have measured."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report import CONTESTS, NAMES, Results, contest_of, exponent, families
from purenet.files.plots import save_figure

WIDTH, HEIGHT = 4.6, 3.4  # inches: as wide as a phone, so that text is not shrunk there
STYLE: dict[Any, Any] = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}


def draw(results: Results, folder: Path) -> list[str]:
    """Draw the figures whose sections have results as SVG files, and return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, panel in PANELS.items():
        with rc_context(STYLE):
            figure = Figure(figsize=(WIDTH, panel.height), layout="constrained")
            ax = figure.add_subplot()
            panel.paint(results, ax)
            if ax.has_data():
                figure.legend(frameon=False, loc="outside lower center", ncols=panel.columns)
                save_figure(figure, folder / f"{name}.svg")
                drawn.append(name)
    return drawn


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
    names = [re.sub(r"[*`]", "", NAMES[name]).replace(" without", "\nwithout") for name in y]
    ax.set_yticks(list(y.values()), names)
    ax.set_title("Time, relative to purenet.train")


def _costs(results: Results, ax: Axes) -> None:
    for dtype, style in (("float32", "o-"), ("float64", "s--")):
        cases = [c for c in results.get("step", []) if c.get("examples") and c["dtype"] == dtype]
        x = [c["batch_size"] or c["examples"] for c in cases]
        if cases:
            for unit, color in (("update", "C0"), ("example", "C1")):
                cost = [c["seconds"] / c[f"{unit}s"] * 1e6 for c in cases]
                ax.loglog(x, cost, style, color=color, label=f"per {unit}, {dtype}")
    ax.set(title="Cost by batch size", xlabel="batch size", ylabel="µs")


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


def _sizes(results: Results, ax: Axes) -> None:
    for kind, label in (("width", "wider"), ("depth", "deeper")):
        if kind in (growing := families(results)):
            _, seconds, parameters = growing[kind]
            k = exponent(parameters, seconds)
            ax.loglog(parameters, seconds * 1e3, "o-", label=f"{label}: P^{k:.2f}")
    ax.set(title="Cost of a step of 128 examples", xlabel="parameters P", ylabel="ms")


class Panel(NamedTuple):
    """A figure."""

    paint: Callable[[Results, Axes], None]
    height: float = HEIGHT
    columns: int = 2  # of the legend


PANELS = {
    "peers": Panel(_bars, 4.4),
    "batch-sizes": Panel(_costs),
    "accuracies": Panel(_accuracies, columns=3),
    "sizes": Panel(_sizes),
}
