"""Claims about exported networks: other tools compute the same, and files come back whole."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load_file, save_file

import purenet
from purenet import export
from purenet.params import Params
from purenet.testing.error_bounds import forward_bound, probability_bound

shapes = st.lists(st.integers(1, 9), min_size=2, max_size=5)
seeds = st.integers(0, 2**32 - 1)
DTYPES = ["float16", "float32", "float64"]


def network(sizes: list[int], seed: int, dtype: str = "float32") -> Params:
    """Return parameters with biases that are not zero."""
    rng = np.random.default_rng(seed)
    params = purenet.init(sizes, seed=seed, dtype=dtype)
    return {k: p + rng.normal(size=p.shape).astype(dtype) for k, p in params.items()}


def run_onnx(model: Any, x: Any) -> list[list[Any]]:
    """Return what ONNX Runtime and ONNX's reference evaluator compute."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feed = {session.get_inputs()[0].name: x}
    return [session.run(None, feed), ReferenceEvaluator(model).run(None, feed)]


# ONNX.


@pytest.mark.parametrize("dtype", DTYPES)
@given(sizes=shapes, n=st.integers(1, 6), seed=seeds)
def test_onnx_computes_logits_and_probabilities_within_the_bound(
    dtype: str, sizes: list[int], n: int, seed: int
) -> None:
    """For a batch of any size, both runtimes are as near as two correct evaluations."""
    params = network(sizes, seed, dtype)
    wide = {k: p.astype(np.promote_types(dtype, "float32")) for k, p in params.items()}
    x = np.random.default_rng(seed).normal(size=(n, sizes[0])).astype(wide["W1"].dtype)
    for z, p, label in run_onnx(export.to_onnx(params), x):
        assert z.dtype == p.dtype == wide["W1"].dtype
        assert z.shape == p.shape == (n, sizes[-1])
        assert np.all(np.abs(z - purenet.forward(wide, x)) <= 2 * forward_bound(wide, x))
        ours = purenet.predict_proba(wide, x)
        assert np.all(np.abs(p - ours) <= 2 * probability_bound(wide, x))
        assert np.array_equal(label, z.argmax(axis=1))


@given(sizes=shapes, seed=seeds, scale=st.sampled_from([1 / 255, 0.01, 1.0]))
def test_onnx_scales_8_bit_pixels(sizes: list[int], seed: int, scale: float) -> None:
    """With a scale the input is uint8, multiplied in the type of the parameters."""
    params = network(sizes, seed)
    pixels = np.random.default_rng(seed).integers(0, 256, (5, sizes[0]), dtype=np.uint8)
    x = pixels.astype(np.float32) * np.float32(scale)
    for z, *_ in run_onnx(export.to_onnx(params, input_scale=scale), pixels):
        assert np.all(np.abs(z - purenet.forward(params, x)) <= 2 * forward_bound(params, x))


@given(sizes=shapes, seed=seeds)
def test_onnx_gives_the_names_of_classes(sizes: list[int], seed: int) -> None:
    """With names the label is the text of the most probable class."""
    names = [f"class é{i}" for i in range(sizes[-1])]
    x = np.random.default_rng(seed).normal(size=(4, sizes[0])).astype(np.float32)
    for z, _, label in run_onnx(export.to_onnx(network(sizes, seed), classes=names), x):
        assert label.tolist() == [names[i] for i in z.argmax(axis=1)]


def test_onnx_states_its_versions_and_the_configuration() -> None:
    """The model has the opset, its producer, and the configuration as JSON; equal calls agree."""
    params, cfg = network([4, 3, 2], 0), purenet.Config(epochs=3)
    model = export.to_onnx(params, input_scale=1, classes=["a", "b"], cfg=cfg)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", export.OPSET)]
    assert model.ir_version == 8
    assert (model.producer_name, model.producer_version) == ("purenet", purenet.__version__)
    (found,) = model.metadata_props
    assert found.key == "purenet"
    about = json.loads(found.value)
    assert about["config"]["epochs"] == 3
    assert about["classes"] == ["a", "b"]
    again = export.to_onnx(params, input_scale=1, classes=["a", "b"], cfg=cfg)
    assert again.SerializeToString() == model.SerializeToString()


def test_parameters_beyond_2_gib_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """protobuf could not write them."""
    params = network([4, 3], 0)
    monkeypatch.setattr(export, "_LIMIT", 4 * 15)
    with pytest.raises(ValueError, match="params must be smaller than 2 GiB in ONNX"):
        export.to_onnx(params)
    monkeypatch.setattr(export, "_LIMIT", 4 * 15 + 1)
    export.to_onnx(params)


# PyTorch.


@pytest.mark.parametrize("dtype", DTYPES)
@given(sizes=shapes, seed=seeds)
def test_a_state_dictionary_comes_back(dtype: str, sizes: list[int], seed: int) -> None:
    """Weights are (out, in) and contiguous, nothing shares memory, and every bit comes back."""
    params = network(sizes, seed, dtype)
    state = export.to_state_dict(params)
    for k in range(len(sizes) - 1):
        assert np.array_equal(state[f"{2 * k}.weight"], params[f"W{k + 1}"].T)
        assert np.array_equal(state[f"{2 * k}.bias"], params[f"b{k + 1}"])
    assert all(array.flags.c_contiguous for array in state.values())
    again = export.from_state_dict(state)
    assert list(again) == list(params)
    for name, p in params.items():
        assert again[name].tobytes() == p.tobytes()
        assert again[name].dtype == p.dtype
        assert not any(np.shares_memory(again[name], array) for array in state.values())
        assert not any(np.shares_memory(p, array) for array in state.values())


def test_the_order_of_a_file_makes_no_difference(tmp_path: Path) -> None:
    """A safetensors file sorts names as texts, so that 10.weight comes before 2.weight."""
    params = network([3] * 13, 0)
    save_file(export.to_state_dict(params), tmp_path / "state.safetensors")
    again = export.from_state_dict(load_file(tmp_path / "state.safetensors"))
    assert all(np.array_equal(again[name], params[name]) for name in params)


def test_other_names_with_numbers_are_understood() -> None:
    """The numbers in the names of a module's layers give their order."""
    params = network([3, 3, 3], 0)
    state = export.to_state_dict(params)
    for first, second in (("fc1", "fc2"), ("net.layers.2", "net.layers.10"), ("1.9", "2.0")):
        names = [f"{layer}.{kind}" for layer in (second, first) for kind in ("weight", "bias")]
        values = [state[name] for name in ("2.weight", "2.bias", "0.weight", "0.bias")]
        again = export.from_state_dict(dict(zip(names, values, strict=True)))
        assert all(np.array_equal(again[name], params[name]) for name in params)


def test_a_tensor_that_numpy_cannot_hold_is_named() -> None:
    """For example one that a gradient is recorded for, which raises RuntimeError in PyTorch."""

    class Recorded:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("it requires grad")

    with pytest.raises(
        ValueError, match=r"^0\.weight cannot become an array of NumPy: it requires"
    ):
        export.from_state_dict({"0.weight": Recorded()})


if find_spec("torch"):

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @given(sizes=shapes, seed=seeds)
    def test_a_module_of_pytorch_computes_the_same(dtype: str, sizes: list[int], seed: int) -> None:
        """Its logits are within the bound, and its own state dictionary gives the parameters."""
        import torch

        params = network(sizes, seed, dtype)
        x = np.random.default_rng(seed).normal(size=(4, sizes[0])).astype(dtype)
        module = export.to_torch(params)
        with torch.no_grad():
            z = module(torch.from_numpy(x)).numpy()
        assert np.all(np.abs(z - purenet.forward(params, x)) <= 2 * forward_bound(params, x))
        again = export.from_state_dict(module.state_dict())
        assert all(again[name].tobytes() == params[name].tobytes() for name in params)
