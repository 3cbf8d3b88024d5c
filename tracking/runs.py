"""The kinds of run: a study (one search), a level (one sparsity), a trial (one point), an import, a
report on several runs, a comparison of several studies.

All are flat: MLflow folds nested runs away and draws only what is unfolded, so a level and a
trial name their study in tags. An import (replies made elsewhere) has the form of a level.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from lrm.errors import BadInput
from tracking import notes, views
from tracking.backend import Backend, Curves
from tracking.names import param_text
from tracking.notes import NOTE
from tracking.processes import this_mark, this_process
from tracking.provenance import redact
from tracking.stored_run import SAMPLES, StoredRun
from tracking.views import Pages
from tracking.workers import at_work

SHOWN_FIRST = ("question", "score", "text", "answer", "gold")
"""Columns of the table of samples that a screen has room for."""
SHOWN_CHARACTERS = 8_000
"""The longest text in the table of samples; generations/ holds all of it."""
SampleRow = Mapping[str, object]


@dataclass(frozen=True)
class LevelRun:
    """The run of one sparsity level or of an import, while it is written.

    Generations and samples are stored at once. Metrics are written when the run closes, so that a
    run with metrics has its generations.
    """

    id: str
    _backend: Backend
    _curves: dict[str, dict[int, float]] = field(default_factory=dict)
    _generations: list[str] = field(default_factory=list)

    def attach_generations(self, benchmark: str, file: Path) -> None:
        """Stores a gzipped file of lines (`lrm.scoring.stored_reply`), one for each reply to a
        benchmark, as generations/<benchmark>.jsonl.gz, which must be its name."""
        self._backend.attach_file(self.id, file, "generations")
        self._generations.append(benchmark)

    def log_samples(self, rows: Sequence[SampleRow]) -> None:
        """Stores the table samples.json, which the UI shows. Call it once.

        Rows share their columns. The middle of long texts is left out.
        """
        if rows:
            names = sorted(rows[0], key=_position)
            columns = {name: [_shortened(row[name]) for row in rows] for name in names}
            self._backend.table(self.id, columns, SAMPLES)

    def artifact(self, path: str, data: bytes) -> None:
        """Stores `data` at `path` in the run, for example "report.html"."""
        self._backend.attach(self.id, path, data)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Keeps single values, by name, for the end of the run."""
        self.log_curve({name: {0: value} for name, value in metrics.items()})

    def log_curve(self, curves: Curves) -> None:
        """Keeps metrics over a step, for example a budget, for the end of the run."""
        for name, values in curves.items():
            self._curves.setdefault(name, {}).update(values)

    def _finish(self) -> None:
        if not (self._generations and self._curves):
            raise RuntimeError(
                f"level run {self.id} ended without its generations or without metrics"
            )
        self._backend.write(self.id, self._curves)


@dataclass(frozen=True)
class StudyRun:
    """The run of one search, while it is written; levels and trials are made from it."""

    id: str
    name: str
    _backend: Backend

    def find(self, kind: Literal["level", "trial"], identity: str) -> str | None:
        """The id of this study's finished run with the caller's digest `identity`, or None."""
        return self._backend.find_finished(kind, self.name, identity)

    def is_whole(self, level_run_id: str) -> bool:
        """Whether a finished level still has its generations and its samples."""
        return self._backend.run(level_run_id).is_whole

    def finished_level(self, level_run_id: str) -> LevelRun:
        """A finished level, to write artifacts into that it has lost; it stays finished."""
        return LevelRun(level_run_id, self._backend)

    @contextmanager
    def level(
        self,
        identity: str,
        name: str,
        params: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[LevelRun]:
        """Opens the run of one sparsity level, which must not be finished: ask `find` first.

        Leaving it without generations or without metrics raises RuntimeError, and it is FAILED.
        """
        if done := self.find("level", identity):
            raise ValueError(f"level {identity} is already finished as run {done}")
        all_tags = {**self._links(identity), **(tags or {})}
        note = partial(notes.of_level, Pages(self._backend.experiments), self.id)
        with _open_level(self._backend, "level", name, params, all_tags, note) as run:
            yield run

    def trial(
        self,
        identity: str,
        name: str,
        params: Mapping[str, object],
        metrics: Mapping[str, float],
        *,
        number: int,
        level_run_id: str,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Writes one finished trial and gives its run id; an identity once finished is kept.

        `number` is the trial's in its Optuna study; `level_run_id` the run with its generations.
        """
        if done := self.find("trial", identity):
            return done
        links = {
            "level_run_id": level_run_id,
            "optuna.trial_number": str(number),
            NOTE: notes.of_trial(Pages(self._backend.experiments), self.id, level_run_id),
        }
        run_id = self._backend.create(
            "trial", name, {**self._links(identity), **links, **(tags or {})}
        )
        with self._backend.closing(run_id):
            values = {name: {0: value} for name, value in metrics.items()}
            self._backend.write(run_id, values, params)
        return run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Writes values now, in one call."""
        self.log_curve({name: {step: value} for name, value in metrics.items()})

    def log_curve(self, curves: Curves) -> None:
        """Writes metrics over a step now, in one call, for example `pareto/accuracy` by rank."""
        self._backend.write(self.id, curves)

    def artifact(self, path: str, data: bytes) -> None:
        """Stores `data` at `path` in the run, for example "frontier/front.json", or replaces it."""
        self._backend.attach(self.id, path, data)

    def _links(self, identity: str) -> dict[str, str]:
        return {"study": self.name, "parent_run_id": self.id, "identity": identity}


@contextmanager
def open_report(
    backend: Backend,
    kind: Literal["report", "comparison"],
    name: str,
    identity: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    about: Sequence[StoredRun],
) -> Iterator[str]:
    """The id of a run on several others, one for the same identity."""
    links = {"study": name, "identity": identity}
    finished = backend.find_finished(kind, name, identity)
    run_id = finished or backend.create(kind, name, {**tags, **links})
    note = notes.of_report(Pages(backend.experiments), kind, run_id, about)
    with backend.closing(run_id):
        backend.write(run_id, {}, params, {NOTE: note})
        yield run_id


@contextmanager
def open_import(
    backend: Backend,
    name: str,
    identity: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
) -> Iterator[LevelRun]:
    """Opens the run of replies that were made elsewhere, under the name of what they are."""
    all_tags = {"study": name, "identity": identity, **tags}
    note = partial(notes.of_import, Pages(backend.experiments))
    with _open_level(backend, "import", name, params, all_tags, note) as run:
        yield run


@contextmanager
def _open_level(
    backend: Backend,
    kind: Literal["level", "import"],
    name: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    note: Callable[[str], str],
) -> Iterator[LevelRun]:
    run = LevelRun(backend.create(kind, name, tags), backend)
    with backend.closing(run.id):
        backend.write(run.id, {}, params, {NOTE: note(run.id)})
        yield run
        run._finish()


def _position(column: str) -> int:
    return SHOWN_FIRST.index(column) if column in SHOWN_FIRST else len(SHOWN_FIRST)


def _shortened(value: object) -> object:
    if not isinstance(value, str) or len(value) <= SHOWN_CHARACTERS:
        return value
    half = SHOWN_CHARACTERS // 2
    return f"{value[:half]}\n[... {len(value) - 2 * half} characters ...]\n{value[-half:]}"


@contextmanager
def open_study(
    backend: Backend,
    name: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    config: Mapping[str, object],
) -> Iterator[StudyRun]:
    """Starts the run of study `name`, or continues it, beside other processes that do.

    A study keeps its params. Raises BadInput for a different value, naming it.
    """
    with ExitStack() as stack:
        with backend.lock():
            known = backend.find("study", name)
            if known:
                _join(backend, known, name, params)
            run_id = known or backend.create("study", name, {"study": name, **this_mark()})
            stack.enter_context(at_work(backend, run_id))
            note = _purpose(backend, run_id, tags) if "note" in tags or not known else {}
            backend.write(run_id, {}, params, {**this_process(), **tags, **note})
            views.offer_charts(backend.client, Pages(backend.experiments), run_id, name)
            text = json.dumps(config, indent=2, sort_keys=True, default=str)
            backend.attach(run_id, "config.json", redact(text).encode())
        yield StudyRun(run_id, name, backend)


def _purpose(backend: Backend, run_id: str, tags: Mapping[str, str]) -> dict[str, str]:
    return {NOTE: notes.of_study(Pages(backend.experiments), run_id, tags.get("note", ""))}


def _join(backend: Backend, run_id: str, name: str, params: Mapping[str, object]) -> None:
    stored = backend.client.get_run(run_id).data.params
    for key, value in params.items():
        if stored.get(key, param_text(value)) != param_text(value):
            raise BadInput(
                f"Study {name!r} was started with {key} = {stored[key]}, not {value}: give the "
                "same value to continue it, or another name with --study."
            )
    backend.log(run_id, [], {}, this_mark())
    backend.client.reopen_run(run_id)
    backend.client.delete_tag(run_id, "reason")
