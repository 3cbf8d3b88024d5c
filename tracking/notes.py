"""The description of a run, which the UI shows first: its purpose if it has one, and links.

It is Markdown that names other runs only by their ids, so that `moved` can adapt it to another
store. The UI folds what is higher than about six lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tracking.backend import Kind
from tracking.provenance import redact
from tracking.stored_run import StoredRun
from tracking.views import Pages

NOTE = "mlflow.note.content"
SAMPLES = "artifacts/samples.json"
REPORT = "artifacts/report.html"
SHOWN_RUNS = 20

_MARKUP = re.compile(r"[!-/:-@\[-`{-~]")
_EXPERIMENT = re.compile(r"(?<=#/experiments/)\w+")


def escape(text: str) -> str:
    """Any text as Markdown and HTML that show it on one line; without credentials."""
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", " ".join(redact(text).split()))


def of_study(pages: Pages, run_id: str, purpose: str) -> str:
    """The description of a study: its purpose, report, charts and trials."""
    links = _line(
        ("Report", pages.run("study", run_id, REPORT)),
        ("Frontier: accuracy over tokens", pages.frontier(run_id)),
        ("Levels: accuracy over the budget", pages.curves(run_id)),
        ("All trials", pages.parts("trial", "parent_run_id", run_id)),
    )
    return f"{escape(purpose)}\n\n{links}" if purpose else links


def of_level(pages: Pages, study_id: str, run_id: str) -> str:
    """The description of a level: its study, curves, replies and trials."""
    return _line(
        ("Study", pages.run("study", study_id)),
        ("Curves over the budget", pages.run("level", run_id, "model-metrics")),
        ("Sampled replies", pages.run("level", run_id, SAMPLES)),
        ("Its trials", pages.parts("trial", "level_run_id", run_id)),
    )


def of_trial(pages: Pages, study_id: str, level_id: str) -> str:
    """The description of a trial: its study, the level whose replies it counts, some of these."""
    return _line(
        ("Study", pages.run("study", study_id)),
        ("Frontier: accuracy over tokens", pages.frontier(study_id)),
        ("Level", pages.run("level", level_id)),
        ("Sampled replies", pages.run("level", level_id, SAMPLES)),
    )


def of_import(pages: Pages, run_id: str) -> str:
    """The description of an import: what its provenance is of, its report and replies."""
    links = _line(
        ("Report", pages.run("import", run_id, REPORT)),
        ("Sampled replies", pages.run("import", run_id, SAMPLES)),
    )
    return f"Replies made elsewhere; versions and hardware are the grading's.\n\n{links}"


def of_report(pages: Pages, kind: Kind, run_id: str, about: Sequence[StoredRun]) -> str:
    """The description of a report or comparison: its pages, and the runs that it is `about`."""
    if kind == "report":
        page = _line(("Report", pages.run(kind, run_id, REPORT)))
    else:
        page = _line(("Tables and report", pages.run(kind, run_id, "artifacts")))
    links = _line(*((escape(run.name), pages.of(run)) for run in about[:SHOWN_RUNS]))
    more = len(about) - SHOWN_RUNS
    return "\n\n".join(filter(None, (page, links, f"and {more} more" if more > 0 else "")))


def moved(note: str, run_ids: Mapping[str, str], experiments: Mapping[str, str]) -> str:
    """`note` with other ids of runs and experiments, each given as old: new; other ids stay."""
    note = _EXPERIMENT.sub(lambda match: experiments.get(match[0], match[0]), note)
    return re.sub("|".join(map(re.escape, run_ids)), lambda match: run_ids[match[0]], note)


def _line(*links: tuple[str, str]) -> str:
    return " · ".join(f"[{text}]({address})" for text, address in links)
