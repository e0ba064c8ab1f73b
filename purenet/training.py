"""Training: `backward` and `momentum_step` on each batch, and a record after each epoch."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device, is_jax_array, is_numpy_array

from purenet.config import Config
from purenet.engines import CHUNK, Engine, as_input, cut
from purenet.engines.inplace import InplaceEngine
from purenet.engines.mpi import MpiEngine, begin_together
from purenet.engines.reference import ReferenceEngine
from purenet.evaluation import evaluate
from purenet.optim import init_velocity
from purenet.params import (
    A,
    Array,
    Data,
    check_data,
    check_examples,
    check_finite,
    check_integer,
    check_matching,
    check_number,
    fingerprint,
    first_not_finite,
    sizes,
)

__all__ = [
    "DivergenceError",
    "Epoch",
    "State",
    "TrainResult",
    "epoch_order",
    "epochs",
    "train",
]


# Training warns of a first loss above FAR times log(classes), the loss of equal probabilities, and
# of integer inputs of which the largest is below SMALL once it is scaled.
FAR = 4
SMALL = 0.1

logger = logging.getLogger(__name__)


class State(NamedTuple):
    """Hold what a run needs, besides its parameters, to continue.

    Parameters
    ----------
    velocity : dict of array
        The moving average of gradients, in arrays of the shapes of the parameters.
    epochs : int
        Epochs done.
    steps : int
        Steps done in the current epoch, 0 between epochs. A step is one batch.
    loss_sum : float
        Sum, over the steps of the current epoch, of the loss times the size of the batch.
    """

    velocity: dict[str, Any]
    epochs: int
    steps: int = 0
    loss_sum: float = 0.0


class Epoch(NamedTuple):
    """Record an epoch, or the part done so far if ``state.steps`` > 0.

    The run reads these arrays again: do not write to them.

    Parameters
    ----------
    epoch : int
        Number of the epoch, from 1.
    loss : float
        Mean of the losses of its batches, weighted by their sizes. Each loss is computed before
        its update.
    params : dict of array
        Parameters after the last of these steps.
    state : State
        What a later run needs to continue from here.
    """

    epoch: int
    loss: float
    params: dict[str, Any]
    state: State


class TrainResult(NamedTuple):
    """Hold the result of training.

    Parameters
    ----------
    params : dict of array
        Trained parameters.
    state : State
        What a later run needs to continue from here.
    history : list of dict
        For each epoch ``epoch``, ``loss`` and, with validation data, ``val_loss`` and
        ``val_accuracy``.
    """

    params: dict[str, Any]
    state: State
    history: list[dict[str, float]]


class DivergenceError(ArithmeticError):
    """Raised when a loss or a parameter stops being finite.

    Parameters
    ----------
    epoch, step : int
        The step that led to the number that is not finite, counted from 1. A step is one batch.
    name : str
        The first parameter that holds NaN or infinity after the step, or ``"the loss"`` if all
        parameters are finite and the loss of the batch is not.
    params : dict of array
        The parameters before that step, all finite.
    state : State
        The state that belongs to `params`.
    """

    def __init__(
        self, epoch: int, step: int, name: str, params: dict[str, Any], state: State
    ) -> None:
        self.epoch, self.step, self.name = epoch, step, name
        self.params, self.state = params, state

    def __repr__(self) -> str:
        """Return a short form without the arrays."""
        return f"DivergenceError({str(self)!r})"

    def __str__(self) -> str:
        """Return the place and a remedy."""
        return (
            f"training stopped being finite in epoch {self.epoch}, step {self.step}: {self.name} "
            "has NaN or infinity; a smaller learning rate or input scale may help"
        )


def epoch_order(seed: int, epoch: int, n: int) -> Any:
    """Return the order in which an epoch visits the examples.

    Epoch e takes the e-th stream that is spawned from the seed. Spawned streams do not repeat those
    of other epochs, of other seeds or of `init`. ``PCG64([seed, e])`` would not do: for e = 0 it
    equals ``PCG64(seed)``, the stream of `init`.

    Parameters
    ----------
    seed : int
        ``cfg.seed``.
    epoch : int
        Number of the epoch, from 0.
    n : int
        Number of examples.

    Returns
    -------
    numpy.ndarray, shape (n,)
        A permutation of 0, ..., n - 1.

    Examples
    --------
    >>> epoch_order(0, 0, 5)
    array([0, 3, 2, 1, 4])
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(epoch,))
    return np.random.Generator(np.random.PCG64(sequence)).permutation(n)


def epochs(
    params: dict[str, A],
    data: Data,
    cfg: Config,
    *,
    state: State | None = None,
    record_every: int | None = None,
    comm: Any = None,
) -> Iterator[Epoch]:
    """Train, and yield a record after each epoch. To stop early, leave the loop.

    Each batch runs `backward`, then `momentum_step`. With ``cfg.shuffle``, epoch e,
    counted from 0, visits the examples in the order
    ``Generator(PCG64(SeedSequence(cfg.seed, spawn_key=(e,)))).permutation(n)``. The last batch of
    an epoch may be smaller. A batch of all examples takes them in the order of the data.

    NumPy arrays are trained in buffers that are made once, arrays of JAX by a compiled loop on
    their devices, and other arrays by the pure functions. Parameters of JAX also take data in NumPy
    arrays, which are sent in slices. PyTorch parameters that require gradients need
    ``torch.no_grad()`` around the loop.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL: where training starts. They are not written.
    data : (array, array)
        x of shape (n, features), floating-point or integer, in memory or memory-mapped. It is read
        in slices, never copied as a whole. y of shape (n,), integer labels.
    cfg : Config
        Hyperparameters. ``cfg.epochs`` is the total, epochs of earlier runs included.
    state : State, optional
        The state that came with `params` from an earlier run. On the same machine, with the same
        libraries and processors, the resumed run gives the bits of an uninterrupted one.
    record_every : int, optional
        Also yield a record after every `record_every` steps of an epoch.
    comm : mpi4py.MPI.Intracomm, optional
        Processes that train together, each on its part of every batch (extra ``mpi``). All make
        this call with the same NumPy arrays and get the same records. Their number divides
        ``cfg.shards``.

    Returns
    -------
    iterator of Epoch
        One record for each epoch, and those inside epochs.

    Raises
    ------
    ValueError
        Arguments that are not as described above, before the first epoch; x that is not finite,
        when it is met.
    DivergenceError
        A loss or parameter that is not finite. The error holds parameters and state from before
        that step.

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
    if record_every is not None:
        record_every = check_integer("record_every", record_every, least=1)
    return _Run(params, data, cfg, state, comm, None).records(record_every)


class _Run:
    """A training run: its arguments, checked, and its engine."""

    def __init__(
        self,
        params: dict[str, Any],
        data: Data,
        cfg: Config,
        state: State | None,
        comm: Any,
        validation: Data | None,
    ) -> None:
        self.cfg, self.comm = cfg, comm
        if comm is not None and not hasattr(comm, "Iallgather"):
            raise ValueError(f"comm must be a communicator of mpi4py, got {comm!r}")

        def check() -> None:
            self.x, self.y = check_data(params, data)
            if validation is not None:
                check_data(params, validation)
            self.n = self.x.shape[0]
            self.size = cfg.batch_size or self.n
            self.state = _starting_state(params, state, cfg, steps=math.ceil(self.n / self.size))

        def check_and_describe() -> dict[str, Any]:
            check()
            return self._describe(params, validation or ())

        if comm is None:
            check()
        else:
            begin_together(comm, check_and_describe)
        started = self.state
        self.engine = self._engine(params, started.velocity)
        self.params, velocity = self.engine.snapshot()
        self.state = started._replace(velocity=velocity)
        if started.epochs == started.steps == 0 < cfg.epochs:
            self._warn_of_scale()

    def records(self, record_every: int | None = None) -> Iterator[Epoch]:
        """Train, and yield what `epochs` yields."""
        rows_at_once = self.n if record_every is None else self.size * record_every
        for e in range(self.state.epochs, self.cfg.epochs):
            shuffled = self.cfg.shuffle and self.size < self.n
            order = epoch_order(self.cfg.seed, e, self.n) if shuffled else range(self.n)
            while self.state.epochs == e:
                start = self.state.steps * self.size
                rows = order[start : start + rows_at_once]
                yield self._train(rows, last=start + len(rows) == self.n)

    def _warn_of_scale(self) -> None:
        """Log a warning if the first examples are on a scale on which training goes badly."""
        xp, scale = array_namespace(self.x), self.cfg.input_scale
        first = min(CHUNK, self.n)
        x, y = self.x[:first, ...], self.y[:first]
        with np.errstate(all="ignore"):  # an overflow shows in the loss
            first_loss = evaluate(self.params, (x, y), input_scale=scale).loss
        low, high, classes = float(xp.min(x)), float(xp.max(x)), sizes(self.params)[-1]
        largest, factor, remedy = max(-low, high), "", "x / {:g}"
        if xp.isdtype(x.dtype, "integral"):
            factor = f" and is multiplied by input_scale = {scale:.4g}"
            largest, remedy = largest * scale, "input_scale=1/{:g}"
        if first_loss > FAR * math.log(max(classes, 2)):
            problem = f"the loss begins at {first_loss:.3g}, far above log({classes})"
        elif factor and 0 < largest < SMALL:
            problem = "the inputs are small, and training will be slow"
        else:
            return
        advice = "smaller initial weights may help"
        if not SMALL <= largest <= 1:
            advice = f"{remedy.format(max(-low, high))} would bring it to 1 at most"
        logger.warning("%s: x ranges from %g to %g%s; %s", problem, low, high, factor, advice)

    def _train(self, rows: Any, *, last: bool) -> Epoch:
        """Train on these rows of an epoch, up to its end if they are the last ones."""
        e, steps, loss_sum = self.state[1:]
        losses = self.engine.run(rows)
        for loss, batch in zip(losses, cut(rows, self.size), strict=False):
            loss_sum += loss * len(batch)  # batch by batch, so that a resumed epoch rounds the same
        params, velocity = self.engine.snapshot()
        name = _not_finite(loss_sum, params)
        if name:
            seen = DivergenceError(e + 1, steps + len(losses), name, self.params, self.state)
            raise self._located(seen, rows[: len(losses) * self.size])
        done = steps * self.size + len(rows)
        self.params = params
        self.state = State(velocity, e, steps + len(losses), loss_sum)
        if last:
            self.state = State(velocity, e + 1)
        return Epoch(e + 1, loss_sum / done, params, self.state)

    def _located(self, seen: DivergenceError, rows: Any) -> DivergenceError:
        """Return the error of the very step in these rows that diverged; refuse bad examples.

        Training keeps no copy of the parameters after each step, so the steps are repeated here one
        by one. A repeated step gives the same bits.
        """
        xp = array_namespace(self.x)
        for part in cut(rows, CHUNK):  # x that is not finite is a ValueError
            x = xp.take(self.x, xp.asarray(part, device=device(self.x)), axis=0)
            check_examples(self.params, as_input(self.params, x, self.cfg.input_scale), part)
        params, state = self.params, self.state
        engine = self._engine(params, state.velocity)
        for batch in cut(rows, self.size):
            (loss,) = engine.run(batch)
            loss_sum = state.loss_sum + loss * len(batch)
            after, velocity = engine.snapshot()
            name = _not_finite(loss_sum, after)
            if name:
                return DivergenceError(seen.epoch, state.steps + 1, name, params, state)
            params, state = after, State(velocity, state.epochs, state.steps + 1, loss_sum)
        return seen

    def _describe(self, params: dict[str, Any], validation: Sequence[Array]) -> dict[str, Any]:
        """Describe what all processes must be given alike; refuse what they cannot train."""
        processes = self.comm.Get_size()
        if not is_numpy_array(params["W1"]):
            raise ValueError(
                "training with comm needs NumPy arrays, W1 is a "
                f"{type(params['W1']).__module__.split('.')[0]} array"
            )
        if self.cfg.shards % processes:
            raise ValueError(
                f"{processes} processes need cfg.shards to be a multiple of {processes}, "
                f"got {self.cfg.shards}"
            )
        return {
            **{f"cfg.{name}": value for name, value in asdict(self.cfg).items()},
            "data": fingerprint(self.x, self.y),
            "validation": fingerprint(*validation),
            "params": fingerprint(*params.values()),
            "state": (fingerprint(*self.state.velocity.values()), *self.state[1:]),
        }

    def _engine(self, params: dict[str, Any], velocity: dict[str, Any]) -> Engine:
        if self.comm is not None:
            kind: Any = partial(MpiEngine, comm=self.comm)
        else:
            kind = engine_class(params["W1"], self.cfg.shards)
        engine: Engine = kind(params, velocity, self.x, self.y, self.cfg)
        return engine


def engine_class(like: Array, shards: int = 1) -> Any:
    """Return the fastest engine for arrays like this one."""
    if is_jax_array(like):
        from purenet.engines.jax import JaxEngine  # noqa: PLC0415  # an optional library

        return JaxEngine
    if not is_numpy_array(like):
        return ReferenceEngine
    if like.dtype in (np.float32, np.float64) and shards == 1:
        try:
            from purenet.engines.workers import WorkersEngine  # noqa: PLC0415  # slow to import
        except ModuleNotFoundError:
            pass  # the extra `fast` is not installed
        except ImportError as error:
            logger.warning("the extra `fast` cannot be used: %s", error)
        else:
            return WorkersEngine
    return InplaceEngine


def train(
    params: dict[str, A],
    data: Data,
    cfg: Config,
    *,
    validation: Data | None = None,
    state: State | None = None,
    comm: Any = None,
) -> TrainResult:
    """Train until ``cfg.epochs`` epochs are done, and collect the figures of each epoch.

    Parameters
    ----------
    params : dict of array
        As for `epochs`. They are not written.
    data : (array, array)
        As for `epochs`.
    cfg : Config
        As for `epochs`.
    validation : (array, array), optional
        Data that are evaluated after each epoch, with the l2 and input_scale of `cfg`.
    state : State, optional
        As for `epochs`.
    comm : mpi4py.MPI.Intracomm, optional
        As for `epochs`.

    Returns
    -------
    TrainResult
        ``params``, ``state`` and ``history``.

    Raises
    ------
    ValueError
        Arguments that are not as described above, before the first epoch; x that is not finite,
        when it is met.
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
    run, history = _Run(params, data, cfg, state, comm, validation), []
    for record in run.records():
        figures: dict[str, float] = {"epoch": record.epoch, "loss": record.loss}
        if validation is not None:
            figures["val_loss"], figures["val_accuracy"] = evaluate(
                record.params, validation, l2=cfg.l2, input_scale=cfg.input_scale
            )
        history.append(figures)
    return TrainResult(run.params, run.state, history)


def _starting_state(params: dict[str, A], state: State | None, cfg: Config, *, steps: int) -> State:
    """Return the state that a run starts from, refusing one that does not fit."""
    check_finite("params", params)
    state = check_state(params, State(init_velocity(params), 0) if state is None else state)
    if state.steps >= steps:
        raise ValueError(f"state.steps must be < {steps}, the steps of an epoch, got {state.steps}")
    least = state.epochs + (state.steps > 0)
    if least > cfg.epochs:
        raise ValueError(f"cfg.epochs is the total: must be >= {least}, got {cfg.epochs}")
    return state


def check_state(params: dict[str, A], state: State) -> State:
    """Check that a state fits the parameters; return it with Python numbers."""
    given: Any = state
    if not (isinstance(given, tuple) and 2 <= len(given) <= 4 and isinstance(given[0], dict)):
        raise ValueError(f"state must be a State, or None, got {type(given).__name__}")
    velocity, epochs, steps, loss_sum = State(*given)
    check_matching(params, velocity=velocity)
    check_finite("velocity", velocity)
    return State(
        velocity,
        check_integer("state.epochs", epochs, least=0),
        check_integer("state.steps", steps, least=0),
        check_number("state.loss_sum", loss_sum),
    )


def _not_finite(loss: float, params: dict[str, A]) -> str | None:
    """Return the name of the first parameter that is not finite, or "the loss", or None."""
    return first_not_finite(params) or (None if math.isfinite(loss) else "the loss")
