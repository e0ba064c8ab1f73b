"""Claims about the hyperparameters: what is stored, and what is refused."""

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from purenet import REPORT, Config


def test_config_is_frozen() -> None:
    """No field of a Config can be assigned."""
    with pytest.raises(FrozenInstanceError):
        Config().epochs = 3  # type: ignore[misc]


def test_numpy_scalars_become_python_numbers() -> None:
    """Fields hold Python numbers, which widen no array and can be written as JSON."""
    scalars: dict[str, Any] = {
        "learning_rate": np.float32(0.5),
        "momentum": np.float32(0.5),
        "l2": np.float64(0.5),
        "batch_size": np.int8(7),
        "epochs": np.int64(3),
        "shuffle": np.False_,
        "seed": np.uint8(3),
        "input_scale": np.float16(0.5),
    }
    stored = vars(Config(**scalars))
    for name, scalar in scalars.items():
        assert stored[name] == scalar
        assert type(stored[name]) is type(scalar.item())


def test_the_largest_seed_is_accepted() -> None:
    """Seeds go up to 2¹²⁸ - 1."""
    assert Config(seed=2**128 - 1).seed == 2**128 - 1


def test_report_preset_is_the_report() -> None:
    """REPORT holds the values that the report prints for its first experiment, on raw pixels."""
    printed = {"learning_rate": 0.01, "momentum": 0.9, "l2": 1e-3, "batch_size": 128, "epochs": 10}
    assert Config(**printed, shuffle=False, input_scale=1) == REPORT  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("learning_rate", -0.1, "learning_rate must be a finite number >= 0, got -0.1"),
        ("learning_rate", float("nan"), "learning_rate must be a finite number >= 0, got nan"),
        ("learning_rate", "fast", "learning_rate must be a finite number >= 0, got 'fast'"),
        ("learning_rate", True, "learning_rate must be a finite number >= 0, got True"),
        ("momentum", 1.0, "momentum must be a number in [0, 1), got 1.0"),
        ("momentum", -0.5, "momentum must be a number in [0, 1), got -0.5"),
        ("l2", float("inf"), "l2 must be a finite number >= 0, got inf"),
        ("batch_size", 0, "batch_size must be an integer >= 1, got 0"),
        ("shards", 0, "shards must be an integer >= 1, got 0"),
        ("shards", 12, "shards must be a power of two, got 12"),
        ("batch_size", 12.5, "batch_size must be an integer >= 1, got 12.5"),
        ("batch_size", "full", "batch_size must be an integer >= 1, got 'full'"),
        ("epochs", -1, "epochs must be an integer >= 0, got -1"),
        ("epochs", None, "epochs must be an integer >= 0, got None"),
        ("shuffle", 1, "shuffle must be True or False, got 1"),
        ("seed", -1, "seed must be an integer >= 0, got -1"),
        ("seed", 2**128, f"seed must be below 2**128, got {2**128}"),
        ("input_scale", None, "input_scale must be a finite number >= 0, got None"),
    ],
)
def test_each_field_is_checked(field: str, value: Any, message: str) -> None:
    """A bad field raises ValueError, which names the field, its value and what was expected."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Config(**{field: value})
    assert str(caught.value) == message
