"""Wrong implementations, each the kind people really write, with the law that must catch it.

They show that the laws have teeth, and what a mistake may look like. Each differs from purenet in
one place. ``python -m purenet.testing.mutants`` tries the laws on all of them and prints a table.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import purenet
from purenet import Config, State, TrainResult
from purenet.params import is_weight
from purenet.testing.conformance import Implementation, examples_until_caught

__all__ = ["MUTANTS", "TEMPLATES", "Mutant", "main"]

Params = dict[str, Any]
Function = Callable[..., Any]


class Mutant(NamedTuple):
    """A wrong implementation.

    Parameters
    ----------
    mistake : str
        What is wrong with it.
    implementation : Implementation
        Purenet's functions but for the wrong one.
    caught_by : str
        The law that must fail.
    """

    mistake: str
    implementation: Implementation
    caught_by: str


def forward_with(activation: Function) -> Function:
    """Return a `forward` with another activation."""

    def forward(params: Params, x: Any) -> Any:
        depth, x = len(params) // 2, x.astype(params["W1"].dtype)
        for k in range(1, depth + 1):
            z = x @ params[f"W{k}"] + params[f"b{k}"]
            x = activation(z) if k < depth else z
        return x

    return forward


def loss_with(
    data: Function = purenet.loss,
    penalty: Function = lambda w, l2, n: 0.5 * l2 * (w * w).sum(),
    penalised: Callable[[str], bool] = is_weight,
) -> Function:
    """Return a `loss` of another data term, another penalty, or other penalised parameters."""

    def loss(params: Params, x: Any, y: Any, *, l2: float = 0.0) -> Any:
        penalties = [penalty(p, float(l2), len(x)) for name, p in params.items() if penalised(name)]
        value = data(params, x, y) + sum(penalties)
        return params["W1"].dtype.type(value)

    return loss


def cross_entropy_of(p: Function) -> Function:
    """Return a cross-entropy that takes the logarithm of probabilities p(logits)."""

    def data(params: Params, x: Any, y: Any) -> Any:
        purenet.loss(params, x, y)
        with np.errstate(all="ignore"):
            return -np.log(p(purenet.forward(params, x))[np.arange(len(y)), y]).mean()

    return data


def naive_softmax(z: Any) -> Any:
    """Return the softmax of the definition, which overflows."""
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def clipped_softmax(z: Any) -> Any:
    """Return probabilities of at least 1e-7."""
    return np.maximum(naive_softmax(z - z.max(axis=1, keepdims=True)), z.dtype.type(1e-7))


def backward_with(
    divisor: Function = len,
    slope: Function = lambda z: z > 0,
    mask: Function = lambda z, k: z[k],
    back: Function = lambda w: w.T,
    decay: Function = lambda p, l2, n: l2 * p if p.ndim == 2 else 0 * p,
) -> Function:
    """Return a `backward` with one of its parts changed."""

    def backward(params: Params, x: Any, y: Any, *, l2: float = 0.0) -> Any:
        value, x = purenet.loss(params, x, y, l2=l2), x.astype(params["W1"].dtype)
        a, z, depth = [x], [x], len(params) // 2
        for k in range(1, depth + 1):
            z.append(a[-1] @ params[f"W{k}"] + params[f"b{k}"])
            a.append(np.maximum(z[-1], 0))
        t = np.eye(z[-1].shape[1], dtype=x.dtype)[y]
        delta = (purenet.predict_proba(params, x) - t) / divisor(x)
        grads = {name: decay(p, float(l2), len(x)) for name, p in params.items()}
        for k in range(depth, 0, -1):
            grads[f"W{k}"] = grads[f"W{k}"] + a[k - 1].T @ delta
            grads[f"b{k}"] = grads[f"b{k}"] + delta.sum(axis=0)
            if k > 1:
                delta = (delta @ back(params[f"W{k}"])) * slope(mask(z, k - 1)).astype(x.dtype)
        return value, grads

    return backward


def gradient_through(change: Function) -> Function:
    """Return a `backward` that gives change(name, g, p, n) in place of each gradient g."""

    def backward(params: Params, x: Any, y: Any, *, l2: float = 0.0) -> Any:
        value, grads = purenet.backward(params, x, y, l2=l2)
        return value, {name: change(name, g, params[name], len(x)) for name, g in grads.items()}

    return backward


def backward_of_labels_written(params: Params, x: Any, y: Any, *, l2: float = 0.0) -> Any:
    """Return what `backward` returns, having used y as scratch."""
    result = purenet.backward(params, x, y, l2=l2)
    with suppress(ValueError):  # read-only
        y[:1] = len(params[f"b{len(params) // 2}"]) - 1 - y[:1]
    return result


def step_with(v_from: Function, p_from: Function) -> Function:
    """Return a `momentum_step` of v ← v_from(v, g, η, β), p ← p_from(p, v, old v, g, η, β)."""

    def momentum_step(
        params: Params, velocity: Params, grads: Params, *, learning_rate: float, momentum: float
    ) -> Any:
        new_params, new_velocity = {}, {}
        rates = float(learning_rate), float(momentum)
        for name, p in params.items():
            old, g = velocity[name], grads[name]
            new_velocity[name] = v = v_from(old, g, *rates)
            new_params[name] = p_from(p, v, old, g, *rates)
        return new_params, new_velocity

    return momentum_step


def average(v: Any, g: Any, eta: float, beta: float) -> Any:  # noqa: ARG001
    """Return the new velocity, as it should be."""
    return beta * v + (1 - beta) * g


def descend(p: Any, v: Any, old: Any, g: Any, eta: float, beta: float) -> Any:  # noqa: ARG001
    """Return the new parameter, as it should be."""
    return p - eta * v


def step_in_place(params: Params, velocity: Params, grads: Params, **rates: Any) -> Any:
    """Return what `momentum_step` returns, in the given arrays where they can be written."""
    new_params, new_velocity = purenet.momentum_step(params, velocity, grads, **rates)
    for given, new in ((params, new_params), (velocity, new_velocity)):
        for name, array in given.items():
            if array.flags.writeable:
                array[...] = new[name]
    return new_params, new_velocity


def permutation(cfg: Config, e: int, n: int) -> Any:
    """Return the order of the examples in an epoch, as it should be."""
    stream = np.random.SeedSequence(cfg.seed, spawn_key=(e,))
    return np.random.Generator(np.random.PCG64(stream)).permutation(n)


def train_with(
    order: Function = permutation,
    batches: Function = lambda starts, n, size: starts,
    mean: Function = np.average,
    before_epoch: Function = lambda velocity: velocity,
    x_of: Function = lambda x, rows: x[rows],
    scale: Function = lambda x, cfg: x * cfg.input_scale if x.dtype.kind in "iu" else x,
    rate: Function = lambda cfg: cfg.learning_rate,
    first_epoch: Function = lambda state: state.epochs,
    loss_at: str = "before",
) -> Function:
    """Return a `train` with one of its parts changed."""

    def train(params: Params, data: Any, cfg: Config, *, state: State | None = None) -> TrainResult:
        x, y = data
        n = len(x)
        size = cfg.batch_size or n
        velocity, done, *_ = state or (purenet.init_velocity(params), 0)
        start = first_epoch(state) if state else 0
        params, velocity = ({k: p.copy() for k, p in one.items()} for one in (params, velocity))
        history = []
        for e in range(cfg.epochs - done):
            rows = order(cfg, start + e, n) if cfg.shuffle else np.arange(n)
            velocity, losses, sizes = before_epoch(velocity), [], []
            for begin in batches(range(0, n, size), n, size):
                batch = rows[begin : begin + size]
                x_batch = scale(x_of(x, batch), cfg).astype(params["W1"].dtype)
                value, grads = purenet.backward(params, x_batch, y[batch], l2=cfg.l2)
                params, velocity = step(params, velocity, grads, rate(cfg), cfg.momentum)
                if loss_at == "after":
                    value = purenet.loss(params, x_batch, y[batch], l2=cfg.l2)
                losses.append(float(value))
                sizes.append(len(batch))
            history.append({"epoch": done + e + 1, "loss": float(mean(losses, weights=sizes))})
        return TrainResult(params, State(velocity, max(cfg.epochs, done)), history)

    return train


def step(params: Params, velocity: Params, grads: Params, rate: Any, beta: float) -> Any:
    """Return what `momentum_step` returns, for a rate of any type."""
    velocity = {name: beta * velocity[name] + (1 - beta) * grads[name] for name in params}
    return {name: p - rate * velocity[name] for name, p in params.items()}, velocity


def init_with(
    deviation: Function = lambda m, n, scale: math.sqrt(2 / m) if scale == "he" else scale,
    seed_of_layer: Function = lambda seed, k: [seed, k],
) -> Function:
    """Return an `init` of another deviation or other seeds."""

    def init(sizes: list[int], *, seed: int = 0, scale: Any = "he", dtype: Any = "f4") -> Params:
        params = {}
        for k, (m, n) in enumerate(pairwise(sizes), start=1):
            rng = np.random.default_rng(seed_of_layer(seed, k))
            params[f"W{k}"] = (deviation(m, n, scale) * rng.standard_normal((m, n))).astype(dtype)
            params[f"b{k}"] = np.zeros(n, dtype)
        return params

    return init


def init_from_the_global_generator(sizes: list[int], *, seed: int = 0, **options: Any) -> Params:
    """Return weights from NumPy's global generator."""
    np.random.seed(seed)  # noqa: NPY002
    return purenet.init(sizes, seed=int(np.random.randint(2**31)), **options)  # noqa: NPY002


def square(w: Any) -> bool:
    """Tell whether a matrix fits its own transpose."""
    return bool(w.shape[0] == w.shape[-1])


def train_into_its_state(params: Params, data: Any, cfg: Config, *, state: Any = None) -> Any:
    """Return what `train` returns, having used the state's velocity as scratch."""
    result = purenet.train(params, data, cfg, state=state)
    for v in (state.velocity if state else {}).values():
        v[...] = 0
    return result


def by_text(params: Params) -> list[str]:
    """Return names in the places that sorting them as text gives to b1, W1, b2, W2, ..."""
    order = sorted(range(1, len(params) // 2 + 1), key=str)
    places = dict(zip(range(1, len(order) + 1), order, strict=True))
    return [f"{name[0]}{places[int(name[1:])]}" for name in params]


def wrong(function: str, caught_by: str, mistakes: dict[str, Function]) -> list[Mutant]:
    """Return the mutants of one function that one law must catch."""
    right = Implementation()
    return [Mutant(m, replace(right, **{function: f}), caught_by) for m, f in mistakes.items()]


MUTANTS: list[Mutant] = [
    *wrong("init", "init_draws_what_it_is_asked_for", {
        "He's deviation by the units after the layer": init_with(
            lambda m, n, scale: math.sqrt(2 / n) if scale == "he" else scale
        ),
        "Xavier's deviation, without the factor 2": init_with(
            lambda m, n, scale: math.sqrt(1 / m) if scale == "he" else scale
        ),
        "the scale ignored": init_with(lambda m, n, scale: math.sqrt(2 / m)),
        "the seed ignored": init_with(seed_of_layer=lambda seed, k: k),
        "every layer from the same seed, so that weights repeat": init_with(
            seed_of_layer=lambda seed, k: seed
        ),
        "NumPy's global generator": init_from_the_global_generator,
    }),
    *wrong("forward", "logits_are_within_rounding", {
        "no activation between layers": forward_with(lambda z: z),
        "leaky ReLU": forward_with(lambda z: np.where(z > 0, z, 0.01 * z)),
        "ReLU after the last layer, too": lambda p, x: np.maximum(purenet.forward(p, x), 0),
        "softmax in forward already": purenet.predict_proba,
        "x Wᵀ where W is square": lambda p, x: purenet.forward(
            {n: w.T if square(w) else w for n, w in p.items()}, x
        ),
        "the last bias forgotten": lambda p, x: purenet.forward(p, x) - p[f"b{len(p) // 2}"],
    }),
    *wrong("forward", "order_of_examples_changes_nothing", {
        "logits that depend on the first of the batch": lambda p, x: (
            purenet.forward(p, x) - purenet.forward(p, x)[:1]
        ),
    }),
    *wrong("forward", "layers_go_by_number", {
        "layers in the order of their names as text": lambda p, x: purenet.forward(
            dict(zip(p, (p[name] for name in by_text(p)), strict=True)), x
        ),
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
        "the norm where its square belongs": loss_with(
            penalty=lambda w, l2, n: 0.5 * l2 * np.linalg.norm(w)
        ),
    }),
    *wrong("loss", "bad_input_is_refused", {
        "label -1 taken for the last class": lambda p, x, y, l2=0.0: purenet.loss(
            p, x, np.where(y < 0, y + len(p[f"b{len(p) // 2}"]), y), l2=l2
        ),
        "float labels cut to integers": lambda p, x, y, l2=0.0: purenet.loss(
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
            decay=lambda p, l2, n: l2 * p / n if p.ndim == 2 else 0 * p
        ),
        "biases averaged once more": gradient_through(
            lambda _, g, p, n: g / n if p.ndim == 1 else g
        ),
    }),
    *wrong("backward", "relu_derivative_at_zero_is_zero", {
        "the slope at 0 split in half": backward_with(slope=lambda z: np.heaviside(z, 0.5)),
    }),
    *wrong("backward", "gradient_is_that_of_the_loss", {
        "ReLU's derivative forgotten": backward_with(slope=np.ones_like),
        "masked by the layer before, where it fits": backward_with(
            mask=lambda z, k: z[k - 1] if z[k - 1].shape == z[k].shape else z[k]
        ),
        "δ W for δ Wᵀ where W is square": backward_with(back=lambda w: w if square(w) else w.T),
        "L2 missing": backward_with(decay=lambda p, l2, n: 0 * p),
        "L2 twice": backward_with(decay=lambda p, l2, n: 2 * l2 * p if p.ndim == 2 else 0 * p),
        "L2 on biases": backward_with(decay=lambda p, l2, n: l2 * p),
        "the sign of one bias": gradient_through(lambda name, g, p, n: -g if name == "b1" else g),
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
        "its loss without the penalty": lambda p, x, y, l2=0.0: (
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
        "labels written": backward_of_labels_written,
        "parameters returned where nothing is to be added": gradient_through(
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
        "the velocity updated after its use": step_with(
            average, lambda p, v, old, g, eta, beta: p - eta * old
        ),
        "uphill": step_with(average, lambda p, v, old, g, eta, beta: p + eta * v),
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
    *wrong("momentum_step", "step_is_pure_and_keeps_the_form", {
        "in place": step_in_place,
        "float32 promoted to float64": step_with(
            average, lambda p, v, old, g, eta, beta: p - np.float64(eta) * v
        ),
    }),
    *wrong("momentum_step", "step_goes_by_names", {
        "dictionaries paired by position": lambda p, v, g, **rates: purenet.momentum_step(
            p, dict(zip(p, v.values(), strict=True)), dict(zip(p, g.values(), strict=True)), **rates
        ),
        "nothing refused": step_with(average, descend),
    }),
    *wrong("train", "train_is_the_fold_of_its_definition", {
        "only 8-bit pixels scaled": train_with(
            scale=lambda x, cfg: x * cfg.input_scale if x.dtype == np.uint8 else x
        ),
        "the last, smaller batch dropped": train_with(
            batches=lambda starts, n, size: [s for s in starts if s + size <= n] or starts
        ),
        "batch means averaged unweighted": train_with(mean=lambda v, weights: np.average(v)),
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
    *wrong("train", "resumed_run_is_the_uninterrupted_run", {
        "a resumed run replays the first epochs' order": train_with(first_epoch=lambda state: 0),
        "a resumed run starts from rest": lambda p, data, cfg, state=None: purenet.train(
            p, data, cfg, state=state and State(purenet.init_velocity(p), state.epochs)
        ),
    }),
    *wrong("train", "train_is_pure_and_keeps_the_form", {
        "the given state written": train_into_its_state,
        "float32 promoted by the learning rate": train_with(
            rate=lambda cfg: np.float64(cfg.learning_rate)
        ),
        "order from a generator without seed": train_with(
            order=lambda cfg, e, n: np.random.default_rng().permutation(n)
        ),
    }),
]  # fmt: skip
"""Every mutant, by the function that is wrong."""


TEMPLATES = Implementation(
    init=init_with(),
    forward=forward_with(lambda z: np.where(z <= 0, 0, z)),
    loss=loss_with(),
    backward=backward_with(),
    momentum_step=step_with(average, descend),
    train=train_with(),
)
"""What most mutants are made from, without a mistake."""


def functions(mutant: Mutant) -> str:
    """Return the names of the functions that are wrong, for the table."""
    right = vars(Implementation())
    given = vars(mutant.implementation)
    return ", ".join(f"`{name}`" for name, f in given.items() if f is not right[name])


def main() -> None:
    """Print a table of the mutants, the law that caught each, and after how many examples."""
    print("# Wrong implementations, and the law that catches each\n")
    print("Made by `python -m purenet.testing.mutants`.\n")
    print("| function | mistake | caught by | examples |\n|---|---|---|---|")
    for mutant in MUTANTS:
        count = examples_until_caught(mutant.implementation, mutant.caught_by) or "survived"
        print(f"| {functions(mutant)} | {mutant.mistake} | `{mutant.caught_by}` | {count} |")


if __name__ == "__main__":
    main()
