"""The hyperparameters of a training run."""

from dataclasses import dataclass

import numpy as np

from purenet import _checks

__all__ = ["REPORT", "Config"]


@dataclass(frozen=True)
class Config:
    """Hold the hyperparameters of a training run; the defaults are good on images, with He init.

    Parameters
    ----------
    learning_rate : float
        η, at least 0.
    momentum : float
        β of the moving average of gradients, in [0, 1); 0 is plain gradient descent.
    l2 : float
        Strength of the penalty ½ l2 Σ‖W‖² in the objective, at least 0.
    batch_size : int or None
        Examples per update, at least 1; None is full batch: one update an epoch.
    epochs : int
        Passes over the data in all, those of an earlier run that is resumed included.
    shuffle : bool
        Visit the examples of epoch e, counted from 0, in the order
        ``Generator(PCG64([seed, e])).permutation(n)`` instead of as they lie.
    seed : int
        Seed of the order, at least 0.
    input_scale : float
        Factor of integer inputs, as they are converted: 1/255 brings 8-bit pixels to [0, 1], 1
        leaves them raw. Floating-point inputs are taken as they are.

    Raises
    ------
    ValueError
        A field that is not as above.

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
    input_scale: float = 1 / 255

    def __post_init__(self) -> None:
        """Check every field; NumPy scalars become Python numbers."""
        checked = {
            "learning_rate": _checks.number("learning_rate", self.learning_rate),
            "momentum": _checks.number("momentum", self.momentum, below=1),
            "l2": _checks.number("l2", self.l2),
            "epochs": _checks.integer("epochs", self.epochs, least=0),
            "seed": _checks.integer("seed", self.seed, least=0),
            "input_scale": _checks.number("input_scale", self.input_scale),
            "shuffle": bool(self.shuffle),
        }
        if self.batch_size is not None:
            checked["batch_size"] = _checks.integer("batch_size", self.batch_size, least=1)
        if not isinstance(self.shuffle, bool | np.bool):
            raise ValueError(f"shuffle must be True or False, got {self.shuffle!r}")
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
"""The first experiment of the report: raw pixels, to be used with ``init(..., scale=0.01)``."""
