"""Contestants of other libraries, each set up as an expert in that library would do it.

All start from the same parameters and take the same batches in the same order, including the
smaller last batch. All take the same step; `docs/conventions.md` translates the hyperparameters.
Each contestant keeps the data as 8-bit pixels or as floats, whichever was faster here. It imports
its library itself, because each contestant runs in a process of its own.
"""

from typing import Any

import numpy as np

from benchmarks.contestants import Contestant, Params, Task
from purenet.engines import cut

LIBRARIES = {
    "torch_eager": "torch",
    "torch_compile": "torch",
    "jax_step": "jax",
    "jax_scan": "jax",
    "sklearn_mlp": "sklearn",
}


def torch_eager(task: Task) -> Contestant:
    """Train with PyTorch, eager, on floats: modules and fused SGD.

    Weights and biases are separate parameter groups, because biases have no penalty.
    """
    import torch  # noqa: PLC0415

    x, y = map(torch.from_numpy, task.floats())
    modules: list[Any] = []
    for k in task.layers:
        W, b = task.params()[f"W{k}"], task.params()[f"b{k}"]
        linear: Any = torch.nn.Linear(W.shape[0], W.shape[1], dtype=x.dtype)
        linear.weight.data, linear.bias.data = torch.from_numpy(W.T.copy()), torch.from_numpy(b)
        modules += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    weights, biases = ([p for p in model.parameters() if p.ndim == ndim] for ndim in (2, 1))
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": task.cfg.l2},
        {"params": biases},
    ]
    optimizer = torch.optim.SGD(
        groups,
        lr=task.cfg.learning_rate * (1 - task.cfg.momentum),
        momentum=task.cfg.momentum,
        fused=True,
    )

    def epoch(rows: Any) -> float:
        losses = []
        for batch in task.batches(torch.from_numpy(rows) if task.shuffle else rows):
            optimizer.zero_grad()
            loss: Any = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return task.mean(torch.stack(losses).numpy())

    def params() -> Params:
        layers = zip(task.layers, weights, biases, strict=True)
        named = {n: p for k, W, b in layers for n, p in ((f"W{k}", W.T), (f"b{k}", b))}
        return {name: p.detach().numpy() for name, p in named.items()}

    return epoch, params


def torch_compile(task: Task) -> Contestant:
    """Train with PyTorch, on floats. Loading, gradient and update are one compiled step."""
    import torch  # noqa: PLC0415

    data = [torch.from_numpy(array) for array in task.floats()]
    p, cfg = {name: torch.from_numpy(p) for name, p in task.params().items()}, task.cfg
    v = {name: torch.zeros_like(array) for name, array in p.items()}

    def objective(p: Params, x: Any, y: Any) -> Any:
        z = x
        for k in task.layers:
            z = (torch.relu(z) if k > 1 else z) @ p[f"W{k}"] + p[f"b{k}"]
        return torch.nn.functional.cross_entropy(z, y)

    def eager(rows: Any, x: Any, y: Any) -> Any:
        if task.shuffle:
            x, y = x[rows], y[rows]
        grads, loss = torch.func.grad_and_value(objective)(p, x, y)
        for name, g in grads.items():
            decayed = g + cfg.l2 * p[name] if g.ndim == 2 else g
            v[name].mul_(cfg.momentum).add_(decayed, alpha=1 - cfg.momentum)
            p[name].sub_(v[name], alpha=cfg.learning_rate)
        return loss

    step = torch.compile(eager, dynamic=False)

    def epoch(rows: Any) -> float:
        losses = []
        for batch in task.batches(torch.from_numpy(rows) if task.shuffle else rows):
            if task.shuffle:
                losses.append(step(batch, *data))
            else:
                losses.append(step(None, *(array[batch] for array in data)))
        return task.mean(torch.stack(losses).numpy())

    return epoch, lambda: {name: array.numpy() for name, array in p.items()}


def jax_step(task: Task) -> Contestant:
    """Train with JAX: one call of a jitted step per batch, buffers donated.

    Data are 8-bit pixels, or floats for full batch.
    """
    jax, step, state, data = _jax(task)
    step = jax.jit(step, donate_argnums=0)

    def epoch(rows: Any) -> float:
        losses = []
        indices: Any = np.asarray(rows)
        for batch in cut(indices, task.batch_size or task.n):
            state[0], loss = step(state[0], batch, *data)
            losses.append(loss)
        return task.mean(jax.device_get(losses))

    return epoch, lambda: state[0][0]


def jax_scan(task: Task) -> Contestant:
    """Train with JAX: one jitted scan over the batches, unrolled by four, buffers donated.

    A smaller last batch takes a jitted step of its own. Data are as for `jax_step`.
    """
    jax, step, state, data = _jax(task)
    size = task.batch_size or task.n

    def train_whole_batches(carry: Any, rows: Any, x: Any, y: Any) -> Any:
        return jax.lax.scan(lambda c, batch: step(c, batch, x, y), carry, rows, unroll=4)

    scan, last = jax.jit(train_whole_batches, donate_argnums=0), jax.jit(step, donate_argnums=0)

    def epoch(rows: Any) -> float:
        rows, whole = np.asarray(rows), task.n // size * size
        state[0], losses = scan(state[0], rows[:whole].reshape(-1, size), *data)
        losses = list(jax.device_get(losses))
        if whole < task.n:
            state[0], loss = last(state[0], rows[whole:], *data)
            losses.append(jax.device_get(loss))
        return task.mean(losses)

    return epoch, lambda: state[0][0]


def _jax(task: Task) -> Any:
    """Return the module jax, a step, a list that holds its state, and the data."""
    import jax  # noqa: PLC0415
    import jax.numpy as jnp  # noqa: PLC0415

    jax.config.update("jax_enable_x64", task.dtype == "float64")
    cfg = task.cfg

    def objective(p: Params, x: Any, y: Any) -> Any:
        z = x.astype(p["W1"].dtype) * (1 / 255) if x.dtype == jnp.uint8 else x
        for k in task.layers:
            z = (jax.nn.relu(z) if k > 1 else z) @ p[f"W{k}"] + p[f"b{k}"]
        one_hot = jax.nn.one_hot(y, task.sizes[-1], dtype=z.dtype)
        penalty = 0.5 * cfg.l2 * sum(jnp.sum(p[f"W{k}"] ** 2) for k in task.layers)
        return -jnp.sum(jax.nn.log_softmax(z) * one_hot) / len(y) + penalty

    def step(carry: Any, rows: Any, x: Any, y: Any) -> Any:
        p, v = carry
        if task.shuffle:
            x, y = x[rows], y[rows]
        elif task.batch_size:
            x, y = (jax.lax.dynamic_slice_in_dim(d, rows[0], len(rows)) for d in (x, y))
        loss, grads = jax.value_and_grad(objective)(p, x, y)
        v = jax.tree.map(lambda v, g: cfg.momentum * v + (1 - cfg.momentum) * g, v, grads)
        return (jax.tree.map(lambda p, v: p - cfg.learning_rate * v, p, v), v), loss

    params = jax.tree.map(jnp.asarray, task.params())
    state = [(params, jax.tree.map(jnp.zeros_like, params))]
    data = task.pixels() if task.batch_size else task.floats()
    return jax, step, state, jax.tree.map(jnp.asarray, data)


def sklearn_mlp(task: Task) -> Contestant:
    """Train scikit-learn's MLPClassifier, on floats. An epoch is one `partial_fit` on all data."""
    import sklearn  # noqa: PLC0415
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415

    sklearn.set_config(assume_finite=True)
    x, y = task.floats()
    order: dict[str, Any] = {}

    class Order(np.random.RandomState):
        """Shuffle into the order that all contestants take."""

        def shuffle(self, x: Any) -> None:
            x[:] = order["rows"]

    size = task.batch_size or task.n
    mlp = MLPClassifier(
        task.sizes[1:-1],
        solver="sgd",
        alpha=task.cfg.l2 * size,
        batch_size=size,
        learning_rate_init=task.cfg.learning_rate * (1 - task.cfg.momentum),
        momentum=task.cfg.momentum,
        nesterovs_momentum=False,
        shuffle=task.shuffle,
        random_state=Order(0),
    )
    order["rows"] = np.arange(size)
    mlp.partial_fit(x[:size], y[:size], classes=range(task.sizes[-1]))  # allocates the arrays
    for k, p in task.params().items():
        {"W": mlp.coefs_, "b": mlp.intercepts_}[k[0]][int(k[1:]) - 1][...] = p
    for v in mlp._optimizer.velocities:  # the only use of a private attribute
        v[...] = 0

    def epoch(rows: Any) -> float:
        order["rows"] = rows
        mlp.partial_fit(x, y)
        return float(mlp.loss_)

    def params() -> Params:
        layers = zip(task.layers, mlp.coefs_, mlp.intercepts_, strict=True)
        return {n: p for k, w, b in layers for n, p in ((f"W{k}", w), (f"b{k}", b))}

    return epoch, params
