"""The entry point of ``purenet`` and of ``python -m purenet``."""

import sys

from purenet.cli.signals import Signals

__all__ = ["main"]


def main() -> int:
    """Load the command line and run it. Ctrl-C while it loads gives one line, not a traceback.

    Returns
    -------
    int
        Exit status.
    """
    with Signals() as signals:
        try:
            signals.patient = True  # an import may swallow an exception, or turn it into another
            from purenet.cli import commands  # noqa: PLC0415  # slow to import

            signals.patient = False
            signals.check()
            return commands.main()
        except KeyboardInterrupt:
            message, status = signals.outcome()
            print("purenet:", message, file=sys.stderr)
            return status
