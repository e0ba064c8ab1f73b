"""purenet: the reference multilayer perceptron, as pure functions over dictionaries of arrays."""

from purenet.network import accuracy, backward, forward, init, loss, predict, predict_proba
from purenet.optim import init_velocity, momentum_step

__version__ = "0.1.0"

__all__ = [
    "accuracy",
    "backward",
    "forward",
    "init",
    "init_velocity",
    "loss",
    "momentum_step",
    "predict",
    "predict_proba",
]
