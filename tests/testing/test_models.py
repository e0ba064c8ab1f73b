"""Laws of any architecture: right models pass in every library, and wrong ones fail."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from purenet.testing.conformance import Model, Survey, parametrize, survey
from purenet.testing.strategies import batches

RNG = np.random.default_rng(0)
COUNT = itertools.count()
X, Y = RNG.normal(size=(6, 3)), RNG.normal(size=6)
PARAMS = {"layers": [RNG.normal(size=(3, 4)), RNG.normal(size=4)], "out": (RNG.normal(size=4),)}


def loss(params: Any, x: Any, y: Any, xp: Any = np) -> Any:
    """Return the mean square error of a network with a layer of tanh."""
    W, b = params["layers"]
    return xp.mean((xp.tanh(x @ W + b) @ params["out"][0] - y) ** 2)


def grad(params: Any, x: Any, y: Any) -> Any:
    """Return its gradient."""
    (W, b), (v,) = params["layers"], params["out"]
    a = np.tanh(x @ W + b)
    delta = 2 / len(x) * (a @ v - y)
    hidden = delta[:, None] * v * (1 - a * a)
    return {"layers": [x.T @ hidden, hidden.sum(axis=0)], "out": (a.T @ delta,)}


MODEL = Model(loss=loss, grad=grad, params=PARAMS, data=(X, Y))


def changed(change: Callable[..., Any]) -> Model:
    """Return the model with another gradient."""
    return replace(MODEL, grad=lambda *args: change(grad(*args), *args))


def test_a_right_network_with_tanh_obeys_every_law() -> None:
    """A network that is no ReLU network passes, in nested trees."""
    found = survey(MODEL)
    assert {finding.outcome for finding in found.findings} == {"pass"}, str(found)


def test_a_model_in_jax_needs_no_gradient() -> None:
    """Without a gradient, that of the library is checked, in float32 too."""
    for dtype in (jnp.float64, jnp.float32):
        params = jax.tree.map(lambda a, t=dtype: jnp.asarray(a, t), PARAMS)
        data = jnp.asarray(X, dtype), jnp.asarray(Y, dtype)
        model = Model(loss=lambda p, x, y: loss(p, x, y, jnp), params=params, data=data)
        survey(model).raise_if_wrong()


def test_a_model_may_be_one_function_of_its_parameters() -> None:
    """Without data the laws about batches do not apply."""
    model = Model(loss=lambda w: np.sum(np.sin(w)), grad=np.cos, params=np.ones(3))
    outcomes = [finding.outcome for finding in survey(model).findings]
    assert outcomes == ["pass", "not applicable", "not applicable", "pass", "pass"]


def test_a_batch_may_be_drawn() -> None:
    """A strategy of (x, y) gives the batch."""
    model = Model(
        loss=lambda w, x, y: np.mean((x @ w - y) ** 2),
        grad=lambda w, x, y: 2 / len(x) * x.T @ (x @ w - y),
        params=np.ones(2),
    )
    assert survey(model, problems=batches([2, 3], dtypes=[np.float64])).ok
    assert survey(model, problems=st.just((X[:, :2], Y))).ok


def writing(tree: Any, params: Any, x: Any, y: Any) -> Any:  # noqa: ARG001
    """Return the gradient, and write x."""
    x *= 2
    return tree


@pytest.mark.parametrize(
    ("law", "change", "message"),
    [
        (
            "gradient_is_that_of_the_loss",
            lambda g, *_: {**g, "out": (1.01 * g["out"][0],)},
            "out[0]: 4 of 4 wrong",
        ),
        (
            "gradient_is_additive",
            lambda g, p, x, y: {**g, "out": (g["out"][0] * len(x),)},
            "the gradient of out[0]",
        ),
        (
            "order_changes_nothing",
            lambda g, p, x, y: {**g, "out": (g["out"][0] + 1e-6 * x[0, 0],)},
            "with permuted rows, the gradient of out[0]",
        ),
        ("functions_are_pure", writing, "an argument was written"),
        (
            "equal_calls_give_equal_results",
            lambda g, *_: {**g, "out": (g["out"][0] + 1e-3 * next(COUNT),)},
            "at the second call, the gradient of out[0]",
        ),
        (
            "functions_are_pure",
            lambda g, *_: g["missing"],
            "KeyError: 'missing'",
        ),
    ],
)
def test_a_wrong_model_fails(law: str, change: Callable[..., Any], message: str) -> None:
    """The law that names the mistake fails, with the array in its message."""
    data = X.copy(), Y.copy()
    (found,) = survey(replace(changed(change), data=data), laws=[law]).findings
    assert found.outcome == "fail"
    assert message in found.message
    assert message in str(Survey((found,), seed=0))


def test_a_loss_that_changes_is_named() -> None:
    """Equal calls with other losses are a failure."""
    values = iter(np.arange(1000.0))
    model = replace(MODEL, loss=lambda *_: next(values))
    (found,) = survey(model, laws=["equal_calls_give_equal_results"]).findings
    assert found.message.startswith("equal calls gave the losses [")
    (found,) = survey(model, laws=["gradient_is_that_of_the_loss"]).findings
    assert found.message.startswith("ValueError: f must be deterministic")


def test_a_gradient_may_name_its_arrays_in_another_order() -> None:
    """Arrays are paired by name, and the wrong one is named."""
    wrong = changed(lambda g, p, x, y: {"out": (g["out"][0] * len(x),), "layers": g["layers"]})
    (found,) = survey(wrong, laws=["gradient_is_additive"]).findings
    assert "the gradient of out[0]" in found.message
    (found,) = survey(
        changed(lambda g, *_: {"out": g["out"]}), laws=["order_changes_nothing"]
    ).findings
    assert found.message.startswith(
        "grad must return the arrays ['layers[0]', 'layers[1]', 'out[0]']"
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Model(loss=loss, params=PARAMS), "grad must be given: only PyTorch and JAX"),
        (lambda: Model(loss=loss), r"params must hold at least one number, got \[\]"),
        (lambda: replace(MODEL, data=cast("Any", (X,))), "data must be a pair of arrays, got "),
        (lambda: replace(MODEL, data=([1.0], [2.0])), "data must be a pair of arrays, got "),
        (lambda: survey(MODEL, replay="x"), "a Model has its own dtypes, and its findings have no"),
        (lambda: survey(MODEL, laws="purity"), "laws must be a list of names, got 'purity'"),
    ],
)
def test_what_is_no_model_is_refused(call: Callable[[], Any], message: str) -> None:
    """Each gets one sentence when the model is made, or surveyed."""
    with pytest.raises(ValueError, match=message):
        call()


class TestParametrize:
    """A test for each law of a model."""

    @parametrize(MODEL)  # type: ignore[untyped-decorator]
    def test_law(self, law: Callable[[], None]) -> None:
        """The law holds."""
        law()
