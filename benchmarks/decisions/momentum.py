"""The moving average of gradients, beside heavy-ball momentum, which lacks the factor 1 - β."""

import math
from functools import cache
from pathlib import Path
from statistics import fmean

from benchmarks.decisions.start import history
from benchmarks.report import table
from purenet import Config, init

BETAS, SEEDS, EPOCHS = (0.0, 0.5, 0.9, 0.99), (0, 1, 2), 3
RATES = [0.0125 * 2**k for k in range(9)]
FIXED, HEAVY = 0.4, 0.04  # rates for every β, which take the same steps at β = 0.9


@cache
def reached(momentum: float, learning_rate: float) -> tuple[float, float]:
    """Return the loss of the last epoch and the test accuracy, as means over seeds."""
    losses, accuracies = [], []
    for seed in SEEDS:
        cfg = Config(epochs=EPOCHS, momentum=momentum, learning_rate=learning_rate, seed=seed)
        run = history(init([784, 200, 50, 10], seed=seed), cfg)
        if not run:
            return math.inf, math.nan
        losses.append(run[-1]["loss"])
        accuracies.append(run[-1]["val_accuracy"])
    return fmean(losses), fmean(accuracies)


def tables() -> str:
    """Return the best rates of both, and what one fixed rate reaches with each β.

    Heavy ball with the rate α takes the steps of the average with η = α / (1 - β).
    """
    rows = []
    for beta in BETAS:
        best = min(RATES, key=lambda rate: reached(beta, rate)[0])
        rates = (best, FIXED, round(HEAVY / (1 - beta), 9))
        accuracies = [reached(beta, rate)[1] for rate in rates]
        cells = [f"{best:g}", f"{best * (1 - beta):g}", f"{reached(beta, best)[0]:.4f}"]
        cells += ["diverges" if math.isnan(a) else f"{100 * a:.2f} %" for a in accuracies]
        rows.append([f"{beta:g}", *cells])
    header = ["β", "best η of the average", "best rate of the heavy ball", "loss there"]
    header += ["test accuracy there", f"average, η = {FIXED}", f"heavy ball, rate {HEAVY}"]
    return table(header, rows)


def draw(folder: Path) -> None:
    """Draw the loss by learning rate, for each β and for both kinds of momentum."""
    from matplotlib import rc_context  # noqa: PLC0415  # an optional library
    from matplotlib.figure import Figure  # noqa: PLC0415

    from benchmarks.figure import STYLE, WIDTH  # noqa: PLC0415
    from purenet.files.plots import save_figure  # noqa: PLC0415

    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        for beta, marker in zip(BETAS, "osD^", strict=True):
            points = [(rate, reached(beta, rate)[0]) for rate in RATES]
            rates, losses = zip(*[point for point in points if point[1] < 1], strict=True)
            style = {"marker": marker, "markersize": 3.5}
            upper.plot(rates, losses, **style, label=f"β = {beta:g}")
            lower.plot([rate * (1 - beta) for rate in rates], losses, **style)
        upper.set(title="moving average, as in purenet")
        lower.set(title="heavy ball", xlabel="learning rate", xscale="log")
        for axes in (upper, lower):
            axes.set(ylabel="training loss", ylim=(0.08, 0.42))
        figure.legend(frameon=False, loc="outside lower center", ncols=len(BETAS))
        folder.mkdir(parents=True, exist_ok=True)
        save_figure(figure, folder / "momentum.svg")
