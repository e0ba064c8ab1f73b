"""Claims about training and prediction on arrays of JAX."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

import purenet
from purenet import Config, DivergenceError, TrainResult, epochs, evaluate, predict, train
from purenet.engines import jax as engine_of_jax
from purenet.engines.jax import JaxEngine
from purenet.engines.reference import ReferenceEngine
from tests.support.problems import problem

FEWER = settings(max_examples=settings().max_examples // 4)  # each compiles


def on_jax(arrays: dict[str, Any]) -> dict[str, jax.Array]:
    """Return the arrays as arrays of JAX, in the same order."""
    return {name: jnp.asarray(array) for name, array in arrays.items()}


@pytest.mark.parametrize("stays", [True, False])
@FEWER
@given(
    n=st.sampled_from([5, 12]),
    batch_size=st.sampled_from([None, 4, 5]),
    bytes_at_once=st.sampled_from([1, 100, 1 << 25]),
    dtype=st.sampled_from([np.float32, np.float64]),
    x_dtype=st.sampled_from([np.uint8, ">f4", np.float64]),
    l2=st.sampled_from([0.0, 0.1]),
    shards=st.sampled_from([1, 4]),
)
def test_engine_computes_what_the_pure_functions_say(
    n: int,
    batch_size: int | None,
    bytes_at_once: int,
    dtype: Any,
    x_dtype: Any,
    l2: float,
    shards: int,
    *,
    stays: bool,
) -> None:
    """Losses, parameters and velocity are those of the definition, up to rounding."""
    params, x, y = problem(4, 5, 3, n=n, dtype=dtype)
    x = (100 * np.abs(x) if x_dtype == np.uint8 else x).astype(x_dtype)
    velocity = {name: 0.1 * p for name, p in params.items()}
    cfg = Config(batch_size=batch_size, l2=l2, shards=shards)
    order: Any = np.random.default_rng(0).permutation(n)
    exact = ReferenceEngine(params, velocity, x, y, cfg)
    data: tuple[Any, Any] = (x, y)
    if stays:
        data = jnp.asarray(x.astype(x.dtype.newbyteorder("="))), jnp.asarray(y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_of_jax, "SLICE", bytes_at_once)
        engine = JaxEngine(on_jax(params), on_jax(velocity), *data, cfg)
        losses: Any = engine.run(order)
    expected: Any = exact.run(order)
    tolerance: dict[str, Any] = {"rtol": 1e3 * np.finfo(dtype).eps, "atol": np.finfo(dtype).eps}
    np.testing.assert_allclose(losses, expected, **tolerance)
    for one, other in zip(engine.snapshot(), exact.snapshot(), strict=True):
        assert list(one) == list(other)
        for name, p in one.items():
            assert p.dtype == dtype
            np.testing.assert_allclose(
                p, other[name], **tolerance | {"atol": 1e3 * tolerance["atol"]}
            )


def test_arguments_and_records_keep_their_numbers() -> None:
    """Training reuses memory, but never that of its arguments or of a record."""
    params, x, y = problem(4, 5, 3, n=12)
    given_params, cfg = on_jax(params), Config(batch_size=4, epochs=3)
    records = list(epochs(given_params, (jnp.asarray(x), jnp.asarray(y)), cfg))
    for name, p in params.items():
        np.testing.assert_array_equal(given_params[name], p)
        assert not np.array_equal(records[0].params[name], records[1].params[name])
    rest = train(records[0].params, (x, y), cfg, state=records[0].state)
    for name, p in rest.params.items():
        np.testing.assert_array_equal(p, records[2].params[name])


def test_a_second_run_compiles_nothing() -> None:
    """Other data, seeds and numbers of epochs of the same shapes use the code that is there."""
    params, x, y = problem(4, 5, 3, n=12)
    cfg = Config(batch_size=5, epochs=1)
    data = jnp.asarray(x), jnp.asarray(y)
    train(on_jax(params), data, cfg, validation=data)
    scan: Any = engine_of_jax._scan
    before = scan._cache_size()
    train(on_jax(params), (data[0] + 1, data[1]), replace(cfg, epochs=3, seed=7), validation=data)
    assert scan._cache_size() == before
    train(on_jax(params), data, replace(cfg, l2=0.3))
    assert scan._cache_size() == before + 2  # whole batches, and the last one


@pytest.mark.parametrize("stays", [True, False])
def test_divergence_names_the_step(*, stays: bool) -> None:
    """The error is that of NumPy arrays, at the same step, with finite parameters."""
    params, x, y = problem(4, 5, 3, n=12)
    x[7] = 1e200
    cfg = Config(batch_size=4, shuffle=False)
    data: Any = (jnp.asarray(x), jnp.asarray(y)) if stays else (x, y)
    with pytest.raises(DivergenceError) as caught:
        train(on_jax(params), data, cfg)
    with pytest.raises(DivergenceError) as expected:
        train(params, (x, y), cfg)
    assert str(caught.value) == str(expected.value)
    assert all(bool(jnp.all(jnp.isfinite(p))) for p in caught.value.params.values())


@pytest.mark.parametrize("stays", [True, False])
def test_examples_that_are_not_finite_are_named(*, stays: bool) -> None:
    """Compiled code cannot refuse an example. Its row is found afterwards, in all of x."""
    params, x, y = problem(4, 5, 3, n=2000)
    x[1500, 2] = np.inf
    data: Any = (jnp.asarray(x), jnp.asarray(y)) if stays else (x, y)
    with pytest.raises(ValueError, match="NaN or infinity in row 1500"):
        evaluate(on_jax(params), data)
    with pytest.raises(ValueError, match="NaN or infinity in row 1500"):
        train(on_jax(params), data, Config(shuffle=False))


@pytest.mark.parametrize("stays", [True, False])
def test_figures_are_those_of_numpy(*, stays: bool) -> None:
    """Predictions and figures agree, on more examples than a chunk and on integers."""
    params, x, y = problem(4, 5, 3, n=1500)
    pixels = (20 * np.abs(x)).astype(np.uint8)
    data: Any = (jnp.asarray(pixels), jnp.asarray(y)) if stays else (pixels, y)
    theirs = on_jax(params)
    scale: dict[str, Any] = {"input_scale": 1 / 16}
    exact = evaluate(params, (pixels, y), l2=0.1, **scale)
    np.testing.assert_allclose(evaluate(theirs, data, l2=0.1, **scale), exact, rtol=1e-12)
    np.testing.assert_array_equal(
        predict(theirs, data[0], **scale), predict(params, pixels, **scale)
    )
    assert float(purenet.accuracy(theirs, *data, **scale)) == exact.accuracy


def test_prediction_can_be_traced() -> None:
    """`predict_proba` works inside a function that the user compiles."""
    params, x, _ = problem(4, 5, 3)
    traced = jax.jit(purenet.predict_proba)(on_jax(params), jnp.asarray(x))
    np.testing.assert_allclose(traced, purenet.predict_proba(params, x), rtol=1e-12)


@pytest.mark.parametrize(("chosen", "expected"), [(None, "HIGHEST"), ("bfloat16", "DEFAULT")])
def test_products_are_in_full_precision_unless_the_user_chooses(
    chosen: str | None, expected: str
) -> None:
    """What is compiled asks for the highest precision of products, or for what the user chose."""
    params, x, y = problem(4, 5, 3, dtype=np.float32)
    engine = JaxEngine(on_jax(params), on_jax(params), jnp.asarray(x), jnp.asarray(y), Config())
    with jax.default_matmul_precision(chosen), engine_of_jax._full_precision():
        split = engine_of_jax._split(engine.mesh, 7, 1)
        arguments = (engine.carry, (engine.x, engine.y), jnp.arange(7)[None])
        text = engine_of_jax._scan.lower(*arguments, cfg=Config(), split=split).as_text()
    assert f"precision = [{expected}, {expected}]" in text
    assert text.count("precision = [") == text.count(f"precision = [{expected}, {expected}]")


def test_functions_take_arrays_of_one_library() -> None:
    """Only data may be NumPy arrays beside parameters of JAX: `forward` refuses them."""
    params, x, _ = problem(4, 5, 3)
    with pytest.raises(ValueError, match="arrays must all be of one array library"):
        purenet.forward(on_jax(params), x)


@pytest.fixture(scope="module")
def of_one_device() -> TrainResult:
    """Return a training with four shards on one device."""
    return trained_on(1, 4)


def trained_on(devices: int, shards: int, *, stays: bool = False) -> TrainResult:
    """Train on a mesh of devices. The last batch, of 10 examples, has no four equal parts."""
    params, x, y = problem(20, 30, 5, n=90, dtype=np.float32)
    data: Any = jax.device_put((x, y), jax.devices()[-1]) if stays else (x, y)
    mesh = jax.make_mesh((devices,), ("batch",), devices=jax.devices()[:devices])
    start = jax.device_put(on_jax(params), NamedSharding(mesh, PartitionSpec()))
    cfg = Config(batch_size=16, epochs=2, shards=shards)
    result = train(start, data, cfg, validation=data)
    assert all(p.sharding == start[name].sharding for name, p in result.params.items())
    return result


@pytest.mark.parametrize(
    ("devices", "shards", "stays"),
    [(4, 1, False), (4, 1, True), (2, 4, False), (4, 4, False), (4, 4, True)],
)
def test_several_devices_share_each_batch(
    of_one_device: TrainResult, devices: int, shards: int, *, stays: bool
) -> None:
    """Results are within rounding on any number of devices and, with shards, the same bits."""
    result = trained_on(devices, shards, stays=stays)
    for name, p in of_one_device.params.items():
        np.testing.assert_allclose(result.params[name], p, atol=1e-5)
        if shards == 4 and not stays:
            np.testing.assert_array_equal(result.params[name], p)
    for one, other in zip(result.history, of_one_device.history, strict=True):
        np.testing.assert_allclose(list(one.values()), list(other.values()), atol=1e-5)


def test_shards_are_a_multiple_of_the_devices() -> None:
    """Two shards on four devices are refused."""
    with pytest.raises(
        ValueError, match=r"4 devices need cfg\.shards to be a multiple of 4, or 1, got 2"
    ):
        trained_on(4, 2)


def test_figures_take_data_from_another_device() -> None:
    """`evaluate` and `accuracy` move data to the device of the parameters."""
    params, x, y = problem(4, 5, 3, n=20)
    theirs = jax.device_put(on_jax(params), jax.devices()[2])
    data = jnp.asarray(x), jnp.asarray(y)
    exact = evaluate(params, (x, y))
    np.testing.assert_allclose(evaluate(theirs, data), exact, rtol=1e-12)
    np.testing.assert_allclose(purenet.accuracy(theirs, *data), exact.accuracy, rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
@pytest.mark.parametrize("stays", [True, False])
def test_no_prediction_is_made_for_what_is_not_finite(value: float, *, stays: bool) -> None:
    """The compiler makes 0 of NaN where a unit is off, so the examples are checked themselves."""
    params, x, y = problem(4, 5, 3, n=20)
    x[3, 1] = value
    data: Any = (jnp.asarray(x), jnp.asarray(y)) if stays else (x, y)
    with pytest.raises(ValueError, match="NaN or infinity in row 3"):
        predict(on_jax(params), data[0])
    with pytest.raises(ValueError, match="NaN or infinity in row 3"):
        train(on_jax(params), data, Config())


def test_data_of_another_byte_order_are_converted() -> None:
    """JAX has one byte order only, and would read the bytes of another one as they are."""
    params, x, y = problem(4, 5, 3, n=20, dtype=np.float32)
    exact = evaluate(params, (x, y))
    np.testing.assert_allclose(evaluate(on_jax(params), (x.astype(">f4"), y)), exact, rtol=1e-5)
    for data in ((x.astype(">f4"), y.astype(">i8")), (jnp.asarray(x), y.astype(">i8"))):
        result = train(on_jax(params), data, Config(epochs=1), validation=data)
        expected = train(params, (x, y), Config(epochs=1), validation=(x, y))
        np.testing.assert_allclose(
            result.history[0]["val_loss"], expected.history[0]["val_loss"], rtol=1e-4
        )


def test_integers_that_jax_would_wrap_are_refused() -> None:
    """Without jax_enable_x64 JAX narrows int64 to int32, and loses what lies beyond."""
    params, x, y = problem(4, 5, 3, n=20, dtype=np.float32)
    with jax.enable_x64(new_val=False):
        with pytest.raises(
            ValueError, match="int64 becomes int32 in JAX, which cannot hold 2147483648"
        ):
            predict(on_jax(params), np.full((2, 4), 2**31), input_scale=1.0)
        train(on_jax(params), (x, y), Config(epochs=1))  # with labels that are int64


TWO_PROCESSES = """
import sys
import jax
jax.config.update("jax_platforms", "cpu")
jax.distributed.initialize(f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]))
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
import purenet


class Rows(np.ndarray):
    read = set()

    def __getitem__(self, key):
        if isinstance(key, np.ndarray):
            Rows.read.update(key.ravel().tolist())
        return np.asarray(super().__getitem__(key))


rng = np.random.default_rng(0)
x = rng.integers(0, 256, (96, 20), np.uint8)
y = rng.integers(0, 5, 96)
start = purenet.init([20, 30, 5])
mesh = jax.make_mesh((2,), ("batch",))
params = jax.device_put(start, NamedSharding(mesh, PartitionSpec()))
cfg = purenet.Config(batch_size=16, epochs=2, shuffle=False)
result = purenet.train(params, (x.view(Rows), y), cfg, validation=(x, y))
exact = purenet.train(start, (x, y), cfg, validation=(x, y))
for name, p in result.params.items():
    assert np.abs(np.asarray(p) - exact.params[name]).max() < 1e-5, name
assert np.allclose(result.history[-1]["val_loss"], exact.history[-1]["val_loss"], atol=1e-5)
own = {row for row in range(96) if row % 16 // 8 == int(sys.argv[2])}
assert Rows.read == own, sorted(Rows.read)
print("done")
"""


def run_together(program: str, *arguments: list[str]) -> None:
    """Run a Python program, which prints "done" at its end, in a process for each arguments."""
    environment = {**os.environ, "XLA_FLAGS": ""}
    streams: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [
        subprocess.Popen([sys.executable, "-c", program, *one], env=environment, **streams)
        for one in arguments
    ]
    try:
        for process in processes:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            assert out.endswith("done\n")
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_two_processes_share_each_batch(free_port: int) -> None:
    """Under jax.distributed each process reads and sends its part of every batch alone."""
    run_together(TWO_PROCESSES, [str(free_port), "0"], [str(free_port), "1"])


@pytest.fixture
def free_port() -> int:
    """Return a port that no process listens on."""
    import socket

    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port: int = listener.getsockname()[1]
        return port
