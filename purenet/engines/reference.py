"""The definition of training: the pure functions folded over batches, for arrays of any library."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic

from array_api_compat import array_namespace, device

from purenet.config import Config
from purenet.engines import as_input, cut
from purenet.network import backward, with_penalty
from purenet.optim import init_velocity, momentum_step
from purenet.params import A, Array, copy, is_weight

__all__ = ["ReferenceEngine", "data_gradient", "step", "sum_by_pairs"]


def data_gradient(
    params: dict[str, A], x: Array, y: Array, shards: int
) -> tuple[Any, dict[str, A]]:
    """Compute the mean cross-entropy of a batch and its gradient as sums over shards.

    Shard i of S holds the examples from ⌊n i / S⌋ to ⌊n (i + 1) / S⌋, n_i in number, and adds
    n_i / n times what `backward` computes on them. The sum is taken in a binary tree: shards 0 and
    1 are added, 2 and 3, and so on. Then these sums are added by pairs, until one is left.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL.
    x : array, shape (batch, features)
        Finite floating-point numbers.
    y : array, shape (batch,)
        Integer labels.
    shards : int
        S, a power of two.

    Returns
    -------
    loss : scalar array
        The mean cross-entropy.
    grads : dict of array
        Its gradient.
    """
    n = x.shape[0]

    def of_shard(i: int) -> tuple[Any, dict[str, A]]:
        start, stop = n * i // shards, n * (i + 1) // shards
        if start == stop:
            return 0.0, init_velocity(params)  # zeros
        value, grads = backward(params, x[start:stop, ...], y[start:stop])
        weight = (stop - start) / n
        return weight * value, {name: weight * g for name, g in grads.items()}

    return sum_by_pairs(of_shard, shards)


def sum_by_pairs(
    part: Callable[[int], tuple[Any, dict[str, A]]], count: int, first: int = 0
) -> tuple[Any, dict[str, A]]:
    """Add losses and gradients in a binary tree: part(first), ..., part(first + count - 1)."""
    if count == 1:
        return part(first)
    half = count // 2
    value, grads = sum_by_pairs(part, half, first)
    more, others = sum_by_pairs(part, half, first + half)
    return value + more, {name: g + others[name] for name, g in grads.items()}


def step(
    params: dict[str, A],
    velocity: dict[str, A],
    x: Array,
    y: Array,
    cfg: Config,
    *,
    data_gradient: Callable[..., tuple[Any, dict[str, A]]] = data_gradient,
) -> tuple[Any, dict[str, A], dict[str, A]]:
    """Train on one batch: `backward`, over shards if there are several, then `momentum_step`.

    Parameters
    ----------
    params, velocity : dict of array
        Parameters and velocity before the step.
    x : array, shape (batch, features)
        Examples, integer or floating-point.
    y : array, shape (batch,)
        Integer labels.
    cfg : Config
        Hyperparameters.
    data_gradient : callable
        Replaces `data_gradient`, for example to compute on several devices.

    Returns
    -------
    loss : scalar array
        The loss before the step.
    params, velocity : dict of array
        Parameters and velocity after the step.
    """
    x = as_input(params, x, cfg.input_scale)
    if cfg.shards == 1:
        value, grads = backward(params, x, y, l2=cfg.l2)
    else:
        value, grads = data_gradient(params, x, y, cfg.shards)
        value = with_penalty(value, params, cfg.l2)
        grads = {
            name: g + cfg.l2 * params[name] if is_weight(name) else g for name, g in grads.items()
        }
    rates = {"learning_rate": cfg.learning_rate, "momentum": cfg.momentum}
    return value, *momentum_step(params, velocity, grads, **rates)


class ReferenceEngine(Generic[A]):
    """Fold `step` over batches.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL.
    velocity : dict of array
        Arrays of the shapes of the parameters.
    x : array, shape (n, features)
        Examples, integer or floating-point.
    y : array, shape (n,)
        Integer labels.
    cfg : Config
        Hyperparameters.
    """

    def __init__(
        self, params: dict[str, A], velocity: dict[str, A], x: Array, y: Array, cfg: Config
    ) -> None:
        self.params, self.velocity = params, velocity
        self.x, self.y, self.cfg = x, y, cfg

    def run(self, rows: Sequence[int]) -> list[float]:
        """Train on batches of these rows, as `Engine` says."""
        xp, cfg = array_namespace(self.x), self.cfg
        losses: list[float] = []
        for batch in cut(rows, cfg.batch_size or len(rows)):
            index = xp.asarray(batch, device=device(self.x))
            x, y = xp.take(self.x, index, axis=0), xp.take(self.y, index)
            value, params, velocity = step(self.params, self.velocity, x, y, cfg)
            losses.append(float(value))
            if not math.isfinite(losses[-1]):
                break
            self.params, self.velocity = params, velocity
        return losses

    def snapshot(self) -> tuple[dict[str, A], dict[str, A]]:
        """Return copies of parameters and velocity."""
        return copy(self.params), copy(self.velocity)
