"""Training on JAX arrays: `reference.step` folded over batches by one compiled loop.

Data in JAX arrays stay where they are. Data in NumPy arrays or memory maps are sent in slices:
while one slice is computed, the next one is gathered and sent. If the parameters are replicated
over a mesh of devices, every batch is split over the devices. Under ``jax.distributed`` each
process sends the rows of its own devices. The devices need memory for two slices, each of which
has one batch at least.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cache, partial
from inspect import Parameter, signature
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from purenet.config import Config
from purenet.engines.reference import data_gradient, step, sum_by_pairs
from purenet.params import native

__all__ = ["JaxEngine", "compiled"]

SLICE = 1 << 25  # bytes of x that are sent at once: enough for full bandwidth

T = TypeVar("T")
Arrays: TypeAlias = dict[str, jax.Array]


class JaxEngine:
    """Compute what `ReferenceEngine` computes, up to rounding, in compiled loops over batches.

    Parameters
    ----------
    params : dict of jax.Array
        W1, b1, ..., WL, bL, on one device or replicated over a mesh.
    velocity : dict of jax.Array
        Arrays of the shapes of the parameters.
    x : jax.Array or numpy.ndarray, shape (n, features)
        Examples, integer or floating-point.
    y : jax.Array or numpy.ndarray, shape (n,)
        Integer labels.
    cfg : Config
        Hyperparameters. Shards above 1 must be a multiple of the number of devices.

    Raises
    ------
    ValueError
        A number of devices that does not divide the shards, if these are above 1.
    """

    def __init__(self, params: Arrays, velocity: Arrays, x: Any, y: Any, cfg: Config) -> None:
        self.names, self.cfg = list(params), cfg
        self.given_place = _replicated(params["W1"].sharding)
        self.mesh = _mesh(self.given_place)
        self.place = NamedSharding(self.mesh, PartitionSpec())
        devices = self.mesh.size
        if cfg.shards > 1 and cfg.shards % devices:
            raise ValueError(
                f"{devices} devices need cfg.shards to be a multiple of {devices}, or 1, "
                f"got {cfg.shards}"
            )
        copied = jax.tree.map(jnp.copy, (params, velocity))  # the loop reuses their memory
        # Parameters, velocity, and whether all losses have been finite.
        self.carry = jax.device_put((*copied, np.bool(1)), self.place)
        self.stays = isinstance(x, jax.Array)
        if not self.stays:
            y = np.asarray(y)
        else:
            y = jax.device_put(y if isinstance(y, jax.Array) else _narrowed(y), self.place)
            if x.sharding.device_set != self.place.device_set:
                x = jax.device_put(x, self.place)
        self.x, self.y = x, y

    def run(self, rows: Sequence[int]) -> list[float]:
        """Train on batches of these rows, as `Engine` says."""
        # Fields that no step reads must not cause a new compilation.
        cfg = replace(self.cfg, epochs=0, seed=0, shuffle=False, batch_size=None)
        results: list[jax.Array] = []
        for batches in self._slices(np.asarray(rows)):
            split = _split(self.mesh, batches.shape[1], cfg.shards)
            if self.stays:
                data, examples = (self.x, self.y), jax.device_put(batches, self.place)
            else:
                data, examples = None, [_send(array, batches, split) for array in (self.x, self.y)]
            with _full_precision():
                self.carry, of_batches = _scan(self.carry, data, examples, cfg=cfg, split=split)
            if results:
                results[-1].block_until_ready()  # no more than two slices are on their way
            results.append(of_batches)
        losses = np.concatenate([np.asarray(result, np.float64) for result in results])
        (bad,) = np.nonzero(~np.isfinite(losses))
        return losses[: bad[0] + 1 if bad.size else None].tolist()

    def snapshot(self) -> tuple[Arrays, Arrays]:
        """Return copies of parameters and velocity."""
        copies = jax.device_put(jax.tree.map(jnp.copy, self.carry[:2]), self.given_place)
        # JAX sorts the names.
        params, velocity = ({name: arrays[name] for name in self.names} for arrays in copies)
        return params, velocity

    def _slices(self, rows: Any) -> Iterator[Any]:
        """Yield the rows of batches of equal size, one batch in each row of an array."""
        size = self.cfg.batch_size or len(rows)
        whole = len(rows) - len(rows) % size
        batches = rows[:whole].reshape(-1, size)
        bytes_of_batch = size * self.x.shape[1] * self.x.dtype.itemsize
        at_once = max(1, len(batches) if self.stays else SLICE // bytes_of_batch)
        for start in range(0, len(batches), at_once):
            yield batches[start : start + at_once]
        if whole < len(rows):
            yield rows[None, whole:]


@partial(jax.jit, static_argnames=("cfg", "split"), donate_argnames="carry")
def _scan(carry: Any, data: Any, examples: Any, *, cfg: Config, split: NamedSharding) -> Any:
    """Fold `step` over batches up to the first loss that is not finite; return all losses.

    `examples` are the batches or, if there are `data`, the rows of the batches there.
    """

    def fold(carry: Any, batch: Any) -> Any:
        params, velocity, finite = carry
        x, y = batch if data is None else [jnp.take(array, batch, axis=0) for array in data]
        mesh: Any = split.mesh
        rows = NamedSharding(mesh, PartitionSpec(*split.spec[1:]))
        x, y = lax.with_sharding_constraint((x, y), rows)
        equal_shards = x.shape[0] % cfg.shards == 0
        gradient = partial(_data_gradient, mesh) if equal_shards else data_gradient
        value, *after = step(params, velocity, x, y, cfg, data_gradient=gradient)
        finite &= jnp.isfinite(value)
        keep = jax.tree.map(partial(jnp.where, finite), after, [params, velocity])
        return (*keep, finite), value

    # Unrolled by four, the loop takes 0.9 times the time, but a step rounds as its place demands.
    return lax.scan(fold, carry, examples)


def _data_gradient(mesh: Mesh, params: Arrays, x: Any, y: Any, shards: int) -> Any:
    """Compute what `reference.data_gradient` does, with equal shards on each device of a mesh."""
    axes, devices = mesh.axis_names, mesh.size

    def on_each_device(params: Arrays, x: Any, y: Any) -> Any:
        # The compiler must not merge this with what surrounds it, which depends on the devices.
        params, x, y = lax.optimization_barrier((params, x, y))
        mine = lax.optimization_barrier(data_gradient(params, x, y, shards // devices))
        everyone = lax.all_gather(jax.tree.map(lambda a: a / devices, mine), axes)
        return sum_by_pairs(lambda i: jax.tree.map(itemgetter(i), everyone), devices)

    whole, rows = PartitionSpec(), PartitionSpec(axes)
    return jax.shard_map(
        on_each_device,
        mesh=mesh,
        in_specs=(whole, rows, rows),
        out_specs=whole,
        check_vma=False,  # JAX does not see that all devices compute the same sum
    )(params, x, y)


def _send(array: Any, rows: Any, to: NamedSharding) -> jax.Array:
    """Return these rows on the devices, each of which gets only those that it needs."""

    def gather(index: Any) -> Any:
        return _narrowed(np.asarray(array[rows[index[:2]]]))

    return jax.make_array_from_callback(rows.shape + array.shape[1:], to, gather)


@cache
def compiled(function: Callable[..., T]) -> Callable[..., T]:
    """Compile a function of parameters and arrays; its keyword arguments become constants.

    Parameters
    ----------
    function : callable
        A pure function. Its first argument is a dictionary of parameters.

    Returns
    -------
    callable
        The compiled function. It takes NumPy arrays too, and moves other arrays to the devices of
        the parameters.
    """
    parameters = signature(function).parameters.values()
    constants = [p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY]
    jitted = jax.jit(function, static_argnames=constants)

    def call(params: Arrays, *arrays: Any, **constants: Any) -> T:
        with _full_precision():
            return jitted(params, *(_moved(array, params) for array in arrays), **constants)

    return call


def _full_precision() -> AbstractContextManager[None]:
    """Multiply in full precision, unless the user has chosen another one."""
    config: Any = jax.config
    if config.jax_default_matmul_precision is None:
        return jax.default_matmul_precision("highest")
    return nullcontext()


def _moved(array: Any, params: Arrays) -> Any:
    """Return an array of JAX on each device of the parameters, and one of NumPy to be sent."""
    if isinstance(array, np.ndarray):
        return _narrowed(array)
    if isinstance(array, jax.core.Tracer) or isinstance(params["W1"], jax.core.Tracer):
        return array
    place = _replicated(params["W1"].sharding)
    same = array.sharding.device_set == place.device_set and array.sharding.is_fully_replicated
    return array if same else jax.device_put(array, place)


def _narrowed(array: Any) -> Any:
    """Return an array of NumPy with the dtype that JAX would give it, refusing lost integers."""
    array = native(array)
    narrow = jax.dtypes.canonicalize_dtype(array.dtype)
    if array.dtype.kind in "iu" and narrow != array.dtype and array.size:
        low, high = np.iinfo(narrow).min, np.iinfo(narrow).max
        for extreme in (array.min(), array.max()):
            if not low <= extreme <= high:
                raise ValueError(
                    f"{array.dtype} becomes {narrow} in JAX, which cannot hold {extreme}: "
                    "set jax_enable_x64, or convert to floats"
                )
    return array.astype(narrow, copy=False)


def _replicated(place: Any) -> Any:
    """Return the place in which each device of another place has the whole array."""
    if isinstance(place, NamedSharding):
        return NamedSharding(place.mesh, PartitionSpec())
    return place


def _mesh(place: Any) -> Mesh:
    """Return a mesh of the devices of a place, over which the compiler may split arrays."""
    if isinstance(place, NamedSharding):
        devices, names = place.mesh.devices, place.mesh.axis_names
    else:
        devices, names = np.array(list(place.device_set)), ("batch",)
    return Mesh(devices, names, axis_types=(AxisType.Auto,) * len(names))


def _split(mesh: Mesh, size: int, shards: int) -> NamedSharding:
    """Return how batches are split over a mesh: in equal shards or, else, not at all."""
    axes = mesh.axis_names if size % max(mesh.size, shards) == 0 else None
    return NamedSharding(mesh, PartitionSpec(None, axes))
