"""The exact results of a case, and how far rounding may take a correct program from them.

**Exact.** All numbers have 60 digits. The oracles compute networks, and products as networks of one
layer.

**Bounds.** Those of operations are in `purenet.testing.operations.catalogue`, those of a network's
functions in `purenet.testing.error_bounds`. In bfloat16 sums are in float32, and each result is
stored.

**Training.** Let e_t be the error of parameters and velocity before step t, J_t the derivative of
the step, and ε_t what rounding adds in the step: that of the gradient (`backward_bound`) and of the
update (`step_bound`). To first order e_{t+1} = J_t e_t + ε_t, so that after the last step
|e_T| ≤ Σ_t |J_{T-1} ⋯ J_{t+1}| |ε_t|. The bound is twice that, for the terms of second order. It
holds where no hidden unit is so near 0 that rounding might turn it on or off. J_t follows from the
second derivatives of the loss, which are central differences of the gradient in float64.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import ml_dtypes
import mpmath
import numpy as np
from numpy.typing import NDArray

import purenet
from purenet.params import Params, flat_views, names
from purenet.testing import error_bounds, oracles
from purenet.testing.operations import OPERATIONS, Precision, variants
from purenet.testing.operations.double_double import Double
from purenet.testing.operations.precision import FORMATS, Arithmetic
from purenet.testing.vectors.cases import Case

__all__ = ["PRECISIONS", "Results", "bounds", "cast", "compute", "exact", "params_of"]

Vector: TypeAlias = NDArray[np.float64]
Results: TypeAlias = dict[str, Any]

PRECISIONS = ("float64", "float32", "bfloat16")
"""The formats of storage. Sums are in the same format, for bfloat16 in float32."""

_mp = mpmath.MPContext()
_mp.dps = 60
H = (
    2.0**-20
)  # of the central differences: their error is of order H², 10⁻¹² of the third derivative


def params_of(inputs: dict[str, Any]) -> Params:
    """Return the parameters among the inputs of a case.

    Parameters
    ----------
    inputs : dict
        The inputs of the case.

    Returns
    -------
    dict of numpy.ndarray
        W1, b1, ..., WL, bL.
    """
    return {name: inputs[name] for name in names(sum(k[0] == "W" and k != "W" for k in inputs))}


def compute(operation: str, inputs: dict[str, Any]) -> Results:
    """Compute the results of a case by the functions of purenet, in the dtype of its inputs.

    Parameters
    ----------
    operation : str
        The operation of the case.
    inputs : dict
        The inputs of the case.

    Returns
    -------
    dict
        Arrays by the names of the results.
    """
    return COMPUTED[operation](inputs)


def exact(case: Case) -> Results:
    """Return the exact results: arrays of `mpmath.mpf`, with a NaN where an input makes one.

    Parameters
    ----------
    case : Case
        The case.

    Returns
    -------
    dict of object array
        Arrays by the names of the results.
    """
    found = EXACT[case.operation](without_nan(case.inputs))
    with np.errstate(invalid="ignore"):
        seen = compute(case.operation, case.inputs)
    return {
        name: np.where(np.isnan(np.asarray(seen[name], float)), np.nan, value)
        for name, value in found.items()
    }


def bounds(case: Case, high: Results, low: Results) -> dict[str, Results]:
    """Bound the errors of the results in each format that holds the inputs without rounding.

    Parameters
    ----------
    case : Case
        The case.
    high, low : dict of numpy.ndarray
        The exact results, as sums of two float64 numbers.

    Returns
    -------
    dict of dict of numpy.ndarray
        For each format, bounds by the names of the results.
    """
    inputs, found = without_nan(case.inputs), {}
    for precision in PRECISIONS:
        if all(map(holds(precision), inputs.values())):
            if case.operation in OPERATIONS:
                of_format = operation_bounds(case.operation, inputs, high, low, precision)
            elif case.operation != "train":
                of_format = network_bounds(case.operation, inputs, precision)
            elif precision != "bfloat16":  # ten steps add up to more than a bound of first order
                of_format = training_bounds(inputs, precision)
            else:
                continue
            found[precision] = {name: np.asarray(of_format[name]) for name in high}
    return found


def without_nan(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs with 0 in place of NaN."""
    return {
        name: np.nan_to_num(a) if isinstance(a, np.ndarray) else a for name, a in inputs.items()
    }


def cast(inputs: dict[str, Any], precision: str) -> dict[str, Any]:
    """Return the inputs of a case in a precision.

    Parameters
    ----------
    inputs : dict
        Arrays and scalars.
    precision : str
        One of `PRECISIONS`.

    Returns
    -------
    dict
        Arrays of floats in the format of storage, labels as they are, and scalars as numbers of
        Python.
    """

    def one(array: NDArray[Any]) -> Any:
        if not array.shape:
            return array.item()
        return array.astype(storage(precision)) if array.dtype.kind == "f" else array

    return {name: one(np.asarray(value)) for name, value in inputs.items()}


def holds(precision: str) -> Callable[[Any], bool]:
    """Return a function that tells whether a format holds an array exactly; scalars are float64."""

    def held(a: Any) -> bool:
        narrow = storage(precision)
        return not isinstance(a, np.ndarray) or bool((a.astype(narrow).astype(float) == a).all())

    return held


def storage(precision: str) -> np.dtype[Any]:
    """Return the dtype of arrays."""
    found: np.dtype[Any] = np.dtype(
        getattr(ml_dtypes if precision == "bfloat16" else np, precision)
    )
    return found


# The results by the functions of purenet, and exactly.

ETA_BETA = ("learning_rate", "momentum")


def arguments(inputs: dict[str, Any]) -> tuple[Any, ...]:
    """Return params, x and y."""
    return params_of(inputs), inputs["x"], inputs["y"]


def of_operation(operation: str) -> Callable[[dict[str, Any]], Results]:
    """Return an operation as a function of the inputs."""
    function, outputs = FUNCTIONS[operation], OPERATIONS[operation].outputs

    def computed(inputs: dict[str, Any]) -> Results:
        results = function(*inputs.values())
        return dict(
            zip(outputs, results if isinstance(results, tuple) else (results,), strict=True)
        )

    return computed


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "linear": variants.linear,
    "linear_relu": variants.linear_relu,
    "linear_backward": variants.linear_backward,
    "relu_backward": variants.relu_backward,
    "log_softmax": variants.log_softmax,
    "softmax_cross_entropy": variants.cross_entropy,
    "softmax_cross_entropy_backward": variants.cross_entropy_backward,
    "momentum_step": variants.momentum_step,
}


def computed_backward(inputs: dict[str, Any]) -> Results:
    """Return the loss and the gradient."""
    loss, grads = purenet.backward(*arguments(inputs), l2=inputs["l2"])
    return {"loss": loss, **grads}


def config_of(inputs: dict[str, Any]) -> purenet.Config:
    """Return the configuration of a training, in the order of the data."""
    fields = {k: inputs[k] for k in (*ETA_BETA, "l2", "batch_size", "epochs")}
    return purenet.Config(**fields, shuffle=False)


def computed_training(inputs: dict[str, Any]) -> Results:
    """Return the mean loss of each epoch, and the last parameters and velocity."""
    params, x, y = arguments(inputs)
    result = purenet.train(params, (x, y), config_of(inputs))
    losses = np.array([record["loss"] for record in result.history], x.dtype)
    return named_training(losses, result.params, result.state.velocity)


def named_training(losses: Any, params: dict[str, Any], velocity: dict[str, Any]) -> Results:
    """Name the results of a training."""
    return {"losses": losses, **params, **{f"velocity.{k}": v for k, v in velocity.items()}}


COMPUTED: dict[str, Callable[[dict[str, Any]], Results]] = {
    **{operation: of_operation(operation) for operation in FUNCTIONS},
    "forward": lambda inputs: {"logits": purenet.forward(params_of(inputs), inputs["x"])},
    "loss": lambda inputs: {"loss": purenet.loss(*arguments(inputs), l2=inputs["l2"])},
    "backward": computed_backward,
    "train": computed_training,
}


def exact_product(x: Vector, W: Vector, b: Vector | None = None) -> Any:
    """Return x W + b."""
    return oracles.forward({"W1": W, "b1": np.zeros(W.shape[1]) if b is None else b}, x)


def exact_log_softmax(z: Vector) -> Any:
    """Return z_j - max z - log Σ_i exp(z_i - max z)."""
    rows = [[_mp.mpf(z_j) - max(row) for z_j in row] for row in z.tolist()]
    sums = [_mp.log(_mp.fsum(map(_mp.exp, row))) for row in rows]
    return np.array([[z_j - of_row for z_j in row] for row, of_row in zip(rows, sums, strict=True)])


def exact_cross_entropy(z: Vector, y: NDArray[Any]) -> Any:
    """Return the mean of -log p at the labels."""
    log_p = exact_log_softmax(z)
    return np.array(-sum(log_p[range(len(y)), y]) / len(y), object)


def exact_cross_entropy_backward(z: Vector, y: NDArray[Any]) -> Any:
    """Return the probabilities over n, and at the label minus the sum of the others."""
    dz = np.array([[_mp.exp(one) for one in row] for row in exact_log_softmax(z)]) / len(z)
    for row, label in zip(dz, y, strict=True):
        row[label] = 0
        row[label] = -sum(row)
    return dz


def exact_step(inputs: dict[str, Any]) -> Results:
    """Return the new parameters and the new velocity."""
    p, v, g = ({"a": inputs[name]} for name in "pvg")
    rates = {name: inputs[name] for name in ETA_BETA}
    return dict(
        zip("pv", (new["a"] for new in oracles.momentum_step(p, v, g, **rates)), strict=True)
    )


def exact_backward(inputs: dict[str, Any]) -> Results:
    """Return the loss and the gradient."""
    loss, grads = oracles.backward(*arguments(inputs), l2=inputs["l2"])
    return {"loss": np.array(loss, object), **grads}


def exact_training(inputs: dict[str, Any]) -> Results:
    """Return the mean loss of each epoch, and the last parameters and velocity."""
    params, x, y = arguments(inputs)
    fields = {k: inputs[k] for k in (*ETA_BETA, "l2", "batch_size", "epochs")}
    params, velocity, losses = oracles.train(
        params, (x, y), **fields, shuffle=False, seed=0, input_scale=1.0
    )
    return named_training(np.array(losses, object), params, velocity)


EXACT: dict[str, Callable[[dict[str, Any]], Results]] = {
    "linear": lambda i: {"z": exact_product(i["x"], i["W"], i["b"])},
    "linear_relu": lambda i: {"a": np.maximum(exact_product(i["x"], i["W"], i["b"]), 0)},
    "linear_backward": lambda i: {
        "dx": exact_product(i["delta"], i["W"].T),
        "dW": exact_product(i["x"].T, i["delta"]),
        "db": exact_product(np.ones((1, len(i["x"]))), i["delta"])[0],
    },
    "relu_backward": lambda i: {"dz": np.where(i["z"] > 0, i["delta"], 0.0)},
    "log_softmax": lambda i: {"log_p": exact_log_softmax(i["z"])},
    "softmax_cross_entropy": lambda i: {"loss": exact_cross_entropy(i["z"], i["y"])},
    "softmax_cross_entropy_backward": lambda i: {
        "dz": exact_cross_entropy_backward(i["z"], i["y"])
    },
    "momentum_step": exact_step,
    "forward": lambda i: {"logits": oracles.forward(params_of(i), i["x"])},
    "loss": lambda i: {"loss": np.array(oracles.loss(*arguments(i), l2=i["l2"]), object)},
    "backward": exact_backward,
    "train": exact_training,
}


# Bounds.


class StoredInBfloat16(error_bounds.Arithmetic):
    """Sum in float32, and store each sum, and once more with a bias, in bfloat16."""

    def __init__(self) -> None:
        super().__init__(np.float64)  # operands are exact
        form, self.sums = FORMATS["bfloat16"], error_bounds.Arithmetic(np.float32)
        self.u, self.tiny = 1.001 * form.u, 1.001 * form.tiny
        self.four_ulp = 8 * self.u

    def gamma(self, n: int) -> float:
        """Bound the relative error of a sum of n terms."""
        return (1 + self.sums.gamma(n)) * (1 + self.u) ** 2 - 1


def operation_bounds(
    operation: str, inputs: dict[str, Any], high: Results, low: Results, precision: str
) -> Results:
    """Bound the results of an operation."""
    arithmetic, what = Arithmetic(Precision(precision)), OPERATIONS[operation]
    results = [
        Double(np.nan_to_num(np.asarray(high[k])), np.nan_to_num(np.asarray(low[k]))) for k in high
    ]
    with np.errstate(all="ignore"):
        errors = what.error(arithmetic, results, *inputs.values())
        if what.rounds:
            errors = tuple(
                arithmetic.result(one.high, e) for one, e in zip(results, errors, strict=True)
            )
    return dict(zip(high, errors, strict=True))


def network_bounds(operation: str, inputs: dict[str, Any], precision: str) -> Results:
    """Bound the results of a function of a network."""
    working = None if precision != "bfloat16" else StoredInBfloat16()
    dtype = np.dtype(np.float64 if working else precision)
    params, x = in_dtype(params_of(inputs), dtype), inputs["x"].astype(dtype)
    if operation == "forward":
        return {"logits": error_bounds.forward_bound(params, x, working=working)}
    loss, grads = error_bounds.backward_bound(
        params, x, inputs["y"], l2=inputs["l2"], working=working
    )
    return {"loss": np.asarray(loss), **grads}


def in_dtype(params: Params, dtype: Any) -> Params:
    """Return parameters in a dtype."""
    return {name: p.astype(dtype) for name, p in params.items()}


def training_bounds(inputs: dict[str, Any], precision: str) -> Results:
    """Bound the results of a training, to first order and doubled."""
    (p, x, y), cfg, dtype = arguments(inputs), config_of(inputs), np.dtype(precision)
    rates = {"learning_rate": cfg.learning_rate, "momentum": cfg.momentum}
    eta, rest, v = cfg.learning_rate, 1 - cfg.momentum, purenet.init_velocity(p)
    count = sum(map(np.size, p.values()))
    error = np.zeros((2 * count, 0))  # columns are errors of earlier steps, as they are by now
    losses: list[float] = []
    u = float(np.finfo(dtype).eps) / 2
    for _ in range(cfg.epochs):
        total = 0.0
        for start in range(0, len(x), cfg.batch_size or len(x)):
            rows = slice(start, start + (cfg.batch_size or len(x)))
            loss, g = purenet.backward(p, x[rows], y[rows], l2=cfg.l2)
            now = np.abs(error).sum(axis=1)
            check_signs(p, x[rows], dtype, now[:count])
            narrow = in_dtype(p, dtype)
            of_loss, of_g = error_bounds.backward_bound(
                narrow, x[rows].astype(dtype), y[rows], l2=cfg.l2
            )
            moved = np.abs(flat(g)) @ now[:count]
            total += len(y[rows]) * (of_loss + moved + 4 * u * abs(float(loss)))
            of_p, of_v = error_bounds.step_bound(
                narrow, in_dtype(v, dtype), in_dtype(g, dtype), **rates
            )
            second = second_derivatives(p, x[rows], y[rows], cfg.l2)
            of_parameters, of_velocity = error[:count], error[count:]
            velocity = cfg.momentum * of_velocity + rest * second @ of_parameters
            error = np.vstack([of_parameters - eta * velocity, velocity])
            fresh = rest * flat(of_g)
            fresh = np.concatenate([flat(of_p) + eta * fresh, flat(of_v) + fresh])
            error = np.hstack([error, np.diag(fresh)])
            p, v = purenet.momentum_step(p, v, g, **rates)
        losses.append(total / len(x))
    final = 2 * np.abs(error).sum(axis=1)
    return named_training(
        2 * np.array(losses), flat_views(final[:count], p), flat_views(final[count:], p)
    )


def flat(params: Params) -> Vector:
    """Return all numbers of parameters in one vector."""
    vector = np.empty(sum(map(np.size, params.values())))
    for name, view in flat_views(vector, params).items():
        view[...] = params[name]
    return vector


def second_derivatives(p: Params, x: Vector, y: NDArray[Any], l2: float) -> Vector:
    """Return the matrix of second derivatives of the loss."""
    start = flat(p)

    def gradient(vector: Vector) -> Vector:
        return flat(purenet.backward(flat_views(vector, p), x, y, l2=l2)[1])

    steps = H * np.eye(len(start))
    return np.array([gradient(start + h) - gradient(start - h) for h in steps]) / (2 * H)


def check_signs(p: Params, x: Vector, dtype: Any, error: Vector) -> None:
    """Refuse a hidden unit that rounding might turn on or off."""
    working = error_bounds.Arithmetic(dtype)
    _, results = error_bounds.propagate(working, in_dtype(p, dtype), x.astype(dtype))
    reach = 8 * (1 + np.abs(x).max()) * error.max()  # of an error of the parameters
    for z in results[:-1]:
        near = np.abs(z.value) <= 2 * z.error + reach
        if (near & (z.value != 0)).any() or (near.any() and error.any()):
            raise ValueError("a hidden unit is too near 0 for a bound of the training")
