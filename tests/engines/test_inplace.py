"""The NumPy engine alone."""

import numpy as np

from purenet import Config, init_velocity
from purenet.engines.inplace import InplaceEngine


def test_losses_of_float16_are_summed_in_float32() -> None:
    """1,024 losses of 100 are more than float16 holds."""
    params = {"W1": np.array([[0, 100]], np.float16), "b1": np.zeros(2, np.float16)}
    x, y = np.ones((1024, 1), np.float16), np.zeros(1024, int)
    engine = InplaceEngine(params, init_velocity(params), x, y, Config(batch_size=None, l2=0))
    assert engine.run(range(1024)) == [100]
