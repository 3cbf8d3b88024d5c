"""The errors that the project raises on purpose: one sentence each, which names the remedy.

    LrmError                 exit status 1
    ├── BadInput             something given is wrong: a flag, a file, a model; exit status 2
    │   ├── MissingExtra     an optional package is not installed
    │   └── DamagedModel     a model's files are broken, or not what they were when they were made
    ├── CompressionFailed    a method could not keep its promise
    ├── EngineFailed         what runs a model ended before it had answered
    └── ServerFailed         a server that should generate does not

A command prints the sentence and ends with the status. A few more stand beside what raises them.
Any other exception is a defect of the project; only an `OSError` may be the machine's.
"""

from __future__ import annotations

from pathlib import Path


class LrmError(Exception):
    """Root of every error the project raises on purpose; `status` is a command's exit status."""

    status = 1


class BadInput(LrmError):
    """Something given is wrong; the message says what, where, and what to do."""

    status = 2


class MissingExtra(BadInput):
    """An optional package is not installed; the message holds the command that installs it."""


class DamagedModel(BadInput):
    """A model's files are broken or incomplete, or not what they were when they were made."""


class CompressionFailed(LrmError):
    """A method could not keep its promise (a factorisation failed, a target was missed)."""


class ServerFailed(LrmError):
    """A server that should generate is there but does not, whatever one asks of it."""


class EngineFailed(LrmError):
    """What runs a model ended or failed before it had answered; nothing given was wrong."""


def unreadable(path: Path, error: Exception) -> BadInput:
    """What to raise for a file that cannot be read, or whose content is broken."""
    missing = isinstance(error, FileNotFoundError)
    kind = BadInput if isinstance(error, OSError) and not missing else DamagedModel
    return kind(f"{path} cannot be read ({error}); fetch or make it again.")
