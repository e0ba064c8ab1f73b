"""ReLU'(0) = 0, beside ½ and 1: how often it is asked for, and what it changes."""

from itertools import product
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.decisions.descent import descend
from benchmarks.decisions.start import percent
from benchmarks.report import table
from purenet import Config, accuracy, datasets, init
from purenet.network import loss_and_delta
from purenet.params import Params, fingerprint, layers

SIZES, SLOPES, SEEDS, EPOCHS = [784, 200, 50, 10], (0.0, 0.5, 1.0), (0, 1, 2), 3


def gradient(
    params: Params, x: Any, y: Any, l2: float, at_zero: float, storage: Any = None
) -> tuple[Params, int]:
    """Compute the gradient with a value of ReLU'(0), and count the zeros among z.

    With a narrow dtype `storage`, products, biases and their sums z are rounded to it.
    """
    a, slopes, zeros = [x], [], 0
    *hidden, (W_L, b_L) = layers(params)
    for W, b in hidden:
        z = a[-1] @ W
        z = z + b if storage is None else (z.astype(storage) + b.astype(storage)).astype(x.dtype)
        kink = z == 0
        zeros += int(kink.sum())
        a.append(np.maximum(z, 0))
        slopes.append((z > 0) + x.dtype.type(at_zero) * kink)
    delta = loss_and_delta(params, a[-1] @ W_L + b_L, y, 0.0)[1]
    grads = dict(params)
    for k in range(len(a), 0, -1):
        W = params[f"W{k}"]
        grads[f"W{k}"], grads[f"b{k}"] = a[k - 1].T @ delta + l2 * W, delta.sum(axis=0)
        if k > 1:
            delta = (delta @ W.T) * slopes[k - 2]
    return grads, zeros


def training(params: Params, seed: int, at_zero: float, storage: Any) -> tuple[float, int, str]:
    """Train on MNIST. Return the test accuracy, the zeros, and a hash of the parameters."""
    (pixels, y), test = datasets.mnist()
    x = pixels / np.float32(255)
    cfg, total = Config(epochs=EPOCHS, seed=seed), 0

    def counted(params: Params, x: Any, y: Any) -> Params:
        nonlocal total
        grads, zeros = gradient(params, x, y, cfg.l2, at_zero, storage)
        total += zeros
        return grads

    params = descend(counted, params, x, y, cfg)
    reached = float(accuracy(params, *test, input_scale=cfg.input_scale))
    return reached, total, fingerprint(*params.values())


def tables() -> str:
    """Return the table of zeros and accuracies."""
    from ml_dtypes import bfloat16  # noqa: PLC0415  # an optional library

    asked = EPOCHS * 60_000 * sum(SIZES[1:-1])
    rows = []
    for title, scale, storage in (
        ("float32, He", "he", None),
        ("float32, 0.01", 0.01, None),
        ("z in float16, He", "he", np.float16),
        ("z in bfloat16, He", "he", bfloat16),
        ("float32, He, but W1 = 0", "zero", None),
    ):
        results = {}
        for at_zero, seed in product(SLOPES, SEEDS):
            params = init(SIZES, seed=seed, scale="he" if scale == "zero" else scale)
            if scale == "zero":
                params["W1"][:] = 0
            with threadpool_limits(1, user_api="blas"):  # two threads would spin
                results[at_zero, seed] = training(params, seed, at_zero, storage)
        zeros = [results[0.0, seed][1] for seed in SEEDS]
        same = sum(len({results[s, seed][2] for s in SLOPES}) == 1 for seed in SEEDS)
        accuracies = [percent([results[s, seed][0] for seed in SEEDS]) for s in SLOPES]
        counts = ", ".join("all" if count == asked else f"{count:,}" for count in zeros)
        rows.append([title, counts, f"{same} of {len(SEEDS)}", *accuracies])
    header = [f"{EPOCHS} epochs", f"zeros among {asked:,} z, seeds {SEEDS[0]} to {SEEDS[-1]}"]
    header += ["equal bits", "test accuracy, ReLU′(0) = 0", "½", "1"]
    return table(header, rows)
