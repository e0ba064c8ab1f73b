"""The checks of operations accept what is right, catch what is wrong, and say what they saw."""

from typing import Any

import pytest

from purenet.testing import Precision, check_operation
from purenet.testing.operations import OperationReport
from purenet.testing.operations.variants import RIGHT, WRONG, Variant

PRECISIONS = ("float64", "float32", "float16", "bfloat16")


def checked(variant: Variant, **options: Any) -> OperationReport:
    """Check a version of an operation."""
    given: dict[str, Any] = {
        "precision": variant.precision,
        "batch_invariant": variant.batch_invariant,
    } | options
    return check_operation(variant.function, variant.operation, **given)


def named(variant: Variant) -> str:
    """Return a name for a test."""
    return f"{variant.operation}, {variant.description}, {variant.precision.storage}"


@pytest.mark.parametrize("storage", PRECISIONS)
@pytest.mark.parametrize("variant", RIGHT, ids=named)
def test_a_right_version_is_accepted(variant: Variant, storage: str) -> None:
    """No bound is broken in any precision, and no law beside the bounds."""
    if variant.precision == Precision("float32"):
        checked(variant, precision=Precision(storage), examples=24).raise_if_wrong()
    elif storage == "float32":
        checked(variant, examples=24).raise_if_wrong()


@pytest.mark.parametrize("variant", WRONG, ids=named)
def test_a_wrong_version_is_caught(variant: Variant) -> None:
    """The examples of the default catch every mistake of the catalogue, most of them the first."""
    assert not all(checked(variant, examples=examples).ok for examples in (4, 100))
