"""The public names, which the package `purenet` gives as its own."""

from purenet import export
from purenet.config import REPORT, Config
from purenet.evaluation import Evaluation, accuracy, evaluate, predict, predict_proba
from purenet.files import datasets, pictures
from purenet.files.checkpoints import Checkpoint, load, save
from purenet.network import backward, forward, init, loss
from purenet.optim import init_velocity, momentum_step
from purenet.training import (
    DivergenceError,
    Epoch,
    State,
    TrainResult,
    epochs,
    train,
)

__all__ = [
    "REPORT",
    "Checkpoint",
    "Config",
    "DivergenceError",
    "Epoch",
    "Evaluation",
    "State",
    "TrainResult",
    "accuracy",
    "backward",
    "datasets",
    "epochs",
    "evaluate",
    "export",
    "forward",
    "init",
    "init_velocity",
    "load",
    "loss",
    "momentum_step",
    "pictures",
    "predict",
    "predict_proba",
    "save",
    "train",
]
