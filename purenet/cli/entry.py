"""The way into the command line, for ``purenet`` and ``python -m purenet``."""

import sys

from purenet.cli.signals import Signals

__all__ = ["main"]


def main() -> int:
    """Load the command line and run it, so that Ctrl-C is told in one line while it loads too.

    Returns
    -------
    int
        Exit status.
    """
    with Signals() as signals:
        try:
            from purenet.cli import commands  # noqa: PLC0415  # takes a while

            signals.check()  # a callback from C may have lost the exception
            return commands.main()
        except KeyboardInterrupt:
            message, status = signals.outcome()
            print("purenet:", message, file=sys.stderr)
            return status
