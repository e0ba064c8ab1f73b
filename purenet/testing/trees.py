"""Trees of arrays of any library: dictionaries, lists, tuples, or one array."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from array_api_compat import (
    array_namespace,
    device,
    is_jax_array,
    is_torch_array,
    to_device,
)
from numpy.typing import NDArray

__all__ = ["Tree", "autodiff", "to_numpy"]


class Tree:
    """Hold the arrays of a tree by name, and build trees of the same form and library.

    Parameters
    ----------
    title : str
        The name of the tree in messages.
    tree : dict, list, tuple or array
        Arrays of NumPy, PyTorch, JAX or another library, nested in any way. Numbers and what
        `np.asarray` takes count as arrays of NumPy.

    Raises
    ------
    ValueError
        A leaf that is not an array of float32 or float64 numbers, no numbers at all, or two arrays
        with one name.

    Examples
    --------
    >>> tree = Tree("params", {"layers": [np.ones(2), np.zeros(1)], "b": np.ones(1)})
    >>> list(tree.arrays)
    ['layers[0]', 'layers[1]', 'b']
    >>> tree.build([np.full(2, 5.0), np.zeros(1), np.zeros(1)])["layers"][0]
    array([5., 5.])
    """

    def __init__(self, title: str, tree: Any) -> None:
        self.tree = tree
        self.leaves: dict[str, Any] = {}
        self._collect("" if isinstance(tree, Mapping | list | tuple) else title, tree)
        self.arrays = {name: to_numpy(leaf) for name, leaf in self.leaves.items()}
        self._convert = [_from_numpy(leaf) for leaf in self.leaves.values()]
        for name, array in self.arrays.items():
            if array.dtype not in (np.float32, np.float64):
                where = title if name == title else f"{title}[{name!r}]"
                raise ValueError(f"{where} must be float32 or float64, got {array.dtype}")
        if not any(array.size for array in self.arrays.values()):
            raise ValueError(f"{title} must hold at least one number, got {list(self.arrays)}")

    @property
    def eps(self) -> float:
        """Return the machine epsilon of the coarsest array."""
        return max(float(np.finfo(array.dtype).eps) for array in self.arrays.values())

    @property
    def has_autodiff(self) -> bool:
        """Tell whether all arrays are of a library that `autodiff` knows."""
        return self.are_of_jax or self.are_of_torch

    @property
    def are_of_jax(self) -> bool:
        """Tell whether all arrays are JAX's."""
        return all(map(is_jax_array, self.leaves.values()))

    @property
    def are_of_torch(self) -> bool:
        """Tell whether all arrays are PyTorch's."""
        return all(map(is_torch_array, self.leaves.values()))

    def build(self, arrays: Sequence[NDArray[Any]]) -> Any:
        """Return a tree of this form and library with other numbers."""
        made = (convert(a) for convert, a in zip(self._convert, arrays, strict=True))
        return _rebuilt(self.tree, made)

    def _collect(self, name: str, tree: Any) -> None:
        if isinstance(tree, Mapping):
            for key, value in tree.items():
                self._collect(f"{name}.{key}" if name else str(key), value)
        elif isinstance(tree, list | tuple):
            for i, value in enumerate(tree):
                self._collect(f"{name}[{i}]", value)
        elif name in self.leaves:
            raise ValueError(f"two arrays of a tree are named {name!r}")
        else:
            self.leaves[name] = tree


def _rebuilt(tree: Any, leaves: Any) -> Any:
    """Return a tree of this form from an iterator over its leaves."""
    if isinstance(tree, Mapping):
        return {key: _rebuilt(value, leaves) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        items = [_rebuilt(value, leaves) for value in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return next(leaves)


def to_numpy(array: Any) -> NDArray[Any]:
    """Return an array of any library as a NumPy array.

    Parameters
    ----------
    array : array
        An array of any library.

    Returns
    -------
    numpy.ndarray
        Its numbers.
    """
    if isinstance(array, np.ndarray | np.generic) or not hasattr(array, "dtype"):
        return np.asarray(array)
    if is_torch_array(array):  # needs PyTorch
        array = array.detach()
    return np.asarray(array if is_jax_array(array) else to_device(array, "cpu"))


def _from_numpy(leaf: Any) -> Callable[[NDArray[Any]], Any]:
    """Return a function that makes arrays of the library and on the device of a leaf."""
    if is_torch_array(leaf) or is_jax_array(leaf):
        xp, where = array_namespace(leaf), device(leaf)
        return lambda array: to_device(xp.asarray(array), where)
    return lambda array: array


def autodiff(f: Callable[[Any], Any], params: Tree) -> Any:
    """Return the gradient of f by the library of its parameters.

    Parameters
    ----------
    f : callable
        A function of a tree to a scalar.
    params : Tree
        Arrays of PyTorch or of JAX.

    Returns
    -------
    tree
        The gradient, in the form of the parameters.

    Raises
    ------
    ValueError
        Arrays of a library without autodiff.
    """
    if params.are_of_jax:
        import jax  # noqa: PLC0415  # it is installed, as the parameters show

        return jax.grad(f)(params.tree)
    if params.are_of_torch:  # needs PyTorch
        import torch  # noqa: PLC0415

        made = [leaf.detach().clone().requires_grad_() for leaf in params.leaves.values()]
        value = f(_rebuilt(params.tree, iter(made)))
        found = torch.autograd.grad(value, made, allow_unused=True)
        grads = [
            torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, made, strict=True)
        ]
        return _rebuilt(params.tree, iter(grads))
    raise ValueError("grads must be given: only PyTorch and JAX arrays have autodiff")
