"""Training: a fold of `backward` and `momentum_step` over batches, with a record of each epoch."""

import math
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from purenet import _checks
from purenet._checks import Array, Data, Params
from purenet.config import Config
from purenet.engines import CHUNK, Engine, batches, copy
from purenet.engines.numpy import NumpyEngine
from purenet.engines.pure import PureEngine
from purenet.inference import evaluate
from purenet.optim import init_velocity

__all__ = [
    "DivergenceError",
    "Epoch",
    "State",
    "TrainResult",
    "epochs",
    "train",
]


class State(NamedTuple):
    """What a run needs beside its parameters to go on.

    Parameters
    ----------
    velocity : dict of array
        The moving average of gradients, shaped like the parameters.
    epochs : int
        Epochs done.
    """

    velocity: Params
    epochs: int


class Epoch(NamedTuple):
    """What came of one epoch.

    Parameters
    ----------
    epoch : int
        Its number, from 1.
    loss : float
        Mean of its batches' losses, weighted by their sizes, each before its update.
    params : dict of array
        Parameters after it.
    state : State
        What a later run needs to go on from here.
    """

    epoch: int
    loss: float
    params: Params
    state: State


class TrainResult(NamedTuple):
    """What came of training.

    Parameters
    ----------
    params : dict of array
        Trained parameters.
    state : State
        What a later run needs to go on from here.
    history : list of dict
        For each epoch ``epoch``, ``loss`` and, with validation data, ``val_loss`` and
        ``val_accuracy``.
    """

    params: Params
    state: State
    history: list[dict[str, float]]


class DivergenceError(ArithmeticError):
    """Training that stopped being finite.

    Parameters
    ----------
    epoch, step : int
        Where, counted from 1; a step is one batch.
    params : dict of array
        The parameters after the last epoch that was finite to its end.
    state : State
        The state that belongs to `params`.
    """

    def __init__(self, epoch: int, step: int, params: Params, state: State) -> None:
        self.epoch, self.step, self.params, self.state = epoch, step, params, state

    def __str__(self) -> str:
        """Say where, and what may help."""
        return (
            f"training stopped being finite in epoch {self.epoch}, step {self.step}; "
            "a smaller learning rate or input scale may help"
        )


def epochs(
    params: Params, data: Data, cfg: Config, *, state: State | None = None
) -> Iterator[Epoch]:
    """Train, and yield a record after each epoch, so that stopping early is ``break``.

    Each batch takes J, g = `backward` and then `momentum_step`. Epoch e, counted from 0, visits the
    examples in the order ``Generator(PCG64([cfg.seed, e])).permutation(n)``; the last batch may be
    smaller. NumPy arrays are trained in buffers of the run's own, others by the pure functions:
    PyTorch's under ``torch.no_grad()``, if they require gradients.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL: where training starts. Not written.
    data : (array, array)
        x of shape (n, features), floating-point or integer, in memory or memory-mapped, never
        copied whole; y of shape (n,), integer labels.
    cfg : Config
        Hyperparameters; ``cfg.epochs`` is the total, epochs of earlier runs included.
    state : State, optional
        What came with `params` from an earlier run. The resumed run gives what an uninterrupted
        one gives, in every bit.

    Returns
    -------
    iterator of Epoch
        The loss of an epoch is the mean of its batches' losses, weighted by their sizes, each
        before its update.

    Raises
    ------
    ValueError
        Arguments that are not as above, before the first epoch; x not finite, when it is met.
    DivergenceError
        A loss or parameter that is not finite.

    Examples
    --------
    >>> from purenet import Config, init
    >>> x, y = np.eye(4), np.array([0, 1, 0, 1])
    >>> for record in epochs(init([4, 8, 2]), (x, y), Config(batch_size=2, epochs=100)):
    ...     if record.loss < 0.1:
    ...         break
    >>> record.epoch < 100
    True
    """
    x, y = _checks.data(params, data)
    velocity, done = _start(params, state, cfg)
    make = NumpyEngine if is_numpy_array(params["W1"]) else PureEngine
    return _epochs(make(params, velocity, x, y, cfg), x, cfg, done)


def _epochs(engine: Engine, x: Array, cfg: Config, done: int) -> Iterator[Epoch]:
    n = x.shape[0]
    params, velocity = engine.snapshot()
    state = State(velocity, done)
    for e in range(done, cfg.epochs):
        rows = _order(cfg.seed, e, n) if cfg.shuffle else range(n)
        losses = engine.run(rows)
        sizes = [len(batch) for batch in batches(rows, cfg.batch_size or n)]
        # A loss that is not finite ends the epoch: there may be fewer losses than sizes.
        loss = sum(map(operator.mul, losses, sizes)) / n
        ended, velocity = engine.snapshot()
        if not (math.isfinite(loss) and _all_finite(ended)):
            for start in range(0, n, CHUNK):  # data that is not finite is not divergence
                _checks.examples(params, x[start : min(start + CHUNK, n), ...])
            raise DivergenceError(e + 1, len(losses), params, state)
        params, state = ended, State(velocity, e + 1)
        yield Epoch(e + 1, loss, params, state)


def _order(seed: int, e: int, n: int) -> Any:
    return np.random.Generator(np.random.PCG64([seed, e])).permutation(n)


def train(
    params: Params,
    data: Data,
    cfg: Config,
    *,
    validation: Data | None = None,
    state: State | None = None,
) -> TrainResult:
    """Train until ``cfg.epochs`` epochs are done: `epochs` run to its end, figures kept.

    Parameters
    ----------
    params : dict of array
        As for `epochs`; not written.
    data : (array, array)
        As for `epochs`.
    cfg : Config
        As for `epochs`.
    validation : (array, array), optional
        Data to `evaluate` after each epoch.
    state : State, optional
        As for `epochs`.

    Returns
    -------
    TrainResult
        ``params``, ``state`` and ``history``, which holds for each epoch of this run a dict of
        ``epoch``, ``loss`` and, with validation data, ``val_loss`` and ``val_accuracy``.

    Raises
    ------
    ValueError
        Arguments that are not as above, before the first epoch; x not finite, when it is met.
    DivergenceError
        A loss or parameter that is not finite.

    Examples
    --------
    >>> from purenet import Config, init
    >>> x, y = np.eye(4), np.array([0, 1, 0, 1])
    >>> result = train(init([4, 8, 2]), (x, y), Config(epochs=50), validation=(x, y))
    >>> result.history[-1]["val_accuracy"]
    1.0
    """
    if validation is not None:
        _checks.data(params, validation)
    records = epochs(params, data, cfg, state=state)
    velocity, done = _start(params, state, cfg)
    trained, ended = copy(params), State(copy(velocity), done)
    history = []
    for epoch, loss, trained, ended in records:  # noqa: B007
        figures: dict[str, float] = {"epoch": epoch, "loss": loss}
        if validation is not None:
            figures["val_loss"], figures["val_accuracy"] = evaluate(trained, validation, cfg)
        history.append(figures)
    return TrainResult(trained, ended, history)


def _start(params: Params, state: State | None, cfg: Config) -> State:
    """Return the state that a run starts from, refusing what does not fit."""
    velocity, done = state if state is not None else (init_velocity(params), 0)
    _checks.matching(params, velocity=velocity)
    done = _checks.integer("state.epochs", done, least=0)
    if done > cfg.epochs:
        raise ValueError(f"cfg.epochs is the total: must be >= {done}, got {cfg.epochs}")
    for title, one in (("params", params), ("velocity", velocity)):
        if not _all_finite(one):
            raise ValueError(f"{title} must be finite, got NaN or infinity")
    return State(velocity, done)


def _all_finite(params: Params) -> bool:
    return all(
        bool(array_namespace(p).all(array_namespace(p).isfinite(p))) for p in params.values()
    )
