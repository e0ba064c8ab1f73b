"""Versions and thread pools: what results on disk say about the process that computed them."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from threadpoolctl import threadpool_info

from purenet import __version__

__all__ = ["thread_pools", "versions"]


def versions(*libraries: str) -> dict[str, str]:
    """Return the versions of Python, of purenet and of libraries.

    Parameters
    ----------
    *libraries : str
        Names of packages. Those that are not installed are left out.

    Returns
    -------
    dict
        Versions by name.

    Examples
    --------
    >>> list(versions("numpy", "no-such-library"))
    ['python', 'purenet', 'numpy']
    """
    found = {"python": platform.python_version(), "purenet": __version__}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def thread_pools() -> list[dict[str, Any]]:
    """Return the thread pools of the libraries that are loaded.

    Returns
    -------
    list of dict
        For each pool, threadpoolctl's ``user_api``, ``internal_api``, ``version``,
        ``architecture`` and ``num_threads``. A value that a pool lacks is None.

    Examples
    --------
    >>> import numpy
    >>> "blas" in {pool["user_api"] for pool in thread_pools()}
    True
    """
    keys = ("user_api", "internal_api", "version", "architecture", "num_threads")
    pools = [{key: pool.get(key) for key in keys} for pool in threadpool_info()]
    return sorted(pools, key=str)  # not in the order in which they were loaded
