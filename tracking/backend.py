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
from math import ceil
from pathlib import Path, PurePosixPath
from typing import Literal

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from lrm.errors import BadInput
from lrm.registry import unknown
from tracking.processes import this_process
from tracking.provenance import redact
from tracking.retry import Patient, Unanswered, hurried
from tracking.stored_run import StoredRun

Kind = Literal["study", "level", "trial", "import", "report", "comparison"]
Curves = Mapping[str, Mapping[int, float]]
Unfinished = Literal["FAILED", "KILLED"]

METRICS_A_BATCH = 800  # 1,000 entities a call, of which 100 params and 100 tags
OTHERS_A_BATCH = 100
REASON_CHARACTERS = 1_000


@dataclass(frozen=True)
class Backend:
    """MLflow's client, the experiment of each kind of run, and the tags that every run carries.

    `alone` opens a block that one process runs at a time of those that use the store.
    """

    client: Patient
    experiments: Mapping[Kind, str]
    tags: Mapping[str, str]
    alone: Callable[[], AbstractContextManager[None]]

    def create(self, kind: Kind, name: str, tags: Mapping[str, str]) -> str:
        """Starts a run of this process and gives its id."""
        everything = {**self.tags, **this_process(), **tags, "kind": kind}
        run = self.client.create_run(
            self.experiments[kind],
            run_name=name,
            tags={key: redact(value) for key, value in everything.items()},
        )
        return str(run.info.run_id)

    def write(
        self,
        run_id: str,
        curves: Curves,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Writes everything given in one call, or as few as MLflow's limits allow."""
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, float(value), now, step)
            for name, values in curves.items()
            for step, value in values.items()
        ]
        self.log(run_id, metrics, params or {}, tags or {})

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric],
        params: Mapping[str, object],
        tags: Mapping[str, str],
    ) -> None:
        """The same, of metrics that know their time; one that is there already stays single."""
        pairs = [Param(name, redact(str(value))) for name, value in params.items()]
        marks = [RunTag(name, redact(value)) for name, value in tags.items()]
        others = max(len(pairs), len(marks))
        for batch in range(
            max(ceil(len(metrics) / METRICS_A_BATCH), ceil(others / OTHERS_A_BATCH))
        ):
            some = slice(batch * METRICS_A_BATCH, (batch + 1) * METRICS_A_BATCH)
            few = slice(batch * OTHERS_A_BATCH, (batch + 1) * OTHERS_A_BATCH)
            self.client.log_batch(run_id, metrics[some], pairs[few], marks[few])

    def attach(self, run_id: str, path: str, data: bytes) -> None:
        """Stores `data` as the run's artifact `path`, for example "frontier/front.json"."""
        place = PurePosixPath(path)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, place.name)
            file.write_bytes(data)
            self.attach_file(run_id, file, str(place.parent))

    def attach_file(self, run_id: str, file: Path, folder: str) -> None:
        """Stores a file under its own name in the run's artifact folder `folder`."""
        self.client.log_artifact(run_id, str(file), None if folder == "." else folder)

    def table(self, run_id: str, columns: Mapping[str, Sequence[object]], path: str) -> None:
        """Stores columns of equal length as the table `path`, a JSON file that the UI shows.

        MLflow's own log_table reads a table that is there and adds to it, so it cannot be repeated.
        """
        rows = list(zip(*columns.values(), strict=True))
        text = json.dumps({"columns": list(columns), "data": rows}, ensure_ascii=False)
        self.attach(run_id, path, text.encode())
        shown = json.dumps([{"path": path, "type": "table"}])
        self.client.set_tag(run_id, "mlflow.loggedArtifacts", shown)

    def untag(self, run_id: str, name: str) -> None:
        """Takes a tag away, if it is there."""
        try:
            self.client.delete_tag(run_id, name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise

    def find(self, kind: Kind, study: str, condition: str = "") -> str | None:
        """The newest run of this kind and study under a further search condition, or None."""
        wanted = f"tags.kind = '{kind}' and tags.study = '{study}'{condition}"
        runs = self.client.search_runs([self.experiments[kind]], wanted, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def record(self, run_id: str) -> StoredRun:
        """A stored run. Raises BadInput where there is none of that id."""
        if found := self.find_run(run_id):
            return found
        raise BadInput(
            f"There is no run {run_id!r} in this store: take an id that the UI shows, or give "
            "the store that has it with --tracking-uri."
        )

    def find_run(self, run_id: str) -> StoredRun | None:
        """A stored run, None where there is none of that id."""
        try:
            return StoredRun(self.client.get_run(run_id), self.client)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None

    def study(self, name: str) -> tuple[StoredRun, list[StoredRun]]:
        """As `find_study`. Raises BadInput for an unknown one, with the nearest name."""
        if found := self.find_study(name):
            return found
        raise BadInput(unknown("study", name, {one.tags["study"] for one in self.records("study")}))

    def find_study(self, name: str) -> tuple[StoredRun, list[StoredRun]] | None:
        """The run of a study and those of its levels, the newest first, in one search; None where
        there is no study of that name."""
        # A name with a quote cannot be searched for, and is none.
        found = [] if "'" in name else self.search(f"tags.study = '{name}'", ["study", "level"])
        home = next((one for one in found if one.kind == "study"), None)
        return (home, [one for one in found if one.kind == "level"]) if home else None

    def records(self, kind: Kind, study: str | None = None) -> list[StoredRun]:
        """All runs of a kind, of one study if named, the newest first."""
        wanted = f"tags.kind = '{kind}'" + (f" and tags.study = '{study}'" if study else "")
        return self.search(wanted, [kind])

    def search(self, condition: str, kinds: Sequence[Kind]) -> list[StoredRun]:
        """All runs of these kinds' experiments under a search condition, the newest first."""
        places = list(dict.fromkeys(self.experiments[kind] for kind in kinds))
        found: list[StoredRun] = []
        token = None
        while True:
            page = self.client.search_runs(places, condition, page_token=token)
            found += [StoredRun(run, self.client) for run in page]
            token = page.token
            if not token:
                return found

    def find_finished(self, kind: Kind, study: str, identity: str) -> str | None:
        """The finished run with this identity, or None."""
        condition = f" and tags.identity = '{identity}' and attributes.status = 'FINISHED'"
        return self.find(kind, study, condition)

    def fail(self, run_id: str, reason: str, status: Unfinished) -> None:
        """Closes a run that did not reach its end, saying why."""
        self.client.set_tag(run_id, "reason", redact(reason)[:REASON_CHARACTERS])
        self.client.set_terminated(run_id, status)

    @contextmanager
    def closing(self, run_id: str) -> Iterator[None]:
        """FINISHED if the block ends; KILLED if it was interrupted; FAILED if it raised."""
        with self.failing(run_id):
            yield
        self.client.set_terminated(run_id, "FINISHED")

    @contextmanager
    def failing(self, run_id: str) -> Iterator[None]:
        """KILLED if the block was interrupted, FAILED if it raised; else left open."""
        try:
            yield
        except BaseException as error:
            # Whoever opens the store next closes what could not be closed now.
            with suppress(Unanswered):
                replace(self, client=hurried(self.client)).fail(run_id, *ending(error))
            raise


def ending(error: BaseException) -> tuple[str, Unfinished]:
    """The reason and the status of a run that ends by this error."""
    interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
    return f"{type(error).__name__}: {error}", "KILLED" if interrupted else "FAILED"
