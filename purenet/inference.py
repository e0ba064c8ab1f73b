"""What a network says of data of any size: chunk by chunk, in the memory of one chunk.

The functions are written against the Python array API standard, as those of `purenet.network`.
"""

from contextlib import suppress
from typing import Any, NamedTuple

from array_api_compat import array_namespace, is_numpy_array

from purenet import _checks
from purenet._checks import Array, Data, Params
from purenet.config import Config
from purenet.engines import CHUNK, as_input
from purenet.network import _log_softmax, _loss_and_delta, forward

__all__ = ["Evaluation", "accuracy", "evaluate", "predict", "predict_proba"]


class Evaluation(NamedTuple):
    """Figures of a network on some data.

    Parameters
    ----------
    loss : float
        The objective, in nats per example, with the penalty.
    accuracy : float
        Fraction of examples predicted as their labels.
    """

    loss: float
    accuracy: float


def predict_proba(params: Params, x: Array) -> Array:
    """Compute the probabilities softmax(z_L).

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL, all of one floating-point dtype.
    x : array, shape (batch, features)
        Finite real numbers.

    Returns
    -------
    array, shape (batch, classes)
        Rows that sum to 1, in the dtype of the parameters.

    Raises
    ------
    ValueError
        Keys, shapes, dtypes or values that are not as above.

    Examples
    --------
    >>> import numpy as np
    >>> predict_proba({"W1": np.zeros((3, 2)), "b1": np.zeros(2)}, np.ones((1, 3)))
    array([[0.5, 0.5]])
    """
    z = logits(params, x)
    return array_namespace(z).exp(_log_softmax(z))


def predict(params: Params, x: Array) -> Array:
    """Choose the most probable class of each example: argmax_j z_L,ij.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL, all of one floating-point dtype.
    x : array, shape (batch, features)
        Finite real numbers.

    Returns
    -------
    array, shape (batch,)
        Integer labels; the first of equals.

    Raises
    ------
    ValueError
        Keys, shapes, dtypes or values that are not as above.

    Examples
    --------
    >>> import numpy as np
    >>> predict({"W1": np.eye(3), "b1": np.zeros(3)}, np.array([[0.1, 0.7, 0.2]]))
    array([1])
    """
    z = logits(params, x)
    return array_namespace(z).argmax(z, axis=1)


def accuracy(params: Params, x: Array, y: Array) -> Array:
    """Compute the fraction of examples that `predict` gives their label.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL, all of one floating-point dtype.
    x : array, shape (batch, features)
        Finite real numbers.
    y : array, shape (batch,)
        Integer labels, from 0 to classes - 1.

    Returns
    -------
    scalar array
        From 0 to 1, in the dtype of the parameters.

    Raises
    ------
    ValueError
        Keys, shapes, dtypes, labels or values that are not as above.

    Examples
    --------
    >>> import numpy as np
    >>> print(accuracy({"W1": np.eye(2), "b1": np.zeros(2)}, np.eye(2), np.array([0, 0])))
    0.5
    """
    z = logits(params, x)
    _checks.labels(params, y, z.shape[0])
    return array_namespace(z).mean(array_namespace(z).astype(_hits(z, y), z.dtype))


def evaluate(params: Params, data: Data, cfg: Config) -> Evaluation:
    """Compute `loss`, with the penalty, and `accuracy` on data of any size, chunk by chunk.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL.
    data : (array, array)
        As for `epochs`.
    cfg : Config
        Where ``l2`` and ``input_scale`` are read.

    Returns
    -------
    Evaluation
        ``loss`` and ``accuracy``, as Python floats.

    Raises
    ------
    ValueError
        Arguments that are not as above.

    Examples
    --------
    >>> import numpy as np
    >>> from purenet import Config
    >>> evaluate({"W1": np.eye(2), "b1": np.zeros(2)}, (np.eye(2), np.array([0, 0])), Config(l2=0))
    Evaluation(loss=0.8132616875182228, accuracy=0.5)
    """
    x, y = _checks.data(params, data)
    return of_logits(params, logits(params, x, cfg.input_scale), y, cfg.l2)


def of_logits(params: Params, z: Array, y: Array, l2: float) -> Evaluation:
    """Compute what `evaluate` returns from the logits of data."""
    hits = array_namespace(z).count_nonzero(_hits(z, y))
    return Evaluation(float(_loss_and_delta(params, z, y, l2)[0]), float(hits) / z.shape[0])


def logits(params: Params, x: Array, input_scale: float = 1.0) -> Array:
    """Compute the logits of data of any size; integer x is scaled as in training."""
    xp, _ = _checks.network(params)
    _checks.example_shape(params, x)
    n = x.shape[0]

    def of_chunk(start: int) -> Array:
        rows = x[start : min(start + CHUNK, n), ...]
        return forward(params, as_input(params, rows, input_scale))

    return xp.concat(list(_each(x)(of_chunk, range(0, n, CHUNK))))


def _each(x: Array) -> Any:
    """Return the way to map a function over chunks of such an array."""
    if is_numpy_array(x):
        with suppress(ImportError):  # without the extra
            from purenet.engines.threads import each  # noqa: PLC0415  # of what is optional

            return each
    return map


def _hits(z: Array, y: Array) -> Array:
    return array_namespace(z).argmax(z, axis=1) == y
