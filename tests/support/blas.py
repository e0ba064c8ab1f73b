"""Which BLAS may give wrong products when several threads call it at once."""

import re
from typing import Any

__all__ = ["unsafe"]

# OpenBLAS guards its pool of threads by one lock for each kind of product (with and without
# transposition) where one for all is needed: https://github.com/OpenMathLib/OpenBLAS/issues/5836.
# Mended in 0.3.34, and in the build 0.3.33.112 that NumPy's wheels have from 2.5.0 on.
MENDED = (0, 3, 33, 112)


def unsafe(info: dict[str, Any]) -> bool:
    """Tell it of one library, as `threadpoolctl.threadpool_info` describes it."""
    version = tuple(map(int, re.findall(r"\d+", info["version"] or "0")))
    return info["internal_api"] == "openblas" and info["num_threads"] > 1 and version < MENDED
