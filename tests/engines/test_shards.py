"""Claims about shards: which sum they define, and that it does not depend on who computes it."""

import platform
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import purenet
from purenet import Config, DivergenceError, TrainResult, train
from purenet.engines import inplace, mpi
from purenet.engines.inplace import InplaceEngine
from purenet.engines.reference import ReferenceEngine, data_gradient
from purenet.engines.threads import HeldSignals
from purenet.network import backward
from tests.support.communicator import in_threads
from tests.support.problems import problem


def bits(result: TrainResult) -> list[Any]:
    """Return everything that a result holds, as bytes and numbers."""
    arrays = [*result.params.values(), *result.state.velocity.values()]
    return [*(array.tobytes() for array in arrays), result.state[1:], result.history]


@given(st.sampled_from([2, 4, 8]), st.integers(1, 20), st.sampled_from([np.float32, np.float64]))
def test_shards_are_added_in_a_binary_tree(shards: int, n: int, dtype: Any) -> None:
    """The sum of powers of two shows its order: it is ((g_0 + g_1) + (g_2 + g_3)) + ..."""
    eps = np.finfo(dtype).eps
    rng = np.random.default_rng(n * shards)
    x = rng.choice([1, eps / 2, eps, eps / 4], (n, 1)).astype(dtype)
    y = rng.integers(0, 2, n)
    params = {"W1": np.zeros((1, 2), dtype), "b1": np.zeros(2, dtype)}
    parts = [slice(n * i // shards, n * (i + 1) // shards) for i in range(shards)]
    sums = [
        np.zeros((1, 2), dtype)
        if part.start == part.stop
        else (part.stop - part.start) / n * backward(params, x[part], y[part])[1]["W1"]
        for part in parts
    ]
    while len(sums) > 1:
        sums = [sums[i] + sums[i + 1] for i in range(0, len(sums), 2)]
    np.testing.assert_array_equal(data_gradient(params, x, y, shards)[1]["W1"], sums[0])


@given(
    shards=st.sampled_from([2, 4, 8]),
    n=st.integers(1, 30),
    batch_size=st.none() | st.integers(1, 20),
    chunk=st.sampled_from([1, 3, 1024]),
    threads=st.integers(1, 3),
    l2=st.sampled_from([0.0, 0.1]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_engine_with_shards_computes_what_the_pure_functions_say(
    shards: int, n: int, batch_size: int | None, chunk: int, threads: int, l2: float, dtype: Any
) -> None:
    """Losses, parameters and velocity are those of the definition, up to rounding."""
    params, x, y = problem(4, 5, 3, n=n, dtype=dtype)
    velocity = {name: 0.1 * p for name, p in params.items()}
    cfg = Config(batch_size=batch_size, l2=l2, shards=shards)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inplace, "CHUNK", chunk)
        patch.setattr(inplace, "WORK_PER_THREAD", 1)
        patch.setattr(inplace, "processors", lambda: threads)
        engine = InplaceEngine(params, velocity, x, y, cfg)
        losses = engine.run(range(n))
    exact = ReferenceEngine(params, velocity, x, y, cfg)
    tolerance = {"rtol": 1e3 * np.finfo(dtype).eps, "atol": 1e3 * np.finfo(dtype).eps}
    np.testing.assert_allclose(losses, exact.run(range(n)), **tolerance)
    for one, other in zip(engine.snapshot(), exact.snapshot(), strict=True):
        for name, p in one.items():
            np.testing.assert_allclose(p, other[name], **tolerance)


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_bits_depend_neither_on_processes_nor_on_threads(
    monkeypatch: pytest.MonkeyPatch, processes: int, threads: int, dtype: Any
) -> None:
    """Eight shards give the same parameters, velocity, history and state wherever they run."""
    monkeypatch.setattr(inplace, "WORK_PER_THREAD", 1)
    params, x, y = problem(7, 20, 9, 3, n=50, dtype=dtype)
    cfg = Config(batch_size=19, shards=8, epochs=3)
    monkeypatch.setattr(inplace, "processors", lambda: 1)
    alone = train(params, (x, y), cfg, validation=(x, y))
    monkeypatch.setattr(inplace, "processors", lambda: threads)

    def together(comm: Any) -> TrainResult:
        return train(params, (x, y), cfg, validation=(x, y), comm=comm)

    for result in in_threads(processes, together):
        assert bits(result) == bits(alone)


def test_a_run_goes_on_with_other_processes() -> None:
    """A run of 4 processes goes on with 1 and with 2, to the bits of an uninterrupted one."""
    params, x, y = problem(4, 5, 3, n=20)
    cfg = Config(batch_size=6, shards=4, epochs=3)
    whole = train(params, (x, y), cfg)
    first = in_threads(4, lambda comm: train(params, (x, y), replace(cfg, epochs=1), comm=comm))[3]
    alone = train(first.params, (x, y), cfg, state=first.state)
    both = in_threads(
        2, lambda comm: train(first.params, (x, y), cfg, state=first.state, comm=comm)
    )
    for rest in (alone, *both):
        assert bits(rest)[:-1] == bits(whole)[:-1]
        assert [*first.history, *rest.history] == whole.history


def test_divergence_is_the_same_error_in_all_processes() -> None:
    """A loss that overflows in one shard ends every process with the same step and parameters."""
    params, x, y = problem(4, 5, 3, n=16)
    x[13] = 1.7e308  # an example of the last process
    results = in_threads(
        4,
        lambda comm: train(
            params, (x, y), Config(batch_size=8, shards=4, shuffle=False), comm=comm
        ),
    )
    assert all(isinstance(error, DivergenceError) for error in results)
    assert {str(error) for error in results} == {str(results[0])}
    assert (results[0].epoch, results[0].step) == (1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cfg": Config(shards=2, l2=0.5)}, "the same cfg.l2: process 0 has 0.0001, process 1 has"),
        ({"x": 1}, "the same data: process 0 has float64 (7, 4), int64 (7,), blake2b"),
        ({"params": 1}, "the same params: process 0 has"),
        ({"state": 1}, "the same state: process 0 has"),
        ({"versions": 1}, "the same versions: process 0 has Python"),
        ({"x": None}, "data must be a pair"),
    ],
)
def test_processes_with_other_arguments_refuse_to_begin(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    """Every process says what differs, or what another one was given."""
    params, x, y = problem(4, 5, 3)
    if "versions" in change:
        found = iter(["Python 3.11", "Python 3.12"])
        monkeypatch.setattr(mpi, "_versions", lambda: next(found))

    def together(comm: Any) -> TrainResult:
        mine = change if comm.Get_rank() == 1 else {}
        one = {name: 1.5 * p for name, p in params.items()} if "params" in mine else params
        state: Any = (params, 1) if "state" in mine else (one, 0)
        data: Any = (x + 1 if mine["x"] else x, y) if "x" in mine else (x, y)
        if "x" in mine and mine["x"] is None:
            data = x
        return train(one, data, mine.get("cfg", Config(shards=2)), state=state, comm=comm)

    for error in in_threads(2, together):
        assert isinstance(error, ValueError)
        assert message in str(error)


@pytest.mark.parametrize(("processes", "shards"), [(2, 1), (4, 2), (3, 4)])
def test_processes_divide_the_shards(processes: int, shards: int) -> None:
    """Another number of processes than a divisor of the shards is refused."""
    params, x, y = problem(4, 5, 3)
    cfg = Config(shards=shards)
    for error in in_threads(processes, lambda comm: train(params, (x, y), cfg, comm=comm)):
        assert isinstance(error, ValueError)
        assert f"{processes} processes need cfg.shards to be a multiple of {processes}" in str(
            error
        )


def test_only_numpy_arrays_are_trained_by_several_processes() -> None:
    """Parameters of another library are refused."""
    import jax.numpy as jnp

    params, x, y = problem(4, 5, 3)
    theirs = {name: jnp.asarray(p) for name, p in params.items()}
    (error,) = in_threads(
        1, lambda comm: train(theirs, (jnp.asarray(x), jnp.asarray(y)), Config(), comm=comm)
    )
    assert "training with comm needs NumPy arrays, W1 is a jaxlib" in str(error)


def test_a_process_that_hears_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process is silent for too long, training raises TimeoutError."""
    monkeypatch.setattr(mpi, "PATIENCE", 0.1)
    params, x, y = problem(4, 5, 3)

    def leave(comm: Any) -> Any:
        if comm.Get_rank() == 1:
            comm.Isend = comm.Iallgather = lambda *_: None  # its messages are lost
        return train(params, (x, y), Config(shards=2), comm=comm)

    error = in_threads(2, leave)[0]
    assert isinstance(error, TimeoutError)
    assert "another process has sent nothing for 0.1 s" in str(error)


def test_versions_name_what_rounding_depends_on() -> None:
    """They are Python, purenet, NumPy, and each BLAS with the processor that it is made for."""
    versions = mpi._versions()
    assert versions.startswith(
        f"Python {platform.python_version()}, purenet {purenet.__version__}, "
    )
    assert f", NumPy {np.__version__}, " in versions
    assert re.search(r", openblas \S+ for [A-Za-z]\w+", versions)


def test_a_signal_ends_a_process_inside_a_batch() -> None:
    """The caller's handler is called, and may raise nothing: others may have ended already."""
    params, x, y = problem(4, 5, 3)
    handled: list[int] = []

    def interrupted(comm: Any) -> Any:
        engine = mpi.MpiEngine(params, params, x, y, Config(), comm)
        engine.signals = HeldSignals()
        engine.signals.handlers[15] = lambda number, _: handled.append(number)
        engine.check_signals()
        engine.signals.received.append((15, None))
        with pytest.raises(KeyboardInterrupt):
            engine.check_signals()

    assert in_threads(1, interrupted) == [None]
    assert handled == [15]


def test_what_is_no_communicator_is_refused() -> None:
    """The message names what was given."""
    params, x, y = problem(4, 5, 3)
    with pytest.raises(ValueError, match="comm must be a communicator of mpi4py, got 1"):
        train(params, (x, y), Config(), comm=1)


@pytest.mark.parametrize("bad", [{"validation": 3}, {"cfg": None}])
def test_no_process_waits_for_one_that_was_given_nonsense(bad: dict[str, Any]) -> None:
    """If one process refuses its arguments for any reason, all raise an error."""
    params, x, y = problem(4, 5, 3)

    def together(comm: Any) -> Any:
        arguments: dict[str, Any] = {"cfg": Config(shards=2), "validation": (x, y)}
        return train(params, (x, y), **arguments | (bad if comm.Get_rank() else {}), comm=comm)

    assert all(isinstance(error, Exception) for error in in_threads(2, together))
