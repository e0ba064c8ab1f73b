"""The hyperparameters of a training run."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from purenet.params import check_integer, check_number, check_seed

__all__ = ["REPORT", "Config"]


@dataclass(frozen=True)
class Config:
    """Hold the hyperparameters of a training run; the defaults suit images and He's `init`.

    Parameters
    ----------
    learning_rate : float
        η, at least 0.
    momentum : float
        β of the moving average of gradients, in [0, 1). 0 is plain gradient descent.
    l2 : float
        Strength of the penalty ½ l2 Σ‖W‖² in the objective, at least 0.
    batch_size : int or None
        Examples per update, at least 1. None means full batch: one update per epoch.
    epochs : int
        Passes over the data in total, including those of an earlier run that is resumed.
    shuffle : bool
        Visit the examples of each epoch in a random order of its own (`epoch_order`) instead of
        the order of the data.
    seed : int
        Seed of the orders, from 0 to 2¹²⁸ - 1.
    shards : int
        Parts of each batch, a power of two. The gradient is the sum over the parts in a binary
        tree, so that 1, 2, 4, ... processes, up to `shards`, train to the same bits.
    input_scale : float
        Factor by which integer inputs are multiplied when they are converted: 1/255 brings 8-bit
        pixels to [0, 1], 1 leaves them raw. Floating-point inputs are not scaled.

    Raises
    ------
    ValueError
        A field that is not as described above.

    Examples
    --------
    >>> Config(batch_size=None, epochs=500).learning_rate
    0.4
    """

    learning_rate: float = 0.4
    momentum: float = 0.9
    l2: float = 1e-4
    batch_size: int | None = 128
    epochs: int = 10
    shuffle: bool = True
    seed: int = 0
    shards: int = 1
    input_scale: float = 1 / 255

    def __post_init__(self) -> None:
        """Check every field; NumPy scalars become Python numbers."""
        checked: dict[str, Any] = {
            "learning_rate": check_number("learning_rate", self.learning_rate),
            "momentum": check_number("momentum", self.momentum, below=1),
            "l2": check_number("l2", self.l2),
            "epochs": check_integer("epochs", self.epochs, least=0),
            "seed": check_seed(self.seed),
            "shards": check_integer("shards", self.shards, least=1),
            "input_scale": check_number("input_scale", self.input_scale),
            "shuffle": bool(self.shuffle),
        }
        if self.batch_size is not None:
            checked["batch_size"] = check_integer("batch_size", self.batch_size, least=1)
        if not isinstance(self.shuffle, bool | np.bool):
            raise ValueError(f"shuffle must be True or False, got {self.shuffle!r}")
        if checked["shards"].bit_count() > 1:
            raise ValueError(f"shards must be a power of two, got {self.shards}")
        for name, value in checked.items():
            object.__setattr__(self, name, value)


REPORT = Config(
    learning_rate=0.01,
    momentum=0.9,
    l2=1e-3,
    batch_size=128,
    epochs=10,
    shuffle=False,
    input_scale=1.0,
)
"""The report's first experiment. It takes raw pixels and starts at ``init(..., scale=0.01)``."""
