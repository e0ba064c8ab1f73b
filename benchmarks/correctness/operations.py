"""Check the operations of NumPy, PyTorch and JAX, and wrong versions of them.

python -m benchmarks.correctness.operations > docs/operations.md
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from purenet.testing import Precision, check_operation
from purenet.testing.operations import OPERATIONS, OperationReport, variants

PRECISIONS = ("float64", "float32", "float16", "bfloat16")

Versions = dict[str, Callable[..., Any]]


def linear_backward(x: Any, W: Any, delta: Any) -> Any:
    """Return δ Wᵀ, xᵀ δ and the sum of the rows of δ."""
    return delta @ W.T, x.T @ delta, delta.sum(0)


def momentum_step(p: Any, v: Any, g: Any, learning_rate: float, momentum: float) -> Any:
    """Return the new parameters and the new velocity."""
    v = momentum * v + (1 - momentum) * g
    return p - learning_rate * v, v


def numpy_versions() -> Versions:
    """Return the plain versions of the catalogue, which compute narrow formats in float32."""
    return {variant.operation: variant.function for variant in reversed(variants.RIGHT)}


def torch_versions() -> Versions:
    """Return what PyTorch's users call."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    def linear(x: Any, W: Any, b: Any) -> Any:
        return F.linear(x, W.T, b)

    def cross_entropy_backward(z: Any, y: Any) -> Any:
        z = z.clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(z, y), z)[0]

    return {
        "linear": linear,
        "linear_relu": lambda x, W, b: F.relu(linear(x, W, b)),
        "linear_backward": linear_backward,
        "relu_backward": lambda delta, z: torch.where(z > 0, delta, 0),
        "log_softmax": lambda z: F.log_softmax(z, 1),
        "softmax_cross_entropy": F.cross_entropy,
        "softmax_cross_entropy_backward": cross_entropy_backward,
        "momentum_step": momentum_step,
    }


def jax_versions() -> Versions:
    """Return what JAX's users call, compiled."""
    import jax

    def cross_entropy(z: Any, y: Any) -> Any:
        return -jax.nn.log_softmax(z)[jax.numpy.arange(len(y)), y].mean()

    versions: Versions = {
        "linear": lambda x, W, b: x @ W + b,
        "linear_relu": lambda x, W, b: jax.nn.relu(x @ W + b),
        "linear_backward": linear_backward,
        "relu_backward": lambda delta, z: jax.numpy.where(z > 0, delta, 0),
        "log_softmax": jax.nn.log_softmax,
        "softmax_cross_entropy": cross_entropy,
        "softmax_cross_entropy_backward": jax.grad(cross_entropy),
        "momentum_step": momentum_step,
    }
    return {name: jax.jit(f) for name, f in versions.items()}


def libraries() -> dict[str, tuple[Any, Callable[[], Versions]]]:
    """Return array namespaces and versions of the operations, by the name of the library."""
    import jax
    import torch

    jax.config.update("jax_enable_x64", val=True)
    return {
        "NumPy": (np, numpy_versions),
        "PyTorch": (torch, torch_versions),
        "JAX": (jax.numpy, jax_versions),
    }


INTRODUCTION = """\
# Operations: what the checks accept, and what they catch

Made by `python -m benchmarks.correctness.operations`, which needs PyTorch and JAX.

## Wrong versions

Each row is a mistake that the check catches, with the law that shows it and the number of the first
example where it does. The examples begin with number 0.
"""

LIBRARIES = """
## Right versions of three libraries

Each row is an operation of a library on the CPU, with sums in float32 for float16 and bfloat16. "Up
to" is the largest dimension: JAX compiles for each shape, so most of its examples have few shapes.
NumPy's narrow versions store results only; those of PyTorch and JAX may store every array in
between. The share is the largest error beside its bound: above 1 it would be refused, and far below
1 the bound would be too wide.
"""

FINDINGS = """
PyTorch's refusals are findings. Its bfloat16 product on this CPU lets a NaN in one row of x into
the row before, for some shapes: `torch.nn.functional.linear` of ones of shape (37, 31) with a NaN
in row 36 has NaN in row 35 too.
"""

OTHERS = """
## Other right versions

Each row is another way to write an operation in NumPy, in the precision that it has. The check
accepts them all:
"""


def tried(*cells: object, f: Callable[..., Any], operation: str, **options: Any) -> OperationReport:
    """Check a right version, and print a row that begins with these cells."""
    report = check_operation(f, operation, **options)
    worst = max(output.worst_share for output in report.outputs)
    refused = ", ".join(failure.law for failure in report.failures) or "no"
    row = f"`{operation}`", *cells, report.examples, report.max_size, f"{worst:.3g}", refused
    print(f"| {' | '.join(map(str, row))} |", flush=True)
    return report


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1000, help="for each row [1000]")
    args = parser.parse_args()
    print(INTRODUCTION)
    variants.main()
    print(LIBRARIES)
    head = "| operation | {} | precision | examples | up to | worst share of the bound | refused |"
    print(f"{head.format('library')}\n|---|---|---|--:|--:|--:|---|")
    reports = []
    for library, (xp, versions) in libraries().items():
        for name in OPERATIONS:
            for storage in PRECISIONS:
                options: dict[str, Any] = {
                    "precision": Precision(storage, fused=library == "NumPy"),
                    "xp": xp,
                }
                # JAX compiles for each shape: most of its examples have few shapes.
                domains = [(args.examples, 257)]
                if library == "JAX":
                    domains = [(args.examples, 4), (args.examples // 5, 257)]
                for examples, size in domains:
                    options |= {"examples": examples, "max_size": size}
                    f = versions()[name]
                    reports += [tried(library, storage, f=f, operation=name, **options)]
    shares = [
        max(output.worst_share for output in report.outputs)
        for report in reports
        if OPERATIONS[report.operation].rounds
    ]
    print(f"\nThe median of the shares, where results are rounded, is {np.median(shares):.2g}.")
    print("\nThese are the reports of the versions that were refused:")
    for report in reports:
        if not report.ok:
            print(f"\n```\n{report}\n```")
    print(FINDINGS + OTHERS)
    print(f"{head.format('version')}\n|---|---|---|--:|--:|--:|---|")
    for variant in variants.RIGHT:
        cells = variant.description, f"`{variant.precision}`"
        options = {"precision": variant.precision, "examples": args.examples}
        tried(*cells, f=variant.function, operation=variant.operation, **options)


if __name__ == "__main__":
    main()
