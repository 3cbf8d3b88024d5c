"""This side of the processes that hold vLLM: starts them, gives them orders, ends them.

A process of its own gives the GPU's memory back when it ends, which vLLM does not do otherwise, and
its crash becomes an error here. Each process leads a process group of its own, so that Ctrl-C
reaches only this side, and everything vLLM has started can be ended with it.
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

from lrm.engines.vllm.wire import Message

ROOT = Path(__file__).parents[3]
"""The folder that holds the package `lrm`, so that the worker finds it."""

SHUTDOWN_GRACE = 15.0
"""Seconds that a process has to leave by itself: more than the worker grants its own processes."""

LOG_LINES = 3
LOG_CHARACTERS = 600
"""How much of the end of a crashed process's log is shown."""

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the worker is that process already
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",  # it compiles at run time
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_RAISE_ON_LOGIT_NANS": "1",  # of those it would draw token 0 for ever
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONSAFEPATH": "1",  # a folder named vllm where the user stands is not the package
}


class WorkerFailed(Exception):
    """A process could not carry out an order and has ended."""

    def __init__(self, reason: str, *, out_of_memory: bool = False) -> None:
        super().__init__(reason)
        self.out_of_memory = out_of_memory


class Workers:
    """Started processes, each with environment variables of its own.

    `lrm.engines.vllm.worker` says which orders there are.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        self._answers: SimpleQueue[tuple[int, Message | None]] = SimpleQueue()
        self._busy: set[int] = set()
        self._processes: list[_Process] = []
        try:
            for index, environment in enumerate(environments):
                self._processes.append(_Process(environment, partial(self._receive, index)))
        except BaseException:
            self.end()
            raise

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def order(self, name: str, fields: Mapping[int, Message]) -> Iterator[tuple[int, Message]]:
        """Gives an order to the workers that have `fields`; yields (worker, result) as they come.

        Raises WorkerFailed if one cannot carry it out.
        """
        for index, own_fields in fields.items():
            self._busy.add(index)
            self.send(index, {"order": name, **own_fields})
        while self._busy:
            index, answer = self._answers.get()
            if answer is None:
                raise self._processes[index].crash()
            if "failed" in answer:
                raise WorkerFailed(answer["failed"], out_of_memory=answer["memory"])
            if answer.get("end"):
                self._busy.discard(index)
            else:
                yield index, answer

    def send(self, index: int, message: Message) -> None:
        """Sends one worker a message, also while it carries out an order."""
        try:
            self._processes[index].send(message)
        except BrokenPipeError:
            raise self._processes[index].crash() from None

    def cancel(self) -> None:
        """Ends the orders in progress, so that the workers are ready for the next one."""
        with suppress(WorkerFailed):
            for index in self._busy:
                self.send(index, {"order": "abort"})
            while self._busy:
                index, answer = self._answers.get()
                if answer is None or "end" in answer or "failed" in answer:
                    self._busy.discard(index)
        self._busy.clear()

    def end(self) -> None:
        """Ends the processes and whatever they have started."""
        for process in self._processes:
            process.close_input()
        for process in self._processes:
            process.end()

    def _receive(self, index: int, answer: Message | None) -> None:
        self._answers.put((index, answer))


class _Process:
    """One of them. A thread reads its messages and hands them to `receive`, None at their end."""

    def __init__(
        self, environment: Mapping[str, str], receive: Callable[[Message | None], None]
    ) -> None:
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._receive = receive
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

    def close_input(self) -> None:
        """Ends its input, at which it leaves by itself."""
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def end(self) -> None:
        """Waits until it has left, then kills what remains of its process group."""
        assert self._process.stdout
        try:
            self._process.wait(SHUTDOWN_GRACE)
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
        """The error for a process that ended unasked, with the end of its log."""
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
                self._receive(json.loads(line))
        self._receive(None)
