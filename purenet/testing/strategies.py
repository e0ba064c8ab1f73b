"""Hypothesis strategies for networks and batches, including the places where implementations break.

They draw NumPy arrays that are valid and bounded: with the default sizes every loss and gradient is
finite in float32. Examples shrink to small sizes, zeros, float64 and plain C order.

- Sizes: one class, one unit, one example; layers of one size, whose matrices are square.
- Values: whole rows and columns of zeros, so that z is exactly 0; -0.0; subnormals; numbers whose
  squares underflow; the same example twice, with one label and with two.
- Logits: of 10⁴ with small differences, and of ±10⁴ and more, whose exponentials overflow. To this
  end an output layer may be 10⁴ times larger, or shifted by 10⁴.
- Arrays: float64 and float32, labels of several integer types, Fortran order, negative strides,
  views that skip the NaN around them, read-only arrays.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from purenet.params import Params, names

__all__ = [
    "LAYOUTS",
    "Problem",
    "batches",
    "lay_out",
    "layer_sizes",
    "layout_of",
    "networks",
    "problems",
]

Sizes = st.SearchStrategy[list[int]] | Sequence[int]

LAYOUTS = ("C", "Fortran", "reversed", "sliced", "read-only")
"""The layouts of arrays: C and Fortran order, views with negative strides, views that skip the NaN
or the largest integers around them, and arrays that cannot be written."""


def lay_out(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """Copy an array into memory in a layout.

    Parameters
    ----------
    array : numpy.ndarray
        The numbers.
    layout : str
        A name in `LAYOUTS`.

    Returns
    -------
    numpy.ndarray
        The same numbers. An array whose layout is the C order anyway is a plain copy.

    Examples
    --------
    >>> lay_out(np.zeros((2, 3)), "reversed").strides
    (-24, -8)
    """
    plain = np.array(array, order="C")
    if layout == "Fortran":
        return np.array(array, order="F")
    if layout == "read-only":
        plain.flags.writeable = False
        return plain
    if layout == "reversed":
        backwards = (slice(None, None, -1),) * array.ndim
        view = np.array(array[backwards], order="C")[backwards]
    elif layout == "sliced":
        around = np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).max
        view = np.full([2 * size for size in array.shape], around, array.dtype)
        view = view[(slice(None, None, 2),) * array.ndim]
        view[...] = array
    else:
        return plain
    return plain if view.flags.forc else view


def layout_of(array: NDArray[Any]) -> str:
    """Return the name of the layout that `lay_out` gave an array.

    Parameters
    ----------
    array : numpy.ndarray
        The array.

    Returns
    -------
    str
        A name in `LAYOUTS`.

    Examples
    --------
    >>> layout_of(np.zeros((2, 3)).T)
    'Fortran'
    """
    if not array.flags.writeable:
        return "read-only"
    if array.flags.c_contiguous:
        return "C"
    if array.flags.f_contiguous:
        return "Fortran"
    return "reversed" if min(array.strides) < 0 else "sliced"


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
    units = st.lists(st.integers(1, max_units), min_size=2, max_size=max_layers + 1)
    # Mistakes with transposes and layers show where shapes fit by chance.
    return st.builds(
        lambda sizes, square: [sizes[0]] * (len(sizes) - 1) + sizes[-1:] if square else sizes,
        units,
        st.booleans(),
    )


_SIZES = layer_sizes()


@st.composite
def networks(
    draw: st.DrawFn,
    sizes: Sizes = _SIZES,
    *,
    dtypes: Sequence[DTypeLike] = (np.float64, np.float32),
    ordinary: bool = False,
    layouts: Sequence[str] = LAYOUTS,
) -> Params:
    """Draw the parameters of a network.

    Parameters
    ----------
    sizes : list of int, or strategy of lists of int
        Units of each layer.
    dtypes : sequence of dtype
        Floating-point types to draw from, simplest first.
    ordinary : bool
        Whether to leave out the hard places: values are then numbers of ordinary size, and whole
        rows of zeros, subnormals and large logits do not occur.
    layouts : sequence of str
        Layouts of the arrays to draw from, simplest first: names in `LAYOUTS`.

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
    dtype = np.dtype(draw(_one_of(tuple(dtypes))))
    sizes = draw(sizes) if isinstance(sizes, st.SearchStrategy) else sizes
    values = draw(_values(dtype, ordinary))
    scales = ((1.0, 0.0), (1.0, 0.0), (1e4, 0.0), (1.0, 1e4))[: 1 if ordinary else None]
    scale, shift = draw(_one_of(scales))
    drawn_layouts = [draw(_one_of(tuple(layouts))) for _ in names(len(sizes) - 1)]
    arrays: list[NDArray[Any]] = []
    for fan_in, fan_out in pairwise(sizes):
        # Bias and weights of a unit are drawn together, so that shrinking removes whole units.
        units = _numbers(draw(_rows(fan_out, 1 + fan_in)), values)[:, : 1 + fan_in]
        arrays += [units[:, 1:].T, units[:, 0]]
    arrays[-2:] = [scale * arrays[-2], scale * arrays[-1] + shift]
    triples = zip(names(len(sizes) - 1), drawn_layouts, arrays, strict=True)
    return {name: lay_out(p, layout) for name, layout, p in triples}


@st.composite
def batches(
    draw: st.DrawFn,
    sizes: Sizes = _SIZES,
    *,
    dtypes: Sequence[DTypeLike] = (np.float64, np.float32),
    ordinary: bool = False,
    layouts: Sequence[str] = LAYOUTS,
    max_examples: int = 8,
    batch_sizes: Sequence[int] | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw a batch of labelled examples.

    Parameters
    ----------
    sizes : list of int, or strategy of lists of int
        Units of each layer of the network that the batch must fit: features first, classes last.
    dtypes : sequence of dtype
        Floating-point types to draw from, simplest first.
    ordinary : bool
        Whether to leave out the hard places: values are then numbers of ordinary size, and whole
        rows of zeros, subnormals and large logits do not occur.
    layouts : sequence of str
        Layouts of the arrays to draw from, simplest first: names in `LAYOUTS`.
    max_examples : int
        The largest number of examples.
    batch_sizes : sequence of int, optional
        The only numbers of examples to draw from.

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
    dtype = np.dtype(draw(_one_of(tuple(dtypes))))
    sizes = draw(sizes) if isinstance(sizes, st.SearchStrategy) else sizes
    features, classes = sizes[0], sizes[-1]
    values = draw(_values(dtype, ordinary))
    label_dtypes = (np.int64, np.int32, np.uint8)[: 3 if classes <= 255 else 2]
    label_dtype = draw(_one_of(label_dtypes))
    x_layout, y_layout = (draw(_one_of(tuple(layouts))) for _ in range(2))
    least, most = 1, max_examples
    if batch_sizes is not None:
        least = most = draw(_one_of(tuple(batch_sizes)))
    labels, rows = zip(*draw(_examples(features, classes, least, most)), strict=True)
    x, y = _numbers(rows, values)[:, :features], np.array(labels, label_dtype)
    return lay_out(x, x_layout), lay_out(y, y_layout)


@st.composite
def problems(
    draw: st.DrawFn,
    sizes: Sizes = _SIZES,
    *,
    dtypes: Sequence[DTypeLike] = (np.float64, np.float32),
    ordinary: bool = False,
    layouts: Sequence[str] = LAYOUTS,
    l2: float | st.SearchStrategy[float] | None = None,
    max_examples: int = 8,
    batch_sizes: Sequence[int] | None = None,
) -> Problem:
    """Draw a network, a batch that fits it in shape and dtype, and an l2 from 0 to 1.

    Parameters
    ----------
    sizes : list of int, or strategy of lists of int
        Units of each layer.
    dtypes : sequence of dtype
        Floating-point types to draw from, simplest first.
    ordinary : bool
        Whether to leave out the hard places: values are then numbers of ordinary size, and whole
        rows of zeros, subnormals and large logits do not occur.
    layouts : sequence of str
        Layouts of the arrays to draw from, simplest first: names in `LAYOUTS`.
    l2 : float, or strategy of float
        Strength of the penalty. Default: 0, or a number from 0 to 1.
    max_examples : int
        The largest number of examples.
    batch_sizes : sequence of int, optional
        The only numbers of examples to draw from.

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
    dtype = np.dtype(draw(_one_of(tuple(dtypes))))
    sizes = draw(sizes) if isinstance(sizes, st.SearchStrategy) else sizes
    if l2 is None:
        l2 = st.just(0.0) | st.floats(0, 1)
    strength = draw(l2) if isinstance(l2, st.SearchStrategy) else float(l2)
    domain: dict[str, Any] = {"dtypes": [dtype], "ordinary": ordinary, "layouts": layouts}
    x, y = draw(batches(sizes, max_examples=max_examples, batch_sizes=batch_sizes, **domain))
    params = draw(networks(sizes, **domain))
    return Problem(params, x, y, strength)


@lru_cache
def _values(
    dtype: np.dtype[Any],
    ordinary: bool,  # noqa: FBT001
) -> st.SearchStrategy[NDArray[Any]]:
    """Draw what the values of a byte stand for: numbers of at most 2, or at most 1 if ordinary."""
    rng, info = np.random.default_rng(0), np.finfo(dtype)
    if ordinary:
        sizes = np.append([0.5, 1.0, 0.25], rng.uniform(0.125, 1, 125))
        return st.just(np.column_stack([sizes, -sizes]).ravel().astype(dtype))
    subnormal, tiny = float(info.smallest_subnormal), float(info.smallest_normal)
    simple = [0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5]
    small = [0.0, 1.0, -0.0, subnormal, -subnormal, tiny, -tiny / 2, tiny**0.5]
    real = [*simple, *rng.uniform(-2, 2, 249)]
    kinds = (simple, real, small, [*simple, *small[2:], *real[7:20]])
    return st.sampled_from([np.resize(np.array(kind, dtype), 256) for kind in kinds])


@lru_cache
def _one_of(values: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


@lru_cache
def _rows(count: int, length: int) -> st.SearchStrategy[list[bytes]]:
    return st.lists(_row(length), min_size=count, max_size=count)


@lru_cache
def _examples(features: int, classes: int, least: int, most: int) -> st.SearchStrategy[Any]:
    """Draw labels and rows of examples."""
    example = st.tuples(st.integers(0, classes - 1), _row(features))
    return st.lists(example, min_size=least, max_size=most)


@lru_cache
def _row(length: int) -> st.SearchStrategy[bytes]:
    """Draw a byte for each number of a row, and some more, so that fewer take the same bytes."""
    width = -(-length // 8) * 8
    return st.binary(min_size=width, max_size=width)


def _numbers(rows: Sequence[bytes], values: NDArray[Any]) -> NDArray[Any]:
    """Return the matrix of what the bytes of rows stand for."""
    return values[np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)]
