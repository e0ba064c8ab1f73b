"""Examples for operations: shapes at the edges of tiles, and values where kernels break."""

from typing import Any, NamedTuple, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from purenet.testing.operations.precision import FORMATS, Bound

__all__ = ["KINDS", "Draw", "Example"]

Vector: TypeAlias = NDArray[np.float64]

KINDS = (
    "ordinary",
    "ordinary",
    "ordinary",
    "wide range",
    "zeros",
    "tiny",
    "constant",
    "one-hot",
    "subnormal",
    "large",
    "cancellation",
)
"""The kinds of values, one for each example in turn."""

# Rounding errors are random only if the terms of sums are.
RANDOM_KINDS = KINDS[:6]

PRIMES = (5, 11, 13, 23, 61, 97, 193, 251, 509, 1021, 2039)

# One dimension of an example may be as large as max_size, and the others up to this.
OTHER_SIZES = 33


class Example(NamedTuple):
    """Hold the arguments of a call.

    Parameters
    ----------
    number : int
        The number of the example, which with the seed decides everything.
    kind : str
        The kind of its values.
    arguments : tuple
        Arrays of float64 numbers that the storage format holds exactly, arrays of integer labels,
        and floats.
    """

    number: int
    kind: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        shapes = [str(a.shape) for a in self.arguments if isinstance(a, np.ndarray)]
        return f"example {self.number}: {self.kind} values, shapes {', '.join(shapes)}"


class Draw:
    """Draw the arguments of one example.

    Parameters
    ----------
    number, seed : int
        They decide the example.
    storage : str
        The format of the arrays.
    bound : {"worst-case", "probabilistic"}
        The second keeps to values with random signs.
    max_size : int
        The largest dimension. Early examples are smaller, so that the first failure is small.
    """

    def __init__(self, number: int, seed: int, storage: str, bound: Bound, max_size: int) -> None:
        kinds = KINDS if bound == "worst-case" else RANDOM_KINDS
        self.rng = np.random.default_rng([seed, number])
        self.kind = kinds[number % len(kinds)]
        self.format = FORMATS[storage]
        self.cap = max_size if number % 8 == 7 else min(max_size, 2 + number, 2 * OTHER_SIZES)

    def sizes(self, count: int) -> list[int]:
        """Draw dimensions at the edges of tiles: 1, powers of two and their neighbours, primes."""
        powers = [2**k + d for k in range(1, 13) for d in (-1, 0, 1)]
        edges = np.unique([n for n in (*powers, *PRIMES) if n <= self.cap] or [1])
        small = edges[edges <= OTHER_SIZES]
        sizes = [int(self.rng.choice(small)) for _ in range(count)]
        sizes[self.rng.integers(count)] = int(self.rng.choice(edges))
        return sizes

    def array(self, *shape: int) -> Vector:
        """Draw an array of values of this kind."""
        rng, spread = self.rng, 5 if self.format.name == "float16" else 20
        normal = rng.normal(size=shape)
        match self.kind:
            case "wide range":
                values = normal * 2.0 ** rng.uniform(-spread, spread, shape)
            case "zeros":
                values = normal * (rng.random(shape) < 0.5) * (rng.random(shape[-1]) < 0.8)
            case "tiny":  # a product of two is still normal
                exponent = np.log2(self.format.tiny) / 2
                values = normal * 2.0 ** (exponent + min(8, -exponent / 4))
            case "constant":
                values = np.full(shape, rng.normal())
            case "one-hot":
                values = np.zeros(shape)
                values[..., rng.integers(shape[-1])] = rng.normal()
            case "subnormal":
                values = normal * self.format.tiny * 2.0 ** rng.integers(-4, 4)
            case "large":
                values = normal * 2.0 ** (spread // 2)
            case _:
                values = normal
        return self.stored(values)

    def logits(self, examples: int, classes: int) -> Vector:
        """Draw logits: some of large size, with a certain class, or with nearly equal classes."""
        z = self.array(examples, classes)
        if self.kind == "one-hot":
            z = 50 * (z != 0)
        elif self.kind == "cancellation":
            z = z + 2.0 ** (8 if self.format.name == "float16" else 12)
        return self.stored(z)

    def labels(self, examples: int, classes: int) -> NDArray[np.int64]:
        """Draw labels."""
        return self.rng.integers(0, classes, examples)

    def stored(self, values: Any) -> Vector:
        """Round values to the storage format."""
        dtype = np.dtype(
            getattr(ml_dtypes if self.format.name == "bfloat16" else np, self.format.name)
        )
        return np.asarray(values, np.float64).astype(dtype).astype(np.float64)
