"""Several processes, on several hosts, at work on one study's run: who is on it, who closes it.

Each keeps a tag of its own on the run. If it died, another process of its host removes the tag.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from tracking.backend import Backend, ending
from tracking.processes import HOST, dead_marks, is_alive, marks, this_mark
from tracking.retry import StoreUnavailable


@contextmanager
def at_work(backend: Backend, run_id: str) -> Iterator[None]:
    """This process works on the run, which has its mark already, during the block.

    The run is FINISHED if the block ends. If it raises, the run is FAILED or KILLED, unless another
    process that may be alive is on it, which goes on.
    """
    try:
        yield
    except BaseException as error:
        # Whoever opens the store next closes what could not be closed now.
        with suppress(StoreUnavailable):
            _leave(replace(backend, client=backend.client.once), run_id, error)
        raise
    for mark in this_mark():
        backend.client.delete_tag(run_id, mark)
    backend.client.set_terminated(run_id, "FINISHED")


def _leave(backend: Backend, run_id: str, error: BaseException) -> None:
    for mark in this_mark():
        backend.client.delete_tag(run_id, mark)
    run = backend.client.get_run(run_id)
    alive = set(marks(run.data.tags)) - set(dead_marks(run.data.tags))
    # If another process has FINISHED the study since, that stays.
    if run.info.status == "RUNNING" and not alive:
        backend.fail(run_id, *ending(error))


def sweep(backend: Backend) -> None:
    """Marks as FAILED the runs that killed processes of this host left RUNNING.

    A study's run that others may be at work on only loses the marks of dead processes.
    """
    experiments = sorted(set(backend.experiments.values()))
    for run in backend.client.search_runs(experiments, "attributes.status = 'RUNNING'"):
        tags = run.data.tags
        if marks(tags):
            dead = dead_marks(tags)
            for mark in dead:
                backend.client.delete_tag(run.info.run_id, mark)
            pids = [mark.rpartition("/")[2] for mark in dead]
            abandoned = len(dead) == len(marks(tags))
        else:
            pids = [tags.get("pid", "")]
            abandoned = tags.get("host") == HOST and not is_alive(tags)
        if abandoned:
            reason = f"process {' and '.join(pids)} ended without closing this run"
            backend.fail(run.info.run_id, reason, "FAILED")
