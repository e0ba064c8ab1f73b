"""What a test needs of the system, and the calls of the system that it watches."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

__all__ = ["LINUX", "POSIX", "watch_flushes"]

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no such call or signal")
LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux tells it in /proc")


def watch_flushes(monkeypatch: pytest.MonkeyPatch, note: Callable[[Path], object]) -> None:
    """Call `note` with the path of every file and folder that is flushed from now on."""
    paths: dict[int, Path] = {}
    whole_open, fsync = os.open, os.fsync

    def opened(path: Any, *args: Any) -> int:
        descriptor = whole_open(path, *args)
        paths[descriptor] = Path(path)
        return descriptor

    def flushed(descriptor: int) -> None:
        note(paths[descriptor])
        fsync(descriptor)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", flushed)
