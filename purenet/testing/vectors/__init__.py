"""Test vectors for any language: inputs, exact results, and a bound for each element."""

from purenet.testing.vectors.cases import FLAGS, Case, cases
from purenet.testing.vectors.files import load, write_files
from purenet.testing.vectors.judging import VectorReport, flag_table, judge

__all__ = [
    "FLAGS",
    "Case",
    "VectorReport",
    "cases",
    "flag_table",
    "judge",
    "load",
    "write_files",
]
