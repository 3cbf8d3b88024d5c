"""What is stored, read back: runs with their params, metrics and artifacts, from any store."""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlparse

from mlflow.entities import Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from lrm.errors import BadInput
from lrm.scoring.stored_reply import StoredReply, from_line
from tracking.processes import HOST, this_mark
from tracking.retry import Patient

GENERATIONS = "generations"
ENDING = ".jsonl.gz"


@dataclass(frozen=True)
class StoredRun:
    """One stored run. `metrics` are the last values."""

    run: Run
    _client: Patient

    @property
    def id(self) -> str:
        return str(self.run.info.run_id)

    @property
    def name(self) -> str:
        return str(self.run.info.run_name)

    @property
    def kind(self) -> str:
        return self.tags.get("kind", "")

    @property
    def params(self) -> dict[str, str]:
        return dict(self.run.data.params)

    @property
    def metrics(self) -> dict[str, float]:
        return dict(self.run.data.metrics)

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.run.data.tags)

    @cached_property
    def _artifacts(self) -> Patient:
        """The run's artifacts; the client would look the run up again for each of them."""
        uri = self._client.tracking_uri
        return Patient(get_artifact_repository(self.run.info.artifact_uri, tracking_uri=uri), uri)

    @property
    def unfinished(self) -> str | None:
        """How a run that did not reach its end stands, with its reason; None for a finished one.

        A run that this very process is about to finish counts as finished.
        """
        status = str(self.run.info.status)
        writer = (self.tags.get("host"), self.tags.get("pid"))
        ours = writer == (HOST, str(os.getpid())) or this_mark().keys() <= self.tags.keys()
        if status == "FINISHED" or (status == "RUNNING" and ours):
            return None
        reason = self.tags.get("reason")
        return f"{status}: {reason}" if reason else status

    def artifact(self, path: str) -> bytes | None:
        """The bytes of an artifact, None where there is none."""
        folder = path.rpartition("/")[0]
        if path not in {item.path for item in self._artifacts.list_artifacts(folder or None)}:
            return None
        with self._at_hand(path) as file:
            return file.read_bytes()

    @contextmanager
    def _at_hand(self, path: str) -> Iterator[Path]:
        """An artifact as a file here: itself where it lies on this machine, else a copy."""
        if str(self.run.info.artifact_uri).startswith("file:"):
            yield Path(self._artifacts.download_artifacts(path))
            return
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(self._artifacts.download_artifacts(path, scratch))

    def download(self, folder: Path) -> None:
        """Copies all artifacts into `folder`, which is there."""
        if self._artifacts.list_artifacts(None):
            self._artifacts.download_artifacts("", str(folder))

    def place(self, path: str) -> str:
        """Where an artifact lies: a file's path, or the address that the store gives it."""
        whole = f"{str(self.run.info.artifact_uri).rstrip('/')}/{path}"
        return unquote(urlparse(whole).path) if whole.startswith("file:") else whole

    def benchmarks(self) -> list[str]:
        """Those of which the run holds generations, in the order of its parameter."""
        paths = [item.path for item in self._artifacts.list_artifacts(GENERATIONS)]
        there = [Path(path).name.removesuffix(ENDING) for path in paths if path.endswith(ENDING)]
        told = self.params.get("benchmarks", "").split(",")
        return sorted(there, key=lambda name: told.index(name) if name in told else len(told))

    def replies(self, benchmark: str) -> Iterator[StoredReply]:
        """Every stored generation of a benchmark, one after the other.

        Raises BadInput for a file that is damaged.
        """
        path = f"{GENERATIONS}/{benchmark}{ENDING}"
        with self._at_hand(path) as file, gzip.open(file, "rb") as lines:
            try:
                for line in lines:
                    yield from_line(line)
            except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
                raise BadInput(
                    f"{self.place(path)} is damaged ({error}): bring it back from a copy or a "
                    f"bundle, or delete run {self.id} and measure it again."
                ) from error

    def history(self, metric: str) -> dict[int, float]:
        """All values of a metric by step."""
        return {
            point.step: point.value for point in self._client.get_metric_history(self.id, metric)
        }
