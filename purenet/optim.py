"""Gradient descent with moving-average momentum."""

from array_api_compat import array_namespace

from purenet.params import A, check_matching, check_number

__all__ = ["init_velocity", "momentum_step"]


def init_velocity(params: dict[str, A]) -> dict[str, A]:
    """Return the velocity before the first step: v = 0, with the keys, shapes and dtypes of params.

    Parameters
    ----------
    params : dict of array
        Parameters, of any names and shapes.

    Returns
    -------
    dict of array
        Zeros.

    Examples
    --------
    >>> import numpy as np
    >>> init_velocity({"b1": np.ones(2)})
    {'b1': array([0., 0.])}
    """
    return {name: array_namespace(p).zeros_like(p) for name, p in params.items()}


def momentum_step(
    params: dict[str, A],
    velocity: dict[str, A],
    grads: dict[str, A],
    *,
    learning_rate: float,
    momentum: float,
) -> tuple[dict[str, A], dict[str, A]]:
    """Take one step: v ← β v + (1 - β) g, then p ← p - η v. β = 0 is plain gradient descent.

    The velocity is a moving average of gradients, so η means the same for every β. Heavy-ball
    momentum without the factor (1 - β), as in PyTorch, is this step with η / (1 - β) in place of η.

    Parameters
    ----------
    params, velocity, grads : dict of array
        Parameters p, velocity v and gradients g, with the same keys, shapes and dtypes.
    learning_rate : float
        η, at least 0.
    momentum : float
        β, in [0, 1).

    Returns
    -------
    params, velocity : dict of array
        New arrays; the arguments are not written.

    Raises
    ------
    ValueError
        Dictionaries that do not match, or a hyperparameter out of range.

    References
    ----------
    B. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.

    Examples
    --------
    >>> import numpy as np
    >>> p, v, g = {"b1": np.array([1.0])}, {"b1": np.array([0.0])}, {"b1": np.array([2.0])}
    >>> momentum_step(p, v, g, learning_rate=0.5, momentum=0.5)
    ({'b1': array([0.5])}, {'b1': array([1.])})
    """
    check_matching(params, velocity=velocity, grads=grads)
    eta = check_number("learning_rate", learning_rate)
    beta = check_number("momentum", momentum, below=1)
    velocity = {name: beta * velocity[name] + (1 - beta) * grads[name] for name in params}
    return {name: p - eta * velocity[name] for name, p in params.items()}, velocity
