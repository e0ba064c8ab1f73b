"""Networks in the formats of other tools: ONNX, and state dictionaries of PyTorch."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purenet import __version__
from purenet.config import Config
from purenet.extras import require
from purenet.params import (
    A,
    Params,
    as_numpy,
    check_classes,
    check_finite,
    check_number,
    check_params,
    from_layers,
    layers,
    params_as_numpy,
    sizes,
)

__all__ = ["OPSET", "from_state_dict", "to_onnx", "to_state_dict", "to_torch"]

OPSET = 17
"""Version of the ONNX operators that `to_onnx` uses. ONNX Runtime knows it from 1.12 on."""

_IR_VERSION = 8  # of the ONNX format: the one that came with that opset
_LIMIT = 1 << 31  # bytes of an ONNX file, by protobuf


def to_onnx(
    params: dict[str, A],
    *,
    input_scale: float | None = None,
    classes: Sequence[str] | None = None,
    cfg: Config | None = None,
) -> Any:
    """Return a network as an ONNX model.

    The model has one input and three outputs, for a batch of any size n: ``logits`` (n, classes),
    ``probabilities`` (n, classes), their softmax, and ``label`` (n,), the most probable class. With
    `input_scale` the input is ``pixels`` (n, features), 8-bit integers that the model multiplies by
    the scale. Without it the input is ``x``, floating-point numbers. It computes in the type of the
    parameters, and in float32 for float16.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL, in float16, float32 or float64. All values must be finite.
    input_scale : float, optional
        Factor of integer pixels, as in `purenet.predict`.
    classes : sequence of str, optional
        Names of the classes. With them ``label`` is a text. By default it is an integer.
    cfg : Config, optional
        Configuration of the training, kept in the model's metadata under ``purenet`` as JSON.

    Returns
    -------
    onnx.ModelProto
        The model, checked by `onnx.checker`. `onnx.save` writes it to a file.

    Raises
    ------
    ValueError
        Parameters that are not as described above, more than 2 GiB of them, a bad scale, or another
        number of names than of classes.
    ImportError
        onnx is missing.

    References
    ----------
    ONNX operators, version 17: Cast, Mul, Gemm, Relu, Softmax, ArgMax and Gather.

    Examples
    --------
    >>> from purenet import init
    >>> model = to_onnx(init([784, 10]), input_scale=1/255)
    >>> [node.op_type for node in model.graph.node]
    ['Constant', 'Cast', 'Mul', 'Gemm', 'Softmax', 'ArgMax']
    """
    require("ONNX models", "onnx", "onnx")
    from onnx import TensorProto, checker, helper, numpy_helper  # noqa: PLC0415

    arrays = params_as_numpy(params)
    names = None if classes is None else check_classes(arrays, classes)
    dtype = np.promote_types(arrays["W1"].dtype, np.float32)
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    features, *_, n = sizes(arrays)
    nodes: list[Any] = []

    def compute(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(name: str, value: NDArray[Any]) -> str:
        return compute("Constant", [], name, value=numpy_helper.from_array(value, name))

    if sum(p.size for p in arrays.values()) * dtype.itemsize >= _LIMIT:
        raise ValueError("params must be smaller than 2 GiB in ONNX, which is protobuf's limit")
    source, source_kind = ("x", kind) if input_scale is None else ("pixels", TensorProto.UINT8)
    a = source
    if input_scale is not None:
        scale = check_number("input_scale", input_scale, below=float(np.finfo(dtype).max))
        constant("input_scale", np.asarray(scale, dtype))
        a = compute("Mul", [compute("Cast", [a], "cast", to=kind), "input_scale"], "a0")
    depth = len(layers(arrays))
    for k in range(1, depth + 1):
        z = compute("Gemm", [a, f"W{k}", f"b{k}"], f"z{k}" if k < depth else "logits")
        a = compute("Relu", [z], f"a{k}") if k < depth else z
    compute("Softmax", [a], "probabilities", axis=1)
    label, label_kind = "label", TensorProto.INT64
    if names is None:
        compute("ArgMax", [a], label, axis=1, keepdims=0)
    else:
        index = compute("ArgMax", [a], "index", axis=1, keepdims=0)
        compute("Gather", [constant("classes", np.array(names, object)), index], label)
        label_kind = TensorProto.STRING
    describe = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "purenet",
        [describe(source, source_kind, ["n", features])],
        [
            describe("logits", kind, ["n", n]),
            describe("probabilities", kind, ["n", n]),
            describe(label, label_kind, ["n"]),
        ],
        [numpy_helper.from_array(p.astype(dtype), name) for name, p in arrays.items()],
    )
    model = helper.make_model(
        graph,
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="purenet",
        producer_version=__version__,
        doc_string=f"Multilayer perceptron of {'-'.join(map(str, sizes(arrays)))} units",
    )
    about = {"config": None if cfg is None else asdict(cfg), "classes": names}
    helper.set_model_props(model, {"purenet": json.dumps(about)})
    checker.check_model(model, full_check=True)
    return model


def to_state_dict(params: dict[str, A]) -> Params:
    """Return parameters under the names and in the layout of a sequential module of PyTorch.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL. All values must be finite.

    Returns
    -------
    dict of numpy.ndarray
        Weights of shape (out, in) and biases: ``0.weight``, ``0.bias``, ``2.weight`` and so on. The
        modules of odd numbers are ReLU. ``safetensors.numpy.save_file`` writes them to a file.

    Raises
    ------
    ValueError
        Parameters that are not as described above.

    Examples
    --------
    >>> from purenet import init
    >>> state = to_state_dict(init([784, 200, 10]))
    >>> {name: array.shape for name, array in state.items()}
    {'0.weight': (200, 784), '0.bias': (200,), '2.weight': (10, 200), '2.bias': (10,)}
    """
    state: Params = {}
    for k, (W, b) in enumerate(layers(params_as_numpy(params))):
        state[f"{2 * k}.weight"] = W.T.copy()
        state[f"{2 * k}.bias"] = b.copy()
    return state


def from_state_dict(state: Mapping[str, Any]) -> Params:
    """Return the parameters in a state dictionary of linear layers with ReLU between them.

    The dictionary does not tell which functions are between the layers.

    Parameters
    ----------
    state : mapping of array
        ``….weight`` of shape (out, in) and ``….bias`` for each layer, as tensors of PyTorch on the
        CPU or arrays of NumPy. The numbers in the names give the order of the layers, since files
        of safetensors have none.

    Returns
    -------
    dict of numpy.ndarray
        W1, b1, ..., WL, bL, which share no memory with the state.

    Raises
    ------
    ValueError
        Names of other forms, a layer without a bias, or layers that make no chain.

    Examples
    --------
    >>> from purenet import init
    >>> params = init([784, 200, 10])
    >>> same = from_state_dict(to_state_dict(params))
    >>> all(np.array_equal(same[name], params[name]) for name in params)
    True
    """
    found: dict[tuple[int, ...], dict[str, NDArray[Any]]] = {}
    if not isinstance(state, Mapping):
        raise ValueError(f"state must be a mapping, as of state_dict(), got {type(state).__name__}")
    for name, array in state.items():
        match = re.fullmatch(r"(.*[0-9].*)\.(weight|bias)", str(name))
        if not match:
            raise ValueError(f"names must be like 0.weight or layers.2.bias, got {name!r}")
        number = tuple(map(int, re.findall("[0-9]+", match[1])))
        layer = found.setdefault(number, {})
        if match[2] in layer:
            raise ValueError(f"names must differ in their numbers, got a second one like {name!r}")
        try:
            layer[match[2]] = as_numpy(name, array)
        except (TypeError, RuntimeError) as error:  # of tensors that NumPy cannot hold
            raise ValueError(f"{name} cannot become an array of NumPy: {error}") from error
    pairs = []
    for number in sorted(found):
        if len(found[number]) < 2:
            (lacking,) = {"weight", "bias"} - found[number].keys()
            raise ValueError(f"layer {'.'.join(map(str, number))} has no {lacking}")
        pairs.append((found[number]["weight"].T.copy(), found[number]["bias"].copy()))
    params = from_layers(pairs)
    check_params(params)
    check_finite("state", params)
    return params


def to_torch(params: dict[str, A]) -> Any:  # needs PyTorch
    """Return a network as a sequential module of PyTorch, which returns logits.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL. All values must be finite.

    Returns
    -------
    torch.nn.Sequential
        Linear layers with ReLU between them, on the CPU, in the type of the parameters.

    Raises
    ------
    ValueError
        Parameters that are not as described above.
    ImportError
        PyTorch is missing. No extra installs it: its site says which build suits a machine, and the
        build for CPUs is the smallest.
    """
    import torch  # noqa: PLC0415  # an optional library

    modules: list[Any] = []
    for fan_in, fan_out in pairwise(sizes(params)):
        modules += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
    state = {name: torch.from_numpy(array) for name, array in to_state_dict(params).items()}
    module = torch.nn.Sequential(*modules[:-1]).to(state["0.weight"].dtype)
    module.load_state_dict(state)
    return module
