"""This side of the process that holds vLLM: starts it, gives it orders, ends it.

A process of its own gives the GPU's memory back when it ends, which vLLM does not do otherwise, and
its crash is an error here. It leads its own process group, so Ctrl-C reaches this side alone and
everything vLLM has started can be ended with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

PATIENCE = 15.0
"""Seconds to wait for vLLM to leave by itself: more than the worker's own patience."""

LOG_LINES = 3
LOG_CHARACTERS = 600

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the worker is that process already
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",  # it compiles at run time
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONSAFEPATH": "1",  # a folder named vllm where the user stands is not the package
}


class WorkerFailed(Exception):
    """The process could not carry out an order and has ended; `memory`: for want of memory."""

    def __init__(self, text: str, *, memory: bool = False) -> None:
        super().__init__(text)
        self.memory = memory


class WorkerProcess:
    """A started process; see `vllm_worker` for the orders it takes."""

    def __init__(self) -> None:
        root = str(Path(__file__).parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._busy = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `end`)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lrm.engines.vllm_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def order(self, name: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """Gives an order and yields its results as they come; WorkerFailed if it cannot be done."""
        self._send({"order": name, **fields})
        self._busy = True
        while not (answer := self._receive()).get("end"):
            yield answer
        self._busy = False

    def settle(self) -> None:
        """Ends an order whose results are not wanted any more; the process takes the next one."""
        if self._busy:
            with suppress(WorkerFailed):
                self._send({"order": "abort"})
                while not self._receive().get("end"):
                    pass
            self._busy = False

    def end(self) -> None:
        """Ends the process and whatever it has started."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process.stdout.close()
            self._log.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._crash() from None

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._crash()
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            self._busy = False
            raise WorkerFailed(answer["failed"], memory=answer["memory"])
        return answer

    def _crash(self) -> WorkerFailed:
        """What the process left behind when it ended unasked."""
        self._busy = False
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        last = " | ".join([line.strip() for line in lines if line.strip()][-LOG_LINES:])
        said = f"said last: {last[-LOG_CHARACTERS:]}" if last else "said nothing"
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return WorkerFailed(f"its process ended {how} and {said}")
