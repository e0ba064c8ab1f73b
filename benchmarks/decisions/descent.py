"""Training along any gradient, in the order and with the steps of `purenet.train`."""

from collections.abc import Callable
from typing import Any

from purenet import Config, init_velocity, momentum_step
from purenet.engines import cut
from purenet.params import Params
from purenet.training import epoch_order


def descend(
    gradient: Callable[[Params, Any, Any], Params], params: Params, x: Any, y: Any, cfg: Config
) -> Params:
    """Return the parameters after training: gradient(params, x, y) is asked for each batch."""
    velocity = init_velocity(params)
    rates = {"learning_rate": cfg.learning_rate, "momentum": cfg.momentum}
    for epoch in range(cfg.epochs):
        for rows in cut(epoch_order(cfg.seed, epoch, len(x)), cfg.batch_size or len(x)):
            grads = gradient(params, x[rows], y[rows])
            params, velocity = momentum_step(params, velocity, grads, **rates)
    return params
