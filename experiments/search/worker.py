"""One worker of a study, started by `experiments.search.launch`: ROOT, the search's name, its
flags.

It ends when its stdin does, which is when the process that started it ended, however that came.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

PATIENCE = 15.0
"""Seconds to close what is open once stdin has ended."""


def main() -> int:
    """Runs the search; returns its exit status."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    root, name, *arguments = sys.argv[1:]
    status: int = import_module(f"experiments.{name}").main(arguments, Path(root))
    return status


def _end_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
