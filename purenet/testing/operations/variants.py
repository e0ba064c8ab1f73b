"""Right and wrong versions of each operation, in NumPy: what a check must accept, and what not.

They show that the checks have teeth, and what mistakes in kernels look like. Each wrong version
differs from a right one in one place. ``python -m purenet.testing.operations.variants`` tries the
checks on all of them and prints a table.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from purenet.testing.operations.checks import check_operation
from purenet.testing.operations.precision import Precision

__all__ = ["RIGHT", "WRONG", "Variant", "main"]

Function: TypeAlias = Callable[..., Any]
Array: TypeAlias = NDArray[Any]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
TILE = 16


class Variant(NamedTuple):
    """Hold a version of an operation.

    Parameters
    ----------
    operation : str
        The name of the operation.
    description : str
        The mistake; or, in a right version, how it is computed.
    function : callable
        The version.
    precision : Precision
        The precision that it has, or would have without its mistake.
    batch_invariant : bool
        Whether it shows only if rows must keep their bits in any batch.
    """

    operation: str
    description: str
    function: Function
    precision: Precision = Precision("float32")
    batch_invariant: bool = False


def wide(array: Array) -> Array:
    """Return an array in the precision of sums: float32 at least."""
    return array if array.dtype == np.float64 else array.astype(np.float32)


def widely(f: Function) -> Function:
    """Return a function that computes in the precision of sums, and stores in its argument's."""

    def computed(*args: Any) -> Any:
        floats = [
            wide(a) if isinstance(a, np.ndarray) and a.dtype.kind in "fV" else a for a in args
        ]
        with np.errstate(all="ignore"):
            results = f(*floats)
        store = args[0].dtype
        if isinstance(results, tuple):
            return tuple(np.asarray(r).astype(store, copy=False) for r in results)
        return np.asarray(results).astype(store, copy=False)

    return computed


@widely
def linear(x: Array, W: Array, b: Array) -> Array:
    """Return x W + b."""
    return x @ W + b


@widely
def linear_relu(x: Array, W: Array, b: Array) -> Array:
    """Return max(x W + b, 0)."""
    return np.maximum(x @ W + b, 0)


@widely
def linear_backward(x: Array, W: Array, delta: Array) -> tuple[Array, Array, Array]:
    """Return δ Wᵀ, xᵀ δ and the sum of the rows of δ."""
    return delta @ W.T, x.T @ delta, delta.sum(axis=0)


def relu_backward(delta: Array, z: Array) -> Array:
    """Return δ where z > 0, and else 0."""
    return np.where(z > 0, delta, np.zeros_like(delta))


@widely
def log_softmax(z: Array) -> Array:
    """Return the logarithms of softmax(z)."""
    s = z - z.max(axis=1, keepdims=True)
    return s - np.log(np.exp(s).sum(axis=1, keepdims=True))


@widely
def cross_entropy(z: Array, y: Array) -> Array:
    """Return the mean cross-entropy."""
    return -log_softmax(z)[np.arange(len(y)), y].mean()


def one_hot(z: Array, y: Array) -> Array:
    """Return the labels as rows with a 1."""
    return np.eye(z.shape[1], dtype=z.dtype)[y]


@widely
def cross_entropy_backward(z: Array, y: Array) -> Array:
    """Return the gradient of the mean cross-entropy."""
    return (np.exp(log_softmax(z)) - one_hot(z, y)) / len(y)


@widely
def momentum_step(
    p: Array, v: Array, g: Array, learning_rate: float, momentum: float
) -> tuple[Array, Array]:
    """Return the new parameters and the new velocity."""
    v = momentum * v + (1 - momentum) * g
    return p - learning_rate * v, v


def after(function: Function, change: Callable[..., Any]) -> Function:
    """Return a function whose results are changed: change(results, *args)."""
    return lambda *args: change(function(*args), *args)


def last_first(n: int) -> range:
    """Return n - 1, ..., 1, 0."""
    return range(n - 1, -1, -1)


def ordered_product(order: Callable[[int], Any], dtype: Any = None) -> Function:
    """Return x W + b, the terms of each sum added one by one in an order and a dtype."""

    def f(x: Array, W: Array, b: Array) -> Array:
        store = x.dtype
        x, W = wide(x), wide(W)
        total = np.zeros((len(x), W.shape[1]), dtype or x.dtype)
        with np.errstate(all="ignore"):
            for k in order(x.shape[1]):
                total = total + (x[:, k, None] * W[k]).astype(total.dtype)
            return (total.astype(x.dtype) + wide(b)).astype(store)

    return f


@widely
def blocked_product(x: Array, W: Array, b: Array) -> Array:
    """Return x W + b in blocks of terms."""
    z = np.zeros((len(x), W.shape[1]), x.dtype) + b
    for start in range(0, x.shape[1], TILE):
        z += x[:, start : start + TILE] @ W[start : start + TILE]
    return z


def rounded(array: Array, bits: int) -> Array:
    """Return float32 numbers rounded to so many bits after the first."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    scale = 2.0 ** (bits + 1)
    return np.ldexp(np.rint(mantissa * scale) / scale, exponent).astype(np.float32)


def unwritten_tile(results: Array, *_: Any) -> Array:
    """Return results of which the last, partial tile of columns was never written."""
    out = np.empty_like(results)
    whole = results.shape[-1] // TILE * TILE or results.shape[-1]
    out[..., :whole] = results[..., :whole]
    return out


def without_last(results: Array, *_: Any) -> Array:
    """Return results with zeros in place of the last row of an odd batch."""
    if len(results) % 2 and len(results) > 1:
        results[-1] = 0
    return results


def padded(a: Array) -> Array:
    """Return columns padded to an even number by the last one."""
    return a if a.shape[1] % 2 == 0 else np.concatenate([a, a[:, -1:]], axis=1)


def kept_buffer() -> Function:
    """Return x W + b added to a buffer that is kept for each shape, and not always cleared."""
    buffers: dict[tuple[int, ...], Array] = {}

    def f(x: Array, W: Array, b: Array) -> Array:
        z = linear(x, W, b)
        old = buffers.get(z.shape, np.zeros_like(z))
        buffers[z.shape] = z
        return z if len(z) % 2 else z + 0 * old if len(z) < 4 else (z + old) / 2

    return f


def scales_in_place(x: Array, W: Array, b: Array) -> Array:
    """Return x W + b, and write the argument x."""
    z = linear(x, W, b)
    x *= x.dtype.type(0.5)
    return z


def by_batch(x: Array, W: Array, b: Array) -> Array:
    """Return x W + b, summed in another order if there is one row."""
    order: Function = range if len(x) == 1 else last_first
    return ordered_product(order)(x, W, b)


def logs(z: Array, *, top: Any = None, axis: int = 1, classes: Any = slice(None)) -> Array:
    """Return a log-softmax with another maximum, another axis of the sum, or fewer classes."""
    s = z - (z.max(axis=1, keepdims=True) if top is None else top)
    return s - np.log(np.exp(s)[:, classes].sum(axis=axis, keepdims=True))


def wrong(operation: str, mistakes: dict[str, Function]) -> Iterator[Variant]:
    """Return wrong versions of an operation in float32."""
    return (Variant(operation, mistake, f) for mistake, f in mistakes.items())


def picked(log_p: Array, y: Array) -> Array:
    """Return the logarithms at the labels."""
    return log_p[np.arange(len(y)), y]


RIGHT: list[Variant] = [
    Variant("linear", "one product by BLAS", linear),
    Variant("linear", "term by term", ordered_product(range)),
    Variant("linear", "the last term first", ordered_product(last_first)),
    Variant("linear", "blocks of 16 terms", blocked_product),
    Variant("linear", "sums in float64", lambda x, W, b: linear(
        x.astype(np.float64), W.astype(np.float64), b.astype(np.float64)).astype(x.dtype)),
    Variant("linear", "factors rounded to tf32", lambda x, W, b: linear(
        rounded(x, 10), rounded(W, 10), b), Precision("float32", operands="tf32")),
    Variant("linear_relu", "z ⊙ [z > 0]", after(linear, lambda z, *_: z * (z > 0))),
    Variant("linear_relu", "max(z, 0)", linear_relu),
    Variant("linear_backward", "one product each", linear_backward),
    Variant("linear_backward", "db as a product with ones", widely(lambda x, W, delta: (
        delta @ W.T, x.T @ delta, np.ones(len(x), x.dtype) @ delta))),
    Variant("relu_backward", "a choice", relu_backward),
    Variant("relu_backward", "δ ⊙ [z > 0]", lambda delta, z: delta * (z > 0)),
    Variant("log_softmax", "s - log Σ exp(s)", log_softmax),
    Variant("log_softmax", "s - log1p(Σ - 1)",
            widely(lambda z: (z - z.max(axis=1, keepdims=True)) - np.log1p(
                np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True) - 1))),
    Variant("softmax_cross_entropy", "mean of picked logarithms", cross_entropy),
    Variant("softmax_cross_entropy", "sum of a one-hot product", widely(
        lambda z, y: -(one_hot(z, y) * log_softmax(z)).sum() / len(y))),
    Variant("softmax_cross_entropy_backward", "exp of the logarithms", cross_entropy_backward),
    Variant("softmax_cross_entropy_backward", "exponentials over their sum", widely(
        lambda z, y: (np.exp(z - z.max(axis=1, keepdims=True))
                      / np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)
                      - one_hot(z, y)) / len(y))),
    Variant("momentum_step", "β v + (1 - β) g", momentum_step),
    Variant("momentum_step", "in float64", lambda p, v, g, eta, beta: tuple(
        r.astype(p.dtype)
        for r in momentum_step(*(a.astype(np.float64) for a in (p, v, g)), eta, beta))),
]  # fmt: skip
"""Right versions, which a check must accept."""

WRONG: list[Variant] = [
    *wrong("linear", {
        "all zeros": after(linear, lambda z, *_: 0 * z),
        "the bias forgotten": lambda x, W, b: linear(x, W, 0 * b),
        "the bias missing in the last column": lambda x, W, b: linear(
            x, W, np.where(np.arange(len(b)) == len(b) - 1, 0, b).astype(b.dtype)),
        "the bias added twice": lambda x, W, b: linear(x, W, 2 * b),
        "the last tile of columns unwritten": after(linear, unwritten_tile),
        "the last row of an odd batch left out": after(linear, without_last),
        "x Wᵀ where W is square": lambda x, W, b: linear(
            x, W.T if W.shape[0] == W.shape[1] else W, b),
        "the last term of long sums left out": lambda x, W, b: linear(
            x[:, :-1] if x.shape[1] > TILE else x, W[:-1] if len(W) > TILE else W, b),
        "sums over padding": lambda x, W, b: linear(padded(x), padded(W.T).T, b),
        "sums in bfloat16": ordered_product(range, BFLOAT16),
        "sums in float16": ordered_product(range, np.float16),
        "factors rounded to tf32": lambda x, W, b: linear(rounded(x, 10), rounded(W, 10), b),
        "factors rounded to bfloat16": lambda x, W, b: linear(rounded(x, 7), rounded(W, 7), b),
        "the argument x written": scales_in_place,
        "a buffer that is not cleared": kept_buffer(),
        "NaN replaced by 0": lambda x, W, b: np.nan_to_num(linear(x, W, b)),
        "a NaN that spreads over the batch": lambda x, W, b: linear(x, W, b) + 0 * x.sum(),
        "a factor of 1 + 1e-4": after(linear, lambda z, *_: z * np.float32(1.0001)),
        "results in float64": after(linear, lambda z, *_: z.astype(np.float64)),
    }),
    Variant("linear", "sums in the storage precision", ordered_product(range, BFLOAT16),
            Precision("bfloat16")),
    Variant("linear", "another order of sums for a batch of one", by_batch, batch_invariant=True),
    *wrong("linear_relu", {
        "no ReLU": linear,
        "leaky ReLU": after(linear, lambda z, *_: np.where(z > 0, z, z * np.float32(0.01))),
        "ReLU before the bias": lambda x, W, b: np.maximum(linear(x, W, 0 * b), 0) + b,
        "the magnitude in place of ReLU": after(linear, lambda z, *_: np.abs(z)),
        "clipped at 6": after(linear_relu, lambda a, *_: np.minimum(a, np.float32(6))),
        "NaN replaced by 0": after(linear, lambda z, *_: np.fmax(z, np.float32(0))),
    }),
    *wrong("relu_backward", {
        "passed where z = 0": lambda delta, z: np.where(z >= 0, delta, 0 * delta),
        "the sign of δ in place of that of z": lambda delta, z: np.where(
            delta > 0, delta, 0 * delta),
        "passed everywhere": lambda delta, z: +delta,
        "the slope of a leaky ReLU": lambda delta, z: np.where(
            z > 0, delta, delta * np.float32(0.01)),
        "the mask of the next row": lambda delta, z: relu_backward(delta, np.roll(z, 1, axis=0)),
        "the last column passed": lambda delta, z: np.where(
            (z > 0) | (np.arange(z.shape[1]) == z.shape[1] - 1), delta, 0 * delta),
    }),
    *wrong("linear_backward", {
        "dx = δ W where W is square": widely(lambda x, W, delta: (
            delta @ (W if W.shape[0] == W.shape[1] else W.T), x.T @ delta, delta.sum(axis=0))),
        "dW transposed where it is square": after(linear_backward, lambda r, x, W, delta: (
            r[0], r[1].T if W.shape[0] == W.shape[1] else r[1], r[2])),
        "dW averaged over the batch": after(linear_backward, lambda r, x, W, delta: (
            r[0], r[1] / np.float32(len(x)), r[2])),
        "db averaged over the batch": after(linear_backward, lambda r, x, W, delta: (
            r[0], r[1], r[2] / np.float32(len(x)))),
        "the last row left out of db": after(linear_backward, lambda r, x, W, delta: (
            r[0], r[1], delta[:-1].sum(axis=0))),
        "rows counted twice in dW where the batch is odd": lambda x, W, delta: (
            linear_backward(x, W, delta)[0],
            linear_backward(padded(x.T).T, W, padded(delta.T).T)[1],
            linear_backward(x, W, delta)[2]),
        "the last tile of dW unwritten": after(linear_backward, lambda r, *_: (
            r[0], unwritten_tile(r[1]), r[2])),
        "results in another order": after(linear_backward, lambda r, *_: (r[1], r[0], r[2])),
    }),
    *wrong("log_softmax", {
        "no maximum subtracted": widely(lambda z: logs(z, top=0)),
        "the maximum of the wrong axis": widely(lambda z: logs(z, top=z.max(axis=0))),
        "the maximum of the whole batch": widely(lambda z: logs(z, top=z.max())),
        "the sum over the wrong axis": widely(lambda z: logs(z, axis=0)),
        "logarithms to base 2": after(log_softmax, lambda r, z: r / np.float32(np.log(2))),
        "the last class left out of the sum": widely(lambda z: logs(z, classes=slice(0, max(
            1, z.shape[1] - 1)))),
        "probabilities clipped at 1e-7": widely(lambda z: np.log(np.maximum(
            np.exp(log_softmax(z)), np.float32(1e-7)))),
        "the logarithm of a softmax": widely(lambda z: np.log(np.exp(log_softmax(z)))),
        "probabilities in place of logarithms": widely(lambda z: np.exp(log_softmax(z))),
    }),
    *wrong("softmax_cross_entropy", {
        "summed over the batch": after(cross_entropy, lambda r, z, y: r * np.float32(len(y))),
        "averaged over classes too": after(cross_entropy, lambda r, z, y: r / np.float32(
            z.shape[1])),
        "the last row of an odd batch left out": lambda z, y: cross_entropy(
            z[: len(z) // 2 * 2 or 1], y[: len(z) // 2 * 2 or 1]),
        "labels off by one": lambda z, y: cross_entropy(z, (y + 1) % z.shape[1]),
        "an epsilon of 1e-6 in the logarithm": widely(lambda z, y: -np.log(
            np.exp(picked(log_softmax(z), y)) + np.float32(1e-6)).mean()),
        "a result of shape (1,)": after(cross_entropy, lambda r, *_: np.reshape(r, 1)),
        "the sign": after(cross_entropy, lambda r, *_: -r),
    }),
    *wrong("softmax_cross_entropy_backward", {
        "not divided by the batch": after(cross_entropy_backward, lambda r, z, y: r * np.float32(
            len(y))),
        "divided by the classes": after(cross_entropy_backward, lambda r, z, y: r / np.float32(
            z.shape[1])),
        "the labels not subtracted": widely(lambda z, y: np.exp(log_softmax(z)) / len(y)),
        "the labels subtracted after the division": widely(
            lambda z, y: np.exp(log_softmax(z)) / len(y) - one_hot(z, y)),
        "exponentials without the maximum": widely(
            lambda z, y: (np.exp(logs(z, top=0)) - one_hot(z, y)) / len(y)),
        "the label of the last row ignored": widely(lambda z, y: (np.exp(log_softmax(z)) - one_hot(
            z, y) * (np.arange(len(y)) < len(y) - 1)[:, None]).astype(z.dtype) / len(y)),
    }),
    *wrong("momentum_step", {
        "heavy ball, without 1 - β": widely(lambda p, v, g, eta, beta: (
            p - eta * (beta * v + g), beta * v + g)),
        "β and 1 - β exchanged": lambda p, v, g, eta, beta: momentum_step(p, v, g, eta, 1 - beta),
        "Nesterov": widely(lambda p, v, g, eta, beta: (
            p - eta * (beta * (beta * v + (1 - beta) * g) + (1 - beta) * g),
            beta * v + (1 - beta) * g)),
        "the old velocity": widely(lambda p, v, g, eta, beta: (
            p - eta * v, beta * v + (1 - beta) * g)),
        "the learning rate inside the velocity": widely(lambda p, v, g, eta, beta: (
            p - (beta * v + eta * (1 - beta) * g), beta * v + eta * (1 - beta) * g)),
        "the velocity not returned": after(momentum_step, lambda r, p, v, *_: (r[0], +v)),
        "the last tile unwritten": after(momentum_step, lambda r, *_: (
            unwritten_tile(r[0]), r[1])),
    }),
]  # fmt: skip
"""Wrong versions, which a check must catch."""


def main() -> None:
    """Print a table of the wrong versions, with the law and the example that caught each."""
    print("| operation | mistake | law | example |\n|---|---|---|--:|")
    for variant in WRONG:
        report = check_operation(
            variant.function,
            variant.operation,
            precision=variant.precision,
            batch_invariant=variant.batch_invariant,
        )
        first = min(report.failures, key=lambda failure: failure.example, default=None)
        found = f"{first.law} | {first.example}" if first else "survived | "
        print(f"| `{variant.operation}` | {variant.description} | {found} |")


if __name__ == "__main__":
    main()
