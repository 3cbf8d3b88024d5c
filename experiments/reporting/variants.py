"""Stored runs as the variants that the analysis works on, and some of their generations to read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrm.analysis.first_correct import FirstCorrect
from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.records.point import Budget, Unit
from lrm.report.reading import BenchmarkReading
from lrm.report.reading import read as read_once
from lrm.report.samples import Sample, fitting
from lrm.scoring import published
from lrm.scoring.published import Published
from tracking.store import Store
from tracking.stored_run import StoredRun

Readings = Mapping[str, BenchmarkReading]
"""What was read of a run, by benchmark."""


@dataclass(frozen=True)
class Selection:
    """The runs that a report is about, the densest first, and the budgets of each.

    `left_out` says which runs are not among them, and why; `study` is the run of a study.
    """

    title: str
    records: Sequence[StoredRun]
    budgets: Sequence[Sequence[int]]
    left_out: Sequence[str]
    study: StoredRun | None = None


def of_study(store: Store, name: str) -> Selection:
    """All levels of a study that were finished. Raises BadInput for an unknown or empty study."""
    return of_levels(*store.study_runs(name))


def of_levels(study: StoredRun, levels: Sequence[StoredRun]) -> Selection:
    """The same, of a study's run and those of its levels, the newest first."""
    name = study.tags["study"]
    config = json.loads(study.artifact("config.json") or b"{}")
    finished = {level.tags["identity"]: level for level in reversed(levels) if _whole(level)}
    left_out = [
        f"{level.name} ({level.unfinished or 'its generations are gone'})"
        for level in levels
        if level.tags["identity"] not in finished
    ]
    asked = config.get("sparsity") or config.get("recipes", [])
    wanted = min(config.get("trials") or len(asked), len(asked))
    if study.unfinished or len(finished) < wanted:
        state = f", and its run is {study.unfinished}" if study.unfinished else ""
        left_out.insert(
            0,
            f"The study is unfinished: {len(finished)} of {wanted} levels are measured{state}.",
        )
    if "budgets" not in config or (not finished and any(not level.unfinished for level in levels)):
        raise BadInput(
            f"The artifacts of study {name!r} are gone: give the search's command again, which "
            "writes them from the replies that it has, then report again."
        )
    if not finished:
        raise BadInput(
            f"Study {name!r} has no finished level yet: let the search go on, then report again."
        )
    records = sorted(finished.values(), key=_mildest_first)
    return Selection(name, records, [config["budgets"]] * len(records), left_out, study)


def of_runs(store: Store, run_ids: Sequence[str]) -> Selection:
    """The runs of these ids, levels or imports. Raises BadInput for others, naming them."""
    records, budgets, left_out = store.runs(list(dict.fromkeys(run_ids))), [], []
    for record in records:
        if record.kind not in ("level", "import") or not record.benchmarks():
            raise BadInput(
                f"Run {record.id} ({record.name}) holds no generations: give runs of kind level or "
                "import, or a search with --study."
            )
        if record.unfinished:
            left_out.append(
                f"{record.name} is unfinished ({record.unfinished}): what is there is shown."
            )
        parent = record.tags.get("parent_run_id")
        config = store.runs([parent])[0].artifact("config.json") if parent else None
        budgets.append(json.loads(config)["budgets"] if config else [])
    title = records[0].name if len(records) == 1 else f"{len(records)} runs"
    return Selection(title, records, budgets, left_out)


def of_studies(store: Store, study_names: Sequence[str]) -> Selection:
    """All finished levels of some studies, one study after the other. Raises as `of_study`."""
    parts = [of_study(store, name) for name in dict.fromkeys(study_names)]
    if len(parts) == 1:
        return parts[0]
    return Selection(
        title=f"{len(parts)} studies",
        records=[run for part in parts for run in part.records],
        budgets=[budgets for part in parts for budgets in part.budgets],
        left_out=[f"{part.title}: {reason}" for part in parts for reason in part.left_out],
    )


def _mildest_first(run: StoredRun) -> tuple[float, float]:
    """By sparsity, or where levels are recipes by the bytes that are left."""
    return float(run.params.get("sparsity", 0)), -run.metrics.get("weights/bytes", 0.0)


def _whole(run: StoredRun) -> bool:
    return run.unfinished is None and bool(run.benchmarks())


@dataclass(frozen=True)
class SelectionReading:
    """What the stored generations of a selection say. The mappings go by a variant's name, and
    `firsts` by a benchmark's too."""

    variants: Sequence[Variant]
    samples: Sequence[Sample]
    firsts: Mapping[tuple[str, str], FirstCorrect]
    against: Mapping[str, Published]


def read(
    selection: Selection, texts: bool = True, known: Mapping[str, Readings] | None = None
) -> SelectionReading:
    """Reads all generations; of their texts only the samples stay in memory. Without `texts` there
    are no samples and no firsts, at half the time.

    `known` has what is in memory already of runs that this process wrote, by their ids: their
    generations are not read again.
    """
    variants, ranked = [], []
    firsts: dict[tuple[str, str], FirstCorrect] = {}
    against: dict[str, Published] = {}
    for run, budgets, name in zip(
        selection.records, selection.budgets, names(selection.records), strict=True
    ):
        readings = (known or {}).get(run.id) or _readings(run, texts)
        variant = _variant(run, name, budgets, readings)
        variants.append(variant)
        for benchmark, reading in readings.items():
            if reading.picker:
                ranked += list(reading.picker.samples(name))
            if first := reading.first:
                firsts[name, benchmark] = first
        if row := _published(run, variant):
            against[name] = row
    return SelectionReading(variants, fitting(ranked), firsts, against)


def _readings(run: StoredRun, texts: bool) -> Readings:
    return {name: read_once(run.replies(name), _unit(run), texts) for name in run.benchmarks()}


def _unit(run: StoredRun) -> Unit:
    return "words" if run.params.get("lengths") == "words" else "tokens"


def _variant(run: StoredRun, name: str, budgets: Sequence[int], readings: Readings) -> Variant:
    """A run's params and sizes, with a grid for each benchmark at each budget and at none."""
    return Variant(
        name=name,
        run_id=run.id,
        model=run.params.get("model", ""),
        method=_method(run),
        study=_study(run),
        engine=_engine(run),
        sparsity=_number(run.params.get("sparsity")),
        bits=run.metrics.get("bits_per_weight"),
        bytes=run.metrics.get("weights/bytes"),
        packed_bytes=run.metrics.get("weights/packed_bytes"),
        unit=_unit(run),
        grids={
            benchmark: {
                budget: reading.replies.grid(None if budget is None else Budget(budget))
                for budget in (None, *budgets)
            }
            for benchmark, reading in readings.items()
        },
    )


def _published(run: StoredRun, variant: Variant) -> Published | None:
    """The paper's figures that an import was compared with, else those of the same model."""
    if compared := json.loads(run.artifact("published.json") or b"[]"):
        return published.find(compared[0]["published"])
    return published.match(variant.model, variant.method, variant.sparsity)


def names(records: Sequence[StoredRun]) -> list[str]:
    """How people tell the runs apart: by method, and sparsity or recipe with what it protects; by
    the model where it differs; and where that is not enough, by what they were calibrated on, by
    engine, by study, or by run."""
    several = len({run.params.get("model") for run in records}) > 1
    run_names = []
    for run in records:
        words = [run.params.get("model", run.name)] if several else []
        method, sparsity = _method(run), _number(run.params.get("sparsity"))
        words.append("dense" if method == "none" else method)
        if sparsity:
            words.append(f"{sparsity:.0%}")
        if method != "none":
            words += filter(None, (run.params.get("recipe"), run.params.get("protect")))
        run_names.append(" ".join(words))
    for distinction in (calibration, _engine, _study, lambda run: run.id[:6]):
        details = [distinction(run) for run in records]
        for name in set(run_names):
            alike = [index for index, other in enumerate(run_names) if other == name]
            if len(alike) > 1 and len({details[index] for index in alike}) == len(alike):
                for index in alike:
                    run_names[index] += f" ({details[index]})" if details[index] else ""
    return run_names


def _method(run: StoredRun) -> str:
    """The method, behind the one that was applied before it in a chain."""
    method, first = run.params.get("method", ""), run.params.get("first")
    return f"{first}, then {method}" if first and method != first else method


def calibration(run: StoredRun) -> str:
    """What a method was calibrated on, without the details; "" if on nothing."""
    return run.params.get("calibration", "").partition(" on ")[0].partition(" of ")[0]


def _engine(run: StoredRun) -> str:
    """What ran the model, without the details; "" where the replies were made elsewhere."""
    return run.params.get("engine", "").partition(" ")[0]


def _study(run: StoredRun) -> str:
    """The search that a level belongs to; "" for an import."""
    return run.tags.get("study", "") if run.kind == "level" else ""


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
