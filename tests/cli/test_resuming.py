"""Claims about resuming: any mixture of stops, branches and changes gives the uninterrupted run."""

from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from purenet import Config, TrainResult, backward, epochs, init_velocity, momentum_step, train
from purenet.training import epoch_order
from tests.support.problems import problem

Params = dict[str, Any]
Data = tuple[Any, Any]

# Rounding moves the gradient of a step by less than 100 eps, and so the parameters by less than
# 0.3 · 100 eps, since η ≤ 0.3. Parameters, which are below 4, and their updates are rounded too: a
# step adds less than 40 eps. There are at most 80 steps: 8 rules of 2 epochs of 5 examples. Later
# steps increase an error less than 128-fold: that is the largest sum of a row of the Jacobian of 80
# steps, by automatic differentiation. Both runs have errors, hence the factor 2. Errors of the
# velocity are no larger. The absolute values of a gradient, which sum to less than 40, carry errors
# of parameters to the loss.
TOLERANCE = 40 * 80 * 128 * 2 * float(np.finfo(np.float64).eps)
LOSS_TOLERANCE = 40 * TOLERANCE


class Fold(NamedTuple):
    """The result of `backward` and `momentum_step` on the batches of all epochs so far."""

    params: Params
    velocity: Params
    losses: list[float]

    def next(self, data: Data, cfg: Config) -> "Fold":
        """Return the result after one more epoch."""
        p, v, losses = self
        x, y = data
        n, size = len(x), cfg.batch_size or len(x)
        order = epoch_order(cfg.seed, len(losses), n)
        total = 0.0
        for batch in (order[i : i + size] for i in range(0, n, size)):
            loss, g = backward(p, x[batch], y[batch], l2=cfg.l2)
            p, v = momentum_step(p, v, g, learning_rate=cfg.learning_rate, momentum=cfg.momentum)
            total += float(loss) * len(batch)
        return Fold(p, v, [*losses, total / n])


@dataclass(frozen=True)
class Run:
    """The result of a run so far, its settings, its result when they last changed, and the fold."""

    result: TrainResult
    cfg: Config
    origin: TrainResult
    fold: Fold


def bits(result: TrainResult) -> list[bytes]:
    """Return every bit of parameters and velocity."""
    return [
        array.tobytes()
        for part in (result.params, result.state.velocity)
        for array in part.values()
    ]


class Resuming(RuleBasedStateMachine):
    """Resume any run so far, any number of times, to make other runs."""

    runs = Bundle("runs")

    @initialize(
        target=runs,
        n=st.integers(1, 5),
        seed=st.integers(0, 99),
        batch_size=st.integers(1, 5),
        momentum=st.sampled_from([0.0, 0.9]),
    )
    def start(self, n: int, seed: int, batch_size: int, momentum: float) -> Run:
        """Draw a network and its data, and train for no epoch."""
        params, *data = problem(3, 4, 2, n=n, seed=seed)
        self.data: Data = (data[0], data[1])
        cfg = Config(
            learning_rate=0.1,
            batch_size=batch_size,
            momentum=momentum,
            l2=0.01,
            seed=seed,
            epochs=0,
        )
        result = train(params, self.data, cfg)
        self.seen = [(result, bits(result))]
        return Run(result, cfg, result, Fold(params, init_velocity(params), []))

    @rule(target=runs, run=runs, more=st.integers(0, 2))
    def resume(self, run: Run, more: int) -> Run:
        """Train for some more epochs."""
        before = run.result
        least = int(before.state.steps > 0)  # a part of an epoch is completed
        cfg = replace(run.cfg, epochs=before.state.epochs + max(more, least))
        result = train(before.params, self.data, cfg, state=before.state)
        return self.checked(run, result._replace(history=before.history + result.history))

    @rule(target=runs, run=runs, taken=st.integers(1, 2), steps=st.none() | st.integers(1, 3))
    def stop(self, run: Run, taken: int, steps: int | None) -> Any:
        """Stop after some records, also inside an epoch, and add the run at each of them."""
        params, state, history = run.result
        cfg = replace(run.cfg, epochs=1000)
        stopped = []
        for record in islice(
            epochs(params, self.data, cfg, state=state, record_every=steps), taken
        ):
            if record.state.steps:  # compared after the epoch
                run = replace(run, result=TrainResult(record.params, record.state, history))
            else:
                history = [*history, {"epoch": record.epoch, "loss": record.loss}]
                run = self.checked(run, TrainResult(record.params, record.state, history))
            stopped.append(run)
        return multiple(*stopped)

    @rule(
        target=runs,
        run=runs,
        change=st.fixed_dictionaries({"batch_size": st.none() | st.integers(1, 6)})
        | st.fixed_dictionaries({"learning_rate": st.sampled_from([0.05, 0.1, 0.3])}),
    )
    def change(self, run: Run, change: dict[str, Any]) -> Run:
        """Change the batch size or the learning rate of later epochs."""
        if run.result.state.steps:
            return run
        return replace(run, cfg=replace(run.cfg, **change), origin=run.result)

    def checked(self, before: Run, result: TrainResult) -> Run:
        """Compare the result of a run with the fold, and with a run that did not stop."""
        fold = before.fold
        while len(fold.losses) < result.state.epochs:
            fold = fold.next(self.data, before.cfg)
        assert [row["epoch"] for row in result.history] == list(range(1, len(fold.losses) + 1))
        losses = [row["loss"] for row in result.history]
        np.testing.assert_allclose(losses, fold.losses, rtol=0, atol=LOSS_TOLERANCE)
        for name, p in fold.params.items():
            v, velocity = fold.velocity[name], result.state.velocity[name]
            np.testing.assert_allclose(result.params[name], p, rtol=0, atol=TOLERANCE)
            np.testing.assert_allclose(velocity, v, rtol=0, atol=TOLERANCE)

        params, state, history = before.origin
        cfg = replace(before.cfg, epochs=result.state.epochs)
        whole = train(params, self.data, cfg, state=state)
        assert bits(whole) == bits(result)
        assert history + whole.history == result.history

        self.seen.append((result, bits(result)))
        return replace(before, result=result, fold=fold)

    @invariant()
    def earlier_results_do_not_change(self) -> None:
        """No training writes to the results of an earlier one."""
        for result, then in getattr(self, "seen", []):
            assert bits(result) == then


Resuming.TestCase.settings = settings(stateful_step_count=8)
TestResuming = Resuming.TestCase
