"""Signals that end a process: the first is noted, the second ends it at once."""

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Signals"]

MEANING = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Signals:
    """Turn Ctrl-C and SIGTERM into KeyboardInterrupt, or, while `patient`, into a note of them.

    An exception may come at any place, and is lost inside a callback from C; a note is looked at
    where the work is whole. What the process ignores, as one that a shell started with ``&`` does,
    stays ignored. Signals reach the main thread alone: in others this does nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.patient = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            for number in MEANING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Put back what was listening before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal has come."""
        if self.received is not None:
            raise KeyboardInterrupt

    def outcome(self) -> tuple[str, int]:
        """Return what to say of the signal that came, and the exit status by convention."""
        number = signal.SIGINT if self.received is None else self.received
        return MEANING[signal.Signals(number)], 128 + number

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = number
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)  # another one ends the process here and now
        if not self.patient:
            raise KeyboardInterrupt
