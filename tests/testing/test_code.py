"""The code of a value gives the value again."""

from typing import Any

import numpy as np
import pytest

from purenet import Config, State
from purenet.testing.code import as_call, as_code, imports_of
from purenet.testing.strategies import LAYOUTS, Problem, lay_out, layout_of

A = np.array([[1.5, np.nan, -0.0], [np.inf, -np.inf, 5e-324]])


def value_of(code: str) -> Any:
    """Return the value of code after its imports."""
    names: dict[str, Any] = {"Problem": Problem}
    exec(imports_of(code), names)
    return eval(code, names)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_array_keeps_its_bits_its_dtype_and_its_layout(layout: str, dtype: Any) -> None:
    """NaN, infinities, -0.0 and subnormals come back in the same layout."""
    array = lay_out(A.astype(dtype), layout)
    again = value_of(as_code(array))
    assert again.tobytes() == array.tobytes()
    assert (again.dtype, layout_of(again)) == (array.dtype, layout_of(array))


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((0, 3), np.float32),
        np.float64(0.5),
        np.uint8(7),
        np.float32,
        np.dtype("f4"),
        Config(batch_size=None, seed=3),
        [1, (2,), (), {"a": None}],
        "text",
    ],
)
def test_other_values_come_back(value: Any) -> None:
    """Scalars keep their type, and dataclasses their fields."""
    again = value_of(as_code(value))
    assert type(again) is type(value)
    assert np.array_equal(again, value) if isinstance(value, np.ndarray) else again == value


def test_what_holds_arrays_comes_back() -> None:
    """States, named tuples and dictionaries hold the code of their arrays."""
    state = State(velocity={"W1": A}, epochs=1, steps=2, loss_sum=0.5)
    again = value_of(as_code(state))
    assert again.velocity["W1"].tobytes() == A.tobytes()
    assert (again.epochs, again.steps, again.loss_sum) == (1, 2, 0.5)
    problem = Problem({"W1": A}, A, np.array([1, 0]), 0.5)
    assert value_of(as_code(problem)).l2 == 0.5


def test_a_call_names_its_arguments() -> None:
    """Arguments by position come first, then those by name."""
    assert as_call("f", (1, [2.0]), {"l2": np.float64(0.5)}) == "f(1, [2.0], l2=np.float64(0.5))"


def test_code_imports_what_it_uses_and_no_more() -> None:
    """Plain numbers import nothing, and each name is imported where it occurs."""
    assert not imports_of("forward({}, 1.0)")
    assert imports_of(as_code(np.zeros(2))) == "import numpy as np\n"
    assert imports_of(as_code([lay_out(A, LAYOUTS[-1]), Config()])).splitlines() == [
        "import numpy as np",
        "from numpy import inf, nan",
        "from purenet import Config",
        "from purenet.testing.strategies import lay_out",
    ]
