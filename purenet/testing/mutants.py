"""Wrong implementations, each with a mistake that people really make, and the law that catches it.

They show that the laws have teeth, and what mistakes look like. Each differs from purenet in one
place. ``python -m purenet.testing.mutants`` tries the laws on all of them and prints a table.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import reduce
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

import purenet
from purenet import Config, State, TrainResult
from purenet.params import Params, copy, from_layers, is_weight, layers, sizes
from purenet.testing.conformance import Implementation, examples_until_caught

__all__ = ["MUTANTS", "TEMPLATES", "Mutant", "main"]

Function: TypeAlias = Callable[..., Any]  # one of the functions of an implementation
ArrayMap: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]


class Mutant(NamedTuple):
    """Hold a wrong implementation.

    Parameters
    ----------
    mistake : str
        The mistake, for the table.
    implementation : Implementation
        The wrong function alone.
    caught_by : str
        The law that must fail.
    """

    mistake: str
    implementation: Implementation
    caught_by: str


def forward_with(activation: ArrayMap) -> Function:
    """Return a `forward` with another activation."""

    def forward(params: Params, x: NDArray[Any]) -> NDArray[Any]:
        *hidden, (W_L, b_L) = layers(params)
        a = x.astype(W_L.dtype)
        for W, b in hidden:
            a = activation(a @ W + b)
        return a @ W_L + b_L

    return forward


def forward_by_text(params: Params, x: NDArray[Any]) -> NDArray[Any]:
    """Return the logits of the layers in the order of their names as text: 1, 10, 11, 2, ..."""
    pairs = layers(params)
    order = sorted(range(len(pairs)), key=lambda k: str(k + 1))
    return purenet.forward(from_layers([pairs[k] for k in order]), x)


def loss_with(
    data: Callable[[Params, NDArray[Any], NDArray[Any]], Any] = purenet.loss,
    penalty: Callable[[NDArray[Any], float, int], Any] = lambda w, l2, n: 0.5 * l2 * (w * w).sum(),
    penalised: Callable[[str], bool] = is_weight,
) -> Function:
    """Return a `loss` with another data term, another penalty, or other penalised parameters."""

    def loss(params: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0) -> Any:
        penalties = [penalty(p, float(l2), len(x)) for name, p in params.items() if penalised(name)]
        value = data(params, x, y) + sum(penalties)
        return params["W1"].dtype.type(value)

    return loss


def cross_entropy_of(softmax: ArrayMap) -> Callable[[Params, NDArray[Any], NDArray[Any]], Any]:
    """Return a cross-entropy that takes the logarithm of the probabilities softmax(logits)."""

    def data(params: Params, x: NDArray[Any], y: NDArray[Any]) -> Any:
        purenet.loss(params, x, y)
        with np.errstate(all="ignore"):
            return -np.log(softmax(purenet.forward(params, x))[np.arange(len(y)), y]).mean()

    return data


def naive_softmax(z: NDArray[Any]) -> NDArray[Any]:
    """Return softmax(z) by its definition, whose exponentials overflow."""
    p: NDArray[Any] = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return p


def clipped_softmax(z: NDArray[Any]) -> NDArray[Any]:
    """Return softmax(z), but at least 1e-7."""
    p: NDArray[Any] = naive_softmax(z - z.max(axis=1, keepdims=True))
    return p.clip(min=z.dtype.type(1e-7))


def backward_with(
    divisor: Callable[[NDArray[Any]], int] = len,
    slope: ArrayMap = lambda z: z > 0,
    mask: Callable[[list[NDArray[Any]], int], NDArray[Any]] = lambda z, k: z[k],
    back: ArrayMap = lambda w: w.T,
    decay: Callable[[NDArray[Any], float, int], NDArray[Any]] = lambda w, l2, n: l2 * w,
    penalised: Callable[[str], bool] = is_weight,
) -> Function:
    """Return a `backward` in which one part is another."""

    def backward(
        params: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0
    ) -> tuple[Any, Params]:
        value, x = purenet.loss(params, x, y, l2=l2), x.astype(params["W1"].dtype)
        a, z = [x], [x]
        for W, b in layers(params):
            z.append(a[-1] @ W + b)
            a.append(np.maximum(z[-1], 0))
        t = np.eye(z[-1].shape[1], dtype=x.dtype)[y]
        delta = (purenet.predict_proba(params, x) - t) / divisor(x)
        grads = {
            name: decay(p, float(l2), len(x)) if penalised(name) else 0 * p
            for name, p in params.items()
        }
        for k in range(len(layers(params)), 0, -1):
            grads[f"W{k}"] = grads[f"W{k}"] + a[k - 1].T @ delta
            grads[f"b{k}"] = grads[f"b{k}"] + delta.sum(axis=0)
            if k > 1:
                delta = (delta @ back(params[f"W{k}"])) * slope(mask(z, k - 1)).astype(x.dtype)
        return value, grads

    return backward


def gradient_through(
    change: Callable[[str, NDArray[Any], NDArray[Any], int], NDArray[Any]],
) -> Function:
    """Return a `backward` that gives change(name, g, p, n) in place of each gradient g."""

    def backward(
        params: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0
    ) -> tuple[Any, Params]:
        value, grads = purenet.backward(params, x, y, l2=l2)
        return value, {name: change(name, g, params[name], len(x)) for name, g in grads.items()}

    return backward


def backward_that_writes_labels(
    params: Params, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0
) -> tuple[Any, Params]:
    """Return the result of `backward`, and write y after that."""
    result = purenet.backward(params, x, y, l2=l2)
    with suppress(ValueError):  # read-only
        y[:1] = sizes(params)[-1] - 1 - y[:1]
    return result


def step_with(
    v_from: Callable[[NDArray[Any], NDArray[Any], float, float], NDArray[Any]],
    p_from: Callable[..., NDArray[Any]],
) -> Function:
    """Return a `momentum_step` of v ← v_from(v, g, η, β), p ← p_from(p, v, old v, g, η, β)."""

    def momentum_step(
        params: Params, velocity: Params, grads: Params, *, learning_rate: float, momentum: float
    ) -> tuple[Params, Params]:
        new_params, new_velocity = {}, {}
        rates = float(learning_rate), float(momentum)
        for name, p in params.items():
            old, g = velocity[name], grads[name]
            new_velocity[name] = v = v_from(old, g, *rates)
            new_params[name] = p_from(p, v, old, g, *rates)
        return new_params, new_velocity

    return momentum_step


def average(v: NDArray[Any], g: NDArray[Any], eta: float, beta: float) -> Any:  # noqa: ARG001
    """Return the right new velocity."""
    return beta * v + (1 - beta) * g


def descend(
    p: NDArray[Any],
    v: NDArray[Any],
    old: NDArray[Any],  # noqa: ARG001
    g: NDArray[Any],  # noqa: ARG001
    eta: float,
    beta: float,  # noqa: ARG001
) -> Any:
    """Return the right new parameter."""
    return p - eta * v


def step_in_place(
    params: Params, velocity: Params, grads: Params, **rates: float
) -> tuple[Params, Params]:
    """Return the result of `momentum_step`, and write it to the given arrays that are writeable."""
    new_params, new_velocity = purenet.momentum_step(params, velocity, grads, **rates)
    for given, new in ((params, new_params), (velocity, new_velocity)):
        for name, array in given.items():
            if array.flags.writeable:
                array[...] = new[name]
    return new_params, new_velocity


def permutation(cfg: Config, e: int, n: int) -> NDArray[Any]:
    """Return the right order of the examples in an epoch."""
    stream = np.random.SeedSequence(cfg.seed, spawn_key=(e,))
    return np.random.Generator(np.random.PCG64(stream)).permutation(n)


def scaled(x: NDArray[Any], cfg: Config) -> NDArray[Any]:
    """Return the right input: integers are scaled."""
    return x * cfg.input_scale if x.dtype.kind in "iu" else x


def backward_over_shards(
    params: Params,
    x: NDArray[Any],
    y: NDArray[Any],
    cfg: Config,
    sum_up: Callable[[list[Params]], Params],
) -> tuple[Any, Params]:
    """Return the loss and the gradient of a batch, summed over its shards in some order."""
    parts = []
    for i in range(cfg.shards):
        rows = slice(len(x) * i // cfg.shards, len(x) * (i + 1) // cfg.shards)
        value, grads = purenet.backward(params, x[rows], y[rows], l2=cfg.l2)
        weight = (rows.stop - rows.start) / len(x)
        parts.append({k: weight * a for k, a in ({"loss": value} | grads).items()})
    grads = sum_up(parts)
    return grads.pop("loss"), grads


def added(one: Params, other: Params) -> Params:
    """Add two dictionaries of arrays."""
    return {name: a + other[name] for name, a in one.items()}


def by_pairs(parts: list[Params]) -> Params:
    """Add dictionaries of arrays in a binary tree."""
    while len(parts) > 1:
        parts = list(map(added, parts[::2], parts[1::2]))
    return parts[0]


def train_with(
    order: Callable[[Config, int, int], NDArray[Any]] = permutation,
    kept: Callable[[range, int, int], Sequence[int]] = lambda starts, n, size: starts,
    mean: Function = np.average,
    before_epoch: Callable[[Params], Params] = lambda velocity: velocity,
    x_of: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]] = lambda x, rows: x[rows],
    scale: Callable[[NDArray[Any], Config], NDArray[Any]] = scaled,
    rate: Callable[[Config], Any] = lambda cfg: cfg.learning_rate,
    first_epoch: Callable[[State], int] = lambda state: state.epochs,
    loss_at: Literal["before", "after"] = "before",
    sum_up: Callable[[list[Params]], Params] = by_pairs,
) -> Function:
    """Return a `train` in which one part is another."""

    def train(
        params: Params,
        data: tuple[NDArray[Any], NDArray[Any]],
        cfg: Config,
        *,
        state: State | None = None,
    ) -> TrainResult:
        x, y = data
        n = len(x)
        size = cfg.batch_size or n
        velocity, done, *_ = state or (purenet.init_velocity(params), 0)
        start = first_epoch(state) if state else 0
        params, velocity = copy(params), copy(velocity)
        history = []
        for e in range(cfg.epochs - done):
            rows = order(cfg, start + e, n) if cfg.shuffle else np.arange(n)
            velocity, losses, weights = before_epoch(velocity), [], []
            for begin in kept(range(0, n, size), n, size):
                batch = rows[begin : begin + size]
                x_batch = scale(x_of(x, batch), cfg).astype(params["W1"].dtype)
                value, grads = backward_over_shards(params, x_batch, y[batch], cfg, sum_up)
                params, velocity = unchecked_step(params, velocity, grads, rate(cfg), cfg.momentum)
                if loss_at == "after":
                    value = purenet.loss(params, x_batch, y[batch], l2=cfg.l2)
                losses.append(float(value))
                weights.append(len(batch))
            history.append({"epoch": done + e + 1, "loss": float(mean(losses, weights=weights))})
        return TrainResult(params, State(velocity, max(cfg.epochs, done)), history)

    return train


def unchecked_step(
    params: Params, velocity: Params, grads: Params, eta: Any, beta: float
) -> tuple[Params, Params]:
    """Return the result of `momentum_step` for a learning rate of any type."""
    velocity = {name: beta * velocity[name] + (1 - beta) * grads[name] for name in params}
    return {name: p - eta * velocity[name] for name, p in params.items()}, velocity


def train_and_write_state(
    params: Params,
    data: tuple[NDArray[Any], NDArray[Any]],
    cfg: Config,
    *,
    state: State | None = None,
) -> TrainResult:
    """Return the result of `train`, and write the velocity of the state after that."""
    result = purenet.train(params, data, cfg, state=state)
    for v in (state.velocity if state else {}).values():
        v[...] = 0
    return result


def init_with(
    deviation: Callable[[int, int, Any], float] = lambda fan_in, fan_out, scale: (
        math.sqrt(2 / fan_in) if scale == "he" else scale
    ),
    seed_of_layer: Callable[[int, int], Any] = lambda seed, k: [seed, k],
) -> Function:
    """Return an `init` with another deviation or other seeds."""

    def init(
        sizes: Sequence[int], *, seed: int = 0, scale: str | float = "he", dtype: DTypeLike = "f4"
    ) -> Params:
        params = {}
        for k, (m, n) in enumerate(pairwise(sizes), start=1):
            rng = np.random.default_rng(seed_of_layer(seed, k))
            params[f"W{k}"] = (deviation(m, n, scale) * rng.standard_normal((m, n))).astype(dtype)
            params[f"b{k}"] = np.zeros(n, dtype)
        return params

    return init


def init_from_the_global_generator(
    sizes: Sequence[int], *, seed: int = 0, **options: Any
) -> Params:
    """Return weights from the global generator of NumPy."""
    np.random.seed(seed)  # noqa: NPY002
    return purenet.init(sizes, seed=int(np.random.randint(2**31)), **options)  # noqa: NPY002


def square(w: NDArray[Any]) -> bool:
    """Tell whether an array has the shape of its transpose."""
    return w.shape == w.shape[::-1]


def wrong(function: str, caught_by: str, mistakes: dict[str, Function]) -> list[Mutant]:
    """Return the mutants of one function that one law must catch."""
    given: list[tuple[str, dict[str, Any]]] = [(m, {function: f}) for m, f in mistakes.items()]
    return [Mutant(mistake, Implementation(**f), caught_by) for mistake, f in given]


MUTANTS: list[Mutant] = [
    *wrong("init", "init_draws_what_it_is_asked_for", {
        "He's deviation of fan_out in place of fan_in": init_with(
            lambda fan_in, fan_out, scale: math.sqrt(2 / fan_out) if scale == "he" else scale
        ),
        "Xavier's deviation, without the factor 2": init_with(
            lambda fan_in, fan_out, scale: math.sqrt(1 / fan_in) if scale == "he" else scale
        ),
        "the scale ignored": init_with(lambda fan_in, fan_out, scale: math.sqrt(2 / fan_in)),
        "the seed ignored": init_with(seed_of_layer=lambda seed, k: k),
        "the same seed for every layer, so that weights repeat": init_with(
            seed_of_layer=lambda seed, k: seed
        ),
        "NumPy's global generator": init_from_the_global_generator,
    }),
    *wrong("forward", "logits_are_within_rounding", {
        "no activation between layers": forward_with(lambda z: z),
        "leaky ReLU": forward_with(lambda z: np.where(z > 0, z, 0.01 * z)),
        "ReLU also after the last layer": lambda p, x: np.maximum(purenet.forward(p, x), 0),
        "softmax at the end of forward": purenet.predict_proba,
        "x Wᵀ where W is square": lambda p, x: purenet.forward(
            {n: w.T if square(w) else w for n, w in p.items()}, x
        ),
        "the last bias forgotten": lambda p, x: purenet.forward(p, x) - layers(p)[-1][1],
    }),
    *wrong("forward", "order_of_examples_changes_nothing", {
        "logits that depend on the first example of the batch": lambda p, x: (
            purenet.forward(p, x) - purenet.forward(p, x)[:1]
        ),
    }),
    *wrong("forward", "layers_go_by_number", {
        "layers in the order of their names as text": forward_by_text,
    }),
    *wrong("forward", "results_have_the_form_of_the_parameters", {
        "the dtype of the data": lambda p, x: purenet.forward(p, x).astype(
            np.result_type(x, p["W1"])
        ),
    }),
    *wrong("forward", "bad_input_is_refused", {
        "NaN let through": lambda p, x: purenet.forward(p, np.nan_to_num(x)),
        "integers taken without a scale": lambda p, x: purenet.forward(
            p, x.astype(p["W1"].dtype) if x.dtype.kind in "iu" else x
        ),
    }),
    *wrong("loss", "loss_is_within_rounding", {
        "a loss of shape (1, 1)": lambda p, x, y, l2=0.0: np.reshape(
            purenet.loss(p, x, y, l2=l2), (1, 1)
        ),
        "no maximum subtracted": loss_with(cross_entropy_of(naive_softmax)),
        "probabilities clipped at 1e-7": loss_with(cross_entropy_of(clipped_softmax)),
        "logarithms to base 2": loss_with(lambda *a: purenet.loss(*a) / math.log(2)),
        "summed over the batch": loss_with(lambda p, x, y: purenet.loss(p, x, y) * len(x)),
        "L2 missing": loss_with(penalty=lambda w, l2, n: 0),
        "L2 without its half": loss_with(penalty=lambda w, l2, n: l2 * (w * w).sum()),
        "L2 divided by the batch size": loss_with(
            penalty=lambda w, l2, n: 0.5 * l2 * (w * w).sum() / n
        ),
        "L2 on biases": loss_with(penalised=lambda name: True),
        "the norm of weights in place of its square": loss_with(
            penalty=lambda w, l2, n: 0.5 * l2 * np.linalg.norm(w)
        ),
    }),
    *wrong("loss", "bad_input_is_refused", {
        "label -1 taken as the last class": lambda p, x, y, l2=0.0: purenet.loss(
            p, x, np.where(y < 0, y + sizes(p)[-1], y), l2=l2
        ),
        "float labels truncated to integers": lambda p, x, y, l2=0.0: purenet.loss(
            p, x, y.astype(np.int64), l2=l2
        ),
        "a column of labels broadcast": lambda p, x, y, l2=0.0: purenet.loss(
            p, x, y.ravel(), l2=l2
        ),
    }),
    *wrong("backward", "gradient_is_within_rounding", {
        "summed over the batch": backward_with(divisor=lambda x: 1),
        "divided by the features": backward_with(divisor=lambda x: x.shape[1]),
        "ReLU'(0) = 1": backward_with(slope=lambda z: z >= 0),
        "L2 divided by the batch size": backward_with(
            decay=lambda w, l2, n: l2 * w / n
        ),
        "gradients of biases averaged twice": gradient_through(
            lambda name, g, p, n: g if is_weight(name) else g / n
        ),
    }),
    *wrong("backward", "relu_derivative_at_zero_is_zero", {
        "ReLU'(0) = 1/2": backward_with(slope=lambda z: np.heaviside(z, 0.5)),
    }),
    *wrong("backward", "gradient_is_that_of_the_loss", {
        "ReLU's derivative forgotten": backward_with(slope=np.ones_like),
        "masked by the layer before, where shapes allow it": backward_with(
            mask=lambda z, k: z[k - 1] if z[k - 1].shape == z[k].shape else z[k]
        ),
        "δ W for δ Wᵀ where W is square": backward_with(back=lambda w: w if square(w) else w.T),
        "L2 missing": backward_with(decay=lambda w, l2, n: 0 * w),
        "L2 twice": backward_with(decay=lambda w, l2, n: 2 * l2 * w),
        "L2 on biases": backward_with(penalised=lambda name: True),
        "the sign of the gradient of one bias": gradient_through(
            lambda name, g, p, n: -g if name == "b1" else g
        ),
    }),
    *wrong("backward", "gradient_is_additive", {
        "clipped to ±0.1": gradient_through(lambda _, g, p, n: np.clip(g, -0.1, 0.1)),
    }),
    *wrong("backward", "permuting_hidden_units_permutes_the_gradient", {
        "the first unit of each layer frozen": gradient_through(
            lambda _, g, p, n: g * (np.arange(g.shape[-1]) > 0)
        ),
    }),
    *wrong("backward", "backward_returns_the_loss", {
        "a loss without the penalty": lambda p, x, y, l2=0.0: (
            purenet.loss(p, x, y), purenet.backward(p, x, y, l2=l2)[1]
        ),
    }),
    *wrong("backward", "results_have_the_form_of_the_parameters", {
        "float32 promoted to float64": gradient_through(lambda _, g, p, n: g * np.float64(1)),
        "keys in another order": lambda *a, l2=0.0: (
            purenet.backward(*a, l2=l2)[0],
            dict(reversed(purenet.backward(*a, l2=l2)[1].items())),
        ),
    }),
    *wrong("backward", "functions_are_pure", {
        "labels written": backward_that_writes_labels,
        "a parameter returned as a gradient that equals it": gradient_through(
            lambda _, g, p, n: p if np.array_equal(g, p) else g
        ),
    }),
    *wrong("momentum_step", "step_is_within_rounding", {
        "heavy ball, without 1 - β": step_with(lambda v, g, eta, beta: beta * v + g, descend),
        "β and 1 - β exchanged": step_with(
            lambda v, g, eta, beta: (1 - beta) * v + beta * g, descend
        ),
        "Nesterov": step_with(
            average, lambda p, v, old, g, eta, beta: p - eta * (beta * v + (1 - beta) * g)
        ),
        "the learning rate inside the velocity": step_with(
            lambda v, g, eta, beta: beta * v + eta * (1 - beta) * g,
            lambda p, v, old, g, eta, beta: p - v,
        ),
        "the step taken with the old velocity": step_with(
            average, lambda p, v, old, g, eta, beta: p - eta * old
        ),
        "ascent": step_with(average, lambda p, v, old, g, eta, beta: p + eta * v),
    }),
    *wrong("momentum_step", "step_from_rest_moves_by_one_minus_momentum", {
        "PyTorch's first step, v = g": step_with(
            lambda v, g, eta, beta: average(v, g, eta, beta) if v.any() else g.copy(), descend
        ),
        "Adam's bias correction": step_with(
            average,
            lambda p, v, old, g, eta, beta: p - eta * (v if old.any() else v / (1 - beta)),
        ),
    }),
    *wrong("momentum_step", "step_without_momentum_is_plain_descent", {
        "gradients normalised": step_with(
            lambda v, g, eta, beta: beta * v + (1 - beta) * g / max(1, abs(g).max()), descend
        ),
    }),
    *wrong("momentum_step", "step_is_linear", {
        "the sign of the velocity": step_with(
            average, lambda p, v, old, g, eta, beta: p - eta * np.sign(v)
        ),
    }),
    *wrong("momentum_step", "step_is_pure", {
        "in place": step_in_place,
    }),
    *wrong("momentum_step", "step_keeps_the_form", {
        "float32 promoted to float64": step_with(
            average, lambda p, v, old, g, eta, beta: p - np.float64(eta) * v
        ),
    }),
    *wrong("momentum_step", "step_goes_by_names", {
        "dictionaries paired by position": lambda p, v, g, **rates: purenet.momentum_step(
            p, dict(zip(p, v.values(), strict=True)), dict(zip(p, g.values(), strict=True)), **rates
        ),
    }),
    *wrong("momentum_step", "bad_step_is_refused", {
        "nothing refused": step_with(average, descend),
    }),
    *wrong("train", "train_is_the_fold_of_its_definition", {
        "only 8-bit pixels scaled": train_with(
            scale=lambda x, cfg: x * cfg.input_scale if x.dtype == np.uint8 else x
        ),
        "the last, smaller batch dropped": train_with(
            kept=lambda starts, n, size: [s for s in starts if s + size <= n] or starts
        ),
        "losses of batches averaged without weights": train_with(
            mean=lambda v, weights: np.average(v)
        ),
        "the same permutation every epoch": train_with(
            order=lambda cfg, e, n: permutation(cfg, 0, n)
        ),
        "examples shuffled without their labels": train_with(
            x_of=lambda x, rows: x[: len(rows)]
        ),
        "velocity forgotten between epochs": train_with(
            before_epoch=purenet.init_velocity
        ),
        "losses taken after the update": train_with(loss_at="after"),
        "pixels not scaled": train_with(scale=lambda x, cfg: x),
        "floats scaled like pixels": train_with(scale=lambda x, cfg: x * cfg.input_scale),
        "pixels scaled in their own 8 bits": train_with(
            scale=lambda x, cfg: (x * cfg.input_scale).astype(x.dtype) if x.dtype.kind == "u" else x
        ),
    }),
    *wrong("train", "shards_are_added_in_a_binary_tree", {
        "gradients of shards added in the order of a ring": train_with(
            sum_up=lambda parts: reduce(added, parts)
        ),
    }),
    *wrong("train", "resumed_run_is_the_uninterrupted_run", {
        "a resumed run repeats the order of the first epochs": train_with(
            first_epoch=lambda state: 0
        ),
        "a resumed run starts from rest": lambda p, data, cfg, state=None: purenet.train(
            p, data, cfg, state=state and State(purenet.init_velocity(p), state.epochs)
        ),
    }),
    *wrong("train", "train_keeps_the_form", {
        "float32 promoted by the learning rate": train_with(
            rate=lambda cfg: np.float64(cfg.learning_rate)
        ),
    }),
    *wrong("train", "train_is_pure", {
        "the given state written": train_and_write_state,
        "order from a generator without a seed": train_with(
            order=lambda cfg, e, n: np.random.default_rng().permutation(n)
        ),
    }),
]  # fmt: skip
"""All mutants, in the order of the functions that are wrong."""


TEMPLATES = Implementation(
    init=init_with(),
    forward=forward_with(lambda z: np.where(z <= 0, 0, z)),
    loss=loss_with(),
    backward=backward_with(),
    momentum_step=step_with(average, descend),
    train=train_with(),
)
"""The implementation that most mutants are made from, without a mistake."""


def functions(mutant: Mutant) -> str:
    """Return the names of the wrong functions, for the table."""
    return ", ".join(f"`{name}`" for name in mutant.implementation.given)


def main() -> None:
    """Print a table of the mutants, with the law and the number of examples that caught each."""
    print("# Wrong implementations, and the law that catches each\n")
    print("Made by `python -m purenet.testing.mutants`.\n")
    print("| function | mistake | caught by | examples |\n|---|---|---|---|")
    for mutant in MUTANTS:
        count = examples_until_caught(mutant.implementation, mutant.caught_by) or "survived"
        print(f"| {functions(mutant)} | {mutant.mistake} | `{mutant.caught_by}` | {count} |")


if __name__ == "__main__":
    main()
