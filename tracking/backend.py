"""A thin layer over MLflow's client that keeps the project's promises about runs.

FINISHED means that a run's artifacts and all its metrics are there; anything else is FAILED or
KILLED with a `reason`. MLflow's limits on names and batches: mlflow/utils/validation.py.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from math import ceil, isfinite
from pathlib import Path, PurePosixPath
from typing import Literal

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from lrm.errors import BadInput
from lrm.registry import unknown
from tracking.client import MISSING, RetryingClient
from tracking.names import LONGEST_NAME, param_text
from tracking.processes import this_process
from tracking.provenance import redact
from tracking.retry import StoreUnavailable
from tracking.stored_run import StoredRun

Kind = Literal["study", "level", "trial", "import", "report", "comparison"]
Curves = Mapping[str, Mapping[int, float]]
Unfinished = Literal["FAILED", "KILLED"]

METRICS_A_BATCH = 800  # 1,000 entities a call, of which 100 params and 100 tags
OTHERS_A_BATCH = 100
REASON_CHARACTERS = 1_000
NOT_FINITE, TAG_CHARACTERS = "not_finite", 5_000


@dataclass(frozen=True)
class Backend:
    """MLflow's client, the experiment of each kind of run, and the tags that every run carries.

    `lock` opens a block that one process at a time runs, of all that use the store.
    """

    client: RetryingClient
    experiments: Mapping[Kind, str]
    tags: Mapping[str, str]
    lock: Callable[[], AbstractContextManager[None]]

    def create(self, kind: Kind, name: str, tags: Mapping[str, str]) -> str:
        """Starts a run of this process and gives its id."""
        all_tags = {**self.tags, **this_process(), **tags, "kind": kind}
        redacted = {key: redact(value) for key, value in all_tags.items()}
        return self.client.create_run(self.experiments[kind], name[:LONGEST_NAME], redacted)

    def write(
        self,
        run_id: str,
        curves: Curves,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Writes everything given in one call, or as few as MLflow's limits allow.

        A metric that is infinite or no number goes into the tag `not_finite`: MLflow would store
        the largest number there is, or 0, in its place.
        """
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, float(value), now, step)
            for name, values in curves.items()
            for step, value in values.items()
        ]
        lost = sorted({metric.key for metric in metrics if not isfinite(metric.value)})
        noted = {NOT_FINITE: ", ".join(lost)[:TAG_CHARACTERS]} if lost else {}
        finite = [metric for metric in metrics if isfinite(metric.value)]
        self.log(run_id, finite, params or {}, {**(tags or {}), **noted})

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric],
        params: Mapping[str, object],
        tags: Mapping[str, str],
    ) -> None:
        """Writes metrics that have their time already; one that is stored already stays single."""
        pairs = [Param(name, param_text(value)) for name, value in params.items()]
        run_tags = [RunTag(name, redact(value)) for name, value in tags.items()]
        others = max(len(pairs), len(run_tags))
        for batch in range(
            max(ceil(len(metrics) / METRICS_A_BATCH), ceil(others / OTHERS_A_BATCH))
        ):
            some = slice(batch * METRICS_A_BATCH, (batch + 1) * METRICS_A_BATCH)
            few = slice(batch * OTHERS_A_BATCH, (batch + 1) * OTHERS_A_BATCH)
            self.client.log_batch(run_id, metrics[some], pairs[few], run_tags[few])

    def attach(self, run_id: str, path: str, data: bytes) -> None:
        """Stores `data` as the run's artifact `path`, for example "frontier/front.json"."""
        artifact = PurePosixPath(path)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, artifact.name)
            file.write_bytes(data)
            self.attach_file(run_id, file, str(artifact.parent))

    def attach_file(self, run_id: str, file: Path, folder: str) -> None:
        """Stores a file under its own name in the run's artifact folder `folder`."""
        self.client.log_artifact(run_id, file, None if folder == "." else folder)

    def table(self, run_id: str, columns: Mapping[str, Sequence[object]], path: str) -> None:
        """Stores columns of equal length as the table `path`, a JSON file that the UI shows.

        MLflow's own log_table reads a table that is there and adds to it, so it cannot be repeated.
        """
        rows = list(zip(*columns.values(), strict=True))
        text = json.dumps({"columns": list(columns), "data": rows}, ensure_ascii=False)
        self.attach(run_id, path, text.encode())
        logged = json.dumps([{"path": path, "type": "table"}])
        self.client.set_tag(run_id, "mlflow.loggedArtifacts", logged)

    def find(self, kind: Kind, study: str, condition: str = "") -> str | None:
        """The newest run of this kind and study under a further search condition, or None."""
        condition = f"tags.kind = '{kind}' and tags.study = '{study}'{condition}"
        run = self.client.newest_run(self.experiments[kind], condition)
        return str(run.info.run_id) if run else None

    def run(self, run_id: str) -> StoredRun:
        """A stored run. Raises BadInput if there is none with that id."""
        if run := self.find_run(run_id):
            return run
        raise BadInput(
            f"There is no run {run_id!r} in this store: take an id that the UI shows, or give "
            "the store that has it with --tracking-uri."
        )

    def find_run(self, run_id: str) -> StoredRun | None:
        """A stored run, None if there is none with that id."""
        try:
            return StoredRun(self.client.get_run(run_id), self.client)
        except MlflowException as error:
            if error.error_code not in (MISSING, "INVALID_PARAMETER_VALUE"):
                raise
            return None

    def study(self, name: str) -> tuple[StoredRun, list[StoredRun]]:
        """As `find_study`. Raises BadInput for an unknown one, with the nearest name."""
        if study := self.find_study(name):
            return study
        raise BadInput(unknown("study", name, {run.tags["study"] for run in self.runs("study")}))

    def find_study(self, name: str) -> tuple[StoredRun, list[StoredRun]] | None:
        """The run of a study and those of its levels, the newest first, in one search; None if
        there is no study of that name."""
        # A name with a quote cannot be searched for, and is none.
        runs = [] if "'" in name else self.search(f"tags.study = '{name}'", ["study", "level"])
        home = next((run for run in runs if run.kind == "study"), None)
        return (home, [run for run in runs if run.kind == "level"]) if home else None

    def runs(self, kind: Kind, study: str | None = None) -> list[StoredRun]:
        """All runs of a kind, of one study if named, the newest first."""
        condition = f"tags.kind = '{kind}'" + (f" and tags.study = '{study}'" if study else "")
        return self.search(condition, [kind])

    def search(self, condition: str, kinds: Sequence[Kind]) -> list[StoredRun]:
        """All runs of these kinds' experiments under a search condition, the newest first."""
        experiments = list(dict.fromkeys(self.experiments[kind] for kind in kinds))
        runs = self.client.search_runs(experiments, condition)
        return [StoredRun(run, self.client) for run in runs]

    def find_finished(self, kind: Kind, study: str, identity: str) -> str | None:
        """The finished run with this identity, or None."""
        condition = f" and tags.identity = '{identity}' and attributes.status = 'FINISHED'"
        return self.find(kind, study, condition)

    def fail(self, run_id: str, reason: str, status: Unfinished) -> None:
        """Closes a run that did not reach its end, with the reason."""
        self.client.set_tag(run_id, "reason", redact(reason)[:REASON_CHARACTERS])
        self.client.set_terminated(run_id, status)

    @contextmanager
    def closing(self, run_id: str) -> Iterator[None]:
        """The run is FINISHED if the block ends, KILLED if interrupted, FAILED if it raises."""
        with self.failing(run_id):
            yield
        self.client.set_terminated(run_id, "FINISHED")

    @contextmanager
    def failing(self, run_id: str) -> Iterator[None]:
        """The run is KILLED if the block is interrupted, FAILED if it raises; else left open."""
        try:
            yield
        except BaseException as error:
            # Whoever opens the store next closes what could not be closed now.
            with suppress(StoreUnavailable):
                replace(self, client=self.client.once).fail(run_id, *ending(error))
            raise


def ending(error: BaseException) -> tuple[str, Unfinished]:
    """The reason and the status of a run that ends by this error."""
    interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
    return f"{type(error).__name__}: {error}", "KILLED" if interrupted else "FAILED"
