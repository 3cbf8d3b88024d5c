"""One report: from stored runs to a page, figures and tables, kept as artifacts of a run."""

from __future__ import annotations

from collections.abc import Mapping

from experiments.reporting import variants
from experiments.reporting.variants import Readings, Selection
from lrm.digests import of_json
from lrm.report.build import build
from lrm.report.page import PAGE, Report
from tracking.names import allowed_name
from tracking.store import Store
from tracking.stored_run import StoredRun


def made(selection: Selection, known: Mapping[str, Readings] | None = None) -> Report:
    """The report on these runs, from their stored generations, or from what is `known` of them
    (`variants.read`)."""
    reading = variants.read(selection, known=known)
    return build(
        title=selection.title,
        variants=reading.variants,
        samples=reading.samples,
        first_correct=reading.firsts,
        published=reading.against,
        warnings=selection.left_out,
        provenance=provenance(selection),
        hypervolumes=selection.study.history("hypervolume") if selection.study else {},
    )


def keep(store: Store, selection: Selection, report: Report) -> str:
    """Stores the report's files in the run that they are about; says where the page lies.

    A study's is its own run, one run's that run; several runs get a run of kind report.
    """
    home = selection.study or (selection.records[0] if len(selection.records) == 1 else None)
    if home:
        _attach(store, home.id, report)
        return home.location(PAGE)
    ids = sorted(record.id for record in selection.records)
    name, about = allowed_name(f"report on {selection.title}", "report"), selection.records
    with store.reported(name, of_json(ids), {"runs": ",".join(ids)}, about=about) as run_id:
        _attach(store, run_id, report)
    return store.runs([run_id])[0].location(PAGE)


def _attach(store: Store, run_id: str, report: Report) -> None:
    for path, data in report.files.items():
        store.attach(run_id, path, data)


def provenance(selection: Selection) -> Mapping[str, Mapping[str, object]]:
    """Params and tags of the runs, by heading: what all share first, then what each has alone."""
    facts_of_runs = [_facts(record) for record in selection.records]
    shared = {
        name: value
        for name, value in facts_of_runs[0].items()
        if all(facts.get(name) == value for facts in facts_of_runs)
    }
    own = {
        f"{run.name} ({run.id})": {
            name: value for name, value in facts.items() if name not in shared
        }
        for run, facts in zip(selection.records, facts_of_runs, strict=True)
    }
    return {"All runs": shared, **own}


MEASURED = ("weights/bytes", "weights/packed_bytes", "bits_per_weight", "sparsity/achieved")
HIDDEN = ("mlflow.log", "mlflow.note", "pid", "process_start", "identity")


def _facts(run: StoredRun) -> dict[str, object]:
    """Params, provenance tags and measured size of a run."""
    tags = {name: value for name, value in run.tags.items() if not name.startswith(HIDDEN)}
    measured = {name: f"{value:,g}" for name, value in run.metrics.items() if name in MEASURED}
    return {**run.params, **measured, **dict(sorted(tags.items()))}
