"""Pages of MLflow's UI: their addresses, and views that are prepared for them.

A view is an experiment's tag `mlflow.sharedViewState.KEY`, which the UI reads when an address names
its key. MLflow does not document it (seen in 3.17). A version without it shows the page at the same
address without the view.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from mlflow.exceptions import MlflowException

from tracking.backend import Kind
from tracking.client import RetryingClient
from tracking.stored_run import StoredRun

STUDIES = "studies"
_TAG = "mlflow.sharedViewState."
_KEY = "viewStateShare%4Bey"
"""The UI's parameter, its K in other letters: `Key=` would be taken for a secret by `redact`."""
_MODE = "workflowType=machine_learning"
"""Without it the UI opens pages for chat applications."""

COLUMNS = {
    "attributes.`Run Name`": 215,
    "params.`model`": 75,
    "params.`method`": 85,
    "tags.`team`": 65,
    "attributes.`User`": 65,
    "metrics.`best/accuracy`": 110,
    "metrics.`best/tokens`": 95,
    "metrics.`knee/accuracy`": 115,
    "metrics.`knee/budget`": 95,
    "metrics.`knee/tokens`": 95,
    "tags.`note`": 300,
}
"""The columns of the page of studies, with their widths in pixels."""


@dataclass(frozen=True)
class Pages:
    """Addresses in the UI, relative to its own; `experiments` has each kind's experiment id."""

    experiments: Mapping[Kind, str]

    def run(self, kind: Kind, run_id: str, part: str = "") -> str:
        """A run's page, or a part of it: `model-metrics`, or `artifacts/` and a path."""
        page = f"{self._runs(kind)}/{run_id}" + (f"/{quote(part)}" if part else "")
        return f"{page}?{_MODE}"

    def of(self, run: StoredRun) -> str:
        """The page of a stored run."""
        return f"#/experiments/{run.entity.info.experiment_id}/runs/{run.id}?{_MODE}"

    @property
    def studies(self) -> str:
        """All studies in a table, with the columns in which they differ."""
        return f"{self._runs('study')}?{_KEY}={STUDIES}&{_MODE}"

    def frontier(self, study_id: str) -> str:
        """A study's trials as accuracy over tokens."""
        return self._chart("trial", study_id)

    def curves(self, study_id: str) -> str:
        """A study's levels as accuracy over the budget."""
        return self._chart("level", study_id)

    def parts(self, kind: Kind, tag: str, run_id: str) -> str:
        """The runs of a kind whose `tag` is `run_id`, in a table."""
        return f"{self._runs(kind)}?searchFilter={quote(_having(tag, run_id), safe='')}&{_MODE}"

    def _chart(self, kind: Kind, study_id: str) -> str:
        return f"{self._runs(kind)}?{_KEY}={study_id}&compareRunsMode=CHART&{_MODE}"

    def _runs(self, kind: Kind) -> str:
        return f"#/experiments/{self.experiments[kind]}/runs"


def offer_studies(client: RetryingClient, pages: Pages) -> None:
    """Makes the view of all studies, which is in the UI's menu too, unless it exists."""
    experiment, tag = pages.experiments["study"], _TAG + STUDIES
    if tag not in client.get_experiment(experiment).tags:
        columns = list(COLUMNS)
        state = {
            "selectedColumns": columns,
            "columnOrder": columns,
            "columnWidths": COLUMNS,
        }
        view = {"name": "Studies", "createdAt": int(time.time() * 1000), "state": _json(state)}
        _set(client, experiment, tag, _json(view))


def offer_charts(client: RetryingClient, pages: Pages, study_id: str, name: str) -> None:
    """Makes the two charts of the study with this id and name."""
    scatter = {
        "type": "SCATTER",
        "xaxis": {"key": "tokens/mean", "type": "METRIC"},
        "yaxis": {"key": "accuracy", "type": "METRIC"},
        "runsCountToCompare": 100,
    }
    lines = {
        "type": "LINE",
        "metricKey": "accuracy",
        "selectedMetricKeys": ["accuracy"],
        "lineSmoothness": 0,
    }
    charts: Mapping[Kind, tuple[str, Mapping[str, object]]] = {
        "trial": ("Frontier: accuracy over tokens", scatter),
        "level": ("Accuracy over the budget", lines),
    }
    for kind, (title, chart) in charts.items():
        tag, value = _TAG + study_id, _json(_state(title, chart, name))
        _set(client, pages.experiments[kind], tag, value)


def _set(client: RetryingClient, experiment: str, tag: str, value: str) -> None:
    """Sets a tag that other processes may set at the same moment, when MLflow accepts only one."""
    try:
        client.set_experiment_tag(experiment, tag, value)
    except MlflowException:
        if tag not in client.get_experiment(experiment).tags:
            raise


def _state(title: str, chart: Mapping[str, object], study: str) -> dict[str, object]:
    """One large chart of all of a study's runs. The UI adds small ones of every metric below it."""
    section = {"uuid": "first", "name": title, "display": True, "columns": 1, "cardHeight": 520}
    return {
        "searchFilter": _having("study", study),
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": [section],
        "compareRunCharts": [{"uuid": "chart", "metricSectionId": "first", **chart}],
        "isAccordionReordered": True,
    }


def _having(tag: str, value: str) -> str:
    return f"tags.{tag} = '{value}'"


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"))
