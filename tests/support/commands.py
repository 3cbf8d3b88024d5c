"""Commands run in this process, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Main = Callable[[list[str], Path | None], int]


def refused(main: Main, root: Path, capfd: pytest.CaptureFixture[str], *flags: str) -> str:
    """The one sentence in which the command refuses: alone, on stderr, with status 2."""
    capfd.readouterr()
    assert main(list(flags), root) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    return printed.err
