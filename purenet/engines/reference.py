"""The definition of training: the pure functions folded over batches, for arrays of any library."""

import math
from collections.abc import Sequence
from typing import Any, Generic

from array_api_compat import array_namespace, device

from purenet.config import Config
from purenet.engines import as_input, cut
from purenet.network import backward
from purenet.optim import momentum_step
from purenet.params import A, Array, copy

__all__ = ["ReferenceEngine"]


class ReferenceEngine(Generic[A]):
    """Fold `backward` and `momentum_step` over batches.

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
            x = as_input(self.params, xp.take(self.x, index, axis=0), cfg.input_scale)
            value: Any
            value, grads = backward(self.params, x, xp.take(self.y, index), l2=cfg.l2)
            losses.append(float(value))
            if not math.isfinite(losses[-1]):
                break
            self.params, self.velocity = momentum_step(
                self.params,
                self.velocity,
                grads,
                learning_rate=cfg.learning_rate,
                momentum=cfg.momentum,
            )
        return losses

    def snapshot(self) -> tuple[dict[str, A], dict[str, A]]:
        """Return copies of parameters and velocity."""
        return copy(self.params), copy(self.velocity)
