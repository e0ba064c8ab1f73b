"""Draw the figures of *Learn*: ``python docs/learn/figures.py``, which needs the extra ``plot``.

A figure is as wide as a phone, so that its text is not shrunk there. What runs forward is blue,
parameters are green and derivatives are orange. A viewer that prefers dark colours gets them.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import NullFormatter, PercentFormatter, ScalarFormatter

import purenet
from purenet.files.plots import save_figure

FOLDER = Path(__file__).parents[1] / "figures" / "learn"
WIDTH = 360  # points, of which a phone shows one as a pixel

PAPER, INK, GREY, PALE = "#ffffff", "#1f2328", "#66707b", "#e4e7eb"
FORWARD, PARAMETER, BACKWARD = "#1f5fbf", "#167a46", "#c2410c"
TINTS = {FORWARD: "#d9e6f9", PARAMETER: "#d5efe0", BACKWARD: "#fde0d2", GREY: PAPER}
DARK = {
    PAPER: "#131416",
    INK: "#dfe3e8",
    GREY: "#9aa4af",
    PALE: "#33373c",
    FORWARD: "#78aeff",
    PARAMETER: "#5fcb92",
    BACKWARD: "#ff9c6c",
    TINTS[FORWARD]: "#1e3354",
    TINTS[PARAMETER]: "#183a29",
    TINTS[BACKWARD]: "#4d2a1a",
}
STYLE: dict[Any, Any] = {
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "font.size": 10,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "text.color": INK,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
}


def save(name: str, figure: Figure) -> None:
    """Write a figure in light and dark colours."""
    path = FOLDER / f"{name}.svg"
    save_figure(figure, path)
    dark = "".join(
        f'[style*="{what}: {light}"]{{{what}:{colour}!important}}'
        for light, colour in DARK.items()
        for what in ("fill", "stroke")
    )
    svg = path.read_text(encoding="utf-8")
    svg = svg.replace("</style>", f"@media(prefers-color-scheme:dark){{{dark}}}</style>")
    svg = re.sub(r"(\.\d\d)\d+", r"\1", svg)  # hundredths of a point are enough
    path.write_text(svg, encoding="utf-8", newline="\n")


def canvas(height: float) -> tuple[Figure, Axes]:
    """Return a figure to draw on in points."""
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def panels(count: int, height: float) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with plots side by side."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def write(axes: Axes, x: float, y: float, text: str, colour: str = INK, **style: Any) -> None:
    """Write text centred at a point."""
    axes.text(x, y, text, color=colour, **({"ha": "center", "va": "center"} | style))


def box(axes: Axes, x: float, y: float, text: str, colour: str, width: float = 44) -> None:
    """Draw a box with text, centred at a point."""
    height = 18 + 13 * text.count("\n")
    patch = FancyBboxPatch(
        (x - width / 2 + 4, y - height / 2 + 4),
        width - 8,
        height - 8,
        boxstyle="round,pad=4",
        facecolor=TINTS[colour],
        edgecolor=colour,
        linewidth=1,
    )
    axes.add_patch(patch)
    write(axes, x, y - 0.5, text)


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, **style: Any
) -> None:
    """Draw an arrow between two points."""
    drawn = {"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.3}
    axes.annotate("", end, start, arrowprops=drawn | style)


def neuron() -> Figure:
    """Draw one neuron, and its sum against a weight, the bias and an input."""
    figure, axes = canvas(262)
    terms = (
        (240, "x₁ = 2", "w₁ = 0.5", "1"),
        (200, "x₂ = −1", "w₂ = 3", "−3"),
        (160, "1", "b = 0.25", "0.25"),
    )
    for y, name, weight, value in terms:
        box(axes, 36, y, name, FORWARD if name != "1" else GREY, 60)
        box(axes, 120, y, f"· {weight}", PARAMETER, 74)
        arrow(axes, (66, y), (83, y), FORWARD)
        arrow(axes, (157, y), (238, 200 + (y - 200) / 6), FORWARD)
        write(axes, 196, y + (200 - y) * 0.4 + 10, value, FORWARD)
    write(axes, 250, 200, "+", FORWARD, fontsize=16)
    arrow(axes, (260, 200), (282, 200), FORWARD)
    box(axes, 318, 200, "z = −1.75", FORWARD, 70)
    plots = (
        ("w₁", 0.5, "∂z/∂w₁ = x₁ = 2", 2.0),
        ("b", 0.25, "∂z/∂b = 1", 1.0),
        ("x₁", 2.0, "∂z/∂x₁ = w₁ = 0.5", 0.5),
    )
    for i, (name, at, title, slope) in enumerate(plots):
        small = figure.add_axes(((32 + 113 * i) / WIDTH, 30 / 262, 88 / WIDTH, 82 / 262))
        near = np.array([at - 1, at + 1])
        small.plot(near, -1.75 + slope * (near - at), color=FORWARD)
        corner = (at, at + 0.7, at + 0.7), (-1.75, -1.75, -1.75 + 0.7 * slope)
        small.plot(*corner, color=BACKWARD, linewidth=1.3)
        small.plot([at], [-1.75], "o", color=INK, markersize=4)
        small.set(xlim=(at - 1.1, at + 1.1), ylim=(-4, 0.4), xticks=[at], yticks=[-1.75])
        small.set_xticklabels([f"{name} = {at:g}"])
        small.set_yticklabels(["z"])
        small.set_title(title, color=BACKWARD)
    return figure


def relu() -> Figure:
    """Draw ReLU, its slope, and the central difference across the kink."""
    figure, (left, right) = panels(2, 175)
    z, h = np.array([-2.0, 0.0, 2.0]), 1.0
    left.plot(z, np.maximum(z, 0), color=FORWARD)
    left.plot([-h, h], [0, h], "o--", color=BACKWARD, linewidth=1.2, markersize=3.5)
    write(left, -0.25, 0.72, "slope ½", BACKWARD, ha="right")
    left.set(title="a = max(z, 0)", ylim=(-0.25, 2.1), xticks=[-h, 0, h], yticks=[0, 1, 2])
    left.set_xticklabels(["−h", "0", "h"])
    right.plot([-2, 0], [0, 0], color=FORWARD)
    right.plot([0, 2], [1, 1], color=FORWARD)
    right.plot([0], [1], "o", color=FORWARD, markerfacecolor=PAPER, markersize=5)
    right.plot([0], [0], "o", color=FORWARD, markersize=5)
    right.plot([0], [0.5], "x", color=BACKWARD, markersize=6, markeredgewidth=1.6)
    write(right, 0.22, 0.5, "central\ndifference: ½", BACKWARD, ha="left")
    write(right, 0.22, 0.12, "at 0: taken as 0", FORWARD, ha="left")
    right.set(title="its slope, [z > 0]", ylim=(-0.12, 1.15), xticks=[0], yticks=[0, 0.5, 1])
    right.set_yticklabels(["0", "½", "1"])
    for axes in (left, right):
        axes.set_xlabel("z")
    return figure


Shape = tuple[int, int]


def matrix(
    axes: Axes, x: float, y: float, name: str, shape: Shape, colour: str, at: Shape, block: Shape
) -> float:
    """Draw a matrix from its left edge, with a block of it marked; return its right edge."""
    size = 11
    rows, columns = shape
    top, right = y + rows * size / 2, x + columns * size
    for (i, j), (m, n), face in (((0, 0), shape, TINTS[colour]), (at, block, colour)):
        place = (x + j * size, top - (i + m) * size)
        axes.add_patch(Rectangle(place, n * size, m * size, facecolor=face))
    bottom = top - rows * size
    axes.vlines(np.arange(x + size, right, size), bottom, top, colors=PAPER, linewidth=1)
    axes.hlines(np.arange(bottom + size, top, size), x, right, colors=PAPER, linewidth=1)
    write(axes, (x + right) / 2, top + 8, name, colour, fontweight="bold")
    write(axes, (x + right) / 2, bottom - 7, f"{rows} × {columns}", GREY, fontsize=8.5)
    return right


def layer() -> Figure:
    """Draw one layer as products of matrices, with the parts of one element of each result."""
    figure, axes = canvas(372)
    n, m, u = 5, 3, 2  # examples, inputs, units
    i, p, q = 1, 2, 0
    F, P, B = FORWARD, PARAMETER, BACKWARD
    equations: Any = (
        [("Z", (n, u), F, (i, q), (1, 1)), "=", ("X", (n, m), F, (i, 0), (1, m)), "·",
         ("W", (m, u), P, (0, q), (m, 1)), "+", ("b", (1, u), P, (0, q), (1, 1))],
        [("∂J/∂W", (m, u), B, (p, q), (1, 1)), "=", ("Xᵀ", (m, n), F, (p, 0), (1, n)), "·",
         ("δ", (n, u), B, (0, q), (n, 1))],
        [("∂J/∂b", (1, u), B, (0, q), (1, 1)), "=", ("1 … 1", (1, n), GREY, (0, 0), (1, n)), "·",
         ("δ", (n, u), B, (0, q), (n, 1))],
        [("∂J/∂X", (n, m), B, (i, p), (1, 1)), "=", ("δ", (n, u), B, (i, 0), (1, u)), "·",
         ("Wᵀ", (u, m), P, (0, p), (u, 1))],
    )  # fmt: skip
    notes = (
        "a row of inputs times a\ncolumn of weights, plus\nthe bias",
        "one weight: its input times\nits unit's δ, summed over\nall examples",
        "one bias: a weight whose\ninput is always 1",
        "one input: the δ of every\nunit times its weight",
    )
    write(axes, WIDTH / 2, 361, "5 examples (rows), 3 inputs, 2 units; marked: one element", GREY)
    for k, (equation, note) in enumerate(zip(equations, notes, strict=True)):
        y, x = 308 - 88 * k, 8.0
        for part in equation:
            if isinstance(part, str):
                write(axes, x + 12, y, part, fontsize=14)
                x += 24
            else:
                x = matrix(axes, x, y, *part)
        write(axes, 222, y, note, ha="left")
    return figure


def softmax() -> Figure:
    """Draw the logits of one example, its probabilities beside the label, and δ."""
    z, label = np.array([2.0, 1.0, -0.5, 0.2]), 1
    p = np.exp(z) / np.exp(z).sum()
    t = np.eye(len(z))[label]
    figure, (left, middle, right) = panels(3, 170)
    classes = np.arange(len(z))
    left.bar(classes, z, color=FORWARD, width=0.7)
    left.set(title="logits z", ylim=(-1, 2.5))
    middle.bar(classes, t, width=0.84, facecolor="none", edgecolor=PARAMETER, linewidth=1.3)
    middle.bar(classes, p, color=FORWARD, width=0.7)
    middle.set(title="p, and label t")
    right.bar(classes, p - t, color=BACKWARD, width=0.7)
    right.set(title="p − t")
    for axes in (middle, right):  # one scale, so that their bars can be compared
        axes.set_ylim(-1.05, 1.12)
    for axes, values in ((left, z), (middle, p), (right, p - t)):
        span = np.ptp(axes.get_ylim())
        for j, value in enumerate(values):
            text = f"{value:.2g}" if axes is left else f"{value:.2f}"
            y = value + span * (0.05 if value >= 0 else -0.055)
            write(axes, j, y, text.replace("-", "−"), fontsize=8.5)
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set(xticks=classes, yticks=[], xlabel="class")
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
    return figure


def penalty() -> Figure:
    """Draw the penalty of one weight, and its slope."""
    figure, (left, right) = panels(2, 160)
    w = np.linspace(-2, 2, 41)
    left.plot(w, w**2 / 2, color=PARAMETER)
    for at in (-1.0, 1.5):
        near = np.array([at - 0.6, at + 0.6])
        left.plot(near, at**2 / 2 + at * (near - at), color=BACKWARD, linewidth=1.3)
        left.plot([at], [at**2 / 2], "o", color=INK, markersize=4)
    left.set(title="penalty ½ λ w²", yticks=[0])
    right.plot(w, w, color=BACKWARD)
    right.plot([-1, 1.5], [-1, 1.5], "o", color=INK, markersize=4)
    right.axhline(0, color=GREY, linewidth=0.8)
    right.set(title="its slope, λ w", yticks=[0])
    for axes in (left, right):
        axes.set(xlabel="w", xticks=[0])
    return figure


def layers() -> Figure:
    """Draw all layers: values run down, derivatives run up, gradients lie between."""
    figure, axes = canvas(396)
    left, right, pitch, top = 40, 320, 104, 360
    write(axes, left, top + 22, "forward", FORWARD, fontweight="bold")
    write(axes, WIDTH / 2, top + 22, "gradients", BACKWARD, fontweight="bold")
    write(axes, right, top + 22, "backward", BACKWARD, fontweight="bold")
    box(axes, left, top, "a₀ = x", FORWARD)
    for k, (n, before) in enumerate(zip("₁₂₃", "₀₁₂", strict=True)):
        y = top - pitch * k
        arrow(axes, (left, y - 9), (left, y - 43), FORWARD)
        write(axes, left + 5, y - 25, f"· W{n} + b{n}", PARAMETER, ha="left")
        box(axes, left, y - 52, f"z{n}", FORWARD)
        box(axes, right, y - 52, f"δ{n}", BACKWARD)
        gradients = f"∂J/∂W{n} = a{before}ᵀ δ{n} + λ W{n}\n∂J/∂b{n} = Σ rows of δ{n}"
        box(axes, WIDTH / 2 + 14, y - 26, gradients, BACKWARD, 148)
        arrow(axes, (left + 22, y), (121, y - 16), FORWARD)
        arrow(axes, (right - 22, y - 48), (267, y - 38), BACKWARD)
        if n != "₃":
            arrow(axes, (left, y - 61), (left, y - 95), FORWARD)
            box(axes, left, y - 104, f"a{n}", FORWARD)
            arrow(axes, (right, y - 147), (right, y - 61), BACKWARD)
            after = chr(ord(n) + 1)
            write(axes, right - 5, y - 112, f"· W{after}ᵀ", PARAMETER, ha="right")
            axes.plot([left, right], [y - 77, y - 77], ":", color=GREY, linewidth=1.2)
            for x in (left, right):
                axes.plot([x], [y - 77], "o", color=GREY, markersize=4)
            write(
                axes, WIDTH / 2, y - 77, f"both are multiplied by [z{n} > 0]", backgroundcolor=PAPER
            )
    box(axes, WIDTH / 2 + 14, 34, "p = softmax(z₃)\nδ₃ = (p − t) / n", BACKWARD, 148)
    arrow(axes, (left + 22, y - 54), (121, 40), FORWARD)
    arrow(axes, (267, 40), (right - 22, y - 54), BACKWARD)
    return figure


def small_network() -> tuple[Any, Any, Any]:
    """Return the network of the tutorial, and the training and test digits."""
    return purenet.init([784, 200, 50, 10]), *purenet.datasets.mnist()


def gradients(steps: int) -> Iterator[tuple[float, float]]:
    """Yield the gradient of one bias, and its velocity, in each step of a training."""
    params, (x, y), _ = small_network()
    cfg, velocity = purenet.Config(), purenet.init_velocity(params)
    for rows in np.split(np.arange(steps * 128), steps):
        batch = x[rows].astype(np.float32) / 255
        _, grads = purenet.backward(params, batch, y[rows], l2=cfg.l2)
        params, velocity = purenet.momentum_step(
            params, velocity, grads, learning_rate=cfg.learning_rate, momentum=cfg.momentum
        )
        yield float(grads["b3"][1]), float(velocity["b3"][1])


def momentum() -> Figure:
    """Draw the gradient of one bias, batch by batch, and its moving average."""
    figure, (axes,) = panels(1, 165)
    g, v = zip(*gradients(60), strict=True)
    axes.axhline(0, color=PALE, linewidth=1)
    axes.plot(g, "o", color=GREY, markersize=2.5, label="gradient, batch by batch")
    axes.plot(v, color=BACKWARD, label="v, its moving average")
    axes.set(
        xlabel="step", title="∂J/∂b of the unit for ones, at the start of training", yticks=[0]
    )
    axes.legend(loc="lower right")
    return figure


def training() -> Figure:
    """Draw loss and accuracy in ten epochs of the default training."""
    params, data, test = small_network()
    history = purenet.train(params, data, purenet.Config(), validation=test).history
    figure, (left, right) = panels(2, 200)
    epochs = [figures["epoch"] for figures in history]
    left.plot(epochs, [h["loss"] for h in history], "o-", color=GREY, markersize=3)
    left.plot(epochs, [h["val_loss"] for h in history], "o-", color=FORWARD, markersize=3)
    left.set(title="loss, nats per example", yscale="log", yticks=[0.05, 0.1, 0.2, 0.3])
    left.yaxis.set_major_formatter(ScalarFormatter())
    left.yaxis.set_minor_formatter(NullFormatter())
    write(left, 10, history[-1]["val_loss"] * 1.2, "test", FORWARD, ha="right")
    write(left, 7, history[6]["loss"] * 0.8, "training", GREY, ha="right")
    right.axhline(0.98, color=GREY, linewidth=0.8, linestyle=":")
    right.plot(epochs, [h["val_accuracy"] for h in history], "o-", color=FORWARD, markersize=3)
    last = history[-1]["val_accuracy"]
    write(right, 10, last + 0.0022, f"{last:.1%}".replace("%", " %"), FORWARD, ha="right")
    right.set(title="accuracy on test digits", ylim=(0.948, 0.985))
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    figure.suptitle("purenet train: MNIST, 784-200-50-10 units", fontsize=10)
    for axes in (left, right):
        axes.set(xlabel="epoch", xlim=(0.6, 10.4))
        axes.set_xticks([1, 2, 4, 6, 8, 10])
    return figure


def main() -> None:
    """Draw every figure."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for draw in (neuron, relu, layer, softmax, penalty, layers, momentum, training):
        with rc_context(STYLE):
            save(draw.__name__, draw())


if __name__ == "__main__":
    main()
