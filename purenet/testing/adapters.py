"""Make an `Implementation` of a module of another library, or of functions with other conventions.

    survey(from_torch(torch.nn.Sequential(...)))

A module must be a chain of linear layers with ReLU between them, and its last layer must return
logits. Its parameters are replaced at each call by those of the example. Modules of other
architectures are checked as a `purenet.testing.models.Model`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import purenet
from purenet.params import Params, from_layers, layers, sizes
from purenet.testing.laws import Implementation
from purenet.testing.trees import to_numpy

__all__ = ["from_functions", "from_jax", "from_keras", "from_onnx", "from_sklearn", "from_torch"]


TELLING = 1e-6
"""The smallest learning rate at which a velocity that it multiplies keeps its digits."""


def from_functions(
    *,
    forward: Callable[..., Any] | None = None,
    loss: Callable[..., Any] | None = None,
    backward: Callable[..., Any] | None = None,
    momentum_step: Callable[..., Any] | None = None,
    weights: Literal["(in, out)", "(out, in)"] = "(in, out)",
    params: Literal["dict", "list"] = "dict",
    samples: Literal["rows", "columns"] = "rows",
    labels: Literal["integers", "one-hot"] = "integers",
    reduction: Literal["mean", "sum"] = "mean",
    velocity: Literal["average", "learning rate inside"] = "average",
    l2: bool = True,
    sizes: Sequence[int] | None = None,
) -> Implementation:
    """Adapt functions with other conventions.

    Parameters
    ----------
    forward, loss, backward, momentum_step : callable, optional
        The functions: ``forward(params, x)``, ``loss(params, x, y, l2=...)``, ``backward`` with the
        arguments of `loss`, which returns (loss, gradients) or the gradients alone, and
        ``momentum_step(params, velocity, grads, learning_rate=..., momentum=...)``.
    weights : {"(in, out)", "(out, in)"}
        The shape of a weight matrix.
    params : {"dict", "list"}
        Whether parameters and gradients are dictionaries of W1, b1, ..., or lists [(W, b), ...].
    samples : {"rows", "columns"}
        Whether an example is a row or a column of x, and of the logits.
    labels : {"integers", "one-hot"}
        How labels are given; one-hot labels have the shape of the logits.
    reduction : {"mean", "sum"}
        Whether the data term is the mean over the batch or the sum.
    velocity : {"average", "learning rate inside"}
        Whether the velocity is v ← β v + (1 - β) g, or v ← β v + η (1 - β) g with p ← p - v.
    l2 : bool
        Whether `loss` and `backward` take the keyword l2. If not, they have no penalty, and it is
        added here.
    sizes : sequence of int, optional
        The units of each layer, if the functions take no other network.

    Returns
    -------
    Implementation
        Functions with purenet's conventions.

    Raises
    ------
    ValueError
        An unknown convention.

    Examples
    --------
    >>> import purenet
    >>> def forward(layers, x):  # weights (out, in), examples as columns
    ...     for W, b in layers[:-1]:
    ...         x = np.maximum(W @ x + b[:, None], 0)
    ...     W, b = layers[-1]
    ...     return W @ x + b[:, None]
    >>> implementation = from_functions(
    ...     forward=forward, weights="(out, in)", params="list", samples="columns"
    ... )
    >>> from purenet.testing.conformance import check
    >>> check(implementation, "logits_are_within_rounding")
    """
    for argument, value, choices in (
        ("weights", weights, ("(in, out)", "(out, in)")),
        ("params", params, ("dict", "list")),
        ("samples", samples, ("rows", "columns")),
        ("labels", labels, ("integers", "one-hot")),
        ("reduction", reduction, ("mean", "sum")),
        ("velocity", velocity, ("average", "learning rate inside")),
    ):
        if value not in choices:
            raise ValueError(f"{argument} must be one of {', '.join(choices)}, got {value!r}")
    columns, turned, takes_l2 = samples == "columns", weights == "(out, in)", l2

    def theirs(ours: Params) -> Any:
        pairs = [(W.T if turned else W, b) for W, b in layers(ours)]
        return pairs if params == "list" else from_layers(pairs)

    def ours(given: Any) -> Params:
        pairs = layers(given) if params == "dict" else given
        return from_layers([(np.asarray(W.T if turned else W), np.asarray(b)) for W, b in pairs])

    def batch(p: Params, x: NDArray[Any], y: NDArray[Any]) -> tuple[Any, Any]:
        t = y
        if labels == "one-hot":
            classes = len(layers(p)[-1][1])
            t = np.eye(classes, dtype=x.dtype)[y]
        return (x.T, t.T if labels == "one-hot" else t) if columns else (x, t)

    def strength(value: float) -> dict[str, float]:
        return {"l2": value} if takes_l2 else {}

    def data_term(value: Any, p: Params, penalty: float, n: int) -> Any:
        """Turn a sum into a mean, without the penalty, which is no part of it."""
        decay = _penalty(p, penalty)
        if not takes_l2:
            return (value / n if reduction == "sum" else value) + decay
        return (value - decay) / n + decay if reduction == "sum" else value

    def adapted_forward(p: Params, x: NDArray[Any]) -> Any:
        assert forward is not None
        z = np.asarray(forward(theirs(p), x.T if columns else x))
        return z.T if columns else z

    def adapted_loss(p: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0) -> Any:
        assert loss is not None
        value = loss(theirs(p), *batch(p, x, y), **strength(l2))
        return p["W1"].dtype.type(data_term(value, p, l2, len(x)))

    def adapted_backward(
        p: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0
    ) -> tuple[Any, Params]:
        assert backward is not None
        result = backward(theirs(p), *batch(p, x, y), **strength(l2))
        pair = isinstance(result, tuple | list) and len(result) == 2
        pair = pair and not isinstance(result[0], tuple | list | dict) and np.ndim(result[0]) == 0
        value, given = result if pair else (None, result)
        grads = ours(given)
        for name, g in grads.items():
            decay = l2 * p[name] if name.startswith("W") else 0
            if reduction == "sum":
                grads[name] = ((g - decay * takes_l2) / len(x) + decay).astype(p[name].dtype)
            elif not takes_l2:
                grads[name] = (g + decay).astype(p[name].dtype)
        if value is None:
            value = adapted_loss(p, x, y, l2=l2) if loss else purenet.loss(p, x, y, l2=l2)
        else:
            value = p["W1"].dtype.type(data_term(value, p, l2, len(x)))
        return value, grads

    def adapted_step(
        p: Params, v: Params, g: Params, *, learning_rate: float, momentum: float
    ) -> tuple[Params, Params]:
        assert momentum_step is not None
        rate = learning_rate if velocity == "learning rate inside" else 1.0
        scaled = {name: rate * one for name, one in v.items()}
        rates = {"learning_rate": learning_rate, "momentum": momentum}
        new_p, new_v = momentum_step(theirs(p), theirs(scaled), theirs(g), **rates)
        if rate < TELLING:  # the velocity has underflowed, and tells nothing
            return ours(new_p), purenet.momentum_step(p, v, g, **rates)[1]
        return ours(new_p), {name: one / rate for name, one in ours(new_v).items()}

    return Implementation(
        forward=adapted_forward if forward else None,
        loss=adapted_loss if loss else None,
        backward=adapted_backward if backward else None,
        momentum_step=adapted_step if momentum_step else None,
        sizes=list(sizes) if sizes else None,
    )


def _penalty(p: Params, l2: float) -> float:
    """Return ½ l2 Σ‖W‖²."""
    return 0.5 * l2 * sum(float(np.vdot(W, W)) for W, _ in layers(p))


def from_torch(module: Any) -> Implementation:  # needs PyTorch
    """Adapt a PyTorch module of linear layers, or a function that makes one.

    Parameters
    ----------
    module : torch.nn.Module, or callable
        A module of fixed sizes; or a function of a list of sizes that makes one.

    Returns
    -------
    Implementation
        `forward`; and `loss` and `backward` by `torch.nn.functional.cross_entropy` and autograd.

    Raises
    ------
    ImportError
        PyTorch is not installed.
    ValueError
        A module whose parameters are not those of a chain of linear layers.
    """
    import torch  # noqa: PLC0415

    fixed = isinstance(module, torch.nn.Module)

    def parameter(linear: str, kind: str) -> str:
        return f"{linear}.{kind}" if linear else kind  # the module itself may be linear

    made: dict[tuple[int, ...], Any] = {}

    def linears(one: Any) -> list[str]:
        found = [name for name, part in one.named_modules() if isinstance(part, torch.nn.Linear)]
        given = [name for name, _ in one.named_parameters()]
        expected = {parameter(n, kind) for n in found for kind in ("weight", "bias")}
        if not found or expected != set(given):
            raise ValueError(
                "the module must consist of torch.nn.Linear layers with a bias, "
                f"got the parameters {given}: check others as a Model"
            )
        return found

    def logits(p: Params, x: Any) -> Any:
        key = tuple(sizes(p))
        if not fixed and key not in made:
            made[key] = module(list(key))
        one = module if fixed else made[key]
        state: dict[str, Any] = {}
        for name, (W, b) in zip(linears(one), layers(p), strict=True):
            state |= {parameter(name, "weight"): W.T, parameter(name, "bias"): b}
        return torch.func.functional_call(one, state, (x,))

    if not fixed:
        return _by_autograd(logits)
    found, shapes = dict(module.named_parameters()), []
    for name in linears(module):
        shapes += [tuple(found[parameter(name, kind)].shape[::-1]) for kind in ("weight", "bias")]
    units = _chain(shapes, "the module must be a chain of linear layers in their order")
    return _by_autograd(logits, sizes=units)


def _by_autograd(logits: Callable[..., Any], **domain: Any) -> Implementation:  # needs PyTorch
    """Return the functions of PyTorch logits(params, x), where params are as purenet's."""
    import torch  # noqa: PLC0415

    def tensor(array: NDArray[Any], dtype: Any) -> Any:
        return torch.tensor(np.ascontiguousarray(array.astype(dtype)))

    def tensors(p: Params) -> dict[str, Any]:
        return {name: tensor(array, array.dtype) for name, array in p.items()}

    def objective(p: dict[str, Any], x: Any, y: NDArray[Any], l2: float) -> Any:
        value = torch.nn.functional.cross_entropy(logits(p, x), tensor(y, np.int64))
        return value + 0.5 * float(l2) * sum((W * W).sum() for W, _ in layers(p))

    def forward(p: Params, x: NDArray[Any]) -> Any:
        return logits(tensors(p), tensor(x, p["W1"].dtype)).detach().numpy().copy()

    def loss(p: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0) -> Any:
        value = objective(tensors(p), tensor(x, p["W1"].dtype), y, l2)
        return value.detach().numpy()[()]

    def backward(
        p: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0
    ) -> tuple[Any, Params]:
        given = {name: one.requires_grad_() for name, one in tensors(p).items()}
        value = objective(given, tensor(x, p["W1"].dtype), y, l2)
        grads = torch.autograd.grad(value, list(given.values()))
        arrays = [np.array(g.numpy(), order="C") for g in grads]
        return value.detach().numpy()[()], dict(zip(p, arrays, strict=True))

    return Implementation(forward=forward, loss=loss, backward=backward, **domain)


def from_jax(forward: Callable[..., Any], *, sizes: Sequence[int] | None = None) -> Implementation:
    """Adapt a JAX function of parameters and examples that returns logits.

    Parameters
    ----------
    forward : callable
        ``forward(params, x)`` of a dictionary W1, b1, ... of JAX arrays, with weights (in, out).
    sizes : sequence of int, optional
        The units of each layer: for a function that takes no other network, or to compile for few
        shapes only.

    Returns
    -------
    Implementation
        `forward`; and `loss` and `backward` by log-softmax and `jax.grad`, all under `jax.jit`. In
        float32 only, unless JAX is told to compute in float64 (`jax_enable_x64`).

    Raises
    ------
    ImportError
        JAX is not installed.
    """
    import jax  # noqa: PLC0415

    def objective(p: Any, x: Any, y: Any, l2: Any) -> Any:
        log_p = jax.nn.log_softmax(forward(p, x))
        picked = jax.numpy.take_along_axis(log_p, y[:, None], axis=1)
        squares = sum((w * w).sum() for name, w in p.items() if name.startswith("W"))
        return -picked.mean() + 0.5 * l2 * squares

    logits, value = jax.jit(forward), jax.jit(objective)
    value_and_grad = jax.jit(jax.value_and_grad(objective))

    def arguments(p: Params, x: NDArray[Any], *more: Any) -> tuple[Any, ...]:
        dtype = p["W1"].dtype
        return dict(p), x.astype(dtype), *(np.asarray(a) for a in more)

    def of_forward(p: Params, x: NDArray[Any]) -> Any:
        return np.array(logits(*arguments(p, x)))

    def of_loss(p: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0) -> Any:
        strength = p["W1"].dtype.type(l2)
        return np.asarray(value(*arguments(p, x, y.astype(np.int32), strength)))[()]

    def of_backward(
        p: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0
    ) -> tuple[Any, Params]:
        strength = p["W1"].dtype.type(l2)
        found, grads = value_and_grad(*arguments(p, x, y.astype(np.int32), strength))
        return np.asarray(found)[()], {name: np.array(grads[name]) for name in p}

    return Implementation(
        forward=of_forward,
        loss=of_loss,
        backward=of_backward,
        sizes=list(sizes) if sizes else None,
        dtypes=(np.float64, np.float32)[jax.numpy.asarray(0.5).dtype != np.float64 :],
    )


def from_keras(model: Any) -> Implementation:  # needs Keras
    """Adapt a Keras model of dense layers: ReLU between them, and logits at the end.

    Parameters
    ----------
    model : keras.Model
        A built model.

    Returns
    -------
    Implementation
        `forward`; and `loss` and `backward` by the autodiff of JAX or PyTorch, if this is the
        backend of Keras. With another backend a gradient is not reached. In the dtype of the model.

    Raises
    ------
    ImportError
        Keras is not installed.
    ValueError
        A model whose weights are not those of a chain of dense layers.
    """
    import keras  # noqa: PLC0415

    shapes = [tuple(w.shape) for w in model.weights]
    units = _chain(shapes, "the Keras model must consist of Dense layers with a bias")
    domain: dict[str, Any] = {"sizes": units, "dtypes": (np.dtype(model.compute_dtype),)}

    def logits(p: Params, x: Any) -> Any:
        arrays = [array for pair in layers(p) for array in pair]  # JAX sorts dictionaries by name
        return model.stateless_call(arrays, model.non_trainable_variables, x)[0]

    match keras.backend.backend():
        case "jax":
            return replace(from_jax(logits), **domain)
        case "torch":
            return _by_autograd(logits, **domain)
    return Implementation(forward=lambda p, x: to_numpy(logits(p, x)), **domain)


def from_sklearn(model: Any) -> Implementation:
    """Adapt a fitted `sklearn.neural_network.MLPClassifier` with ReLU.

    Parameters
    ----------
    model : MLPClassifier
        A fitted classifier with more than two classes: with two it has one output.

    Returns
    -------
    Implementation
        `loss`, from `predict_log_proba`. The classifier gives neither logits nor a gradient, so
        these are not reached.

    Raises
    ------
    ValueError
        Another activation, two classes, or a classifier that is not fitted.
    """
    if not hasattr(model, "coefs_"):
        raise ValueError("the classifier must be fitted, so that its layers are known")
    if model.activation != "relu" or model.out_activation_ != "softmax":
        raise ValueError(
            "the classifier must have activation='relu' and more than two classes, got "
            f"activation={model.activation!r} and out_activation_={model.out_activation_!r}"
        )
    shapes = [
        s for W, b in zip(model.coefs_, model.intercepts_, strict=True) for s in (W.shape, b.shape)
    ]
    units = _chain(shapes, "the classifier must be a chain of layers")

    def loss(p: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0) -> Any:
        pairs = layers(p)
        model.coefs_, model.intercepts_ = [W for W, _ in pairs], [b for _, b in pairs]
        with np.errstate(all="ignore"):
            log_p = model.predict_log_proba(x.astype(p["W1"].dtype))
        return p["W1"].dtype.type(-log_p[np.arange(len(y)), y].mean() + _penalty(p, l2))

    return Implementation(loss=loss, sizes=units)


def from_onnx(path: Any) -> Implementation:
    """Adapt an ONNX model of fixed weights, run by ONNX Runtime.

    Parameters
    ----------
    path : path
        A model of Gemm (or MatMul and Add) and Relu nodes whose initializers are the parameters.

    Returns
    -------
    Implementation
        `forward`, in float32.

    Raises
    ------
    ImportError
        onnx or onnxruntime is not installed.
    ValueError
        Initializers that are not those of a chain of layers.
    """
    import onnx  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415

    model = onnx.load(path)
    turned = {
        node.input[1]
        for node in model.graph.node
        if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
    }
    weights = list(model.graph.initializer)
    shapes = [tuple(w.dims)[:: -1 if w.name in turned else 1] for w in weights]
    units = _chain(shapes, "the ONNX model must hold W1, b1, ... as its initializers, in order")

    def forward(p: Params, x: NDArray[Any]) -> Any:
        for weight, array in zip(weights, p.values(), strict=True):
            theirs = np.ascontiguousarray(array.T if weight.name in turned else array, np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(theirs, weight.name))
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        return session.run(None, {name: np.ascontiguousarray(x.astype(np.float32))})[0]

    return Implementation(forward=forward, sizes=units, dtypes=(np.float32,))


def _chain(shapes: Sequence[tuple[int, ...]], problem: str) -> list[int]:
    """Return the units of a chain of layers with these shapes of W1, b1, W2, b2, ..."""
    pairs = list(zip(shapes[::2], shapes[1::2], strict=False))
    units = [pairs[0][0][0], *(b[0] for _, b in pairs)] if pairs else []
    good = len(shapes) == 2 * len(pairs) > 0 and all(
        both == W for (W, _), both in zip(pairs, pairwise(units), strict=True)
    )
    if not good:
        raise ValueError(f"{problem}, got the shapes {list(shapes)}")
    return units
