"""The description of a run, which the UI shows first: a purpose if there is one, and where to go.

It is Markdown that names other runs by their ids alone, so that `moved` can carry it to another
store. The UI folds what is higher than some six lines.
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
    """`text` on one line as Markdown and HTML show it, whatever it holds; without credentials."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", " ".join(redact(text).split()))


def of_study(pages: Pages, run_id: str, purpose: str) -> str:
    """Its purpose, its report, its charts, its trials."""
    links = _line(
        ("Report", pages.run("study", run_id, REPORT)),
        ("Frontier: accuracy over tokens", pages.frontier(run_id)),
        ("Levels: accuracy over the budget", pages.curves(run_id)),
        ("All trials", pages.parts("trial", "parent_run_id", run_id)),
    )
    return f"{escape(purpose)}\n\n{links}" if purpose else links


def of_level(pages: Pages, study_id: str, run_id: str) -> str:
    """Its study, its curves, its replies, its trials."""
    return _line(
        ("Study", pages.run("study", study_id)),
        ("Curves over the budget", pages.run("level", run_id, "model-metrics")),
        ("Sampled replies", pages.run("level", run_id, SAMPLES)),
        ("Its trials", pages.parts("trial", "level_run_id", run_id)),
    )


def of_trial(pages: Pages, study_id: str, level_id: str) -> str:
    """Its study, the level whose replies it counts, and some of them."""
    return _line(
        ("Study", pages.run("study", study_id)),
        ("Frontier: accuracy over tokens", pages.frontier(study_id)),
        ("Level", pages.run("level", level_id)),
        ("Sampled replies", pages.run("level", level_id, SAMPLES)),
    )


def of_import(pages: Pages, run_id: str) -> str:
    """What its provenance is of, its report, its replies."""
    links = _line(
        ("Report", pages.run("import", run_id, REPORT)),
        ("Sampled replies", pages.run("import", run_id, SAMPLES)),
    )
    return f"Replies made elsewhere; versions and hardware are the grading's.\n\n{links}"


def of_report(pages: Pages, kind: Kind, run_id: str, about: Sequence[StoredRun]) -> str:
    """Its page, of a comparison all that there is, and the runs that it is `about`."""
    if kind == "report":
        page = _line(("Report", pages.run(kind, run_id, REPORT)))
    else:
        page = _line(("Tables and report", pages.run(kind, run_id, "artifacts")))
    told = _line(*((escape(one.name), pages.of(one)) for one in about[:SHOWN_RUNS]))
    more = len(about) - SHOWN_RUNS
    return "\n\n".join(filter(None, (page, told, f"and {more} more" if more > 0 else "")))


def moved(note: str, run_ids: Mapping[str, str], experiments: Mapping[str, str]) -> str:
    """`note` with other ids of runs and experiments, old to new; what is not told stays."""
    note = _EXPERIMENT.sub(lambda found: experiments.get(found[0], found[0]), note)
    return re.sub("|".join(map(re.escape, run_ids)), lambda found: run_ids[found[0]], note)


def _line(*links: tuple[str, str]) -> str:
    return " · ".join(f"[{text}]({place})" for text, place in links)
