"""One wrong program for each flag, which only the cases of this flag catch."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from purenet.params import layers
from purenet.testing.mutants import changed
from purenet.testing.operations import variants
from purenet.testing.vectors.results import Results, compute, params_of

__all__ = ["MUTANTS", "Mutant"]

Inputs: TypeAlias = dict[str, Any]
Array: TypeAlias = NDArray[Any]


class Mutant(NamedTuple):
    """Hold a wrong program for an operation.

    Parameters
    ----------
    operation : str
        The operation.
    description : str
        The mistake.
    function : callable
        The program. It takes the inputs of a case and returns its results, by their names.
    """

    operation: str
    description: str
    function: Callable[[Inputs], Results]


def of(operation: str, description: str, change: Callable[..., Any]) -> Mutant:
    """Return a mutant whose results are changed: change(inputs, first result)."""

    def function(inputs: Inputs) -> Results:
        results = compute(operation, inputs)
        first = next(iter(results))
        return results | {first: change(inputs, results[first])}

    return Mutant(operation, description, function)


def with_other(operation: str, description: str, **others: Callable[[Inputs], Any]) -> Mutant:
    """Return a mutant that computes with other inputs."""

    def function(inputs: Inputs) -> Results:
        return compute(operation, inputs | {k: other(inputs) for k, other in others.items()})

    return Mutant(operation, description, function)


def product(inputs: Inputs, x: Array, W: Array | None = None) -> Array:
    """Return x W + b with another x or W."""
    return variants.linear(x, inputs["W"] if W is None else W, inputs["b"])  # type: ignore[no-any-return]


def power(x: Array, *, at_zero: float) -> Array:
    """Return for each row the power of two below its largest number."""
    top = np.abs(x).max(axis=1, keepdims=True)
    exponent = np.frexp(top)[1] - 1
    scale: Array = np.where(top > 0, np.ldexp(np.ones_like(top), exponent), at_zero)
    return scale.astype(x.dtype)


def pruned(_: Inputs, z: Array) -> Any:
    """Return results with 0 for what is much smaller than the largest of its row."""
    size = np.abs(z)
    return np.where(size < 2.0**-14 * size.max(axis=1, keepdims=True), 0 * z, z)


def largest(z: Array) -> Array:
    """Return the largest logit of each row."""
    return z.max(axis=1, keepdims=True)  # type: ignore[no-any-return]


def ties_once(inputs: Inputs, _: Array) -> Array:
    """Return a log-softmax in which several largest logits count as one."""
    z = inputs["z"]
    s = z - largest(z)
    others = np.where(s < 0, np.exp(s), 0 * s).sum(axis=1, keepdims=True)
    return s - np.log1p(others)  # type: ignore[no-any-return]


def without_last_relu(inputs: Inputs, _: Array) -> Array:
    """Return the logits of a network whose ReLUs end after the third layer."""
    a, pairs = inputs["x"], layers(params_of(inputs))
    for k, (W, b) in enumerate(pairs, start=1):
        z = a @ W + b
        a = np.maximum(z, 0) if k <= 3 and k < len(pairs) else z
    return a  # type: ignore[no-any-return]


def loss_that_overflows(inputs: Inputs, _: Any) -> Any:
    """Return the loss by a log-softmax that takes exponentials of the logits as they are."""
    program = changed("z = z - z.max(axis=1, keepdims=True)", "")
    with np.errstate(all="ignore"):
        return program["loss"](params_of(inputs), inputs["x"], inputs["y"], l2=inputs["l2"])


def kept_batches(inputs: Inputs) -> Results:
    """Train on whole batches alone."""
    size = min(inputs["batch_size"], len(inputs["x"]))
    n = len(inputs["x"]) // size * size
    return compute("train", inputs | {"x": inputs["x"][:n], "y": inputs["y"][:n]})


MUTANTS: dict[str, Mutant] = {
    "one-row": of("linear_backward", "a batch of one row is squeezed away", lambda i, dx: (
        0 * dx if len(dx) == 1 else dx)),
    "one-term": of("linear", "sums start with the second term", lambda i, z: (
        0 * z + i["b"] if i["x"].shape[1] == 1 else z)),
    "one-class": of("log_softmax", "NaN, as there is no second logit", lambda i, log_p: (
        np.nan * log_p if log_p.shape[1] == 1 else log_p)),
    "one-layer": of("forward", "ReLU after the only layer", lambda i, z: (
        z if "W2" in i else np.maximum(z, 0))),
    "deep": of("forward", "no ReLU after the fourth layer", without_last_relu),
    "square": with_other("linear", "x Wᵀ", W=lambda i: (
        i["W"].T if i["W"].shape[0] == i["W"].shape[1] else i["W"])),
    "odd-batch": of("linear", "the last row of an odd batch left out", lambda i, z: (
        np.concatenate([z[:-1], 0 * z[-1:]]) if len(z) % 2 and len(z) > 1 else z)),
    "tile-edge": of("linear", "the last, partial tile of columns not written", lambda i, z: (
        z * (np.arange(z.shape[1]) < max(z.shape[1] // 16 * 16, 16)))),
    "long-sum": of("linear", "terms after the first 1,024 left out", lambda i, z: product(
        i, i["x"][:, :1024], i["W"][:1024])),
    "zeros": of("linear", "rows divided by a power of two of their size", lambda i, z: (
        (i["x"] / power(i["x"], at_zero=0)) @ i["W"] * power(i["x"], at_zero=0) + i["b"])),
    "subnormal": of("linear", "rows multiplied by the reciprocal of their size", lambda i, z: (
        (i["x"] * (1 / power(i["x"], at_zero=1))) @ i["W"] * power(i["x"], at_zero=1) + i["b"])),
    "tiny": of("linear", "results rounded to 40 binary places", lambda i, z: (
        (np.rint(z.astype(float) * 2.0**40) / 2.0**40).astype(z.dtype))),
    "large": of("linear", "results clipped at 65,504", lambda i, z: np.clip(z, -65504, 65504)),
    "cancellation": of("linear", "small results pruned", pruned),
    "nan": of("linear", "NaN replaced by 0", lambda i, z: np.nan_to_num(z)),
    "relu-at-zero": of("relu_backward", "δ passed where z = 0", lambda i, dz: np.where(
        i["z"] >= 0, i["delta"], 0 * dz)),
    "large-logits": of("loss", "no maximum subtracted", loss_that_overflows),
    "logit-1e4": of("log_softmax", "the logarithm of the softmax", lambda i, log_p: np.log(
        np.exp(log_p))),
    "shifted-logits": of("log_softmax", "the maximum subtracted only above 80", lambda i, _: (
        variants.logs(i["z"], top=largest(i["z"]) * (np.abs(largest(i["z"])) > 80)))),
    "equal-logits": of("log_softmax", "several largest logits counted once", ties_once),
    "negative-logits": of("log_softmax", "a maximum that starts from 0", lambda i, _: variants.logs(
        i["z"], top=np.maximum(largest(i["z"]), 0))),
    "unlike-rows": of("log_softmax", "the maximum of the whole batch", lambda i, _: variants.logs(
        i["z"], top=np.nanmax(i["z"], keepdims=True))),
    "last-class": with_other("softmax_cross_entropy", "the last class taken for the first", y=(
        lambda i: np.where(i["y"] == i["z"].shape[1] - 1, 0, i["y"]))),
    "l2": with_other("loss", "no penalty", l2=lambda i: 0.0),
    "momentum-0": with_other("momentum_step", "0.9 in place of 0", momentum=lambda i: (
        i["momentum"] or 0.9)),
    "momentum-0.999": with_other("momentum_step", "at most 0.99", momentum=lambda i: min(
        i["momentum"], 0.99)),
    "rate-0": with_other("momentum_step", "0.01 in place of 0", learning_rate=lambda i: (
        i["learning_rate"] or 0.01)),
    "partial-batch": Mutant("train", "the last, smaller batch left out", kept_batches),
}  # fmt: skip
"""Wrong programs, by the flag that catches each. Sizes that others have stay right."""
