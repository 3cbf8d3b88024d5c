"""What every command shares: its flags read, its errors in one sentence, its exit status."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import tyro

from lrm.errors import LrmError

S = TypeVar("S")


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
    try:
        settings = tyro.cli(
            kind, prog=f"python -m experiments.{name}", description=about, args=arguments
        )
        calm()
        print(work(settings), flush=True)
    except LrmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:
        # Otherwise Python would complain at its end, when it writes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        print(f"error: {error}. Make room or access; the same command goes on.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"Stopped. {stopped}", file=sys.stderr)
        return 130
    return 0
