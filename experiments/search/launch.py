"""Several workers of one study on this machine: `--workers 4`, or one per GPU with `--gpus 0,1`.

Each is a process that runs the same search (`experiments.search.worker`). Lines on its stderr are
passed on with its name in front; the table that one of them prints is the result.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from experiments.cli.settings import SearchSettings
from experiments.search import loop
from experiments.search.axis import SearchAxis
from experiments.search.job import prepare
from experiments.search.loop import SearchOutcome
from lrm.errors import BadInput, LrmError
from tracking.address import project_root
from tracking.processes import sigterm_raises

FLAGS = ("--workers", "--gpus")
Environment = Mapping[str, str]


class WorkersFailed(LrmError):
    """No worker reached the end of the study."""


def searched(
    name: str,
    arguments: Sequence[str] | None,
    settings: SearchSettings,
    axis: SearchAxis,
    root: Path | None,
    text: Callable[[SearchOutcome], str],
) -> str:
    """The text that the command `name` prints. The search is run here, or by workers if the
    settings ask for them.

    Before any worker starts, the input is checked and a new database is initialised.
    """
    if not settings.gpus and settings.workers == 1:
        return text(loop.run(settings, axis, root))
    environments = on_gpus(settings.gpus) if settings.gpus else on_cores(settings.workers)
    job = prepare(settings, axis, root)
    with job.search(job.store()):
        pass
    own = without_flags(sys.argv[1:] if arguments is None else arguments)
    return run([str(root or project_root()), name, *own], environments)


def on_cores(count: int) -> dict[str, Environment]:
    """The environments of `count` workers by name: they share the cores unless
    OMP_NUM_THREADS is set."""
    threads = str(max((os.cpu_count() or 1) // count, 1))
    shared = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}
    return {f"worker {number}": shared for number in range(1, count + 1)}


def on_gpus(words: Sequence[str]) -> dict[str, Environment]:
    """The environment of a worker for each word, the GPUs that it sees, for example "0+1".

    Raises BadInput if a GPU is not here.
    """
    import torch

    count = torch.cuda.device_count()
    if not count:
        raise BadInput("--gpus: there is no GPU that PyTorch can use here; give --workers N.")
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = listed.split(",") if listed else [str(number) for number in range(count)]
    for number in (number for word in words for number in word.split("+")):
        if int(number) >= count:
            raise BadInput(f"--gpus: there is no GPU {number}; those here are 0 to {count - 1}.")
    return {
        f"gpu {word}": {
            "CUDA_VISIBLE_DEVICES": ",".join(visible[int(number)] for number in word.split("+"))
        }
        for word in words
    }


def without_flags(arguments: Sequence[str]) -> list[str]:
    """The command line of one worker, which must not start workers itself."""
    kept, skip = [], False
    for word in arguments:
        if not skip and word.partition("=")[0] not in FLAGS:
            kept.append(word)
        skip = not skip and word in FLAGS
    return kept


def run(words: Sequence[str], environments: Mapping[str, Environment]) -> str:
    """Runs a worker in each environment; returns what the first that reached the end printed.

    Ctrl-C and SIGTERM are passed on. Raises WorkersFailed, with the status of the first worker, if
    none reached the end.
    """
    workers: list[_Worker] = []
    with sigterm_raises():
        try:
            for name, environment in environments.items():
                workers.append(_Worker(name, environment, words))
            for worker in workers:
                worker.wait()
        except BaseException as stop:
            interrupted = isinstance(stop, KeyboardInterrupt)
            for worker in workers:
                worker.send(signal.SIGINT if interrupted else signal.SIGTERM)
            for worker in workers:
                worker.wait()
            raise
    failed = [worker for worker in workers if worker.status]
    failures = ", ".join(f"{worker.name} with status {worker.status}" for worker in failed)
    if len(failed) == len(workers):
        error = WorkersFailed(f"No worker reached the end: {failures}. The same command goes on.")
        error.status = max(failed[0].status, 1)
        raise error
    if failed:
        print(f"The others went on without {failures}.", file=sys.stderr)
    return next(worker.printed for worker in workers if not worker.status)


class _Worker:
    """A started worker. It is in a session of its own, so that Ctrl-C reaches it only once."""

    def __init__(self, name: str, environment: Environment, words: Sequence[str]) -> None:
        self.name, self.printed = name, ""
        project = str(Path(__file__).parents[2])
        paths = os.pathsep.join([project, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.search.worker", *words],
            stdin=subprocess.PIPE,  # which ends with this process, and then the worker does
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | dict(environment) | {"PYTHONPATH": paths},
            start_new_session=True,
        )
        readers = [
            threading.Thread(target=self._read, args=[self._process.stdout]),
            threading.Thread(target=self._pass_on, args=[self._process.stderr]),
        ]
        for reader in readers:
            reader.daemon = True
            reader.start()
        self._readers = readers

    @property
    def status(self) -> int:
        """Its exit status; 128 and the signal's number if a signal ended it, as in a shell."""
        status = self._process.returncode
        return 128 - status if status < 0 else status

    def wait(self) -> None:
        self._process.wait()
        for reader in self._readers:
            reader.join()

    def send(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)

    def _read(self, pipe: IO[bytes]) -> None:
        self.printed = pipe.read().decode(errors="replace").rstrip("\n")

    def _pass_on(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            if text := line.decode(errors="replace").rstrip():
                print(f"[{self.name}] {text}", file=sys.stderr, flush=True)
