"""Optimisers of other libraries with the settings of `docs/conventions.md`.

Each one trains a network of two layers on given batches, with gradients of its own library. Only
installed libraries are included.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from purenet import Config
from purenet.params import is_weight

__all__ = ["OPTIMISERS", "Batch", "Params", "Step", "follow_torch"]

Params = dict[str, Any]
Batch = tuple[Any, Any]


class Step(NamedTuple):
    """The objective before a step, and the parameters after it."""

    loss: float
    params: Params


Optimiser = Callable[[Params, list[Batch], Config], Iterator[Step]]
OPTIMISERS: dict[str, Optimiser] = {}


def needs(library: str) -> Callable[[Optimiser], Optimiser]:
    """Return a decorator that includes an optimiser if its library is installed."""

    def register(optimiser: Optimiser) -> Optimiser:
        if find_spec(library):
            OPTIMISERS[optimiser.__name__] = optimiser
        return optimiser

    return register


def penalty(params: Params, l2: float) -> float:
    """Return the L2 term of the objective."""
    return float(0.5 * l2 * sum(np.sum(p**2) for name, p in params.items() if is_weight(name)))


@needs("autograd")
def autograd_sgd(params: Params, batches: list[Batch], cfg: Config) -> Iterator[Step]:
    """Use `autograd.misc.optimizers.sgd`, whose definition of momentum is that of purenet."""
    import autograd
    import autograd.numpy as anp
    from autograd.misc.optimizers import sgd

    def objective(p: Params, i: int) -> Any:
        x, y = batches[i]
        z = anp.maximum(x @ p["W1"] + p["b1"], 0) @ p["W2"] + p["b2"]
        log_p = z - anp.log(anp.sum(anp.exp(z), axis=1, keepdims=True))
        squares = anp.sum(p["W1"] ** 2) + anp.sum(p["W2"] ** 2)
        return -anp.mean(log_p[np.arange(len(y)), y]) + 0.5 * cfg.l2 * squares

    visited: list[Params] = []
    last = sgd(
        autograd.grad(objective),
        params,
        callback=lambda p, _, __: visited.append(p),
        num_iters=len(batches),
        step_size=cfg.learning_rate,
        mass=cfg.momentum,
    )
    for i, after in enumerate([*visited[1:], last]):
        yield Step(float(objective(visited[i], i)), after)


def follow_torch(
    lr: float, dampening: float, params: Params, batches: list[Batch], cfg: Config
) -> Iterator[Step]:
    """Use `torch.optim.SGD` with weight decay for the weights alone."""
    import torch

    p = {name: torch.tensor(array, requires_grad=True) for name, array in params.items()}
    groups: list[dict[str, Any]] = [
        {"params": [p["W1"], p["W2"]], "weight_decay": cfg.l2},
        {"params": [p["b1"], p["b2"]], "weight_decay": 0},
    ]
    optimiser = torch.optim.SGD(groups, lr=lr, momentum=cfg.momentum, dampening=dampening)
    for x, y in batches:
        z = torch.relu(torch.tensor(x) @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
        value: Any = torch.nn.functional.cross_entropy(z, torch.tensor(y))
        before = penalty({name: t.detach().numpy() for name, t in p.items()}, cfg.l2)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        after = {name: t.detach().numpy().copy() for name, t in p.items()}
        yield Step(value.item() + before, after)


@needs("torch")
def torch_sgd(params: Params, batches: list[Batch], cfg: Config) -> Iterator[Step]:
    """Use `torch.optim.SGD` with lr = η(1 - β) and without dampening."""
    return follow_torch(cfg.learning_rate * (1 - cfg.momentum), 0, params, batches, cfg)


def follow_optax(
    momentum: Any, params: Params, batches: list[Batch], cfg: Config
) -> Iterator[Step]:
    """Add the L2 term to the gradients of weights, then use an optax transformation."""
    import jax
    import optax

    def cross_entropy(p: Params, x: Any, y: Any) -> Any:
        z = jax.nn.relu(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()

    mask = {name: is_weight(name) for name in params}
    optimiser = optax.chain(optax.add_decayed_weights(cfg.l2, mask=mask), momentum)
    p: Any = {name: jax.numpy.asarray(array) for name, array in params.items()}
    state = optimiser.init(p)
    for x, y in batches:
        value, grads = jax.value_and_grad(cross_entropy)(p, x, y)
        before = penalty(p, cfg.l2)
        updates, state = optimiser.update(grads, state, p)
        p = optax.apply_updates(p, updates)
        yield Step(float(value) + before, {name: np.asarray(array) for name, array in p.items()})


@needs("optax")
def optax_sgd(params: Params, batches: list[Batch], cfg: Config) -> Iterator[Step]:
    """Use `optax.sgd` with learning rate η(1 - β)."""
    import optax

    sgd = optax.sgd(cfg.learning_rate * (1 - cfg.momentum), momentum=cfg.momentum)
    return follow_optax(sgd, params, batches, cfg)


@needs("optax")
def optax_ema(params: Params, batches: list[Batch], cfg: Config) -> Iterator[Step]:
    """Use `optax.ema` without bias correction, then learning rate η: purenet's definition."""
    import optax

    ema = optax.chain(optax.ema(cfg.momentum, debias=False), optax.scale(-cfg.learning_rate))
    return follow_optax(ema, params, batches, cfg)
