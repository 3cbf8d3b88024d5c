"""What can go wrong by the user's hand: one sentence that names the remedy."""

from __future__ import annotations


class LrmError(Exception):
    """Root of every error the project raises on purpose; `status` is a command's exit status."""

    status = 1


class BadInput(LrmError):
    """Something given is wrong; the message says what, where, and what to do."""

    status = 2


class MissingExtra(BadInput):
    """An optional package is not installed; the message holds the command that installs it."""


class CompressionFailed(LrmError):
    """A method could not keep its promise (a factorisation failed, a target was missed)."""


class ServerFailed(LrmError):
    """A server that should generate is there but does not, whatever one asks of it."""


class EngineFailed(LrmError):
    """What runs a model ended or failed before it had answered; nothing given was wrong."""
