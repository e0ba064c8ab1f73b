"""Training: the fold over batches, its records, resuming, and what is refused."""

import pickle
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest

from purenet import (
    Config,
    DivergenceError,
    State,
    TrainResult,
    accuracy,
    backward,
    epochs,
    evaluate,
    init_velocity,
    loss,
    momentum_step,
    train,
)
from purenet.engines.reference import ReferenceEngine
from purenet.training import _located
from tests.support.libraries import LIBRARIES, to_numpy
from tests.support.problems import problem, read_only

CFG = Config(learning_rate=0.1, l2=0.01, batch_size=4, epochs=3, seed=5)


def same_bits(*dictionaries: dict[str, Any]) -> bool:
    """Tell whether dictionaries of arrays are equal in keys, order, dtypes and every bit."""
    first, *others = ([(k, p.dtype, p.tobytes()) for k, p in d.items()] for d in dictionaries)
    return all(first == other for other in others)


def test_train_is_the_fold_of_the_pure_functions() -> None:
    """Training is backward and momentum_step, batch by batch, in the order that the seed gives."""
    params, x, y = problem(6, 5, 3, n=10)
    p, v = params, init_velocity(params)
    history = []
    for e in range(3):
        order = np.random.Generator(np.random.PCG64([5, e])).permutation(10)
        total = 0.0
        for batch in (order[:4], order[4:8], order[8:]):
            value, g = backward(p, x[batch], y[batch], l2=0.01)
            p, v = momentum_step(p, v, g, learning_rate=0.1, momentum=0.9)
            total += value * len(batch)
        history.append(total / 10)
    result = train(params, (x, y), CFG)
    tolerance = 1000 * np.finfo(float).eps  # 9 updates, sums of up to 10 terms of order 1
    np.testing.assert_allclose([row["loss"] for row in result.history], history, rtol=tolerance)
    for name in params:
        np.testing.assert_allclose(result.params[name], p[name], rtol=0, atol=tolerance)
        np.testing.assert_allclose(result.state.velocity[name], v[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize("library", LIBRARIES)
def test_train_agrees_in_every_array_library(library: str) -> None:
    """Arrays of any library train, on integer and on floating-point data, to the same numbers."""
    params, x, y = problem(6, 5, 3, n=10)
    asarray = LIBRARIES[library]
    in_library = {name: asarray(p.copy()) for name, p in params.items()}
    for data in (x, (np.abs(x) * 100).astype(np.uint8)):
        pair = asarray(data.copy()), asarray(y.copy())
        expected = train(params, (data, y), CFG, validation=(data, y))
        got = train(in_library, pair, CFG, validation=pair)
        assert type(got.params["W1"]) is type(in_library["W1"])
        for ours, theirs in zip(expected.history, got.history, strict=True):
            np.testing.assert_allclose(list(theirs.values()), list(ours.values()), rtol=1e-12)
        for name, p in expected.params.items():
            np.testing.assert_allclose(to_numpy(got.params[name]), p, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_resumed_run_is_the_uninterrupted_run_in_every_bit(batch_size: int, dtype: Any) -> None:
    """Three epochs and four more are seven: parameters, velocity and history."""
    params, x, y = problem(6, 5, 3, n=10, dtype=dtype)
    cfg = replace(CFG, batch_size=batch_size, epochs=7)
    whole = train(params, (x, y), cfg, validation=(x, y))
    first = train(params, (x, y), replace(cfg, epochs=3), validation=(x, y))
    rest = train(first.params, (x, y), cfg, validation=(x, y), state=first.state)
    assert same_bits(whole.params, rest.params)
    assert same_bits(whole.state.velocity, rest.state.velocity)
    assert whole.history == first.history + rest.history
    assert rest.state.epochs == 7


def test_train_is_pure() -> None:
    """Arguments are not written, equal calls give equal bits, and results are the caller's own."""
    params, x, y = read_only(problem(6, 5, 3, n=10))
    state = State(read_only(problem(6, 5, 3, seed=1)).params, 1)
    results = [train(params, (x, y), CFG, state=state) for _ in range(2)]
    results += [train(params, (x, y), replace(CFG, epochs=1), state=state) for _ in range(2)]
    assert same_bits(results[0].params, results[1].params)
    assert same_bits(results[2].params, params)
    for result in results:
        for name in params:
            result.params[name][...] += 1
            result.state.velocity[name][...] += 1
    assert same_bits(results[2].params, results[3].params)


def test_history_has_a_row_for_each_epoch() -> None:
    """A row names its epoch and loss and, with validation data, the figures of `evaluate`."""
    params, x, y = problem(6, 5, 3, n=10)
    records = list(epochs(params, (x, y), CFG))
    rows = [{"epoch": record.epoch, "loss": record.loss} for record in records]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert train(params, (x, y), CFG).history == rows
    for record, row in zip(records, rows, strict=True):
        row["val_loss"], row["val_accuracy"] = evaluate(
            record.params, (x, y), l2=CFG.l2, input_scale=CFG.input_scale
        )
    assert train(params, (x, y), CFG, validation=(x, y)).history == rows


def test_training_without_epochs_returns_where_it_started() -> None:
    """Zero epochs give the parameters, a velocity of zeros or the one given, and the count."""
    params, x, y = problem(6, 5, 3, n=10)
    velocity = problem(6, 5, 3, seed=1).params
    for state, expected in ((None, State(init_velocity(params), 0)), (State(velocity, 2),) * 2):
        result = train(params, (x, y), replace(CFG, epochs=expected.epochs), state=state)
        assert same_bits(result.params, params)
        assert same_bits(result.state.velocity, expected.velocity)
        assert result.state.epochs == expected.epochs
        assert result.history == []


def test_epochs_can_be_stopped_and_resumed_from_any_record() -> None:
    """A record holds all that the rest of the run needs."""
    params, x, y = problem(6, 5, 3, n=10)
    whole = train(params, (x, y), CFG)
    for record in epochs(params, (x, y), CFG):
        rest = train(record.params, (x, y), CFG, state=record.state)
        assert same_bits(rest.params, whole.params)
        assert record.state.epochs == record.epoch


def test_epochs_differ_in_order_unless_told() -> None:
    """With a learning rate of 0 the batches of two epochs differ; unshuffled, they do not."""
    params, x, y = problem(6, 5, 3, n=10)
    still = replace(CFG, learning_rate=0, epochs=2)
    for shuffle in (True, False):
        velocities = [
            r.state.velocity
            for r in epochs(params, (x, y), replace(still, momentum=0, shuffle=shuffle))
        ]
        assert same_bits(*velocities) is not shuffle


def test_memory_mapped_pixels_train_like_those_in_memory(tmp_path: Path) -> None:
    """A read-only map of integers gives the bits that the array gives."""
    params, x, y = problem(6, 5, 3, n=10, dtype=np.float32)
    pixels = (np.abs(x) * 100).astype(np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for shuffle in (True, False):
        cfg = replace(CFG, shuffle=shuffle)
        results = [train(params, (data, y), cfg) for data in (pixels, mapped)]
        assert same_bits(*(result.params for result in results))


def test_integers_are_scaled_and_floats_are_not() -> None:
    """Pixels times input_scale train as the same numbers given as floats."""
    params, x, y = problem(6, 5, 3, n=10)
    pixels = (np.abs(x) * 100).astype(np.uint8)
    cfg = replace(CFG, input_scale=0.25)
    results = [train(params, (data, y), cfg) for data in (pixels, pixels * 0.25)]
    assert same_bits(*(result.params for result in results))


def test_evaluate_is_loss_and_accuracy() -> None:
    """In chunks and on pixels, the figures are those of the pure functions on all examples."""
    params, x, y = problem(6, 5, 3, n=3000)
    pixels = (np.abs(x) * 100).astype(np.uint8)
    got = evaluate(params, (pixels, y), Config(l2=0.1, input_scale=0.01))
    x = pixels * 0.01
    assert got.accuracy == accuracy(params, x, y)
    # a mean of 3,000 numbers of order 1
    assert abs(got.loss - loss(params, x, y, l2=0.1)) < 3000 * np.finfo(float).eps


@pytest.mark.parametrize("library", ["numpy", "jax"])
def test_divergence_is_named_and_gives_back_the_last_finite_state(library: str) -> None:
    """A step far too long ends in an error that holds what came before it."""
    params, x, y = problem(6, 5, 3, n=10)
    asarray = LIBRARIES[library]
    good = train(params, (x, y), replace(CFG, epochs=1))
    diverging = replace(CFG, learning_rate=1e200)
    start = {name: asarray(p) for name, p in good.params.items()}
    state = State({name: asarray(v) for name, v in good.state.velocity.items()}, 1)
    message = (
        "^training stopped being finite in epoch 2, step 2: the loss has NaN or infinity; "
        "a smaller learning rate or input scale may help$"
    )
    with pytest.raises(DivergenceError, match=message) as caught:
        train(start, (asarray(x), asarray(y)), diverging, state=state)
    assert (caught.value.epoch, caught.value.step, caught.value.name) == (2, 2, "the loss")
    # what one step, and no epoch, of that run gives
    records = epochs(start, (asarray(x), asarray(y)), diverging, state=state, record_every=1)
    before = next(records)
    for got, expected in (
        (caught.value.params, before.params),
        (caught.value.state.velocity, before.state.velocity),
    ):
        assert same_bits(*({k: to_numpy(p) for k, p in one.items()} for one in (got, expected)))
    assert caught.value.state[1:] == before.state[1:] == (1, 1, before.loss * 4)


def test_divergence_in_the_last_update_is_seen() -> None:
    """Parameters that are not finite are an error though every loss before was finite."""
    params, x, y = problem(6, 3, n=10)
    cfg = Config(learning_rate=1e308, batch_size=None, epochs=1, l2=1e10)
    with pytest.raises(DivergenceError, match="in epoch 1, step 1: W1 has"):
        train(params, (x, y), cfg)


def test_divergence_of_a_bias_alone_is_seen() -> None:
    """Every parameter is looked at, not the first."""
    params = {"W1": np.zeros((1, 2)), "b1": np.zeros(2)}
    velocity = {"W1": np.zeros((1, 2)), "b1": np.full(2, 1e300)}
    cfg = Config(learning_rate=1e300, batch_size=None, epochs=1, l2=0)
    with pytest.raises(DivergenceError, match="in epoch 1, step 1: b1 has") as caught:
        train(params, (np.zeros((2, 1)), np.array([0, 1])), cfg, state=State(velocity, 0))
    assert same_bits(caught.value.params, params)
    assert same_bits(caught.value.state.velocity, velocity)


@pytest.mark.parametrize("steps", [None, 1, 3])
def test_divergence_that_no_loss_shows_is_traced_to_its_step(steps: int | None) -> None:
    """A bias of -∞ switches its unit off, and losses go on being finite; the step is found."""
    x, y = np.ones((10, 1)), np.arange(10) % 2
    params = {"W1": np.ones((1, 2)), "b1": np.zeros(2), "W2": np.ones((2, 2)), "b2": np.zeros(2)}
    velocity = init_velocity(params) | {"b1": np.array([0.0, 1e308])}
    cfg = Config(learning_rate=1, momentum=0.999, l2=0, batch_size=1, epochs=1, shuffle=False)
    with pytest.raises(DivergenceError) as caught:
        list(epochs(params, (x, y), cfg, state=State(velocity, 0), record_every=steps))
    # b1 falls by 0.999 · 10³⁰⁸ at first, and passes the largest number, 1.80 · 10³⁰⁸, at the second
    assert (caught.value.step, caught.value.name) == (2, "b1")
    before = next(epochs(params, (x, y), cfg, state=State(velocity, 0), record_every=1))
    assert same_bits(caught.value.params, before.params)
    assert same_bits(caught.value.state.velocity, before.state.velocity)
    assert caught.value.state[1:] == before.state[1:]


def test_a_sum_of_losses_that_overflows_is_divergence() -> None:
    """Each loss is finite; their sum is not, and the last finite one belongs to the state."""
    x, y = np.full((4, 1), 1e308), np.array([1, 1, 1, 1])
    params = {"W1": np.array([[1.0, 0.0]]), "b1": np.zeros(2)}
    cfg = Config(learning_rate=0, l2=0, batch_size=1, epochs=1)
    with pytest.raises(DivergenceError, match="step 2: the loss has") as caught:
        train(params, (x, y), cfg)
    assert caught.value.state[1:] == (0, 1, 1e308)


def test_divergence_that_does_not_come_again_is_told_as_it_was_seen() -> None:
    """Where arithmetic is not reproducible, the state before the slice is given back."""
    engine = ReferenceEngine(P, V, X, Y, CFG)
    seen = DivergenceError(1, 2, "b1", P, State(V, 0))
    assert _located(seen, engine, batches(range(7), 4)) is seen


def test_divergence_error_survives_pickling() -> None:
    """A run in another process can tell of it."""
    error = DivergenceError(2, 3, "W1", P, State(V, 1))
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    for told in (again.args, (again.epoch, again.step, again.name, again.params, again.state)):
        epoch, step, name, params, state = told
        assert (epoch, step, name, state.epochs) == (2, 3, "W1", 1)
        assert same_bits(params, P)
        assert same_bits(state.velocity, V)


@pytest.mark.parametrize("library", ["numpy", "jax"])
@pytest.mark.parametrize(("batch_size", "steps"), [(4, 1), (3, 2), (1, 3), (None, 1), (4, 9)])
@pytest.mark.parametrize("order", [{"shuffle": True}, {"shuffle": False}])
def test_a_run_can_be_resumed_from_inside_an_epoch(
    library: str, batch_size: int | None, steps: int, order: dict[str, bool]
) -> None:
    """From any record, the rest of the run has the bits of the run that was never cut."""
    params, x, y = problem(6, 5, 3, n=10)
    asarray = LIBRARIES[library]
    params, data = {name: asarray(p) for name, p in params.items()}, (asarray(x), asarray(y))
    cfg = replace(CFG, batch_size=batch_size, epochs=2, **order)
    whole = train(params, data, cfg)
    records = list(epochs(params, data, cfg, record_every=steps))
    size = batch_size or 10
    inside = list(range(steps * size, 10, steps * size))
    assert [record.epoch for record in records] == [1] * (len(inside) + 1) + [2] * (len(inside) + 1)
    assert [record.state.steps * size for record in records] == [*inside, 0] * 2
    for record in records:
        rest = train(record.params, data, cfg, state=record.state)
        assert same_bits(*(bits_of(one) for one in (rest, whole)))
        assert rest.history == whole.history[record.state.epochs :]


def bits_of(result: TrainResult) -> dict[str, Any]:
    """Return parameters and velocity as one dictionary of NumPy arrays."""
    velocity = {f"velocity.{name}": v for name, v in result.state.velocity.items()}
    return {name: to_numpy(p) for name, p in (result.params | velocity).items()}


def test_the_loss_inside_an_epoch_is_the_mean_so_far() -> None:
    """Of batches seen, weighted by their sizes, each before its update."""
    params, x, y = problem(6, 5, 3, n=10)
    cfg = replace(CFG, shuffle=False, epochs=1)
    first, second, _ = epochs(params, (x, y), cfg, record_every=1)
    # two operations on one number of order 1
    assert abs(first.loss - loss(params, x[:4], y[:4], l2=0.01)) < 8 * np.finfo(float).eps
    assert abs(second.loss * 8 - second.state.loss) < 8 * np.finfo(float).eps
    later = loss(first.params, x[4:8], y[4:8], l2=0.01)
    assert abs(second.loss - (first.loss + later) / 2) < 8 * np.finfo(float).eps


@pytest.mark.parametrize("arranged", [np.asfortranarray, lambda x: x[::-1]])
def test_no_layout_of_the_data_is_copied_whole(arranged: Callable[[Any], Any]) -> None:
    """Rows of a matrix in Fortran order, or of a view, are gathered batch by batch."""
    params, x, y = problem(100, 2, n=20_000, dtype=np.float32)
    x = arranged(x)
    run = epochs(params, (x, y), Config(epochs=2))
    next(run)
    tracemalloc.start()
    next(run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 4


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
def test_other_floating_dtypes_train_too(dtype: Any) -> None:
    """Where Numba has no such type, NumPy does its work."""
    params, x, y = problem(4, 3, 2, dtype=dtype)
    result = train(params, (x, y.astype(">i4")), CFG)
    assert result.params["W1"].dtype == dtype
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_training_stays_on_the_device_of_its_arrays() -> None:
    """Nothing is put on the default device on the way."""
    device = array_api_strict.Device("device1")

    def on_device(array: Any) -> Any:
        return array_api_strict.asarray(array, device=device)

    params, x, y = problem(4, 3, 2)
    there = {name: on_device(p) for name, p in params.items()}
    result = train(
        there, (on_device(x), on_device(y)), CFG, validation=(on_device(x), on_device(y))
    )
    assert result.params["W1"].device == device


def test_run_starts_from_the_parameters_it_was_given() -> None:
    """What the caller does with the arrays before the first epoch does not matter."""
    params, x, y = problem(4, 3, 2)
    expected = train(params, (x, y), CFG)
    run = epochs(params, (x, y), CFG)
    for p in params.values():
        p[...] = 0
    assert same_bits([*run][-1].params, expected.params)


def test_data_that_is_not_finite_is_named_as_such() -> None:
    """A NaN among the examples is not blamed on the learning rate."""
    params, x, y = problem(6, 5, 3, n=10)
    x[7, 2] = np.nan
    with pytest.raises(ValueError, match="x must be finite in float64, got NaN or infinity"):
        train(params, (x, y), CFG)


P, X, Y = read_only(problem(4, 3, 2))
V = init_velocity(P)
BAD_CALLS: list[tuple[Callable[[], Any], str]] = [
    (lambda: train(P, (X, Y - 5), CFG), "y must hold labels from 0 to 1, got -5"),
    (lambda: train(P, (X, Y[:5]), CFG), "y must have shape (7,), one label per row of x, got (5,)"),
    (lambda: train(P, (X[:, 1:], Y), CFG), "x must have shape (batch, 4), got (7, 3)"),
    (lambda: train(P, (X[:0], Y[:0]), CFG), "x must hold at least one example"),
    (lambda: train(P, (X > 0, Y), CFG), "x must hold real numbers, got dtype bool"),
    (lambda: train(P, X, CFG), "data must be a pair (x, y), got ndarray"),  # type: ignore[arg-type]
    (lambda: train(P, (X, Y, Y), CFG), "data must be a pair (x, y), got tuple"),  # type: ignore[arg-type]
    (lambda: train({}, (X, Y), CFG), "params must have the keys W1, b1, ..., WL, bL, got []"),
    (
        lambda: train(P, (X, Y), CFG, validation=(X[:, 1:], Y)),
        "x must have shape (batch, 4), got (7, 3)",
    ),
    (lambda: train(P, (X, Y), CFG, state=State({}, 0)), "velocity must have the keys"),
    (
        lambda: train(P, (X, Y), CFG, state=State(V, 4)),
        "cfg.epochs is the total: must be >= 4, got 3",
    ),
    (
        lambda: train({name: p * np.nan for name, p in P.items()}, (X, Y), CFG),
        "params must be finite, got NaN or infinity in W1",
    ),
    (
        lambda: train({name: p + 0j for name, p in P.items()}, (X, Y), CFG),
        "params must be real to be trained, W1 has dtype complex128",
    ),
    (
        lambda: train(P, (X, Y), CFG, state=State({name: v - np.inf for name, v in V.items()}, 0)),
        "velocity must be finite, got NaN or infinity in W1",
    ),
    (
        lambda: train(P, (X, Y), CFG, state=State(V, -1)),
        "state.epochs must be an integer >= 0, got -1",
    ),
    (
        lambda: train(P, (X, Y), CFG, state=State(V, 0, -1)),
        "state.steps must be an integer >= 0, got -1",
    ),
    (
        lambda: train(P, (X, Y), CFG, state=State(V, 0, 2)),
        "state.steps must be < 2, the steps of an epoch, got 2",
    ),
    (
        lambda: train(P, (X, Y), CFG, state=State(V, 3, 1)),
        "cfg.epochs is the total: must be >= 4, got 3",
    ),
    (
        lambda: train(P, (X, Y), CFG, state=State(V, 0, 1, np.nan)),
        "state.loss must be a finite number >= 0, got nan",
    ),
    (lambda: epochs(P, (X, Y), CFG, record_every=0), "steps must be an integer >= 1, got 0"),
    (
        lambda: evaluate(P, (X, Y + 5), l2=CFG.l2, input_scale=CFG.input_scale),
        "y must hold labels from 0 to 1, got 5",
    ),
    (lambda: epochs(P, (X[:, 1:], Y), CFG), "x must have shape (batch, 4), got (7, 3)"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message for _, message in BAD_CALLS])
def test_bad_arguments_are_named_before_training(call: Callable[[], Any], message: str) -> None:
    """Each bad argument is a ValueError that names its value, raised at once."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize("batch_size", [None, 10])
def test_a_batch_of_all_examples_takes_them_as_they_lie(batch_size: int | None) -> None:
    """There is nothing to shuffle: its gradient is that of any order."""
    params, x, y = problem(6, 5, 3, n=10)
    cfg = replace(CFG, batch_size=batch_size)
    results = [train(params, (x, y), replace(cfg, shuffle=shuffle)) for shuffle in (True, False)]
    assert same_bits(*(result.params for result in results))


@pytest.mark.parametrize("state", [3, (init_velocity(problem(2, 2)[0]),), State(None, 0)])  # type: ignore[arg-type]
def test_a_state_is_a_state(state: Any) -> None:
    """Anything else is refused by its type."""
    params, x, y = problem(2, 2)
    with pytest.raises(
        ValueError, match=r"^state must be a State, or None, got (int|tuple|State)$"
    ):
        train(params, (x, y), CFG, state=state)


def test_the_repr_of_a_divergence_leaves_out_arrays() -> None:
    """A log has one line."""
    error = DivergenceError(1, 2, "W1", {"W1": np.zeros(99)}, State({}, 0))
    assert repr(error) == f"DivergenceError({str(error)!r})"
