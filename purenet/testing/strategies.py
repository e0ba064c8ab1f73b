"""Hypothesis strategies for networks and batches, including the places where implementations break.

They draw NumPy arrays that are valid and bounded: with the default sizes every loss and gradient is
finite in float32. Examples shrink to small sizes, zeros, float64 and plain C order.

- Sizes: one class, one unit, one example.
- Values: whole rows and columns of zeros, so that z is exactly 0; -0.0; subnormals; numbers whose
  squares underflow; the same example twice, with one label and with two.
- Logits: of 10⁴ with small differences, and of ±10⁴ and more, whose exponentials overflow. To this
  end an output layer may be 10⁴ times larger, or shifted by 10⁴.
- Arrays: float64 and float32, labels of several integer types, Fortran order, negative strides,
  views that skip the NaN around them, read-only arrays.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from purenet.params import Params, names

__all__ = ["Problem", "batches", "layer_sizes", "networks", "problems"]

Sizes = st.SearchStrategy[list[int]] | Sequence[int]
T = TypeVar("T")


class Problem(NamedTuple):
    """Hold a network and a batch that fits it.

    Parameters
    ----------
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL.
    x : numpy.ndarray, shape (batch, features)
        Examples.
    y : numpy.ndarray, shape (batch,)
        Labels.
    l2 : float
        Strength of the penalty.
    """

    params: Params
    x: NDArray[Any]
    y: NDArray[Any]
    l2: float


def layer_sizes(*, max_units: int = 6, max_layers: int = 4) -> st.SearchStrategy[list[int]]:
    """Draw the units of each layer, inputs first and classes last, as `purenet.init` takes them.

    Parameters
    ----------
    max_units : int
        The largest number of units in a layer. Inputs and classes count as layers here.
    max_layers : int
        The largest number of layers of weights.

    Returns
    -------
    strategy of list of int
        Shrinks to ``[1, 1]``.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(layer_sizes(), lambda sizes: len(sizes) == 3 and sizes[-1] > 1)
    [1, 1, 2]
    """
    return st.lists(st.integers(1, max_units), min_size=2, max_size=max_layers + 1)


_SIZES = layer_sizes()


@st.composite
def networks(
    draw: st.DrawFn,
    sizes: Sizes = _SIZES,
    *,
    dtypes: Sequence[DTypeLike] = (np.float64, np.float32),
) -> Params:
    """Draw the parameters of a network.

    Parameters
    ----------
    sizes : list of int, or strategy of lists of int
        Units of each layer.
    dtypes : sequence of dtype
        Floating-point types to draw from, simplest first.

    Returns
    -------
    strategy of dict of numpy.ndarray
        W1, b1, ..., WL, bL. Shrinks to zeros.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(networks([1, 2]), lambda params: params["b1"].any())
    {'W1': array([[0., 0.]]), 'b1': array([0., 1.])}
    """
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    sizes = draw(sizes) if isinstance(sizes, st.SearchStrategy) else sizes
    values = draw(_values(dtype))
    scale, shift = draw(st.sampled_from([(1.0, 0.0), (1.0, 0.0), (1e4, 0.0), (1.0, 1e4)]))
    layouts = [draw(_LAYOUTS) for _ in names(len(sizes) - 1)]
    arrays: list[NDArray[Any]] = []
    for fan_in, fan_out in pairwise(sizes):
        # Bias and weights of a unit are drawn together, so that shrinking removes whole units.
        units = np.array(draw(_vector(fan_out, _vector(1 + fan_in, values))), dtype)
        arrays += [units[:, 1:].T, units[:, 0]]
    arrays[-2:] = [scale * arrays[-2], scale * arrays[-1] + shift]
    triples = zip(names(len(sizes) - 1), layouts, arrays, strict=True)
    return {name: lay_out(p) for name, lay_out, p in triples}


@st.composite
def batches(
    draw: st.DrawFn,
    sizes: Sizes = _SIZES,
    *,
    dtypes: Sequence[DTypeLike] = (np.float64, np.float32),
    max_examples: int = 8,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw a batch of labelled examples.

    Parameters
    ----------
    sizes : list of int, or strategy of lists of int
        Units of each layer of the network that the batch must fit: features first, classes last.
    dtypes : sequence of dtype
        Floating-point types to draw from, simplest first.
    max_examples : int
        The largest number of examples.

    Returns
    -------
    strategy of (x, y)
        Arrays of shapes (batch, features) and (batch,), the second of integers. Shrinks to one
        example of zeros with label 0.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(batches([2, 3]), lambda batch: batch[1].max() == 2)
    (array([[0., 0.]]), array([2]))
    """
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    sizes = draw(sizes) if isinstance(sizes, st.SearchStrategy) else sizes
    features, classes = sizes[0], sizes[-1]
    values = draw(_values(dtype))
    label_dtypes = [t for t in (np.int64, np.int32, np.uint8) if np.iinfo(t).max >= classes]
    label_dtype = draw(st.sampled_from(label_dtypes))
    x_layout, y_layout = draw(_LAYOUTS), draw(_LAYOUTS)
    example = st.tuples(st.integers(0, classes - 1), _vector(features, values))
    examples = draw(st.lists(example, min_size=1, max_size=max_examples))
    labels, rows = zip(*examples, strict=True)
    return x_layout(np.array(rows, dtype)), y_layout(np.array(labels, label_dtype))


@st.composite
def problems(
    draw: st.DrawFn,
    sizes: Sizes = _SIZES,
    *,
    dtypes: Sequence[DTypeLike] = (np.float64, np.float32),
    max_examples: int = 8,
) -> Problem:
    """Draw a network, a batch that fits it in shape and dtype, and an l2 from 0 to 1.

    Parameters
    ----------
    sizes : list of int, or strategy of lists of int
        Units of each layer.
    dtypes : sequence of dtype
        Floating-point types to draw from, simplest first.
    max_examples : int
        The largest number of examples.

    Returns
    -------
    strategy of Problem
        A named tuple (params, x, y, l2).

    Examples
    --------
    >>> from hypothesis import find
    >>> find(problems([1, 1]), lambda problem: len(problem.x) == 2)
    Problem(params={'W1': array([[0.]]), 'b1': array([0.])},
            x=array([[0.], [0.]]), y=array([0, 0]), l2=0.0)
    """
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    sizes = draw(sizes) if isinstance(sizes, st.SearchStrategy) else sizes
    l2 = draw(st.one_of(st.just(0.0), st.floats(0, 1)))
    x, y = draw(batches(sizes, dtypes=[dtype], max_examples=max_examples))
    params = draw(networks(sizes, dtypes=[dtype]))
    return Problem(params, x, y, l2)


@lru_cache
def _values(dtype: np.dtype[Any]) -> st.SearchStrategy[st.SearchStrategy[float]]:
    """Draw a strategy for the numbers of a network or a batch, at most 2 in magnitude."""
    info = np.finfo(dtype)
    subnormal, tiny = float(info.smallest_subnormal), float(info.smallest_normal)
    simple = st.sampled_from([0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5])
    real = st.floats(-2, 2, width=64 if dtype == np.float64 else 32)
    small = st.sampled_from([0.0, 1.0, -0.0, subnormal, -subnormal, tiny, -tiny / 2, tiny**0.5])
    return st.sampled_from([simple, real, small, simple | real | small])


@lru_cache
def _vector(length: int, values: st.SearchStrategy[T]) -> st.SearchStrategy[list[T]]:
    return st.lists(values, min_size=length, max_size=length)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    return np.array(array, order="C")


def _fortran(array: NDArray[Any]) -> NDArray[Any]:
    return np.array(array, order="F")


def _reversed(array: NDArray[Any]) -> NDArray[Any]:
    backwards = (slice(None, None, -1),) * array.ndim
    view = _plain(array[backwards])[backwards]
    return _plain(array) if view.flags.forc else view


def _sliced(array: NDArray[Any]) -> NDArray[Any]:
    around = np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).max
    view = np.full([2 * size for size in array.shape], around, array.dtype)
    view = view[(slice(None, None, 2),) * array.ndim]
    view[...] = array
    return _plain(array) if view.flags.forc else view


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array = _plain(array)
    array.flags.writeable = False
    return array


_LAYOUTS: st.SearchStrategy[Callable[[NDArray[Any]], NDArray[Any]]] = st.sampled_from(
    [_plain, _fortran, _reversed, _sliced, _read_only]
)
