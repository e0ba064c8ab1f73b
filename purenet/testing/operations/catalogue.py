r"""The operations: what each computes exactly, and how far rounding may take it from there.

W is (in, out), x is (batch, in), z is (batch, classes), y holds integer labels. Exact values are
computed in twice the precision of float64. Bounds are per element, with the γ, u and η of
`purenet.testing.operations.precision`.

**Products.** z = x W: a factor that is rounded to a narrower format is off by u_o, and the sum of k
terms by γ_k, so the error is at most ((1 + u_o)² (1 + γ_k) - 1) \|x\| \|W\| + (2k + 1) η. A bias is
one more term of the sum.

**Log-softmax.** Let s = z - max z, d = u \|s\| its error, and f the error of an exponential. The
sum Σ = Σ_i exp(s_i) is off by q = (1 + f)(1 + γ_C)(1 + Σ_i p_i (exp(d_i) - 1)) - 1. So log p_j is
off by E_j = d_j - log(1 - q) + f log Σ + u \|log p_j\| + 3 C η.

**Cross-entropy.** p is off by e = p (exp(E + f) - 1), the gradient (p - t)/n by (e + γ_3 (\|p - t\|
+ e))/n, and the mean of n losses by the mean of their errors and γ_{n+1}. A kernel may also compute
p_y - 1 as minus the sum of the other probabilities.

**Step.** v is off by γ_3 (β\|v\| + (1 - β)\|g\|) and, where β is rounded, by u β (\|v\| + \|g\|).

Where intermediate arrays are stored, u of their computation includes the rounding to storage.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from purenet.testing.operations import double_double as dd
from purenet.testing.operations.double_double import Double
from purenet.testing.operations.examples import Draw
from purenet.testing.operations.precision import Arithmetic

__all__ = ["OPERATIONS", "Operation"]

Vector: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Operation:
    """Describe an operation.

    Parameters
    ----------
    signature : str
        How it is called, as in ``linear(x, W, b) -> z``.
    equation : str
        What it computes.
    draw : callable
        Draws the arguments.
    exact : callable
        Returns the exact results of arguments, in twice the precision of float64.
    error : callable
        Bounds the error of each result, from an `Arithmetic`, the exact results and the arguments.
    by_row : tuple of (sequence of int, sequence of int), optional
        The arguments and the results whose rows belong to the rows of the batch, where a row of
        these results depends on its own row of the arguments alone.
    rounds : bool
        Whether the results are rounded. If not, they are numbers of the arguments, or 0.
    """

    signature: str
    equation: str
    draw: Callable[[Draw], tuple[Any, ...]]
    exact: Callable[..., tuple[Double, ...]]
    error: Callable[..., tuple[Vector, ...]]
    by_row: tuple[Sequence[int], Sequence[int]] | None = None
    rounds: bool = True

    @property
    def outputs(self) -> list[str]:
        """Return the names of the results."""
        return self.signature.partition(" -> ")[2].strip("()").split(", ")


def draw_linear(draw: Draw) -> tuple[Vector, Vector, Vector]:
    """Draw x, W and b."""
    batch, fan_in, fan_out = draw.sizes(3)
    x, W, b = draw.array(batch, fan_in), draw.array(fan_in, fan_out), draw.array(fan_out)
    half = fan_in // 2
    if draw.kind == "cancellation":  # the second half of each sum nearly cancels the first
        x[:, half : 2 * half] = x[:, :half]
        W[half : 2 * half] = draw.stored(-W[:half] * (1 + 2 * draw.format.u))
        b[:] = 0
    return x, W, b


def linear(x: Vector, W: Vector, b: Vector) -> tuple[Double]:
    """Return x W + b."""
    return (dd.add(dd.matmul(x, W), dd.exactly(np.broadcast_to(b, (len(x), len(b))))),)


def linear_error(
    arithmetic: Arithmetic, _: Sequence[Double], x: Vector, W: Vector, b: Vector
) -> tuple[Vector]:
    """Bound the error of x W + b."""
    error, size = arithmetic.product(x, W)
    error = error + arithmetic.gamma(x.shape[1] + 1) * np.abs(b)
    # The product may be stored before the bias is added.
    return (error + arithmetic.stored * (size + error) + arithmetic.underflow,)


def relu(z: Sequence[Double]) -> tuple[Double]:
    """Return max(z, 0). NaN stays NaN."""
    keep = z[0].high > 0
    return (Double(z[0].high * keep, z[0].low * keep),)


def linear_relu(x: Vector, W: Vector, b: Vector) -> tuple[Double]:
    """Return max(x W + b, 0)."""
    return relu(linear(x, W, b))


def linear_relu_error(
    arithmetic: Arithmetic, a: Sequence[Double], x: Vector, W: Vector, b: Vector
) -> tuple[Vector]:
    """Bound the error of max(x W + b, 0): that of x W + b, and 0 where that is surely negative."""
    (z,), (error,) = linear(x, W, b), linear_error(arithmetic, a, x, W, b)
    return (np.where(z.high + error < 0, 0.0, error),)


def draw_linear_backward(draw: Draw) -> tuple[Vector, Vector, Vector]:
    """Draw x, W and δ."""
    x, W, _ = draw_linear(draw)
    return x, W, draw.array(len(x), W.shape[1])


def linear_backward(x: Vector, W: Vector, delta: Vector) -> tuple[Double, ...]:
    """Return δ Wᵀ, xᵀ δ and the sum of the rows of δ."""
    return (
        dd.matmul(delta, W.T),
        dd.matmul(x.T, delta),
        dd.total(dd.exactly(delta.T)),
    )


def linear_backward_error(
    arithmetic: Arithmetic, _: Sequence[Double], x: Vector, W: Vector, delta: Vector
) -> tuple[Vector, ...]:
    """Bound the errors of the three sums."""
    batch = len(x)
    db = arithmetic.gamma(batch) * np.abs(delta).sum(axis=0) + batch * arithmetic.underflow
    return arithmetic.product(delta, W.T)[0], arithmetic.product(x.T, delta)[0], db


def draw_relu_backward(draw: Draw) -> tuple[Vector, Vector]:
    """Draw δ and z."""
    shape = draw.sizes(2)
    delta, z = draw.array(*shape), draw.array(*shape)
    z[draw.rng.random(z.shape) < 0.1] = 0.0
    return delta, z


def relu_backward(delta: Vector, z: Vector) -> tuple[Double]:
    """Return δ where z > 0, and else 0."""
    return (dd.exactly(np.where(z > 0, delta, 0.0)),)


def relu_backward_error(
    arithmetic: Arithmetic, _: Sequence[Double], delta: Vector, z: Vector
) -> tuple[Vector]:
    """Return 0: nothing is rounded, though subnormal numbers may be flushed to zero."""
    flushed = np.minimum(np.abs(delta), arithmetic.underflow)
    doubtful = (np.abs(z) < arithmetic.underflow) & (z != 0)  # z itself may be flushed
    return (np.where(z > 0, np.where(doubtful, np.abs(delta), flushed), 0.0),)


def draw_logits(draw: Draw) -> tuple[Vector]:
    """Draw logits."""
    return (draw.logits(*draw.sizes(2)),)


def log_softmax(z: Vector) -> tuple[Double]:
    """Return z - max z - log Σ exp(z - max z) of each row."""
    s = dd.add(dd.exactly(z), dd.exactly(-z.max(axis=1, keepdims=True)))
    of_row = dd.log(dd.total(dd.exp(s)))
    return (dd.add(s, Double(-of_row.high[:, None], -of_row.low[:, None])),)


def growth(log_p: Vector, d: Vector) -> Vector:
    """Return p expm1(d), where log p is given: p may be 0, and the exponential infinite."""
    p, small = np.exp(log_p), np.minimum(d, 1.0)
    return np.where(d < 1, p * np.expm1(small), np.exp(log_p + d) - p)


def log_softmax_error(arithmetic: Arithmetic, log_p: Sequence[Double], z: Vector) -> tuple[Vector]:
    """Bound the error of the logarithms."""
    u, f = arithmetic.u + arithmetic.stored, arithmetic.functions
    classes, log_p_high = z.shape[1], log_p[0].high
    s = np.abs(z - z.max(axis=1, keepdims=True))
    log_sum = np.maximum(-log_p_high.max(axis=1, keepdims=True), 0.0)
    d = u * s
    rise = growth(log_p_high, d).sum(axis=1, keepdims=True)
    gamma = (1 + arithmetic.gamma(classes)) * (1 + arithmetic.stored)
    q = (1 + f) * gamma * (1 + rise) - 1
    of_sum = -np.log1p(-np.minimum(q, 1 - 1e-16))
    error = d + of_sum + f * (log_sum + of_sum) + 3 * classes * arithmetic.underflow
    return (error + u * (np.abs(log_p_high) + error),)


def draw_labelled(draw: Draw) -> tuple[Vector, Labels]:
    """Draw logits and labels."""
    (z,) = draw_logits(draw)
    return z, draw.labels(*z.shape)


def cross_entropy(z: Vector, y: Labels) -> tuple[Double]:
    """Return the mean of -log softmax(z)[y]."""
    (log_p,) = log_softmax(z)
    rows = np.arange(len(y))
    picked = Double(log_p.high[rows, y], log_p.low[rows, y])
    return (dd.divide(dd.negative(dd.total(picked)), len(y)),)


def cross_entropy_error(
    arithmetic: Arithmetic, _: Sequence[Double], z: Vector, y: Labels
) -> tuple[Vector]:
    """Bound the error of the mean."""
    exact = log_softmax(z)
    rows, n = np.arange(len(y)), len(y)
    size = np.abs(exact[0].high[rows, y])
    error = log_softmax_error(arithmetic, exact, z)[0][rows, y]
    error = error + arithmetic.stored * (size + error)
    gamma = (1 + arithmetic.gamma(n + 1)) * (1 + arithmetic.stored) ** 2 - 1
    mean = (error.sum() + gamma * (size + error).sum()) / n + 3 * arithmetic.underflow
    if arithmetic.overflows((size + error).sum()):  # the sum, before it is divided
        mean = np.inf
    return (np.asarray(mean),)


def cross_entropy_backward(z: Vector, y: Labels) -> tuple[Double]:
    """Return (softmax(z) - t) / n, with t one-hot."""
    p = dd.exp(log_softmax(z)[0])
    t = np.zeros(z.shape)
    t[np.arange(len(y)), y] = 1.0
    return (dd.divide(dd.add(p, dd.exactly(-t)), len(y)),)


def cross_entropy_backward_error(
    arithmetic: Arithmetic, dz: Sequence[Double], z: Vector, y: Labels
) -> tuple[Vector]:
    """Bound the error of the gradient."""
    n, classes = z.shape
    log_p = log_softmax(z)
    p, (of_log,) = np.exp(log_p[0].high), log_softmax_error(arithmetic, log_p, z)
    of_p = growth(log_p[0].high, of_log + arithmetic.functions) + arithmetic.underflow
    label = np.zeros(z.shape, bool)
    label[np.arange(n), y] = True
    others = np.where(label, 0.0, of_p + arithmetic.gamma(classes) * (p + of_p)).sum(axis=1)
    of_p = np.where(label, np.maximum(of_p, others[:, None]), of_p)
    size = n * np.abs(dz[0].high) + of_p
    roundings = (1 + arithmetic.gamma(3)) * (1 + arithmetic.stored) ** 3 - 1
    return ((of_p + roundings * size) / n + 3 * arithmetic.underflow,)


def draw_step(draw: Draw) -> tuple[Any, ...]:
    """Draw p, v, g, η and β."""
    shape = draw.sizes(2)
    arrays = [draw.array(*shape) for _ in range(3)]
    rates = draw.rng.choice([0.1, 0.01, 1.0]), draw.rng.choice([0.9, 0.0, 0.5, 0.999])
    return (*arrays, *map(float, rates))


def momentum_step(
    p: Vector, v: Vector, g: Vector, learning_rate: float, momentum: float
) -> tuple[Double, ...]:
    """Return p - η v' and v' = β v + (1 - β) g."""
    beta, eta = dd.exactly(momentum), dd.exactly(-learning_rate)
    rest = dd.add(dd.exactly(1.0), dd.negative(beta))
    new_v = dd.add(dd.multiply(beta, dd.exactly(v)), dd.multiply(rest, dd.exactly(g)))
    return dd.add(dd.exactly(p), dd.multiply(eta, new_v)), new_v


def momentum_step_error(
    arithmetic: Arithmetic,
    exact: Sequence[Double],
    p: Vector,
    v: Vector,
    g: Vector,
    learning_rate: float,
    momentum: float,
) -> tuple[Vector, ...]:
    """Bound the errors of the new parameters and of the new velocity."""
    u, eta = arithmetic.u + arithmetic.stored, arithmetic.underflow
    gamma_3 = 3 * u / (1 - 3 * u)
    new_p, new_v = (np.abs(one.high) for one in exact)
    size = np.abs(v) + np.abs(g)
    error = gamma_3 * (momentum * np.abs(v) + (1 - momentum) * np.abs(g))
    error = error + u * momentum * size + 4 * eta * (1 + size)
    of_v = error + u * (new_v + error)
    kept = arithmetic.result(new_v, of_v)  # the stored velocity may enter the step
    of_p = learning_rate * (kept + gamma_3 * (new_v + kept)) + eta * (2 + new_v + np.abs(p))
    return of_p + u * (new_p + of_p), of_v


OPERATIONS: dict[str, Operation] = {
    operation.signature.partition("(")[0]: operation
    for operation in (
        Operation("linear(x, W, b) -> z", "z = x W + b", draw_linear, linear, linear_error,
                  by_row=([0], [0])),
        Operation("linear_relu(x, W, b) -> a", "a = max(x W + b, 0)", draw_linear, linear_relu,
                  linear_relu_error, by_row=([0], [0])),
        Operation("linear_backward(x, W, delta) -> (dx, dW, db)",
                  "dx = δ Wᵀ, dW = xᵀ δ, db = Σ_i δ_i", draw_linear_backward, linear_backward,
                  linear_backward_error, by_row=([0, 2], [0])),
        Operation("relu_backward(delta, z) -> dz", "dz = δ ⊙ [z > 0]", draw_relu_backward,
                  relu_backward, relu_backward_error, by_row=([0, 1], [0]), rounds=False),
        Operation("log_softmax(z) -> log_p", "log_p = z - log Σ_j exp(z_j), by row", draw_logits,
                  log_softmax, log_softmax_error, by_row=([0], [0])),
        Operation("softmax_cross_entropy(z, y) -> loss", "loss = -(1/n) Σ_i log_p[i, y_i], in nats",
                  draw_labelled, cross_entropy, cross_entropy_error),
        Operation("softmax_cross_entropy_backward(z, y) -> dz",
                  "dz = (softmax(z) - one_hot(y)) / n", draw_labelled, cross_entropy_backward,
                  cross_entropy_backward_error),
        Operation("momentum_step(p, v, g, learning_rate, momentum) -> (p, v)",
                  "v = β v + (1 - β) g, then p = p - η v", draw_step, momentum_step,
                  momentum_step_error, by_row=([0, 1, 2], [0, 1])),
    )
}  # fmt: skip
"""The operations, by name."""
