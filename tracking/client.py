"""The calls to MLflow that the project makes, each repeated while the store is out.

Each may be made twice. Only a run whose creation was carried out but never confirmed is made a
second time; the first stays without a writer, and is closed when a store is next opened
(`workers.sweep`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tracking.retry import Retry

MISSING = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True)
class RetryingClient:
    """MLflow's client of one store. Methods have the names of MLflow's and raise what it raises."""

    _client: MlflowClient
    _retry: Retry

    @property
    def once(self) -> RetryingClient:
        """The same without waiting: an outage raises StoreUnavailable at once."""
        return replace(self, _retry=self._retry.once)

    def create_run(
        self, experiment_id: str, name: str, tags: Mapping[str, str], start_time: int | None = None
    ) -> str:
        """Starts a run and gives its id; `start_time` is in ms since 1970, now if left out."""
        run = self._retry(
            self._client.create_run, experiment_id, start_time, dict(tags), run_name=name
        )
        return str(run.info.run_id)

    def get_run(self, run_id: str) -> Run:
        return self._retry(self._client.get_run, run_id)

    def newest_run(self, experiment_id: str, condition: str) -> Run | None:
        """The newest run of an experiment under a search condition, None if there is none."""
        runs = self._retry(self._client.search_runs, [experiment_id], condition, max_results=1)
        return runs[0] if runs else None

    def search_runs(self, experiment_ids: Sequence[str], condition: str) -> list[Run]:
        """All runs of some experiments under a search condition, the newest first."""
        runs: list[Run] = []
        token = None
        while True:
            page = self._retry(
                self._client.search_runs, list(experiment_ids), condition, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def get_metric_history(self, run_id: str, metric: str) -> Sequence[Metric]:
        history: Sequence[Metric] = self._retry(self._client.get_metric_history, run_id, metric)
        return history

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric],
        params: Sequence[Param],
        tags: Sequence[RunTag],
    ) -> None:
        self._retry(self._client.log_batch, run_id, metrics, params, tags)

    def set_tag(self, run_id: str, name: str, value: str) -> None:
        self._retry(self._client.set_tag, run_id, name, value)

    def delete_tag(self, run_id: str, name: str) -> None:
        """Takes a tag away, if it is there."""
        try:
            self._retry(self._client.delete_tag, run_id, name)
        except MlflowException as error:
            if error.error_code != MISSING:
                raise

    def reopen_run(self, run_id: str) -> None:
        """Makes a run RUNNING again."""
        self._retry(self._client.update_run, run_id, status="RUNNING")

    def set_terminated(self, run_id: str, status: str, end_time: int | None = None) -> None:
        """Closes a run; `end_time` is in ms since 1970, now if left out."""
        self._retry(self._client.set_terminated, run_id, status, end_time)

    def delete_run(self, run_id: str) -> None:
        self._retry(self._client.delete_run, run_id)

    def log_artifact(self, run_id: str, file: Path, folder: str | None) -> None:
        self._retry(self._client.log_artifact, run_id, str(file), folder)

    def log_artifacts(self, run_id: str, folder: Path) -> None:
        """Stores all files under a folder."""
        self._retry(self._client.log_artifacts, run_id, str(folder))

    def get_experiment(self, experiment_id: str) -> Experiment:
        return self._retry(self._client.get_experiment, experiment_id)

    def set_experiment_tag(self, experiment_id: str, name: str, value: str) -> None:
        self._retry(self._client.set_experiment_tag, experiment_id, name, value)

    def artifacts(self, run: Run) -> RetryingArtifacts:
        """A run's artifacts; MLflow's client would look the run up again for each of them."""
        repository = get_artifact_repository(
            run.info.artifact_uri, tracking_uri=self._client.tracking_uri
        )
        return RetryingArtifacts(repository, self._retry)


@dataclass(frozen=True)
class RetryingArtifacts:
    """The artifacts of one run."""

    _repository: ArtifactRepository
    _retry: Retry

    def paths(self, folder: str | None = None) -> list[str]:
        """The paths of the files and folders in a folder, by default the run's own."""
        return [item.path for item in self._retry(self._repository.list_artifacts, folder)]

    def download(self, path: str, folder: Path | None = None) -> Path:
        """An artifact, or all under a folder of them, as a file here.

        It is copied into `folder`; without one it is the store's own file, where it lies here.
        """
        return Path(self._retry(self._download, path, str(folder) if folder else None))

    def _download(self, path: str, folder: str | None) -> str:
        with suppress(MlflowException):
            return str(self._repository.download_artifacts(path, folder))
        # MLflow puts the texts of all failures into one error and drops their classes. To list
        # raises the error itself if the store is out; if not, the second failure is raised.
        self._repository.list_artifacts(path.rpartition("/")[0] or None)
        return str(self._repository.download_artifacts(path, folder))
