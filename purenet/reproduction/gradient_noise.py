"""The noise of mini-batch gradients, measured against the theory."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import purenet
from purenet.config import Config
from purenet.params import Params
from purenet.reproduction.plan import Plan
from purenet.reproduction.published import EXPERIMENTS, initial_params
from purenet.reproduction.work import DoUnit, Work

CHUNK = 4096  # images whose gradient is computed at once


@dataclass(frozen=True)
class GradientNoise:
    """The variance E‖g_B − g‖² of the gradient of a mini-batch B of n images, drawn from N."""

    epochs: int  # of training before
    images: int  # N
    sizes: list[int]  # n
    variances: list[float]  # measured, for each n
    batches: list[int]  # drawn, for each n
    gradient: float  # ‖g‖², of all images
    trace: float  # trΣ, of the covariance of one image's gradient, estimated from all n
    slope: float  # the variance without the factor (N − n)/(N − 1) is as n to this power
    off: float  # the largest relative difference of this variance from trΣ/n
    scale: float  # trΣ/‖g‖²: the n at which the noise is as large as the gradient


def run_noise(do: DoUnit, plan: Plan, images: int) -> list[GradientNoise]:
    """Measure the noise of mini-batch gradients before training and after one epoch."""
    sizes = [2**k for k in range(0, images.bit_length(), 2) if 2**k < images]
    return [
        do(
            measure_noise,
            cfg=replace(EXPERIMENTS[1].config, epochs=epochs),
            dtype=plan.dtype,
            sizes=sizes,
            draws=plan.noise_draws,
        )
        for epochs in (0, 1)
    ]


def measure_noise(
    work: Work, *, cfg: Config, dtype: str, sizes: list[int], draws: int
) -> GradientNoise:
    """Train as `cfg` says, and measure the noise with about `draws` images for each batch size.

    Batches are drawn without replacement, as within an epoch. For n of N images, theory gives the
    variance trΣ/n · (N − n)/(N − 1).
    """
    x, y = work.train
    params = initial_params(cfg.seed, dtype)
    for record in purenet.epochs(params, work.train, cfg):
        params = record.params
    whole = _gradient(params, x, y)
    rng, N = np.random.Generator(np.random.PCG64(cfg.seed)), len(x)
    variances, batches = [], []
    for size in sizes:
        count = max(min(draws // size, draws // 256), 8)
        squares = []
        for _ in range(count):
            rows = rng.choice(N, size, replace=False, shuffle=False)
            difference = _gradient(params, x[rows], y[rows]) - whole
            squares.append(float(difference @ difference))
        variances.append(float(np.mean(squares)))
        batches.append(count)
    n = np.array(sizes, float)
    corrected = np.array(variances) * (N - 1) / (N - n)
    trace, gradient = float(np.average(corrected * n, weights=batches)), float(whole @ whole)
    return GradientNoise(
        cfg.epochs,
        N,
        sizes,
        variances,
        batches,
        gradient,
        trace,
        slope=float(np.polyfit(np.log(n), np.log(corrected), 1)[0]),
        off=float(np.abs(corrected * n / trace - 1).max()),
        scale=trace / gradient,
    )


def _gradient(params: Params, x: NDArray[Any], y: NDArray[Any]) -> Any:
    """Return the gradient of the mean cross-entropy as one vector, in float64."""
    total: Any = 0.0
    for first in range(0, len(x), CHUNK):
        part = slice(first, first + CHUNK)
        pixels = x[part].astype(params["W1"].dtype)
        _, grads = purenet.backward(params, pixels, y[part])
        flat = np.concatenate([g.ravel() for g in grads.values()]).astype(float)
        total = total + flat * (len(pixels) / len(x))
    return total
