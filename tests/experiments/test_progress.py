"""The progress of a search: on a terminal, and where there is none."""

from __future__ import annotations

import io
import sys

import pytest

from experiments.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is shown while one long reply is decoded, and when it has come."""
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress(2)
    progress._pause = 0.0
    progress.stage("dense", 2)
    for tokens in (1, 700, 1400):
        progress.writing(tokens)
    progress.reply(1500)
    progress.close()
    assert progress.decoded == 1500
    return stream.getvalue()


def test_a_terminal_shows_the_tokens_of_a_reply_while_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = shown(Terminal(), monkeypatch)
    assert "700 tokens being decoded, " in said
    assert "1,400 tokens being decoded, " in said
    assert "being decoded" not in said[said.rindex("1/2 replies") :]


def test_a_log_has_no_line_more_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(io.StringIO(), monkeypatch)
    assert "being decoded" not in said
    assert "1/2 replies" in said
