"""The versions of OpenBLAS that give wrong products when several threads call them at once."""

import re
from typing import Any

__all__ = ["unsafe"]

# OpenBLAS guarded its pool of threads by one lock for each kind of product (with and without
# transposition), though all kinds need one lock: https://github.com/OpenMathLib/OpenBLAS/issues/5836.
# This is fixed in 0.3.34, and in the build 0.3.33.112 that is part of NumPy's wheels from 2.5.0 on.
FIXED = (0, 3, 33, 112)


def unsafe(info: dict[str, Any]) -> bool:
    """Tell whether a library, given by `threadpoolctl.threadpool_info`, is such a version."""
    version = tuple(map(int, re.findall(r"\d+", info["version"] or "0")))
    return info["internal_api"] == "openblas" and info["num_threads"] > 1 and version < FIXED
