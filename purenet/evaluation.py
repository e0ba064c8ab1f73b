"""Predictions and figures for data of any size, computed chunk by chunk.

The functions are written against the Python array API standard, as those of `purenet.network` are.
They need memory for the logits, and for the activations of one chunk in each thread.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from array_api_compat import array_namespace, is_jax_array, is_numpy_array

from purenet.engines import CHUNK, as_input
from purenet.engines.threads import map_in_threads
from purenet.network import forward, log_softmax, loss_and_delta
from purenet.params import (
    A,
    Array,
    Data,
    check_data,
    check_example_shape,
    check_examples,
    check_labels,
    check_number,
    check_params,
    known,
)

__all__ = [
    "Evaluation",
    "accuracy",
    "evaluate",
    "predict",
    "predict_proba",
]


T = TypeVar("T")


class Evaluation(NamedTuple):
    """Hold the figures of a network on some data.

    Parameters
    ----------
    loss : float
        The objective, in nats per example, including the penalty.
    accuracy : float
        The fraction of examples whose predicted class is their label.
    """

    loss: float
    accuracy: float


def predict_proba(params: dict[str, A], x: Array, *, input_scale: float | None = None) -> A:
    """Compute the probabilities softmax(z_L).

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL, all of one floating-point dtype.
    x : array, shape (n, features)
        Finite real numbers.
    input_scale : float, optional
        Factor of integer x, which needs one: the network's `Config.input_scale`. Floating-point x
        is not scaled.

    Returns
    -------
    array, shape (n, classes)
        Rows that sum to 1, in the dtype of the parameters.

    Raises
    ------
    ValueError
        Arguments that are not as described above.

    Examples
    --------
    >>> import numpy as np
    >>> predict_proba({"W1": np.zeros((3, 2)), "b1": np.zeros(2)}, np.ones((1, 3)))
    array([[0.5, 0.5]])
    """
    z = logits(params, x, input_scale=input_scale)
    return array_namespace(z).exp(log_softmax(z))


def predict(params: dict[str, A], x: Array, *, input_scale: float | None = None) -> A:
    """Choose the most probable class of each example: argmax_j z_L,ij.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL, all of one floating-point dtype.
    x : array, shape (n, features)
        Finite real numbers.
    input_scale : float, optional
        Factor of integer x, as for `predict_proba`.

    Returns
    -------
    array, shape (n,)
        Integer labels. Among equal logits the first one wins.

    Raises
    ------
    ValueError
        Arguments that are not as described above.

    Examples
    --------
    >>> import numpy as np
    >>> predict({"W1": np.eye(3), "b1": np.zeros(3)}, np.array([[0.1, 0.7, 0.2]]))
    array([1])
    """
    z = logits(params, x, input_scale=input_scale)
    return array_namespace(z).argmax(z, axis=1)


def accuracy(params: dict[str, A], x: Array, y: Array, *, input_scale: float | None = None) -> A:
    """Compute the fraction of examples whose predicted class is their label.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL, all of one floating-point dtype.
    x : array, shape (n, features)
        Finite real numbers.
    y : array, shape (n,)
        Integer labels, from 0 to classes - 1.
    input_scale : float, optional
        Factor of integer x, as for `predict_proba`.

    Returns
    -------
    scalar array
        From 0 to 1, in the dtype of the parameters.

    Raises
    ------
    ValueError
        Arguments that are not as described above.

    Examples
    --------
    >>> import numpy as np
    >>> print(accuracy({"W1": np.eye(2), "b1": np.zeros(2)}, np.eye(2), np.array([0, 0])))
    0.5
    """
    z = logits(params, x, input_scale=input_scale)
    check_labels(params, y, z.shape[0], sent=True)
    hits = _for_library(params, _hits)(params, z, y)
    return array_namespace(z).mean(array_namespace(z).astype(hits, z.dtype))


def evaluate(
    params: dict[str, A], data: Data, *, l2: float = 0.0, input_scale: float | None = None
) -> Evaluation:
    """Compute `loss` and `accuracy` on data of any size.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL.
    data : (array, array)
        x of shape (n, features) and integer labels y of shape (n,), as for `epochs`.
    l2 : float
        Strength of the penalty, at least 0.
    input_scale : float, optional
        Factor of integer x, as for `predict_proba`.

    Returns
    -------
    Evaluation
        ``loss`` and ``accuracy``, as Python floats.

    Raises
    ------
    ValueError
        Arguments that are not as described above.

    Examples
    --------
    >>> import numpy as np
    >>> evaluate({"W1": np.eye(2), "b1": np.zeros(2)}, (np.eye(2), np.array([0, 0])))
    Evaluation(loss=0.8132616875182228, accuracy=0.5)
    """
    x, y = check_data(params, data)
    return evaluate_logits(params, logits(params, x, input_scale=input_scale), y, l2=l2)


def evaluate_logits(params: dict[str, A], z: A, y: Array, *, l2: float) -> Evaluation:
    """Compute what `evaluate` returns from the logits z of the data."""
    value, hits = _for_library(params, _loss_and_hits)(params, z, y, l2=check_number("l2", l2))
    return Evaluation(float(value), float(hits) / z.shape[0])


def _loss_and_hits(params: dict[str, A], z: A, y: Array, *, l2: float) -> tuple[Any, Any]:
    hits = array_namespace(z).count_nonzero(_hits(params, z, y))
    return loss_and_delta(params, z, y, l2)[0], hits


def logits(params: dict[str, A], x: Array, *, input_scale: float | None = None) -> A:
    """Compute the logits of data of any size. Integer x is scaled as in training."""
    xp = check_params(params)
    check_example_shape(params, x, sent=True)
    n = x.shape[0]
    if is_jax_array(params["W1"]):
        return _compiled_logits(params, x, input_scale)

    def of_chunk(start: int) -> A:
        rows = range(start, min(start + CHUNK, n))
        chunk = as_input(params, x[rows.start : rows.stop, ...], input_scale)
        try:
            return forward(params, chunk)
        except ValueError:
            check_examples(params, chunk, rows)  # its message has the row in all of x
            raise

    map_chunks = map_in_threads if is_numpy_array(x) else map
    return xp.concat(list(map_chunks(of_chunk, range(0, n, CHUNK))))


def _compiled_logits(params: dict[str, A], x: Array, input_scale: float | None) -> A:
    """Compute what `logits` does on JAX arrays. Compiled code tells of bad examples afterwards."""
    xp, compute = array_namespace(params["W1"]), _for_library(params, _logits_and_finite)
    starts = range(0, x.shape[0], CHUNK)
    results = [
        compute(params, x[start : start + CHUNK, ...], input_scale=input_scale) for start in starts
    ]
    for start, (_, finite) in zip(starts, results, strict=True):
        if known(finite, bool) is False:
            chunk = as_input(params, x[start : start + CHUNK, ...], input_scale)
            check_examples(params, chunk, range(start, start + CHUNK))
    return xp.concat([z for z, _ in results])


def _logits_and_finite(
    params: dict[str, A], x: Array, *, input_scale: float | None
) -> tuple[A, Any]:
    """Return the logits of a chunk, and whether its examples are finite."""
    x = as_input(params, x, input_scale)
    xp = array_namespace(x)
    finite = xp.isfinite(xp.astype(x, params["W1"].dtype, copy=False))
    return forward(params, x), xp.all(finite)


def _for_library(params: dict[str, A], function: Callable[..., T]) -> Callable[..., T]:
    """Return a function that is compiled if the parameters are arrays of JAX."""
    if not is_jax_array(params["W1"]):
        return function
    from purenet.engines.jax import compiled  # noqa: PLC0415  # an optional library

    return compiled(function)


def _hits(_: dict[str, A], z: A, y: Array) -> A:
    return array_namespace(z).argmax(z, axis=1) == y
