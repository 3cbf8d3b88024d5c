"""Signals that wait until a library has returned."""

from __future__ import annotations

import signal
import threading

import pytest

from lrm.signals import signals_wait


def test_ctrl_c_takes_effect_at_the_end() -> None:
    reached = []

    def interrupted_twice() -> None:
        with signals_wait():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            reached.append("the end")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    assert reached == ["the end"]
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_signal_nothing_happens() -> None:
    with signals_wait():
        pass
    with pytest.raises(KeyError), signals_wait():
        raise KeyError


def test_other_threads_hear_no_signals() -> None:
    reached = []

    def wait() -> None:
        with signals_wait():
            reached.append("the end")

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert reached == ["the end"]
