"""Reads stored runs: their params, metrics and artifacts, from any store."""

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

from lrm.errors import BadInput
from lrm.scoring.stored_reply import StoredReply, from_line
from tracking.client import RetryingArtifacts, RetryingClient
from tracking.processes import HOST, this_mark

GENERATIONS = "generations"
ENDING = ".jsonl.gz"
SAMPLES = "samples.json"


@dataclass(frozen=True)
class StoredRun:
    """One stored run. `entity` is MLflow's own; `metrics` are the last values."""

    entity: Run
    _client: RetryingClient

    @property
    def id(self) -> str:
        return str(self.entity.info.run_id)

    @property
    def name(self) -> str:
        return str(self.entity.info.run_name)

    @property
    def kind(self) -> str:
        return self.tags.get("kind", "")

    @property
    def params(self) -> dict[str, str]:
        return dict(self.entity.data.params)

    @property
    def metrics(self) -> dict[str, float]:
        return dict(self.entity.data.metrics)

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.entity.data.tags)

    @cached_property
    def _artifacts(self) -> RetryingArtifacts:
        return self._client.artifacts(self.entity)

    @property
    def unfinished(self) -> str | None:
        """The status of a run that did not reach its end, with the reason; None if it did.

        A run that this process itself is about to finish counts as finished.
        """
        status = str(self.entity.info.status)
        writer = (self.tags.get("host"), self.tags.get("pid"))
        ours = writer == (HOST, str(os.getpid())) or this_mark().keys() <= self.tags.keys()
        if status == "FINISHED" or (status == "RUNNING" and ours):
            return None
        reason = self.tags.get("reason")
        return f"{status}: {reason}" if reason else status

    def artifact(self, path: str) -> bytes | None:
        """The bytes of an artifact, None where there is none."""
        folder = path.rpartition("/")[0]
        if path not in self._artifacts.paths(folder or None):
            return None
        with self._at_hand(path) as file:
            return file.read_bytes()

    @contextmanager
    def _at_hand(self, path: str) -> Iterator[Path]:
        """An artifact as a file here: itself where it lies on this machine, else a copy."""
        if str(self.entity.info.artifact_uri).startswith("file:"):
            yield self._artifacts.download(path)
            return
        with tempfile.TemporaryDirectory() as scratch:
            yield self._artifacts.download(path, Path(scratch))

    def download(self, folder: Path) -> None:
        """Copies all artifacts into `folder`, which is there."""
        if self._artifacts.paths():
            self._artifacts.download("", folder)

    def location(self, path: str) -> str:
        """The path of an artifact's file, or the address that the store gives it."""
        uri = f"{str(self.entity.info.artifact_uri).rstrip('/')}/{path}"
        return unquote(urlparse(uri).path) if uri.startswith("file:") else uri

    def benchmarks(self) -> list[str]:
        """The benchmarks whose generations the run holds, in the order of its parameter."""
        paths = self._artifacts.paths(GENERATIONS)
        names = [Path(path).name.removesuffix(ENDING) for path in paths if path.endswith(ENDING)]
        order = self.params.get("benchmarks", "").split(",")
        return sorted(names, key=lambda name: order.index(name) if name in order else len(order))

    @property
    def is_whole(self) -> bool:
        """Whether the generations of all its benchmarks are there, and its table of samples."""
        wanted = set(self.params.get("benchmarks", "").split(","))
        return wanted <= set(self.benchmarks()) and SAMPLES in self._artifacts.paths()

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
                    f"{self.location(path)} is damaged ({error}): bring it back from a copy or a "
                    f"bundle, or delete run {self.id} and measure it again."
                ) from error

    def history(self, metric: str) -> dict[int, float]:
        """All values of a metric by step."""
        return {
            point.step: point.value for point in self._client.get_metric_history(self.id, metric)
        }
