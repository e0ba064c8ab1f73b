"""Signals that end a process: the program handles the first one, a second one ends it at once."""

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Signals"]

MEANING = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Signals:
    """Turn Ctrl-C and SIGTERM into KeyboardInterrupt, at once or, while `patient`, in `check`.

    An exception from a signal handler can come at any point of the program, and a callback from C
    swallows it. While `patient` is true the handler therefore only records the signal, and the
    program calls `check` where its work is whole.

    A second signal ends the process at once. A signal that the process ignores stays ignored: a
    shell makes a command that it starts with ``&`` ignore Ctrl-C. Only the main thread receives
    signals, so in other threads this class does nothing.

    Attributes
    ----------
    received : int or None
        The signal that came, if any.
    patient : bool
        Whether the handler only records a signal.
    repeated : bool
        Whether one signal may come several times, as from ``mpirun``. Then later ones are ignored.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.patient = self.repeated = False
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        """Install the handler."""
        if threading.current_thread() is threading.main_thread():
            for number in MEANING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous_handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous handlers."""
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal has come."""
        if self.received is not None:
            raise KeyboardInterrupt

    def outcome(self) -> tuple[str, int]:
        """Return the word for the signal that came and its conventional exit status."""
        number = signal.SIGINT if self.received is None else self.received
        return MEANING[signal.Signals(number)], 128 + number

    def _handle(self, received: int, _: FrameType | None) -> None:
        self.received = received
        for number in self._previous_handlers:
            # A second signal ends the process at once.
            signal.signal(number, signal.SIG_IGN if self.repeated else signal.SIG_DFL)
        if not self.patient:
            raise KeyboardInterrupt
