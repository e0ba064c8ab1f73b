"""The cases: inputs at the hard places of each operation, each place with a name and a note."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLAGS", "Case", "cases"]

Vector: TypeAlias = NDArray[np.float64]

FLAGS = {
    "one-row": "A batch of one example. Code that drops axes of size 1 fails here.",
    "one-term": "A sum of one term. Code that starts its sums with the second term fails here.",
    "one-class": "One class: its probability is 1, whatever its logit is.",
    "one-layer": "A network without hidden layers. No ReLU follows its only layer.",
    "deep": "A network of five layers. Code that is written for two or three layers fails here.",
    "square": "Square weights that are not symmetric. A forgotten transposition shows only here.",
    "odd-batch": "An odd number of examples. Code that takes two at a time may leave out the last.",
    "tile-edge": "A row, a term or a column more than a power of two. The last tile is not full.",
    "long-sum": "Sums of more than 1,024 terms. A block at the end may be missing.",
    "zeros": "A row of zeros, by which nothing can be divided.",
    "tiny": "Numbers whose products are near the least normal number of float32. Rounding to a "
    "fixed number of places loses them.",
    "subnormal": "Numbers below the least normal number of float32. They may be taken as 0, but "
    "their reciprocals are infinite.",
    "large": "Results above the largest number of float16.",
    "cancellation": "Results that are much smaller than the terms of their sums, beside results "
    "that are not.",
    "nan": "A NaN in an input. It must show in the results that depend on it, and in no others.",
    "relu-at-zero": "A ReLU whose input is exactly 0. Its derivative is 0 there.",
    "large-logits": "A network with logits beyond 100, whose exponentials overflow.",
    "logit-1e4": "Logits that differ by 10,000. The exponential of the difference is 0 in every "
    "format, and the logarithm of the probability is not.",
    "shifted-logits": "Logits that share an offset. Unless the maximum is subtracted before "
    "anything is added to a logit, they lose digits.",
    "equal-logits": "Rows in which several logits are the largest.",
    "negative-logits": "Logits that are all far below 0. A maximum that starts from 0 is wrong.",
    "unlike-rows": "Rows with maxima that differ by 200. Each needs its own, subtracted before "
    "anything is added to a logit: z - (max + log Σ) loses digits.",
    "last-class": "Labels of the last class.",
    "l2": "A penalty on weights, beside biases that are not 0 and not penalised.",
    "momentum-0": "Momentum 0: plain gradient descent. Code may take 0 for a missing value.",
    "momentum-0.999": "Momentum near 1.",
    "rate-0": "Learning rate 0: the velocity changes, and the parameters do not.",
    "partial-batch": "A last batch that is smaller than the others. It is kept.",
}
"""The hard places, and what a failure there usually means. Ordinary cases have no flag."""

TIMES = 3  # cases of a flag


class Case(NamedTuple):
    """Hold the inputs of a case.

    Parameters
    ----------
    name : str
        The operation, the flag and a number.
    operation : str
        An operation of `purenet.testing.operations`, or ``"forward"``, ``"loss"``, ``"backward"``
        or ``"train"``.
    flag : str
        A key of `FLAGS`, or ``"ordinary"``.
    inputs : dict
        Arrays of float64 or int64 numbers, floats and whole numbers, by their names. Parameters of
        networks stand among them as W1, b1, ..., WL, bL.
    """

    name: str
    operation: str
    flag: str
    inputs: dict[str, Any]


def cases() -> Iterator[Case]:
    """Yield the cases. They are the same on every machine and in every version of Python.

    Yields
    ------
    Case
        The cases of each operation.

    Examples
    --------
    >>> first = next(cases())
    >>> first.name, sorted(first.inputs)
    ('linear-ordinary-1', ['W', 'b', 'x'])
    """
    for operation, flags in DRAWS.items():
        for flag, draw in flags.items():
            for number in range(1, TIMES + 1):
                name = f"{operation}-{flag}-{number}"
                inputs = draw(Source(name, bits=8 if number == 1 else 24))
                yield Case(name, operation, flag, inputs)


class Source:
    """Draw numbers that are exact in a format with so many binary digits.

    `random.Random` promises the same numbers in all versions of Python, and NumPy does not.
    """

    def __init__(self, seed: str, bits: int) -> None:
        self.random, self.bits = Random(seed), bits

    def size(self, *sizes: Any) -> Any:
        """Choose a size or a rate."""
        return self.random.choice(sizes)

    def array(self, *shape: int) -> Vector:
        """Draw numbers between -1 and 1, none of which is 0."""
        most = 2 ** (self.bits - 1)
        count = int(np.prod(shape))
        signs = (self.random.choice((-1, 1)) for _ in range(count))
        numbers = [sign * self.random.randrange(1, most) / most for sign in signs]
        return np.array(numbers).reshape(shape)

    def labels(self, n: int, classes: int) -> NDArray[np.int64]:
        """Draw labels of any class but the last."""
        return np.array([self.random.randrange(classes - 1) for _ in range(n)])


Draw: TypeAlias = Callable[[Source], dict[str, Any]]


def product(
    n: tuple[int, ...] = (2, 4), k: tuple[int, ...] = (3, 5), m: tuple[int, ...] = (2, 4)
) -> Draw:
    """Return a draw of x, W and b. No case but those of `square` has square weights."""

    def draw(source: Source) -> dict[str, Any]:
        rows, fan_in, fan_out = source.size(*n), source.size(*k), source.size(*m)
        x, W, b = (
            source.array(*shape) for shape in ((rows, fan_in), (fan_in, fan_out), (fan_out,))
        )
        return {"x": x, "W": W, "b": b}

    return draw


def changed(draw: Draw, change: Callable[[dict[str, Any], Source], Any]) -> Draw:
    """Return a draw whose inputs are changed in place."""

    def drawn(source: Source) -> dict[str, Any]:
        inputs = draw(source)
        change(inputs, source)
        return inputs

    return drawn


def scaled(draw: Draw, **factors: float) -> Draw:
    """Return a draw whose inputs have factors. Powers of two keep them exact."""
    return changed(draw, lambda inputs, _: inputs.update(
        {name: inputs[name] * factor for name, factor in factors.items()}))  # fmt: skip


def set_nan(inputs: dict[str, Any], _: Source) -> None:
    """Put a NaN into the last row of the first array, where no ReLU is off."""
    next(iter(inputs.values()))[-1, 0] = np.nan
    if "delta" in inputs and "z" in inputs:
        inputs["z"][-1, 0] = 0.5


def cancel(inputs: dict[str, Any], _: Source) -> None:
    """Let the first column of results nearly vanish, and keep the second."""
    x, W, b = inputs["x"], inputs["W"], inputs["b"]
    x[:, 1], W[1, 0] = x[:, 0], -W[0, 0]
    W[2:, 0], b[0] = W[2:, 0] * 2.0**-15, 0.0


def with_delta(draw: Draw) -> Draw:
    """Return a draw of x, W and δ in place of b."""

    def drawn(source: Source) -> dict[str, Any]:
        inputs = draw(source)
        x, W = inputs["x"], inputs["W"]
        return {"x": x, "W": W, "delta": source.array(len(x), W.shape[1])}

    return drawn


def masks(n: tuple[int, ...] = (2, 4), m: tuple[int, ...] = (3, 5)) -> Draw:
    """Return a draw of δ and z."""

    def draw(source: Source) -> dict[str, Any]:
        shape = source.size(*n), source.size(*m)
        return {"delta": source.array(*shape), "z": 8 * source.array(*shape)}

    return draw


def logits(n: tuple[int, ...] = (2, 4), classes: tuple[int, ...] = (3, 5)) -> Draw:
    """Return a draw of logits."""
    return lambda source: {"z": 4 * source.array(source.size(*n), source.size(*classes))}


def labelled(draw: Draw) -> Draw:
    """Return a draw of logits and labels."""

    def drawn(source: Source) -> dict[str, Any]:
        inputs = draw(source)
        n, classes = inputs["z"].shape
        return inputs | {"y": source.labels(n, max(classes, 2))}

    return drawn


def last_class(inputs: dict[str, Any], _: Source) -> None:
    """Give the last class to the last example."""
    classes = inputs["z"].shape[1] if "z" in inputs else len(inputs["b2"])
    inputs["y"][-1] = classes - 1


def far_logits(inputs: dict[str, Any], source: Source) -> None:
    """Lower one logit of the first row to -9,984, which 8 binary digits hold, and label it."""
    column = 1 if source.bits == 8 else 0
    inputs["z"][0, column] = -9984.0
    if "y" in inputs:
        inputs["y"][0] = column


def spread(z: Vector, source: Source, start: float, step: float) -> None:
    """Give each row of logits different numbers: start, start + step, ..., in any order."""
    for row in z:
        row[:] = start + step * np.array(source.random.sample(range(len(row)), len(row)))


def unlike_rows(inputs: dict[str, Any], source: Source) -> None:
    """Raise the logits of the first row to 256 and more."""
    spread(inputs["z"][:1], source, 256, 2)


def shift(inputs: dict[str, Any], source: Source) -> None:
    """Raise all logits to 64 and more."""
    spread(inputs["z"], source, 64, 0.5)


def negative(inputs: dict[str, Any], source: Source) -> None:
    """Lower all logits to -256 and less."""
    spread(inputs["z"], source, -256, -2)


def one_largest(inputs: dict[str, Any], source: Source) -> None:
    """Let the first or the last logit of each row be the largest."""
    inputs["z"][:, 0 if source.bits == 8 else -1] = 4.5


def tie(inputs: dict[str, Any], _: Source) -> None:
    """Let two logits of each row be the largest."""
    z = inputs["z"]
    z[:, 0] = z[:, 1] = z.max(axis=1)


def step(n: tuple[int, ...] = (2, 4), m: tuple[int, ...] = (3, 5), **rates: float) -> Draw:
    """Return a draw of p, v, g, η and β."""

    def draw(source: Source) -> dict[str, Any]:
        shape = source.size(*n), source.size(*m)
        arrays = {name: 4 * source.array(*shape) for name in "pvg"}
        return arrays | {"learning_rate": source.size(0.1, 1.0), "momentum": 0.9} | rates

    return draw


def network(
    sizes: tuple[int, ...] = (5, 4, 3), n: int = 4, *, y: bool = False, **more: float
) -> Draw:
    """Return a draw of parameters, x and, for a loss, labels and further inputs."""

    def draw(source: Source) -> dict[str, Any]:
        inputs: dict[str, Any] = {"x": source.array(n, sizes[0])}
        for k in range(1, len(sizes)):
            inputs[f"W{k}"] = source.array(sizes[k - 1], sizes[k])
            inputs[f"b{k}"] = source.array(sizes[k]) / 4
        if y:
            inputs["y"] = source.labels(n, max(sizes[-1], 2))
        return inputs | more

    return draw


def at_zero(inputs: dict[str, Any], _: Source) -> None:
    """Bring the first hidden unit to 0 for the first example, in any order of its sum."""
    inputs["x"][0], inputs["b1"][0] = 0.0, 0.0


def large_logits(inputs: dict[str, Any], _: Source) -> None:
    """Enlarge the last layer, so that logits are beyond 100."""
    inputs["W2"] *= 512


def half(inputs: dict[str, Any], _: Source) -> None:
    """Put zeros among the inputs of ReLU, and numbers near 0."""
    inputs["z"][::2, ::2] = 0.0
    inputs["z"][1::2, 0], inputs["z"][1::2, 1] = 2.0**-30, -(2.0**-30)


def zero_row(inputs: dict[str, Any], _: Source) -> None:
    """Make the first row of x zero."""
    inputs["x"][0] = 0.0


def for_networks(**more: Any) -> dict[str, Draw]:
    """Return the draws that all functions of networks share. Labels come with the other inputs."""
    more = {"y": True, **more} if more else {}
    return {
        "ordinary": network(**more),
        "one-row": network(n=1, **more),
        "one-layer": network((5, 3), **more),
        "deep": network((5, 4, 3, 4, 3, 2), **more),
        "square": network((4, 4, 4), **more),
        "odd-batch": network(n=5, **more),
        "relu-at-zero": changed(network(**more), at_zero),
    }


def for_products(of: Callable[[Draw], Draw] = lambda draw: draw) -> dict[str, Draw]:
    """Return the draws that all products share."""
    return {
        "ordinary": of(product()),
        "one-row": of(product(n=(1,))),
        "square": of(product(k=(4,), m=(4,))),
        "odd-batch": of(product(n=(3, 5))),
        "tile-edge": of(product((18, 34), (65,), (17, 33))),
        "nan": changed(of(product()), set_nan),
    }


def for_logits(of: Callable[[Draw], Draw] = lambda draw: draw) -> dict[str, Draw]:
    """Return the draws that all functions of logits share."""
    return {
        "ordinary": of(logits()),
        "one-row": of(logits(n=(1,))),
        "one-class": of(logits(classes=(1,))),
        "odd-batch": of(logits(n=(3, 5))),
        "tile-edge": changed(of(logits((18, 34), (17, 33))), one_largest),
        "long-sum": changed(of(logits(classes=(1031,))), one_largest),
        "logit-1e4": changed(of(logits()), far_logits),
        "shifted-logits": changed(of(logits()), shift),
        "equal-logits": changed(of(logits()), tie),
        "negative-logits": changed(of(logits()), negative),
        "unlike-rows": changed(of(logits()), unlike_rows),
        "nan": changed(of(logits()), set_nan),
    }


TRAIN: dict[str, Any] = {
    "learning_rate": 0.25,
    "momentum": 0.75,
    "l2": 0.0,
    "batch_size": 5,
    "epochs": 10,
}

DRAWS: dict[str, dict[str, Draw]] = {
    "linear": for_products() | {
        "one-term": product(k=(1,)),
        "long-sum": product(k=(1031,)),
        "zeros": changed(product(), zero_row),
        "tiny": scaled(product(), x=2.0**-60, W=2.0**-60, b=2.0**-120),
        "subnormal": scaled(product(), x=2.0**-126, b=2.0**-126),
        "large": scaled(product(), x=2.0**20, b=2.0**20),
        "cancellation": changed(product(), cancel),
    },
    "linear_relu": for_products() | {
        "long-sum": product(k=(1031,)),
        "large": scaled(product(), x=2.0**20, b=2.0**20),
    },
    "linear_backward": for_products(with_delta) | {
        "long-sum": with_delta(product(n=(1031,), m=(2,))),
    },
    "relu_backward": {
        "ordinary": masks(),
        "one-row": masks(n=(1,)),
        "odd-batch": masks(n=(3, 5)),
        "tile-edge": masks((18, 34), (17, 33)),
        "relu-at-zero": changed(masks(), half),
        "nan": changed(masks(), set_nan),
    },
    "log_softmax": for_logits(),
    "softmax_cross_entropy": for_logits(labelled) | {
        "last-class": changed(labelled(logits()), last_class),
    },
    "softmax_cross_entropy_backward": for_logits(labelled) | {
        "last-class": changed(labelled(logits()), last_class),
    },
    "momentum_step": {
        "ordinary": step(),
        "tile-edge": step((18, 34), (17, 33)),
        "momentum-0": step(momentum=0.0),
        "momentum-0.999": step(momentum=0.999),
        "rate-0": step(learning_rate=0.0),
        "nan": changed(step(), set_nan),
    },
    "forward": for_networks(),
    "loss": for_networks(l2=0.0) | {
        "large-logits": changed(network(y=True, l2=0.0), large_logits),
        "l2": network(y=True, l2=0.25),
        "one-class": network((5, 4, 1), y=True, l2=0.0),
        "last-class": changed(network(y=True, l2=0.0), last_class),
    },
    "backward": for_networks(l2=0.0) | {
        "large-logits": changed(network(y=True, l2=0.0), large_logits),
        "l2": network(y=True, l2=0.25),
        "one-class": network((5, 4, 1), y=True, l2=0.0),
        "last-class": changed(network(y=True, l2=0.0), last_class),
    },
    "train": {  # a unit that is at 0 for some time has no bound
        flag: draw for flag, draw in for_networks(**TRAIN).items() if flag != "relu-at-zero"
    } | {
        "l2": network(y=True, **TRAIN | {"l2": 0.25}),
        "momentum-0": network(y=True, **TRAIN | {"momentum": 0.0}),
        "momentum-0.999": network(y=True, **TRAIN | {"momentum": 0.999}),
        "rate-0": network(y=True, **TRAIN | {"learning_rate": 0.0}),
        "partial-batch": network(n=6, y=True, **TRAIN | {"batch_size": 4, "epochs": 5}),
        "last-class": changed(network(y=True, **TRAIN), last_class),
    },
}  # fmt: skip
