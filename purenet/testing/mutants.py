"""Wrong implementations, each with a mistake that people really make, and the law that catches it.

They show that the laws have teeth, and what mistakes look like. Each is the program in
`purenet.testing.textbook` with one fragment replaced.
"""

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from purenet.testing import textbook
from purenet.testing.conformance import Implementation

__all__ = ["MUTANTS", "TEXTBOOK", "Mutant", "changed"]

SOURCE = inspect.getsource(textbook)


def changed(right: str, wrong: str) -> dict[str, Any]:
    """Return the functions of the textbook's program with one fragment replaced.

    Parameters
    ----------
    right : str
        A fragment that occurs once in the source of `purenet.testing.textbook`.
    wrong : str
        What takes its place.

    Returns
    -------
    dict of object
        The names of the program. Its functions call each other, so that all of them may be wrong.

    Raises
    ------
    ValueError
        A fragment that does not occur once.

    Examples
    --------
    >>> program = changed("np.where(z <= 0, 0, z)", "z")
    >>> program["relu"](-1.0)
    -1.0
    """
    if (count := SOURCE.count(right)) != 1:
        raise ValueError(f"right must occur once in the program, got {right!r}: {count} times")
    program: dict[str, Any] = {"__name__": textbook.__name__}
    exec(SOURCE.replace(right, wrong), program)
    return program


@dataclass(frozen=True)
class Mutant:
    """Hold a wrong implementation.

    Parameters
    ----------
    function : str
        The name of the wrong function.
    caught_by : str
        The law that must fail.
    mistake : str
        The mistake, in words.
    right, wrong : str
        The fragment of the textbook's program, and what the mutant has in its place.
    """

    function: str
    caught_by: str
    mistake: str
    right: str
    wrong: str

    @cached_property
    def program(self) -> dict[str, Any]:
        """The names of the changed program."""
        return changed(self.right, self.wrong)

    @property
    def implementation(self) -> Implementation:
        """The wrong function alone."""
        given: dict[str, Any] = {self.function: self.program[self.function]}
        return Implementation(**given)


def of(function: str, caught_by: str, *mistakes: tuple[str, str, str]) -> list[Mutant]:
    """Return the mutants of one function that one law must catch."""
    return [Mutant(function, caught_by, *mistake) for mistake in mistakes]


MUTANTS: list[Mutant] = [
    *of("init", "init_draws_what_it_is_asked_for",
        ("He's deviation of fan_out in place of fan_in", "2 / fan_in", "2 / fan_out"),
        ("Xavier's deviation, without the factor 2", "2 / fan_in", "1 / fan_in"),
        ("the scale ignored", ' if scale == "he" else float(scale)', ""),
        ("the seed ignored", "rng = np.random.default_rng(seed)", "rng = np.random.default_rng(0)"),
        ("the same seed for every layer, so that weights repeat",
         "rng.standard_normal(", "np.random.default_rng(seed).standard_normal("),
        ("NumPy's global generator",
         "rng = np.random.default_rng(seed)", "rng = np.random; rng.seed(seed)"),
    ),
    *of("forward", "logits_are_within_rounding",
        ("no activation between layers", "np.where(z <= 0, 0, z)", "z"),
        ("leaky ReLU", "np.where(z <= 0, 0, z)", "np.where(z <= 0, 0.01 * z, z)"),
        ("ReLU also after the last layer", "a[-1] @ W_L + b_L", "relu(a[-1] @ W_L + b_L)"),
        ("softmax at the end of forward", "a[-1] @ W_L + b_L", "softmax(a[-1] @ W_L + b_L)"),
        ("x Wᵀ where W is square",
         "a[-1] @ W + b", "a[-1] @ (W.T if W.shape[0] == W.shape[1] else W) + b"),
        ("the last bias forgotten", "a[-1] @ W_L + b_L", "a[-1] @ W_L"),
    ),
    *of("forward", "order_of_examples_changes_nothing",
        ("logits that depend on the first example of the batch",
         "[*z, logits]", "[*z, logits - logits[:1]]"),
    ),
    *of("forward", "layers_go_by_number",
        ("layers in the order of their names as text", "(W_L, b_L) = layers(params)",
         '(W_L, b_L) = [(params[W], params["b" + W[1:]]) for W in sorted(params) if W[0] == "W"]'),
    ),
    *of("forward", "results_have_the_form_of_the_parameters",
        ("the dtype of the data", "x.astype(W_L.dtype)", "x"),
    ),
    *of("forward", "bad_input_is_refused",
        ("NaN let through",
         "check_examples(params, x)", "check_examples(params, np.nan_to_num(x))"),
        ("integers taken without a scale",
         "check_examples(params, x)", "check_examples(params, x * 1.0)"),
    ),
    *of("loss", "loss_is_within_rounding",
        ("a loss of shape (1, 1)",
         "return data + penalty", "return np.reshape(data + penalty, (1, 1))"),
        ("no maximum subtracted", "z = z - z.max(axis=1, keepdims=True)", ""),
        ("probabilities clipped at 1e-7", "log_p = log_softmax(forward(params, x))",
         "log_p = np.log(np.clip(softmax(forward(params, x)), 1e-7, 1))"),
        ("logarithms to base 2",
         "data = -log_p[np.arange(len(y)), y].mean()",
         "data = -log_p[np.arange(len(y)), y].mean() / math.log(2)"),
        ("summed over the batch", "y].mean()", "y].sum()"),
        ("L2 missing", "return data + penalty", "return data"),
        ("L2 without its half", "0.5 * l2 * (W * W)", "l2 * (W * W)"),
        ("L2 divided by the batch size",
         "return data + penalty", "return data + penalty / len(x)"),
        ("L2 on biases", "for W, _ in layers(params))", "for W in params.values())"),
        ("the norm of weights in place of its square", "(W * W).sum()", "np.linalg.norm(W)"),
    ),
    *of("loss", "bad_input_is_refused",
        ("label -1 taken as the last class", "check_labels(params, y, len(x))",
         "check_labels(params, np.where(y < 0, y + log_p.shape[1], y), len(x))"),
        ("float labels truncated to integers", "check_labels(params, y, len(x))",
         "y = y.astype(int); check_labels(params, y, len(x))"),
        ("a column of labels broadcast", "check_labels(params, y, len(x))",
         "y = y.ravel(); check_labels(params, y, len(x))"),
    ),
    *of("backward", "gradient_is_within_rounding",
        ("summed over the batch", "(softmax(z[-1]) - t) / len(x)", "softmax(z[-1]) - t"),
        ("divided by the features",
         "(softmax(z[-1]) - t) / len(x)", "(softmax(z[-1]) - t) / x.shape[1]"),
        ("L2 divided by the batch size", "delta + l2 * W", "delta + l2 * W / len(x)"),
        ("gradients of biases averaged twice", "delta.sum(axis=0)", "delta.mean(axis=0)"),
    ),
    *of("backward", "relu_derivative_at_zero_is_zero",
        ("ReLU'(0) = 1", "(z[k - 1] > 0)", "(z[k - 1] >= 0)"),
        ("ReLU'(0) = 1/2", "(z[k - 1] > 0)", "np.heaviside(z[k - 1], 0.5)"),
    ),
    *of("backward", "gradient_is_that_of_the_loss",
        ("ReLU's derivative forgotten", "(delta @ W.T) * (z[k - 1] > 0)", "delta @ W.T"),
        ("ReLU's mask taken from the layer before, where shapes allow it", "(z[k - 1] > 0)",
         "(z[k - 2 if z[k - 2].shape == z[k - 1].shape else k - 1] > 0)"),
        ("δ W for δ Wᵀ where W is square",
         "delta @ W.T", "delta @ (W if W.shape[0] == W.shape[1] else W.T)"),
        ("L2 missing", "delta + l2 * W", "delta"),
        ("L2 twice", "delta + l2 * W", "delta + 2 * l2 * W"),
        ("L2 on biases", "delta.sum(axis=0)", 'delta.sum(axis=0) + l2 * params[f"b{k}"]'),
        ("the gradient of the first bias negated",
         "delta.sum(axis=0)", "delta.sum(axis=0) * (-1 if k == 1 else 1)"),
    ),
    *of("backward", "gradient_is_additive",
        ("clipped to ±0.1", "return value, grads",
         "return value, {n: np.clip(g, -0.1, 0.1) for n, g in grads.items()}"),
    ),
    *of("backward", "permuting_hidden_units_permutes_the_gradient",
        ("the first unit of each layer frozen", "return value, grads",
         "return value, {n: g * (np.arange(g.shape[-1]) > 0) for n, g in grads.items()}"),
    ),
    *of("backward", "backward_returns_the_loss",
        ("a loss without the penalty",
         "value = loss(params, x, y, l2=l2)", "value = loss(params, x, y)"),
    ),
    *of("backward", "results_have_the_form_of_the_parameters",
        ("float32 promoted to float64", ", dtype=z[-1].dtype)[y]", ")[y]"),
        ("keys in another order", "grads = dict(params)", "grads = {}"),
    ),
    *of("backward", "functions_are_pure",
        ("labels written", "t = np.eye(", "y -= y.min(); t = np.eye("),
        ("a parameter returned as a gradient that equals it", "return value, grads",
         "return value, {n: p if (p == grads[n]).all() else grads[n] for n, p in params.items()}"),
    ),
    *of("momentum_step", "step_is_within_rounding",
        ("heavy ball, without 1 - β", "beta * v + (1 - beta) * g", "beta * v + g"),
        ("β and 1 - β exchanged", "beta * v + (1 - beta) * g", "(1 - beta) * v + beta * g"),
        ("Nesterov", "p - eta * new_v", "p - eta * (beta * new_v + (1 - beta) * g)"),
        ("the learning rate inside the velocity",
         "new_v = beta * v + (1 - beta) * g\n        new_params[name] = p - eta * new_v",
         "new_v = beta * v + eta * (1 - beta) * g\n        new_params[name] = p - new_v"),
        ("the step taken with the old velocity", "p - eta * new_v", "p - eta * v"),
        ("ascent", "p - eta * new_v", "p + eta * new_v"),
    ),
    *of("momentum_step", "step_from_rest_moves_by_one_minus_momentum",
        ("PyTorch's first step, v = g", "beta * v + (1 - beta) * g",
         "beta * v + (1 - beta) * g if v.any() else g.copy()"),
        ("Adam's bias correction", "p - eta * new_v",
         "p - eta * (new_v if v.any() else new_v / (1 - beta))"),
    ),
    *of("momentum_step", "step_without_momentum_is_plain_descent",
        ("gradients normalised", "(1 - beta) * g", "(1 - beta) * g / max(1, abs(g).max())"),
    ),
    *of("momentum_step", "step_is_linear",
        ("sign(v) in place of v", "p - eta * new_v", "p - eta * np.sign(new_v)"),
    ),
    *of("momentum_step", "step_is_pure",
        ("parameters updated in place", "new_params[name] = p - eta * new_v",
         "p -= eta * new_v; new_params[name] = p"),
    ),
    *of("momentum_step", "step_keeps_the_form",
        ("float32 promoted to float64", 'eta = check_number("learning_rate", learning_rate)',
         'eta = np.float64(check_number("learning_rate", learning_rate))'),
    ),
    *of("momentum_step", "step_goes_by_names",
        ("dictionaries paired by position",
         "for name, p in params.items():\n        v, g = velocity[name], grads[name]",
         "for (name, p), v, g in zip(params.items(), velocity.values(), grads.values()):"),
    ),
    *of("momentum_step", "bad_step_is_refused",
        ("dictionaries that do not match let through",
         "check_matching(params, velocity=velocity, grads=grads)", ""),
        ("β = 1 let through",
         'check_number("momentum", momentum, below=1)', 'check_number("momentum", momentum)'),
    ),
    *of("train", "train_is_the_fold_of_its_definition",
        ("only 8-bit pixels scaled", 'x.dtype.kind in "iu"', "x.dtype == np.uint8"),
        ("the last, smaller batch dropped", "range(0, n, size)", "range(0, n - size + 1, size)"),
        ("losses of batches averaged without weights",
         "np.average(losses, weights=weights)", "np.average(losses)"),
        ("the same permutation every epoch", "spawn_key=(e,)", "spawn_key=(0,)"),
        ("examples shuffled without their labels",
         "scaled(x[rows], cfg)", "scaled(x[start : start + size], cfg)"),
        ("velocity forgotten between epochs", "losses, weights = [], []",
         "losses, weights, velocity = [], [], init_velocity(params)"),
        ("losses taken after the update", "losses.append(value)",
         "losses.append(loss(params, x_batch, y_batch, l2=cfg.l2))"),
        ("pixels not scaled", 'x * cfg.input_scale if x.dtype.kind in "iu" else x', "x * 1.0"),
        ("floats scaled like pixels", ' if x.dtype.kind in "iu" else x', ""),
        ("pixels scaled in their own 8 bits",
         "x * cfg.input_scale if", "(x * cfg.input_scale).astype(x.dtype) * 1.0 if"),
    ),
    *of("train", "shards_are_added_in_a_binary_tree",
        ("gradients of shards added in the order of a ring",
         "list(map(added, parts[::2], parts[1::2]))", "[added(parts[0], parts[1]), *parts[2:]]"),
    ),
    *of("train", "resumed_run_is_the_uninterrupted_run",
        ("a resumed run repeats the order of the first epochs",
         "spawn_key=(e,)", "spawn_key=(e - done,)"),
        ("a resumed run starts from rest",
         "state[:2] if state", "(init_velocity(params), state.epochs) if state"),
    ),
    *of("train", "train_keeps_the_form",
        ("float32 trained as float64", "copy(params), copy(velocity)",
         "({n: np.float64(a) for n, a in d.items()} for d in (params, velocity))"),
    ),
    *of("train", "train_is_pure",
        ("a run of no epochs returns its arguments",
         "params, velocity = copy(params), copy(velocity)\n    ", ""),
        ("the given state written", "params, velocity = copy(params), copy(velocity)",
         "params = copy(params); [v.fill(0) for v in velocity.values()]"),
        ("order from a generator without a seed",
         "np.random.Generator(np.random.PCG64(stream))", "np.random.default_rng()"),
    ),
]  # fmt: skip
"""All mutants, in the order of the functions that are wrong."""


TEXTBOOK = Implementation(
    init=textbook.init,
    forward=textbook.forward,
    loss=textbook.loss,
    backward=textbook.backward,
    momentum_step=textbook.momentum_step,
    train=textbook.train,
)
"""The implementation that mutants are made from, without a mistake."""
