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
    """Sets, before torch is imported, what keeps libraries quiet and a shared machine fair.

    By default OpenMP's threads spin while they wait for one another; as soon as other work takes a
    core, decoding falls to a twentieth of its speed. A short spin costs little.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage is collected inside, and what is made there is never looked at again.

    Importing MLflow makes objects by the hundred thousand that all stay; looking through them again
    and again took a fifth of its time (4.0 s of a processor against 3.3 s, with its store's). What
    nothing refers to any more is freed as ever, unless it refers to itself.
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

    Returns the exit status: 0, 2 for bad input, 1 for a failure, 130 for Ctrl-C, of which `stopped`
    says what it leaves behind, 141 where the reader of its output has gone.
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
        # Python would complain when it writes the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        print(f"error: {error}. Make room or access; the same command goes on.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"Stopped. {stopped}", file=sys.stderr)
        return 130
    return 0
