r"""Laws that hold for any architecture, with tolerances from the measured noise of the function.

A `Model` is a loss, its gradient, and any tree of parameters. Nothing is known of the arithmetic
inside, so no bound can be derived. The gradient is compared with finite differences, as
`purenet.testing.gradients` does it. Sums over a batch may differ by the rounding of their terms,
64 ε Σ\|g_i\|, and by four times what the gradient changes when all parameters move by their own
rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purenet.testing.gradients import check_gradients
from purenet.testing.laws import SLACK
from purenet.testing.trees import Tree, autodiff, to_numpy

__all__ = ["MODEL_LAWS", "Model"]

ROUNDINGS = 64  # rounding errors of random signs add up to √n ε in a sum of n terms: n = 4,096
MOVES, MOVED = 8, 4


@dataclass(frozen=True)
class Model:
    """Hold a model of any architecture.

    Parameters
    ----------
    loss : callable
        ``loss(params, x, y)``, the mean over a batch; or ``loss(params)``, if there are no data.
    grad : callable, optional
        The gradient, with the same arguments, as a tree in the form of the parameters. Default: the
        gradient by the library's autodiff.
    params : tree of arrays
        The point at which it is checked: a dictionary, list, tuple or array of NumPy, PyTorch or
        JAX, nested in any way.
    data : (array, array), optional
        A batch. The laws about batches need it.

    Raises
    ------
    ValueError
        Parameters that are no arrays of float32 or float64 numbers, data that are no pair of
        arrays, or no gradient where the library has no autodiff.

    Examples
    --------
    >>> model = Model(
    ...     loss=lambda w, x, y: np.mean((np.tanh(x @ w) - y) ** 2),
    ...     grad=lambda w, x, y: 2 / len(x) * x.T @ (
    ...         (np.tanh(x @ w) - y) * (1 - np.tanh(x @ w) ** 2)
    ...     ),
    ...     params=np.array([0.5, -1.0]),
    ...     data=(np.arange(6.0).reshape(3, 2) / 6, np.ones(3)),
    ... )
    >>> from purenet.testing.conformance import survey
    >>> survey(model).ok
    True
    """

    loss: Callable[..., Any]
    grad: Callable[..., Any] | None = None
    params: Any = ()
    data: tuple[Any, Any] | None = None

    def __post_init__(self) -> None:
        tree = Tree("params", self.params)
        if self.grad is None and not tree.has_autodiff:
            raise ValueError("grad must be given: only PyTorch and JAX arrays have autodiff")
        pair = isinstance(self.data, tuple) and len(self.data) == 2
        if self.data is not None and not (pair and all(hasattr(a, "shape") for a in self.data)):
            raise ValueError(f"data must be a pair of arrays, got {self.data!r}")

    def value(self, params: Any, rows: Any = None) -> float:
        """Return the loss on all examples, or on some rows of the batch."""
        return float(to_numpy(self.loss(params, *self._batch(rows))))

    def gradient(self, params: Any, rows: Any = None) -> list[NDArray[np.float64]]:
        """Return the arrays of the gradient on all examples, or on some rows of the batch."""
        batch = self._batch(rows)
        if self.grad is None:
            tree = autodiff(lambda p: self.loss(p, *batch), Tree("params", params))
        else:
            tree = self.grad(params, *batch)
        names, arrays = list(Tree("params", self.params).arrays), Tree("params", tree).arrays
        if set(names) != set(arrays):
            raise AssertionError(f"grad must return the arrays {names}, got {list(arrays)}")
        return [arrays[name].astype(np.float64) for name in names]

    def _batch(self, rows: Any) -> tuple[Any, ...]:
        if self.data is None:
            return ()
        return self.data if rows is None else tuple(array[rows] for array in self.data)


def tolerances(
    model: Model, rng: np.random.Generator
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Return the gradient, and how far rounding may take another evaluation from it."""
    tree = Tree("params", model.params)
    here, eps = model.gradient(model.params), tree.eps
    n = 0 if model.data is None else len(model.data[0])
    terms = [np.abs(g) for g in here]
    for i in range(n):
        part = model.gradient(model.params, slice(i, i + 1))
        terms = [size + np.abs(g) / n for size, g in zip(terms, part, strict=True)]
    changes = [np.zeros_like(g) for g in here]
    for _ in range(MOVES):
        moved = [
            (p * (1 + eps * rng.standard_normal(p.shape))).astype(p.dtype)
            for p in tree.arrays.values()
        ]
        for change, g, other in zip(changes, here, model.gradient(tree.build(moved)), strict=True):
            np.maximum(change, np.abs(other - g), out=change)
    return here, [
        ROUNDINGS * eps * size + MOVED * change + SLACK.get() * np.maximum(1, np.abs(g))
        for size, change, g in zip(terms, changes, here, strict=True)
    ]


def assert_near(
    model: Model, got: list[Any], expected: list[Any], tolerance: list[Any], what: str
) -> None:
    """Refuse arrays that differ by more than a tolerance."""
    names = Tree("params", model.params).arrays
    for name, a, b, t in zip(names, got, expected, tolerance, strict=True):
        off = np.abs(a - b)
        if not np.all(off <= t):
            i = np.unravel_index(int(np.argmax(np.where(np.isnan(off), np.inf, off - t))), a.shape)
            where = name + (str([int(k) for k in i]) if i else "")
            raise AssertionError(
                f"{what} {where} is {a[i]:.9g}, expected {b[i]:.9g}: off by {off[i]:.3g} where "
                f"rounding explains {t[i]:.3g}"
            )


def gradient_is_that_of_the_loss(model: Model, rng: np.random.Generator) -> None:
    """The gradient nowhere disagrees with finite differences of the loss."""
    batch = model._batch(None)
    grads = None if model.grad is None else model.grad(model.params, *batch)
    seed = int(rng.integers(2**31))
    report = check_gradients(lambda p: model.loss(p, *batch), grads, model.params, seed=seed)
    report.raise_if_wrong()


def gradient_is_additive(model: Model, rng: np.random.Generator) -> None:
    """The gradient of a batch is the size-weighted mean of the gradients of its parts."""
    assert model.data is not None
    n = len(model.data[0])
    here, tolerance = tolerances(model, rng)
    for cut in {1, n // 2, n - 1} - {0, n}:
        mean = [np.zeros_like(g) for g in here]
        for rows in (slice(0, cut), slice(cut, n)):
            part, share = model.gradient(model.params, rows), (rows.stop - rows.start) / n
            mean = [total + share * g for total, g in zip(mean, part, strict=True)]
        assert_near(model, here, mean, tolerance, f"with a cut after {cut} rows, the gradient of")


def order_changes_nothing(model: Model, rng: np.random.Generator) -> None:
    """Permuting the examples changes neither the loss nor the gradient."""
    assert model.data is not None
    order = rng.permutation(len(model.data[0]))
    here, tolerance = tolerances(model, rng)
    got = model.gradient(model.params, order)
    assert_near(model, got, here, tolerance, "with permuted rows, the gradient of")


def functions_are_pure(model: Model, rng: np.random.Generator) -> None:  # noqa: ARG001
    """Arguments are not written."""
    arrays = [*Tree("params", model.params).leaves.values(), *(model.data or ())]
    before = [to_numpy(array).copy() for array in arrays]
    model.value(model.params)
    model.gradient(model.params)
    for old, array in zip(before, arrays, strict=True):
        assert np.array_equal(old, to_numpy(array), equal_nan=True), "an argument was written"


def equal_calls_give_equal_results(model: Model, rng: np.random.Generator) -> None:  # noqa: ARG001
    """Two equal calls give the same loss and the same gradient, up to rounding."""
    here, again = (model.gradient(model.params) for _ in range(2))
    eps = Tree("params", model.params).eps
    tolerance = [np.full(g.shape, ROUNDINGS * eps * np.max(np.abs(g), initial=0)) for g in here]
    assert_near(model, again, here, tolerance, "at the second call, the gradient of")
    values = {model.value(model.params) for _ in range(4)}
    spread = max(values) - min(values)
    assert spread <= 1e-6 * max(map(abs, values)), f"equal calls gave the losses {sorted(values)}"


MODEL_LAWS: dict[str, Callable[[Model, np.random.Generator], None]] = {
    law.__name__: law
    for law in (
        gradient_is_that_of_the_loss,
        gradient_is_additive,
        order_changes_nothing,
        functions_are_pure,
        equal_calls_give_equal_results,
    )
}
"""The laws of models, by name."""
