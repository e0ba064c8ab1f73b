"""Claims about training: the fold over batches, its records, resuming, and what is refused."""

import itertools
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
    backward,
    epochs,
    evaluate,
    init_velocity,
    loss,
    momentum_step,
    train,
    training,
)
from purenet.engines.reference import ReferenceEngine
from purenet.training import epoch_order
from tests.support.libraries import LIBRARIES, to_numpy
from tests.support.problems import problem, read_only

CFG = Config(learning_rate=0.1, l2=0.01, batch_size=4, epochs=3, seed=5)


def same_bits(*dictionaries: dict[str, Any]) -> bool:
    """Tell whether dictionaries of arrays are equal in keys, order, dtypes and every bit."""
    first, *others = ([(k, p.dtype, p.tobytes()) for k, p in d.items()] for d in dictionaries)
    return all(first == other for other in others)


def test_train_is_the_fold_of_the_pure_functions() -> None:
    """Training is `backward` and `momentum_step` on each batch, in the documented order."""
    params, x, y = problem(6, 5, 3, n=10)
    p, v = params, init_velocity(params)
    history = []
    for e in range(3):
        sequence = np.random.SeedSequence(5, spawn_key=(e,))
        order = np.random.Generator(np.random.PCG64(sequence)).permutation(10)
        total = 0.0
        for batch in (order[:4], order[4:8], order[8:]):
            value, g = backward(p, x[batch], y[batch], l2=0.01)
            p, v = momentum_step(p, v, g, learning_rate=0.1, momentum=0.9)
            total += float(value) * len(batch)
        history.append(total / 10)
    result = train(params, (x, y), CFG)
    tolerance = 1000 * np.finfo(float).eps  # 9 updates, sums of up to 10 terms of order 1
    np.testing.assert_allclose([row["loss"] for row in result.history], history, rtol=tolerance)
    for name in params:
        np.testing.assert_allclose(result.params[name], p[name], rtol=0, atol=tolerance)
        np.testing.assert_allclose(result.state.velocity[name], v[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize("seed", [0, 5, 2**32, 2**128 - 1])
def test_order_of_an_epoch_has_a_stream_of_its_own(seed: int) -> None:
    """Epoch e takes the e-th stream spawned from the seed, which is not the stream of `init`."""
    orders = [epoch_order(seed, e, 100).tolist() for e in range(4)]
    for e, order in enumerate(orders):
        sequence = np.random.SeedSequence(seed, spawn_key=(e,))
        rng = np.random.Generator(np.random.PCG64(sequence))
        assert order == rng.permutation(100).tolist()
        assert sorted(order) == [*range(100)]
    of_init = np.random.Generator(np.random.PCG64(seed)).permutation(100).tolist()
    assert len({tuple(order) for order in [of_init, *orders]}) == 5


def test_two_seeds_share_a_stream_from_2_to_the_128th_on() -> None:
    """Seed 5 + 2¹²⁸ of `init` would have the stream of epoch 1 of seed 5, so it is refused."""
    shared = np.random.PCG64(5 + (1 << 128)), epoch_order(5, 1, 100)
    np.testing.assert_array_equal(np.random.Generator(shared[0]).permutation(100), shared[1])


@pytest.mark.parametrize("library", LIBRARIES)
def test_train_agrees_in_every_array_library(library: str) -> None:
    """Arrays of any library train to the numbers of NumPy, on integer and floating-point data."""
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
    """Three epochs and then four give the parameters, velocity and history of seven."""
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
    """Training writes to no argument, repeats its bits, and keeps no reference to its results."""
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
    """A row holds the epoch, its loss and, with validation data, the figures of `evaluate`."""
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


def test_training_without_epochs_returns_its_start() -> None:
    """Training for no epochs returns the given parameters and state, or a velocity of zeros."""
    params, x, y = problem(6, 5, 3, n=10)
    velocity = problem(6, 5, 3, seed=1).params
    for state, expected in ((None, State(init_velocity(params), 0)), (State(velocity, 2),) * 2):
        result = train(params, (x, y), replace(CFG, epochs=expected.epochs), state=state)
        assert same_bits(result.params, params)
        assert same_bits(result.state.velocity, expected.velocity)
        assert result.state.epochs == expected.epochs
        assert result.history == []


def test_training_can_be_stopped_and_resumed_at_any_record() -> None:
    """From the parameters and the state of any record, the rest of the run has the same bits."""
    params, x, y = problem(6, 5, 3, n=10)
    whole = train(params, (x, y), CFG)
    for record in epochs(params, (x, y), CFG):
        rest = train(record.params, (x, y), CFG, state=record.state)
        assert same_bits(rest.params, whole.params)
        assert record.state.epochs == record.epoch


def test_epochs_differ_in_order_if_they_are_shuffled() -> None:
    """With a learning rate of 0, two epochs end with other velocities if `shuffle` is set."""
    params, x, y = problem(6, 5, 3, n=10)
    still = replace(CFG, learning_rate=0, epochs=2)
    for shuffle in (True, False):
        velocities = [
            r.state.velocity
            for r in epochs(params, (x, y), replace(still, momentum=0, shuffle=shuffle))
        ]
        assert same_bits(*velocities) is not shuffle


def test_memory_mapped_pixels_train_as_those_in_memory(tmp_path: Path) -> None:
    """A read-only memory map of integers gives the bits of the array."""
    params, x, y = problem(6, 5, 3, n=10, dtype=np.float32)
    pixels = (np.abs(x) * 100).astype(np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for shuffle in (True, False):
        cfg = replace(CFG, shuffle=shuffle)
        results = [train(params, (data, y), cfg) for data in (pixels, mapped)]
        assert same_bits(*(result.params for result in results))


def test_integers_are_scaled_and_floats_are_not() -> None:
    """Pixels with an input_scale train as floating-point numbers that were scaled before."""
    params, x, y = problem(6, 5, 3, n=10)
    pixels = (np.abs(x) * 100).astype(np.uint8)
    cfg = replace(CFG, input_scale=0.25)
    results = [train(params, (data, y), cfg) for data in (pixels, pixels * 0.25)]
    assert same_bits(*(result.params for result in results))


@pytest.mark.parametrize("library", ["numpy", "jax"])
def test_divergence_error_holds_the_last_finite_state(library: str) -> None:
    """The error names the step that diverged, and holds the parameters and state before it."""
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
    # One step of that run gives that state.
    records = epochs(start, (asarray(x), asarray(y)), diverging, state=state, record_every=1)
    before = next(records)
    for got, expected in (
        (caught.value.params, before.params),
        (caught.value.state.velocity, before.state.velocity),
    ):
        assert same_bits(*({k: to_numpy(p) for k, p in one.items()} for one in (got, expected)))
    assert caught.value.state[1:] == before.state[1:] == (1, 1, before.loss * 4)


def test_divergence_in_the_last_update_is_noticed() -> None:
    """Parameters that are not finite are an error, even if every loss was finite."""
    params, x, y = problem(6, 3, n=10)
    cfg = Config(learning_rate=1e308, batch_size=None, epochs=1, l2=1e10)
    with pytest.raises(DivergenceError, match="in epoch 1, step 1: W1 has"):
        train(params, (x, y), cfg)


def test_divergence_of_a_bias_alone_is_noticed() -> None:
    """All parameters are checked, not only the first one."""
    params = {"W1": np.zeros((1, 2)), "b1": np.zeros(2)}
    velocity = {"W1": np.zeros((1, 2)), "b1": np.full(2, 1e300)}
    cfg = Config(learning_rate=1e300, batch_size=None, epochs=1, l2=0)
    with pytest.raises(DivergenceError, match="in epoch 1, step 1: b1 has") as caught:
        train(params, (np.zeros((2, 1)), np.array([0, 1])), cfg, state=State(velocity, 0))
    assert same_bits(caught.value.params, params)
    assert same_bits(caught.value.state.velocity, velocity)


@pytest.mark.parametrize("steps", [None, 1, 3])
def test_divergence_that_no_loss_shows_is_traced_to_its_step(steps: int | None) -> None:
    """The step that sets a bias to -∞ is found, though all losses stay finite."""
    x, y = np.ones((10, 1)), np.arange(10) % 2
    params = {"W1": np.ones((1, 2)), "b1": np.zeros(2), "W2": np.ones((2, 2)), "b2": np.zeros(2)}
    velocity = init_velocity(params) | {"b1": np.array([0.0, 1e308])}
    cfg = Config(learning_rate=1, momentum=0.999, l2=0, batch_size=1, epochs=1, shuffle=False)
    with pytest.raises(DivergenceError) as caught:
        list(epochs(params, (x, y), cfg, state=State(velocity, 0), record_every=steps))
    # Two steps of 0.999 · 10³⁰⁸ take b1 beyond the largest number, 1.80 · 10³⁰⁸.
    assert (caught.value.step, caught.value.name) == (2, "b1")
    before = next(epochs(params, (x, y), cfg, state=State(velocity, 0), record_every=1))
    assert same_bits(caught.value.params, before.params)
    assert same_bits(caught.value.state.velocity, before.state.velocity)
    assert caught.value.state[1:] == before.state[1:]


def test_a_sum_of_losses_that_overflows_is_divergence() -> None:
    """Losses that are finite may have an infinite sum; the state holds the last finite sum."""
    x, y = np.full((4, 1), 1e308), np.array([1, 1, 1, 1])
    params = {"W1": np.array([[1.0, 0.0]]), "b1": np.zeros(2)}
    cfg = Config(learning_rate=0, l2=0, batch_size=1, epochs=1)
    with pytest.raises(DivergenceError, match="step 2: the loss has") as caught:
        train(params, (x, y), cfg)
    assert caught.value.state[1:] == (0, 1, 1e308)


def test_divergence_that_does_not_come_again_is_an_error_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the repeated steps are finite, the error tells what was seen, and the state before it."""
    snapshot, calls = ReferenceEngine.snapshot, itertools.count()

    def nan_once(self: ReferenceEngine[Any]) -> Any:
        params, velocity = snapshot(self)
        if next(calls) == 1:  # after the first epoch; call 0 is that of the start
            params = {name: p * np.nan for name, p in params.items()}
        return params, velocity

    monkeypatch.setattr(ReferenceEngine, "snapshot", nan_once)
    monkeypatch.setattr(training, "engine_class", lambda *_: ReferenceEngine)
    with pytest.raises(DivergenceError, match="epoch 1, step 2: W1 has") as caught:
        train(P, (X, Y), replace(CFG, epochs=1))
    assert same_bits(caught.value.params, P)
    assert caught.value.state.epochs == 0


def test_divergence_error_can_be_pickled() -> None:
    """A copy through pickle, as from another process, holds all that the error holds."""
    error = DivergenceError(2, 3, "W1", P, State(V, 1))
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    for held in (again.args, (again.epoch, again.step, again.name, again.params, again.state)):
        epoch, step, name, params, state = held
        assert (epoch, step, name, state.epochs) == (2, 3, "W1", 1)
        assert same_bits(params, P)
        assert same_bits(state.velocity, V)


@pytest.mark.parametrize("library", ["numpy", "jax"])
@pytest.mark.parametrize(("batch_size", "steps"), [(4, 1), (3, 2), (1, 3), (None, 1), (4, 9)])
@pytest.mark.parametrize("order", [{"shuffle": True}, {"shuffle": False}])
def test_a_run_can_be_resumed_inside_an_epoch(
    library: str, batch_size: int | None, steps: int, order: dict[str, bool]
) -> None:
    """From any record inside an epoch, the rest has the bits of the uninterrupted run."""
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


def test_loss_inside_an_epoch_is_the_mean_so_far() -> None:
    """The loss of a record is the mean over the batches so far, each before its update."""
    params, x, y = problem(6, 5, 3, n=10)
    cfg = replace(CFG, shuffle=False, epochs=1)
    first, second, _ = epochs(params, (x, y), cfg, record_every=1)
    # Each side is a few operations on numbers of order 1.
    assert abs(first.loss - loss(params, x[:4], y[:4], l2=0.01)) < 8 * np.finfo(float).eps
    assert abs(second.loss * 8 - second.state.loss_sum) < 8 * np.finfo(float).eps
    later = loss(first.params, x[4:8], y[4:8], l2=0.01)
    assert abs(second.loss - (first.loss + later) / 2) < 8 * np.finfo(float).eps


@pytest.mark.parametrize("arranged", [np.asfortranarray, lambda x: x[::-1]])
def test_no_layout_of_the_data_is_copied_whole(arranged: Callable[[Any], Any]) -> None:
    """Training on a Fortran-ordered matrix or on a view needs less memory than a copy of it."""
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
    """Float16 and longdouble parameters, which Numba does not know, train in their own dtype."""
    params, x, y = problem(4, 3, 2, dtype=dtype)
    result = train(params, (x, y.astype(">i4")), CFG)
    assert result.params["W1"].dtype == dtype
    assert result.history[-1]["loss"] < result.history[0]["loss"]


OTHER_DEVICE = array_api_strict.Device("device1")  # than the default one


def on_other_device(array: Any) -> Any:
    """Return an array on another device than the default one."""
    return array_api_strict.asarray(array, device=OTHER_DEVICE)


def test_training_stays_on_the_device_of_its_arrays() -> None:
    """The parameters of a run on another device than the default one are on that device."""
    params, x, y = problem(4, 3, 2)
    there = {name: on_other_device(p) for name, p in params.items()}
    data = on_other_device(x), on_other_device(y)
    result = train(there, data, CFG, validation=data)
    assert result.params["W1"].device == OTHER_DEVICE


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the step overflows
def test_divergence_is_traced_on_the_device_and_in_the_scale_of_the_data() -> None:
    """The search for the step that diverged reads the data as training does."""
    params, x, y = problem(6, 3, n=10)
    there = {name: on_other_device(p) for name, p in params.items()}
    pixels = (np.abs(x) * 100).astype(np.uint8)
    cfg = Config(learning_rate=1e308, batch_size=None, epochs=1, l2=1e10)
    with pytest.raises(DivergenceError, match="in epoch 1, step 1: W1 has"):
        train(there, (on_other_device(pixels), on_other_device(y)), cfg)


def test_a_run_copies_the_parameters_at_once() -> None:
    """The caller may write to the parameters after the call of `epochs`, before the first epoch."""
    params, x, y = problem(4, 3, 2)
    expected = train(params, (x, y), CFG)
    run = epochs(params, (x, y), CFG)
    for p in params.values():
        p[...] = 0
    assert same_bits([*run][-1].params, expected.params)


def test_nan_in_the_data_is_not_called_divergence() -> None:
    """NaN in an example raises ValueError, which names x."""
    params, x, y = problem(6, 5, 3, n=10)
    x[7, 2] = np.nan
    with pytest.raises(
        ValueError, match="x must be finite in float64, got NaN or infinity in row 7"
    ):
        train(params, (x, y), CFG)


def test_the_row_of_a_bad_number_is_that_of_the_data() -> None:
    """NaN far from the first examples is given its row in x, whatever the order of the epoch."""
    params, x, y = problem(4, 3, n=3000)
    x[2345, 1] = np.inf
    with pytest.raises(ValueError, match=r"NaN or infinity in row 2345$"):
        train(params, (x, y), replace(CFG, batch_size=1024))


@pytest.mark.parametrize(
    ("x", "scale", "message"),
    [
        (np.full((9, 4), 255.0), 1 / 255, "far above log(2): x ranges from 255 to 255; x / 255"),
        (np.full((9, 4), 255), 1.0, "far above log(2): x ranges from 255 to 255 and is multiplied"),
        (np.full((9, 4), 16), 1 / 255, "x ranges from 16 to 16 and is multiplied by input_scale"),
        (np.full((9, 4), 16), 1 / 16, ""),
        (np.full((9, 4), 80), 1 / 16, "= 0.0625; input_scale=1/80 would bring it to 1 at most"),
        (np.full((9, 4), 0.01), 1 / 255, ""),
        (np.zeros((9, 4), int), 1 / 255, ""),
    ],
)
@pytest.mark.parametrize("library", ["numpy", "array_api_strict"])
def test_a_scale_on_which_training_goes_badly_is_reported_once(
    library: str, x: Any, scale: float, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A high first loss, or small integers, give one warning with the range of x and a remedy."""
    asarray = LIBRARIES[library]
    params = {"W1": asarray(np.ones((4, 2)) * [0.2, -0.2]), "b1": asarray(np.zeros(2))}
    data = asarray(x), asarray(np.arange(9) % 2)
    cfg = replace(CFG, learning_rate=0, input_scale=scale)
    result = train(params, data, cfg)
    if message:
        (logged,) = caplog.messages
        assert message in logged
    else:
        assert caplog.messages == []
    caplog.clear()
    train(result.params, data, replace(cfg, epochs=4), state=result.state)
    assert caplog.messages == []


def test_inputs_on_a_good_scale_are_not_blamed_for_a_high_first_loss(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Large initial weights give a high first loss; the remedy is to draw smaller ones."""
    params = {"W1": np.array([[50.0, -50.0]]), "b1": np.zeros(2)}
    train(params, (np.ones((2, 1)), np.array([0, 1])), replace(CFG, learning_rate=0))
    (logged,) = caplog.messages
    assert logged.endswith("x ranges from 1 to 1; smaller initial weights may help")


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
        "state.loss_sum must be a finite number >= 0, got nan",
    ),
    (
        lambda: epochs(P, (X, Y), CFG, record_every=0),
        "record_every must be an integer >= 1, got 0",
    ),
    (
        lambda: epochs(P, (X, Y), CFG, record_every=1.5),  # type: ignore[arg-type]
        "record_every must be an integer >= 1, got 1.5",
    ),
    (lambda: epochs(P, (X[:, 1:], Y), CFG), "x must have shape (batch, 4), got (7, 3)"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message for _, message in BAD_CALLS])
def test_bad_arguments_are_named_before_training(call: Callable[[], Any], message: str) -> None:
    """A bad argument raises ValueError, which names its value, when the function is called."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize("batch_size", [None, 10])
def test_full_batch_is_not_shuffled(batch_size: int | None) -> None:
    """A batch of all examples gives the same bits with and without `shuffle`."""
    params, x, y = problem(6, 5, 3, n=10)
    cfg = replace(CFG, batch_size=batch_size)
    results = [train(params, (x, y), replace(cfg, shuffle=shuffle)) for shuffle in (True, False)]
    assert same_bits(*(result.params for result in results))


@pytest.mark.parametrize("state", [3, (init_velocity(problem(2, 2)[0]),), State(None, 0)])  # type: ignore[arg-type]
def test_another_object_than_a_state_is_refused(state: Any) -> None:
    """The error names the type of the object."""
    params, x, y = problem(2, 2)
    with pytest.raises(
        ValueError, match=r"^state must be a State, or None, got (int|tuple|State)$"
    ):
        train(params, (x, y), CFG, state=state)


def test_repr_of_a_divergence_error_leaves_out_arrays() -> None:
    """The repr is one line: the message."""
    error = DivergenceError(1, 2, "W1", {"W1": np.zeros(99)}, State({}, 0))
    assert repr(error) == f"DivergenceError({str(error)!r})"
