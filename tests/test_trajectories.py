"""Claims about ten steps of training: exact arithmetic and other libraries take the same steps.

Each library has the settings of `docs/conventions.md`. A library that is not installed is not
tested.
"""

from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from purenet import Config, State, backward, epochs, train
from purenet.testing import oracles
from purenet.training import epoch_order
from tests.support.optimisers import OPTIMISERS, follow_torch
from tests.support.problems import Problem, problem

# 9 examples make five batches, the last of one example: two epochs are ten steps.
MINI = Config(learning_rate=0.3, momentum=0.9, l2=0.1, batch_size=2, epochs=2, seed=1)
RUNS = {
    "mini-batch": MINI,
    "full-batch": replace(MINI, batch_size=None, epochs=10),
    "no-momentum": replace(MINI, momentum=0.0, learning_rate=0.1),
}
SEEDS = range(3)

# The tolerance of parameters, in units of eps. Rounding moves the gradient of a step by less than
# 80 eps (`backward_bound` on these batches), and so the parameters by less than 0.3 · 80 eps, since
# η ≤ 0.3. Parameters, which are below 2, and their updates are rounded too: a step adds less than
# 32 eps. There are 10 steps. Later steps increase an error less than fourfold: that is the largest
# sum of a row of the Jacobian of ten steps, by automatic differentiation. Both trajectories have
# errors, hence the factor 2. No |z| is below 0.004 on the way, so that no ReLU switches.
TOLERANCE = 32 * 10 * 4 * 2
# The absolute values of a gradient sum to less than 20, and a loss is rounded by less than 64 eps.
LOSS_TOLERANCE = 20 * TOLERANCE + 64
# The velocity is (p_9 - p_10) / η with η ≥ 0.1.
VELOCITY_TOLERANCE = 2 * TOLERANCE / 0.1


def start(seed: int, dtype: Any = np.float64) -> Problem:
    """Draw a network of 5, 4 and 3 units, and 9 examples."""
    return problem(5, 4, 3, n=9, seed=seed, dtype=dtype)


def assert_near(got: Any, expected: Any, multiple: float, dtype: Any = np.float64) -> None:
    """Refuse numbers that differ by more than a multiple of eps."""
    atol = multiple * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(got, np.asarray(expected, float), rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("run", RUNS)
def test_ten_steps_agree_with_exact_arithmetic(run: str, seed: int, dtype: Any) -> None:
    """Parameters, velocity and history are those of the same ten steps with 60 digits."""
    cfg = RUNS[run]
    params, x, y = start(seed, dtype)
    exact_params, exact_velocity, exact_losses = oracles.train(params, (x, y), **asdict(cfg))
    result = train(params, (x, y), cfg)
    assert_near([row["loss"] for row in result.history], exact_losses, LOSS_TOLERANCE, dtype)
    for name in params:
        assert_near(result.params[name], exact_params[name], TOLERANCE, dtype)
        velocity = result.state.velocity[name]
        assert_near(velocity, exact_velocity[name], VELOCITY_TOLERANCE, dtype)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_ten_steps_agree_with_another_library(optimiser: str, run: str, seed: int) -> None:
    """The optimiser and the gradients of another library give the same parameters and losses."""
    cfg = RUNS[run]
    params, x, y = start(seed)
    n, size = len(x), cfg.batch_size or len(x)
    orders = [epoch_order(cfg.seed, e, n) for e in range(10)]
    rows = [order[i : i + size] for order in orders for i in range(0, n, size)][:10]
    steps = list(OPTIMISERS[optimiser](params, [(x[batch], y[batch]) for batch in rows], cfg))
    per_epoch = 10 // cfg.epochs
    for e, record in enumerate(epochs(params, (x, y), cfg)):
        batches = slice(e * per_epoch, (e + 1) * per_epoch)
        losses = [step.loss * len(batch) for step, batch in zip(steps, rows, strict=True)]
        assert_near(record.loss, sum(losses[batches]) / n, LOSS_TOLERANCE)
        for name in params:
            assert_near(record.params[name], steps[batches][-1].params[name], TOLERANCE)


if find_spec("sklearn"):

    @pytest.mark.parametrize("seed", SEEDS)
    def test_ten_steps_agree_with_scikit_learn(seed: int) -> None:
        """`MLPClassifier` with alpha = l2 · batch_size and learning rate η(1 - β) agrees."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        # It divides alpha by the size of the batch, which must be the same for all batches.
        cfg = replace(MINI, shuffle=False, batch_size=4, epochs=5)
        params, x, y = start(seed)
        x, y = x[:8], y[:8]
        y[:3] = 0, 1, 2  # with two classes it would have a single output
        theirs = MLPClassifier(
            hidden_layer_sizes=(4,),
            solver="sgd",
            learning_rate_init=cfg.learning_rate * (1 - cfg.momentum),
            momentum=cfg.momentum,
            nesterovs_momentum=False,
            alpha=cfg.l2 * 4,
            batch_size=4,
            shuffle=False,
            max_iter=cfg.epochs,
            warm_start=True,
        )
        theirs.partial_fit(x, y, classes=[0, 1, 2])  # makes the arrays that are replaced below
        theirs.coefs_ = [params["W1"].copy(), params["W2"].copy()]
        theirs.intercepts_ = [params["b1"].copy(), params["b2"].copy()]
        with pytest.warns(ConvergenceWarning):  # it finds five epochs too few
            theirs.fit(x, y)
        ours = train(params, (x, y), cfg)
        losses = [row["loss"] for row in ours.history]
        assert_near(losses, theirs.loss_curve_[-cfg.epochs :], LOSS_TOLERANCE)
        for k in (1, 2):
            assert_near(ours.params[f"W{k}"], theirs.coefs_[k - 1], TOLERANCE)
            assert_near(ours.params[f"b{k}"], theirs.intercepts_[k - 1], TOLERANCE)


if find_spec("torch"):

    @pytest.mark.parametrize("seed", SEEDS)
    def test_torch_with_dampening_starts_from_the_first_gradient(seed: int) -> None:
        """`SGD` with lr = η and dampening = β is training from the first gradient as velocity."""
        cfg = RUNS["full-batch"]
        params, x, y = start(seed)
        _, g = backward(params, x, y, l2=cfg.l2)
        lr, dampening = cfg.learning_rate, cfg.momentum
        steps = follow_torch(lr, dampening, params, [(x, y)] * cfg.epochs, cfg)
        for record, step in zip(epochs(params, (x, y), cfg, state=State(g, 0)), steps, strict=True):
            for name in params:
                assert_near(record.params[name], step.params[name], TOLERANCE)
