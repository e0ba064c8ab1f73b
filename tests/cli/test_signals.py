"""Signals that end a command: told in one line, noted while work is not whole, never swallowed."""

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from purenet.cli.entry import main
from purenet.cli.signals import Signals

BOTH = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_is_an_exception_and_has_the_conventional_status(number: signal.Signals) -> None:
    """130 for Ctrl-C, 143 for SIGTERM; afterwards the process listens as before."""
    before = [signal.getsignal(each) for each in BOTH]
    with Signals() as signals:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
        assert signals.outcome() == (word, 128 + number)
    assert [signal.getsignal(each) for each in BOTH] == before


@pytest.mark.parametrize("number", BOTH)
def test_while_patient_the_first_is_noted_and_the_second_left_to_the_system(
    number: signal.Signals,
) -> None:
    """The system ends the process, whatever Python is doing."""
    with Signals() as signals:
        signals.check()
        signals.patient = True
        signal.raise_signal(number)
        assert [signal.getsignal(each) for each in BOTH] == [signal.SIG_DFL] * 2
        with pytest.raises(KeyboardInterrupt):
            signals.check()


def test_an_exception_of_the_program_itself_counts_as_ctrl_c() -> None:
    """KeyboardInterrupt without a signal."""
    assert Signals().outcome() == ("interrupted", 130)


def test_what_is_ignored_stays_ignored() -> None:
    """As in what a shell started with &."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals() as signals:
            signal.raise_signal(signal.SIGINT)
            signals.check()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_leaves_signals_to_the_main_thread(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line can be run there too."""
    monkeypatch.setattr(sys, "argv", ["purenet", "nonsense"])
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(main()))
    thread.start()
    thread.join()
    assert statuses == [2]
    assert "invalid choice: 'nonsense'" in capsys.readouterr().err


def interrupted() -> None:
    """Be interrupted."""
    signal.raise_signal(signal.SIGTERM)


def losing() -> None:
    """Be interrupted in a callback of a library that goes on all the same."""
    with suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


class Module:
    """The package while its command line is being loaded."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self.load = load

    def __getattr__(self, name: str) -> Any:
        """Load, once."""
        if name == "cli":
            load, self.load = self.load, lambda: None
            load()
        return cli


@pytest.mark.parametrize("load", [interrupted, losing])
def test_ctrl_c_while_the_command_line_loads_is_one_line(
    load: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, whether the exception comes through or is lost."""
    monkeypatch.setitem(sys.modules, "purenet", Module(load))
    assert main() == 143
    assert capsys.readouterr() == ("", "purenet: terminated\n")
