"""Several processes at work on one study's run, on several hosts: who is on it, and who was last.

Each keeps a tag of its own on the run, which a process of the same host takes away if it died.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from tracking.backend import Backend, ending
from tracking.processes import HOST, dead_marks, is_alive, marks, this_mark
from tracking.retry import Unanswered, hurried


@contextmanager
def at_work(backend: Backend, run_id: str) -> Iterator[None]:
    """This process is on the run, whose mark it bears already, while the block goes on.

    FINISHED if the block ends. If it raises, FAILED or KILLED where no one else is on the run that
    may be alive; others go on with it.
    """
    try:
        yield
    except BaseException as error:
        # Whoever opens the store next closes what could not be closed now.
        with suppress(Unanswered):
            _leave(replace(backend, client=hurried(backend.client)), run_id, error)
        raise
    for mark in this_mark():
        backend.untag(run_id, mark)
    backend.client.set_terminated(run_id, "FINISHED")


def _leave(backend: Backend, run_id: str, error: BaseException) -> None:
    for mark in this_mark():
        backend.untag(run_id, mark)
    run = backend.client.get_run(run_id)
    alive = set(marks(run.data.tags)) - set(dead_marks(run.data.tags))
    # Who ended the study normally has had the last word.
    if run.info.status == "RUNNING" and not alive:
        backend.fail(run_id, *ending(error))


def sweep(backend: Backend) -> None:
    """Marks as FAILED what processes of this host left RUNNING when they were killed.

    A study's run that others may be at work on stays as it is, but for the marks of the dead.
    """
    places = sorted(set(backend.experiments.values()))
    for run in backend.client.search_runs(places, "attributes.status = 'RUNNING'"):
        tags = run.data.tags
        if marks(tags):
            dead = dead_marks(tags)
            for mark in dead:
                backend.untag(run.info.run_id, mark)
            pids = [mark.rpartition("/")[2] for mark in dead]
            left = len(dead) == len(marks(tags))
        else:
            pids = [tags.get("pid", "")]
            left = tags.get("host") == HOST and not is_alive(tags)
        if left:
            reason = f"process {' and '.join(pids)} ended without closing this run"
            backend.fail(run.info.run_id, reason, "FAILED")
