"""One worker of a study, started by `experiments.search.launch`.

Its arguments are the root folder, the search's name and the search's flags. It ends when its stdin
does, which is when the process that started it has ended in any way.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

SHUTDOWN_GRACE = 15.0
"""Seconds to close open runs after stdin has ended."""


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
    time.sleep(SHUTDOWN_GRACE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
