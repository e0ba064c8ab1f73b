"""Check single operations of a network, in the precision in which kernels compute them."""

from purenet.testing.operations.catalogue import OPERATIONS, Operation
from purenet.testing.operations.checks import (
    Failure,
    OperationReport,
    OutputReport,
    check_operation,
)
from purenet.testing.operations.precision import Precision

__all__ = [
    "OPERATIONS",
    "Failure",
    "Operation",
    "OperationReport",
    "OutputReport",
    "Precision",
    "check_operation",
]
