"""Survey implementations that others wrote, and write docs/conformance.md.

    pip install torch jax keras scikit-learn tinygrad autograd micrograd onnx onnxruntime
    python -m benchmarks.correctness.libraries > docs/conformance.md

An implementation whose library is not installed is left out.
"""

import inspect
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np

import purenet
from benchmarks.report import table
from purenet.params import layers
from purenet.testing import adapters
from purenet.testing.conformance import (
    MATHEMATICS,
    PURITY,
    Implementation,
    Survey,
    survey,
)
from purenet.testing.strategies import problems

SIZES = [5, 4, 3]

os.environ["KERAS_BACKEND"] = "jax"
os.environ["DEV"] = "PYTHON"  # tinygrad's device that needs no compiler


def numpy_listing() -> Implementation:
    def forward(params: Any, x: Any) -> Any:
        hidden = np.maximum(x @ params["W1"] + params["b1"], 0)
        return hidden @ params["W2"] + params["b2"]

    def loss(params: Any, x: Any, y: Any) -> Any:  # as in many a tutorial
        z = np.exp(forward(params, x))
        return -np.log(z[np.arange(len(y)), y] / z.sum(axis=1)).mean()

    return adapters.from_functions(forward=forward, loss=loss, l2=False, sizes=SIZES)


def torch_eager() -> Implementation:
    import torch

    units = [torch.nn.Linear(*pair) for pair in pairwise(SIZES)]
    return adapters.from_torch(torch.nn.Sequential(units[0], torch.nn.ReLU(), units[1]))


def torch_compiled() -> Implementation:
    import torch

    units = [torch.nn.Linear(*pair) for pair in pairwise(SIZES)]
    module = torch.nn.Sequential(units[0], torch.nn.ReLU(), units[1])
    return adapters.from_torch(torch.compile(module))


def jax_maximum() -> Implementation:
    import jax

    def forward(params: Any, x: Any) -> Any:
        hidden = jax.numpy.maximum(x @ params["W1"] + params["b1"], 0)
        return hidden @ params["W2"] + params["b2"]

    return adapters.from_jax(forward, sizes=SIZES)


def jax_relu() -> Implementation:
    import jax

    def forward(params: Any, x: Any) -> Any:
        hidden = jax.nn.relu(x @ params["W1"] + params["b1"])
        return hidden @ params["W2"] + params["b2"]

    return adapters.from_jax(forward, sizes=SIZES)


def keras_on_jax() -> Implementation:
    import keras

    dense = [keras.layers.Dense(4, activation="relu"), keras.layers.Dense(3)]
    return adapters.from_keras(keras.Sequential([keras.Input((5,)), *dense]))


def scikit_learn() -> Implementation:
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(hidden_layer_sizes=(4,), max_iter=1, solver="lbfgs")
    return adapters.from_sklearn(model.fit(np.eye(9, 5), np.arange(9) % 3))


def tinygrad() -> Implementation:
    from tinygrad import Tensor  # type: ignore[attr-defined,unused-ignore]

    def logits(p: Any, x: Any) -> Any:
        return (x @ p["W1"] + p["b1"]).relu() @ p["W2"] + p["b2"]

    def tensors(params: Any) -> Any:
        return {name: Tensor(array) for name, array in params.items()}

    def forward(params: Any, x: Any) -> Any:
        return logits(tensors(params), Tensor(x)).numpy()

    def backward(params: Any, x: Any, y: Any) -> Any:
        p = tensors(params)
        value = logits(p, Tensor(x)).sparse_categorical_crossentropy(Tensor(y.astype("i4")))
        grads = value.gradient(*p.values())
        return value.item(), dict(zip(p, [g.numpy() for g in grads], strict=True))

    return adapters.from_functions(forward=forward, backward=backward, l2=False, sizes=SIZES)


def autograd() -> Implementation:
    import autograd.numpy as anp
    from autograd import value_and_grad
    from autograd.scipy.special import logsumexp

    def forward(params: Any, x: Any) -> Any:
        hidden = anp.maximum(x @ params["W1"] + params["b1"], 0)
        return hidden @ params["W2"] + params["b2"]

    def loss(params: Any, x: Any, y: Any) -> Any:
        z = forward(params, x)
        return anp.mean(logsumexp(z, axis=1) - z[anp.arange(len(y)), y])

    return adapters.from_functions(
        forward=forward, loss=loss, backward=value_and_grad(loss), l2=False, sizes=SIZES
    )


def micrograd() -> Implementation:
    from micrograd.engine import Value

    def backward(params: Any, x: Any, y: Any) -> Any:
        p = {k: np.vectorize(Value, otypes=[object])(a) for k, a in params.items()}
        value = Value(0)
        for row, label in zip(x.tolist(), y, strict=True):
            a = np.array(row, object)
            for k, (W, b) in enumerate(layers(p)):
                z = a @ W + b
                a = np.array([one.relu() for one in z]) if k == 0 else z
            # It has no exponential of a Value but e ** z's, so log Σ exp is written as a chain.
            value = value + log_sum_exp(list(a)) - a[label]
        value = value / len(y)
        value.backward()
        grads = {k: np.vectorize(lambda v: v.grad, otypes=[float])(a) for k, a in p.items()}
        return value.data, grads

    def log_sum_exp(z: list[Any]) -> Any:
        top = max(v.data for v in z)
        total = sum(np.exp(v.data - top) for v in z)
        out = Value(top + np.log(total), tuple(z), "logsumexp")

        def _backward() -> None:
            for v in z:
                v.grad += np.exp(v.data - top) / total * out.grad

        out._backward = _backward
        return out

    return adapters.from_functions(backward=backward, l2=False, sizes=SIZES)


def onnx_runtime() -> Implementation:
    import onnx

    path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    onnx.save(purenet.export.to_onnx(purenet.init(SIZES)), path)
    return adapters.from_onnx(path)


# The name in the table, the distribution, and the function above.
IMPLEMENTATIONS: dict[str, tuple[str, Callable[[], Implementation]]] = {
    "purenet": ("purenet", lambda: Implementation(
        forward=purenet.forward, loss=purenet.loss, backward=purenet.backward)),
    "NumPy, a tutorial's": ("numpy", numpy_listing),
    "PyTorch": ("torch", torch_eager),
    "PyTorch, compiled": ("torch", torch_compiled),
    "JAX, relu": ("jax", jax_relu),
    "JAX, maximum": ("jax", jax_maximum),
    "Keras": ("keras", keras_on_jax),
    "scikit-learn": ("scikit-learn", scikit_learn),
    "tinygrad": ("tinygrad", tinygrad),
    "autograd": ("autograd", autograd),
    "micrograd": ("micrograd", micrograd),
    "ONNX Runtime": ("onnxruntime", onnx_runtime),
}  # fmt: skip

HALF = "`maximum(z, 0)` shares its derivative between equal arguments: ReLU′(0) = ½"

# Why laws fail, as found by reading the library.
REASONS = {
    "NumPy, a tutorial's": "exponentials without the maximum overflow: large logits give NaN",
    "JAX, maximum": HALF,
    "autograd": HALF,
    "scikit-learn": "`predict_log_proba` is log(softmax): −∞ where a probability underflows",
    "micrograd": "backward goes through a set of objects, in the order of their addresses",
}

MARKS = {"pass": "✓", "fail": "✗", "not given": "", "not applicable": "·"}


def lines_of(make: Callable[[], Implementation]) -> int:
    """Count the lines that a user writes, imports and the network included."""
    if make.__name__ == "<lambda>":
        return 1
    return len([line for line in inspect.getsource(make).splitlines()[1:] if line.strip()])


def main() -> None:
    """Print the page."""
    found: dict[str, Survey] = {}
    facts = []
    names = sys.argv[1:] or list(IMPLEMENTATIONS)
    for name in names:
        distribution, make = IMPLEMENTATIONS[name]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                began = time.perf_counter()
                implementation = make()
                domain = problems(
                    implementation.sizes or SIZES,
                    dtypes=implementation.dtypes,
                    batch_sizes=[1, 4],
                )
                found[name] = survey(implementation, problems=domain)
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        seconds = time.perf_counter() - began
        print(f"{name}: {seconds:.0f} s", file=sys.stderr)
        given = ", ".join(f"`{f}`" for f in implementation.given)
        facts.append((name, version(distribution), given, str(lines_of(make)), f"{seconds:.0f}"))
    print(INTRODUCTION)
    print(table(("implementation", "version", "functions", "lines", "seconds"), facts), end="")
    laws = [law for law in (*MATHEMATICS, *PURITY) if any(
        finding.law == law and finding.outcome in ("pass", "fail")
        for one in found.values() for finding in one.findings)]  # fmt: skip
    rows = []
    for law in laws:
        outcomes = [
            next(MARKS[f.outcome] for f in one.findings if f.law == law) for one in found.values()
        ]
        rows.append((f"`{law}`", *outcomes))
    print("\n## Laws\n")
    print("✓ holds, ✗ fails, empty: no function that the law is about was given.\n")
    print(table(("law", *found), rows), end="")
    print("\n## Where they differ\n")
    for name, one in found.items():
        if one.failures:
            print(f"- **{name}**: {REASONS.get(name, 'not yet explained')}.")
        for failure in one.failures:
            print(f"  - `{failure.law}`: {failure.message}")


INTRODUCTION = """\
# Other libraries against the laws

Made by `python -m benchmarks.correctness.libraries`, which needs the libraries of the table.

Each row is a network of 5, 4 and 3 units, written as its library's users write it, adapted by
`purenet.testing.adapters`, and surveyed on the hardest domain: zeros, kinks, subnormal numbers and
logits of ±10⁴. "Lines" counts what a user writes, the network included. A failure here is seldom a
bug. It says where a library has another convention, or gives up digits.
"""


if __name__ == "__main__":
    main()
