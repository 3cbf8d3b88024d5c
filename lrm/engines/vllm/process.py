"""This side of the processes that hold vLLM: starts them, gives them orders, ends them.

A process of its own gives the GPU's memory back when it ends, which vLLM does not do otherwise, and
its crash is an error here. Each leads a process group of its own, so Ctrl-C reaches this side alone
and everything vLLM has started can be ended with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

Message = dict[str, Any]

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


class Workers:
    """Started processes, each with variables of its own; see `vllm_worker` for the orders."""

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        self._heard: SimpleQueue[tuple[int, Message | None]] = SimpleQueue()
        self._busy: set[int] = set()
        self._all: list[_Process] = []
        try:
            for index, environment in enumerate(environments):
                self._all.append(_Process(environment, partial(self._hear, index)))
        except BaseException:
            self.end()
            raise

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._all]

    def order(
        self, name: str, fields: Mapping[int, Mapping[str, Any]]
    ) -> Iterator[tuple[int, Message]]:
        """Gives an order to the workers that have `fields`; yields (worker, result) as they come.

        WorkerFailed if one cannot carry it out.
        """
        for index, told in fields.items():
            self._busy.add(index)
            self.tell(index, order=name, **told)
        while self._busy:
            index, answer = self._heard.get()
            if answer is None:
                raise self._all[index].crash()
            if "failed" in answer:
                raise WorkerFailed(answer["failed"], memory=answer["memory"])
            if answer.get("end"):
                self._busy.discard(index)
            else:
                yield index, answer

    def tell(self, index: int, **message: Any) -> None:
        """Sends one worker a message, also while it carries out an order."""
        try:
            self._all[index].send(message)
        except BrokenPipeError:
            raise self._all[index].crash() from None

    def settle(self) -> None:
        """Ends orders whose results are not wanted any more; the workers take the next one."""
        with suppress(WorkerFailed):
            for index in self._busy:
                self.tell(index, order="abort")
            while self._busy:
                index, answer = self._heard.get()
                if answer is None or "end" in answer or "failed" in answer:
                    self._busy.discard(index)
        self._busy.clear()

    def end(self) -> None:
        """Ends the processes and whatever they have started."""
        for process in self._all:
            process.close()
        for process in self._all:
            process.end()

    def _hear(self, index: int, answer: Message | None) -> None:
        self._heard.put((index, answer))


class _Process:
    """One of them. A thread reads what it says and hands it to `hear`, at its end None."""

    def __init__(
        self, environment: Mapping[str, str], hear: Callable[[Message | None], None]
    ) -> None:
        root = str(Path(__file__).parents[3])
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._hear = hear
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `end`)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lrm.engines.vllm.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | ENVIRONMENT | dict(environment) | {"PYTHONPATH": paths},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: Message) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """The end of its input, at which it leaves by itself."""
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def end(self) -> None:
        assert self._process.stdout
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._reader.join()
            self._process.stdout.close()
            self._log.close()

    def crash(self) -> WorkerFailed:
        """What the process left behind when it ended unasked."""
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        last = " | ".join([line.strip() for line in lines if line.strip()][-LOG_LINES:])
        said = f"said last: {last[-LOG_CHARACTERS:]}" if last else "said nothing"
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return WorkerFailed(f"its process ended {how} and {said}")

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.endswith(b"\n"):
                self._hear(json.loads(line))
        self._hear(None)
