"""Claims about signals: each one ends the command where its work is whole, with one line."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from purenet.cli import commands
from purenet.cli.entry import main
from purenet.cli.signals import Signals

BOTH = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_raises_keyboard_interrupt(number: signal.Signals) -> None:
    """Its status is 130 for Ctrl-C and 143 for SIGTERM; the previous handlers come back."""
    before = [signal.getsignal(each) for each in BOTH]
    with Signals() as signals:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
        assert signals.outcome() == (word, 128 + number)
    assert [signal.getsignal(each) for each in BOTH] == before


@pytest.mark.parametrize("number", BOTH)
def test_while_patient_only_a_second_signal_ends_the_process(
    number: signal.Signals,
) -> None:
    """The first signal is recorded for `check`; the system handles the second one."""
    with Signals() as signals:
        signals.check()
        signals.patient = True
        signal.raise_signal(number)
        assert [signal.getsignal(each) for each in BOTH] == [signal.SIG_DFL] * 2
        with pytest.raises(KeyboardInterrupt):
            signals.check()


def test_keyboard_interrupt_without_a_signal_counts_as_ctrl_c() -> None:
    """A KeyboardInterrupt that the program raises itself has the status of Ctrl-C."""
    assert Signals().outcome() == ("interrupted", 130)


def test_an_ignored_signal_stays_ignored() -> None:
    """A process that ignores Ctrl-C, as one that a shell starts with `&`, goes on ignoring it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals() as signals:
            signal.raise_signal(signal.SIGINT)
            signals.check()
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_command_line_runs_in_another_thread(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another thread than the main one, which cannot handle signals, can run a command."""
    monkeypatch.setattr(sys, "argv", ["purenet", "nonsense"])
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(main()))
    thread.start()
    thread.join()
    assert statuses == [2]
    assert "invalid choice: 'nonsense'" in capsys.readouterr().err


def interrupted() -> None:
    """Receive a signal."""
    signal.raise_signal(signal.SIGTERM)


def swallowing() -> None:
    """Receive a signal in a callback that swallows the exception."""
    with suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


class Package:
    """A stand-in for the package `purenet.cli` that runs a function when `commands` is imported."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self.load = load

    def __getattr__(self, name: str) -> Any:
        """Run the function at the first access."""
        if name == "commands":
            load, self.load = self.load, lambda: None
            load()
        return commands


@pytest.mark.parametrize("load", [interrupted, swallowing])
def test_a_signal_while_the_command_line_loads_gives_one_line(
    load: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no traceback, also if a callback swallows the exception."""
    monkeypatch.setitem(sys.modules, "purenet.cli", Package(load))
    assert main() == 143
    assert capsys.readouterr() == ("", "purenet: terminated\n")


# Ctrl-C comes when a module is looked for: Python asks this finder first.
AT_IMPORT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            signal.raise_signal(signal.SIGINT)

wanted = sys.argv.pop()
sys.meta_path.insert(0, Finder())
from purenet.cli.entry import main
sys.exit(main())
"""


@pytest.mark.parametrize("module", ["numpy", "numpy.linalg", "purenet.config", "tqdm"])
def test_ctrl_c_while_numpy_is_imported_gives_one_line(module: str) -> None:
    """The command handles Ctrl-C before it imports NumPy, and so before anything that is slow."""
    command = [sys.executable, "-c", AT_IMPORT, "train", "--epochs", "0", module]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "purenet: interrupted\n")
