"""What every command shares: its flags read, its errors in one sentence, its exit status."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import partial
from io import StringIO
from traceback import format_exception
from typing import TypeVar

import tyro

from lrm.errors import BadInput, LrmError
from tracking.provenance import redact, redact_words

S = TypeVar("S")

DEBUG = "--debug"
"""Every command takes it, so it stands in no settings."""


def calm() -> None:
    """Makes libraries quiet and torch's threads yield; to be called before torch is imported.

    By default OpenMP's threads spin while they wait for one another. As soon as other work takes a
    core, decoding then falls to a twentieth of its speed. A short spin costs little.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


@contextmanager
def uncollected() -> Iterator[None]:
    """Collects no garbage inside, and exempts the objects made inside from later collections.

    Importing MLflow makes hundreds of thousands of objects that all stay. Looking through them
    again and again took a fifth of the import's time (4.0 s of processor time against 3.3 s, with
    opening the store). Objects are still freed when nothing refers to them, unless they refer to
    themselves.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def command(
    kind: type[S],
    name: str,
    about: str | None,
    arguments: Sequence[str] | None,
    work: Callable[[S], str],
    stopped: str,
) -> int:
    """Reads `kind` from the command line, does the work and prints what it returns.

    `about` is the help's description. `stopped` says what Ctrl-C leaves behind.

    Returns the exit status: 0, 2 for bad input, 1 for a failure, 130 after Ctrl-C, 141 if the
    reader of its output has gone.
    """
    _open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in words
    try:
        if sys.flags.optimize > 1:
            raise BadInput(
                "Python was started with -OO (PYTHONOPTIMIZE=2), which removes the docstrings that "
                "libraries and --help need: start it with -O at most."
            )
        settings = _parsed(kind, name, about, [word for word in words if word != DEBUG])
        calm()
        print(work(settings), flush=True)
    except LrmError as error:
        _print_traceback(error, debug)
        print(f"error: {redact(str(error))}", file=sys.stderr)
        return error.status
    except BrokenPipeError:
        # Otherwise Python would complain at its end, when it writes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        _print_traceback(error, debug)
        reason = redact(str(error))
        print(f"error: {reason}. Make room or access; the same command goes on.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"Stopped. {stopped}", file=sys.stderr)
        return 130
    return 0


def _print_traceback(error: Exception, debug: bool) -> None:
    if debug:
        print(redact("".join(format_exception(error))), file=sys.stderr)


def _open_streams() -> None:
    """Opens standard streams that are closed, onto nothing.

    Python has None in place of such a stream, which libraries write to. And the next file that is
    opened gets its number, so that what libraries in C print would go into that file.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            stream = os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8")
            with suppress(OSError):
                os.fstat(number)
                number = stream.fileno()  # another file has it already, and keeps it
            os.dup2(stream.fileno(), number)
            setattr(sys, name, stream)


def _parsed(kind: type[S], name: str, about: str | None, words: Sequence[str]) -> S:
    """The settings. Where they cannot be read, tyro says why and ends the process with status 2.

    It quotes the words, so it is given them without their credentials to say it.
    """
    described = f"{about or ''}\n\nWith {DEBUG}, an error is printed with its traceback."
    parse = partial(tyro.cli, kind, prog=f"python -m experiments.{name}", description=described)
    try:
        with _unheard():
            settings: S = parse(args=words)
    except SystemExit:
        parse(args=_without_credentials(parse, words))
        raise BadInput("A flag has a credential as its value, and cannot be read.") from None
    return settings


def _without_credentials(parse: Callable[..., object], words: Sequence[str]) -> list[str]:
    """The words without credentials, and unknown flags without their values."""
    unknown: list[str] = []
    with suppress(SystemExit, LrmError), _unheard():
        answer = parse(args=words, return_unknown_args=True)
        unknown = answer[1] if isinstance(answer, tuple) else []
    flags = {word.partition("=")[0] for word in unknown if word.startswith("-")}
    shown = []
    for before, word in zip(["", *words], redact_words(words), strict=False):
        flag, equals, _ = word.partition("=")
        if before in flags and not word.startswith("-"):
            shown.append("***")
        else:
            shown.append(f"{flag}=***" if equals and flag in flags else word)
    return shown


@contextmanager
def _unheard() -> Iterator[None]:
    """Nothing that is printed inside is shown."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        yield
