"""Training: a fold of `backward` and `momentum_step` over batches, with a record of each epoch."""

import math
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from purenet import _checks
from purenet._checks import Data, Params
from purenet.config import Config
from purenet.engines import CHUNK, Engine, batches
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
    steps : int
        Steps done in the epoch under way, 0 between epochs; a step is one batch.
    loss : float
        Sum of the losses of these steps, each times the size of its batch.
    """

    velocity: Params
    epochs: int
    steps: int = 0
    loss: float = 0.0


class Epoch(NamedTuple):
    """What came of one epoch, or of its steps so far if ``state.steps`` is not 0.

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
    name : str
        The first parameter that the step left with NaN or infinity; ``"the loss"``, if it is the
        loss of the batch that is not finite, of parameters that still are.
    params : dict of array
        The parameters before that step, all finite.
    state : State
        The state that belongs to `params`.
    """

    def __init__(self, epoch: int, step: int, name: str, params: Params, state: State) -> None:
        self.epoch, self.step, self.name = epoch, step, name
        self.params, self.state = params, state

    def __repr__(self) -> str:
        """Leave out the arrays."""
        return f"DivergenceError({str(self)!r})"

    def __str__(self) -> str:
        """Say where, and what may help."""
        return (
            f"training stopped being finite in epoch {self.epoch}, step {self.step}: {self.name} "
            "has NaN or infinity; a smaller learning rate or input scale may help"
        )


def epochs(
    params: Params,
    data: Data,
    cfg: Config,
    *,
    state: State | None = None,
    steps: int | None = None,
) -> Iterator[Epoch]:
    """Train, and yield a record after each epoch, so that stopping early is ``break``.

    Each batch takes J, g = `backward` and then `momentum_step`. Epoch e, counted from 0, visits the
    examples in the order ``Generator(PCG64([cfg.seed, e])).permutation(n)``; the last batch may be
    smaller, and a batch of all examples takes them as they lie. NumPy arrays are trained in buffers
    of the run's own, others by the pure functions: PyTorch's under ``torch.no_grad()``, if they
    require gradients.

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
    steps : int, optional
        Yield a record after each so many steps inside an epoch too.

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
        A loss or parameter that is not finite; it holds what came before.

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
    records = _records(params, data, cfg, state, steps)
    next(records)  # checks the arguments
    return records


def _records(
    params: Params, data: Data, cfg: Config, state: State | None, steps: int | None
) -> Iterator[Epoch]:
    """Yield where training starts, and then what `epochs` yields."""
    x, y = _checks.data(params, data)
    n = x.shape[0]
    size = cfg.batch_size or n
    state = _start(params, state, cfg, math.ceil(n / size))
    rows_at_once = n if steps is None else size * _checks.integer("steps", steps, least=1)
    make = partial(_engine(params["W1"]), x=x, y=y, cfg=cfg)
    engine: Engine = make(params, state.velocity)
    params, velocity = engine.snapshot()
    state = state._replace(velocity=velocity)
    yield Epoch(state.epochs, math.nan, params, state)
    for e in range(state.epochs, cfg.epochs):
        order = _order(cfg.seed, e, n) if cfg.shuffle and size < n else range(n)
        while state.epochs == e:
            start = state.steps * size
            rows = order[start : start + rows_at_once]
            losses = engine.run(rows)
            total = state.loss
            for loss, batch in zip(losses, batches(rows, size), strict=False):
                total += loss * len(batch)  # in one order, wherever the run was cut
            ended, velocity = engine.snapshot()
            wrong = _not_finite(total, ended)
            if wrong:
                for first in range(0, n, CHUNK):  # data that is not finite is not divergence
                    _checks.examples(params, x[first : min(first + CHUNK, n), ...])
                seen = DivergenceError(e + 1, state.steps + len(losses), wrong, params, state)
                raise _located(seen, make(params, state.velocity), batches(rows, size))
            params, done = ended, start + len(rows)
            if done < n:
                state = State(velocity, e, state.steps + len(losses), total)
            else:
                state = State(velocity, e + 1)
            yield Epoch(e + 1, total / done, params, state)


def _engine(like: Any) -> Any:
    """Return the class of the engine for arrays like this one."""
    if not is_numpy_array(like):
        return PureEngine
    if like.dtype in (np.float32, np.float64):
        with suppress(ImportError):  # without the extra
            from purenet.engines.compiled import CompiledEngine  # noqa: PLC0415  # slow to import

            return CompiledEngine
    return NumpyEngine


def _located(error: DivergenceError, engine: Engine, rows: Iterator[Any]) -> DivergenceError:
    """Return an error of the very step that a slice diverged at, by taking its steps one by one.

    The engine starts at the error's state. Training looks at parameters once a slice, as this needs
    a copy of them; the same steps give the same bits.
    """
    params, state = error.params, error.state
    for batch in rows:
        (loss,) = engine.run(batch)
        total = state.loss + loss * len(batch)
        ended, velocity = engine.snapshot()
        wrong = _not_finite(total, ended)
        if wrong:
            return DivergenceError(error.epoch, state.steps + 1, wrong, params, state)
        params, state = ended, State(velocity, state.epochs, state.steps + 1, total)
    return error


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
    records = _records(params, data, cfg, state, steps=None)
    _, _, trained, ended = next(records)
    history = []
    for epoch, loss, trained, ended in records:  # noqa: B007
        figures: dict[str, float] = {"epoch": epoch, "loss": loss}
        if validation is not None:
            figures["val_loss"], figures["val_accuracy"] = evaluate(trained, validation, cfg)
        history.append(figures)
    return TrainResult(trained, ended, history)


def _start(params: Params, state: State | None, cfg: Config, steps: int) -> State:
    """Return the state that a run starts from, refusing what does not fit."""
    given: Any = (init_velocity(params), 0) if state is None else state
    if not (isinstance(given, tuple) and 2 <= len(given) <= 4 and isinstance(given[0], dict)):
        raise ValueError(f"state must be a State, or None, got {type(given).__name__}")
    state = _fitting(params, State(*given))
    velocity, done, step, _ = state
    if step >= steps:
        raise ValueError(f"state.steps must be < {steps}, the steps of an epoch, got {step}")
    least = done + (step > 0)
    if least > cfg.epochs:
        raise ValueError(f"cfg.epochs is the total: must be >= {least}, got {cfg.epochs}")
    for title, one in (("params", params), ("velocity", velocity)):
        name = _not_finite(0.0, one)
        if name:
            raise ValueError(f"{title} must be finite, got NaN or infinity in {name}")
    return state


def _fitting(params: Params, state: State) -> State:
    """Return a state as Python numbers, refusing one that cannot belong to the parameters."""
    _checks.matching(params, velocity=state.velocity)
    return State(
        state.velocity,
        _checks.integer("state.epochs", state.epochs, least=0),
        _checks.integer("state.steps", state.steps, least=0),
        _checks.number("state.loss", state.loss),
    )


def _not_finite(loss: float, params: Params) -> str | None:
    """Return the name of the first parameter with NaN or infinity, or else of such a loss."""
    for name, p in params.items():
        xp = array_namespace(p)
        if not bool(xp.all(xp.isfinite(p))):
            return name
    return None if math.isfinite(loss) else "the loss"
