"""Adapters make implementations of modules of other libraries and of other conventions."""

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

import purenet
from purenet.params import Params, layers, names
from purenet.testing import adapters
from purenet.testing.conformance import MATHEMATICS, PURITY, Implementation, Survey, survey
from purenet.testing.strategies import problems

SIZES = [4, 5, 3]


def surveyed(implementation: Implementation, **options: Any) -> Survey:
    """Survey on few networks of one size."""
    domain = problems(implementation.sizes or SIZES, layouts=["C"], batch_sizes=[1, 4], **options)
    return survey(implementation, problems=domain, max_examples=8)


def held(found: Survey) -> set[str]:
    """Return the laws that were tried; all of them must hold."""
    found.raise_if_wrong()
    return {finding.law for finding in found.findings if finding.outcome == "pass"}


class Turned:
    """Purenet in other conventions: a list of layers, W (out, in), columns, one-hot, sums."""

    @staticmethod
    def ours(pairs: list[Any]) -> Params:
        arrays = [array for W, b in pairs for array in (W.T, b)]
        return dict(zip(names(len(pairs)), arrays, strict=True))

    @staticmethod
    def theirs(params: Params) -> list[Any]:
        return [(W.T, b) for W, b in layers(params)]

    def forward(self, pairs: list[Any], x: NDArray[Any]) -> Any:
        return purenet.forward(self.ours(pairs), x.T).T

    def loss(self, pairs: list[Any], x: NDArray[Any], t: NDArray[Any]) -> Any:
        return purenet.loss(self.ours(pairs), x.T, t.T.argmax(axis=1)) * x.shape[1]

    def backward(self, pairs: list[Any], x: NDArray[Any], t: NDArray[Any]) -> Any:
        _, grads = purenet.backward(self.ours(pairs), x.T, t.T.argmax(axis=1))
        return self.theirs({name: g * x.shape[1] for name, g in grads.items()})

    def step(self, p: Any, v: Any, g: Any, *, learning_rate: float, momentum: float) -> Any:
        new_v = [
            tuple(
                momentum * a + learning_rate * (1 - momentum) * b for a, b in zip(*two, strict=True)
            )
            for two in zip(v, g, strict=True)
        ]
        new_p = [
            tuple(a - b for a, b in zip(*two, strict=True)) for two in zip(p, new_v, strict=True)
        ]
        return new_p, new_v


def test_each_convention_has_an_option() -> None:
    """Lists of (out, in) weights, columns, one-hot labels and sums obey the laws once adapted."""
    it = Turned()
    implementation = adapters.from_functions(
        forward=it.forward,
        loss=it.loss,
        backward=it.backward,
        weights="(out, in)",
        params="list",
        samples="columns",
        labels="one-hot",
        reduction="sum",
        l2=False,
    )
    found = survey(implementation, slack=1e-5, max_examples=10, dtypes=[np.float64])
    assert {"gradient_is_additive", "loss_is_within_rounding", "functions_are_pure"} <= held(found)


def test_a_penalty_inside_a_sum_is_taken_apart() -> None:
    """Where the functions take l2, the data term alone is a sum."""

    def backward(p: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float) -> Any:
        n, (value, grads) = len(x), purenet.backward(p, x, y)
        decayed = {k: g * n + l2 * p[k] * k.startswith("W") for k, g in grads.items()}
        return value * n + purenet.loss(p, x, y, l2=l2) - purenet.loss(p, x, y), decayed

    implementation = adapters.from_functions(backward=backward, reduction="sum")
    assert survey(
        implementation,
        slack=1e-4,
        max_examples=10,
        dtypes=[np.float64],
        problems=problems(ordinary=True, dtypes=[np.float64]),
    ).ok


def test_gradients_alone_get_a_loss_and_a_penalty() -> None:
    """Where `backward` takes no l2 and returns no loss, both are added."""
    domain = problems(SIZES, dtypes=[np.float64], layouts=["C"], ordinary=True)
    grads: dict[str, Any] = {"backward": lambda p, x, y: purenet.backward(p, x, y)[1], "l2": False}
    loss = {"loss": purenet.loss}
    for given in (grads, grads | loss, {"backward": purenet.backward}):
        implementation = adapters.from_functions(**given)
        laws = ["gradient_is_within_rounding", "backward_returns_the_loss"]
        survey(implementation, problems=domain, laws=laws, slack=1e-12).raise_if_wrong()


def test_the_learning_rate_may_be_inside_the_velocity() -> None:
    """v ← β v + η (1 - β) g, p ← p - v is the same step in other units."""
    implementation = adapters.from_functions(
        momentum_step=Turned().step, velocity="learning rate inside", params="list"
    )
    survey(implementation, slack=1e-5, dtypes=[np.float64]).raise_if_wrong()


def test_a_step_without_a_rate_tells_nothing_of_its_velocity() -> None:
    """Where η is 0, a velocity that it multiplies is 0, and purenet's stands in for it."""
    step = adapters.from_functions(
        momentum_step=Turned().step, velocity="learning rate inside", params="list"
    ).given["momentum_step"]
    p = {"W1": np.ones((1, 1)), "b1": np.zeros(1)}
    new_p, new_v = step(p, p, p, learning_rate=0.0, momentum=0.5)
    assert (new_p["W1"], new_v["W1"]) == (1, 1)


def test_gradients_may_be_two_layers_and_loss_and_gradients_a_list() -> None:
    """A pair of layers is no (loss, gradients), and a list of these is."""

    def backward(pairs: Any, x: Any, y: Any) -> Any:
        value, grads = purenet.backward(Turned.ours(pairs), x, y)
        pairs = tuple(Turned.theirs(grads))
        return pairs if len(pairs) == 2 else [value, pairs]

    implementation = adapters.from_functions(
        backward=backward, params="list", weights="(out, in)", l2=False
    )
    laws = ["gradient_is_within_rounding"]
    for units in ([3, 2], [3, 4, 2]):
        domain = problems(units, dtypes=[np.float64], ordinary=True)
        survey(implementation, laws=laws, problems=domain, slack=1e-12).raise_if_wrong()


def test_an_unknown_convention_is_refused() -> None:
    """The message names the argument and its choices."""
    with pytest.raises(ValueError, match=r"weights must be one of \(in, out\), \(out, in\), got"):
        adapters.from_functions(forward=purenet.forward, weights="(out,in)")  # type: ignore[arg-type]


def test_a_jax_function_obeys_the_mathematics() -> None:
    """A jitted forward and its gradient pass, compiled for few shapes."""

    def forward(params: Any, x: Any) -> Any:
        *hidden, (W_L, b_L) = layers(params)
        for W, b in hidden:
            x = jax.nn.relu(x @ W + b)  # jnp.maximum has a derivative of 1/2 at 0
        return x @ W_L + b_L

    implementation = adapters.from_jax(forward, sizes=SIZES)
    assert implementation.dtypes == (np.float64, np.float32)
    with jax.enable_x64(False):  # noqa: FBT003
        assert adapters.from_jax(forward).dtypes == (np.float32,)
    found = surveyed(implementation, ordinary=True, dtypes=[np.float32])
    assert {"gradient_is_within_rounding", "gradient_is_additive"} <= held(found)


if find_spec("torch"):
    import torch

    class TestTorch:
        """PyTorch modules, of fixed sizes or made for any."""

        @staticmethod
        def make(sizes: list[int]) -> Any:
            parts: list[Any] = []
            for fan_in, fan_out in pairwise(sizes):
                parts += [torch.nn.ReLU()] * bool(parts) + [torch.nn.Linear(fan_in, fan_out)]
            return torch.nn.Sequential(*parts).double()

        def test_a_module_obeys_the_laws(self) -> None:
            """All laws of mathematics and purity about its functions hold for its sizes."""
            implementation = adapters.from_torch(self.make(SIZES))
            assert implementation.sizes == SIZES
            found = survey(implementation, max_examples=10)
            touched = [f for f in found.findings if f.outcome not in ("not given", "pass")]
            assert not touched, str(found)
            assert len(held(found)) == 12

        def test_a_factory_takes_any_sizes(self) -> None:
            """A function that makes modules is tried on networks of every size."""
            found = survey(adapters.from_torch(self.make), max_examples=10)
            assert len(held(found)) == 12

        def test_a_single_layer_is_a_network(self) -> None:
            """A linear module is a chain of one."""
            implementation = adapters.from_torch(torch.nn.Linear(3, 2))
            assert implementation.sizes == [3, 2]
            held(surveyed(implementation))

        def test_other_modules_are_refused(self) -> None:
            """A convolution is no chain of linear layers, nor are layers that do not fit."""
            broken = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(5, 2))
            with pytest.raises(ValueError, match="must be a chain of linear layers in their order"):
                adapters.from_torch(broken)
            with pytest.raises(ValueError, match=r"must consist of torch\.nn\.Linear layers"):
                adapters.from_torch(torch.nn.Conv1d(1, 1, 1))


def test_a_classifier_of_scikit_learn_gives_its_loss() -> None:
    """The loss by `predict_log_proba` obeys the laws; other classifiers are refused."""
    from sklearn.neural_network import MLPClassifier

    x, y = np.random.default_rng(0).normal(size=(9, 4)), np.arange(9) % 3
    model = MLPClassifier(hidden_layer_sizes=(5,), max_iter=1, solver="lbfgs")
    with pytest.raises(ValueError, match="must be fitted"):
        adapters.from_sklearn(model)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y)
        implementation = adapters.from_sklearn(model)
    assert implementation.sizes == SIZES
    found = surveyed(implementation, ordinary=True, dtypes=[np.float64])
    assert "loss_is_within_rounding" in held(found)
    model.coefs_[1] = model.coefs_[1][:4]
    with pytest.raises(ValueError, match=r"must be a chain of layers, got the shapes \[\(4, 5\)"):
        adapters.from_sklearn(model)
    model.activation = "tanh"
    with pytest.raises(ValueError, match="must have activation='relu'"):
        adapters.from_sklearn(model)


if find_spec("keras"):

    def test_a_keras_model_obeys_the_laws(monkeypatch: pytest.MonkeyPatch) -> None:
        """The laws about its logits, its loss and its gradient by JAX hold; others are refused."""
        monkeypatch.setenv("KERAS_BACKEND", "jax")
        import keras

        model = keras.Sequential([
            keras.Input((4,)),
            keras.layers.Dense(5, activation="relu"),
            keras.layers.Dense(3),
        ])  # fmt: skip
        implementation = adapters.from_keras(model)
        assert implementation.sizes == SIZES
        assert "gradient_is_within_rounding" in held(surveyed(implementation, dtypes=["f4"]))
        other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, use_bias=False)])
        with pytest.raises(ValueError, match="must consist of Dense layers with a bias, got"):
            adapters.from_keras(other)


@pytest.mark.parametrize("turned", [False, True])
def test_an_onnx_model_obeys_the_laws_about_logits(tmp_path: Path, turned: bool) -> None:  # noqa: FBT001
    """A model of Gemm and Relu nodes, with weights in either order, has the right logits."""
    import onnx

    params = purenet.init(SIZES, dtype="float32")
    model = purenet.export.to_onnx(params)
    if turned:  # as PyTorch exports a module
        for weight in model.graph.initializer:
            array = onnx.numpy_helper.to_array(weight).T.copy()
            weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
        for node in model.graph.node:
            if node.op_type == "Gemm":
                node.attribute.append(onnx.helper.make_attribute("transB", 1))
    onnx.save(model, tmp_path / "model.onnx")
    implementation = adapters.from_onnx(tmp_path / "model.onnx")
    assert implementation.sizes == SIZES
    assert "logits_are_within_rounding" in held(surveyed(implementation, dtypes=["f4"]))


def test_groups_hold_every_law_once() -> None:
    """The default of a survey is the mathematics and purity."""
    assert not set(MATHEMATICS) & set(PURITY)
