"""What all points of a study share: where it differs, it is another study."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any

from experiments.cli.calibration_source import CalibrationSource
from experiments.cli.settings import SearchSettings
from experiments.search.axis import SearchAxis
from experiments.search.calibrating import Calibrating
from lrm.digests import of_file, of_json
from lrm.records.reply import Decoding


def identity_of(
    settings: SearchSettings,
    axis: SearchAxis,
    calibrating: Calibrating,
    sources: Collection[CalibrationSource],
    engine: str,
) -> dict[str, Any]:
    """By the name of the flag that sets each."""
    first = {"first": settings.first} if settings.first else {}
    return {
        "model": calibrating.model.checkpoint.revision,
        "benchmarks": {
            benchmark.name: [benchmark.version, of_json([asdict(question) for question in asked])]
            for benchmark, asked in calibrating.questions.items()
        },
        axis.method.axis: list(axis.keys),
        "budgets": list(settings.budgets),
        "track": settings.track,
        "closing": settings.closing,
        "questions": settings.questions,
        "samples": settings.samples,
        "engine": engine,
        "method": axis.text,
        "seed": settings.seed,
        **first,
        **_of_decoding(settings, calibrating),
        **_of_mode(axis),
        **_of_calibration(calibrating, sources),
    }


# Each of these names only what is not as it always was, so that studies from before go on.


def _of_decoding(settings: SearchSettings, calibrating: Calibrating) -> dict[str, Any]:
    decoding = calibrating.decoding
    usual = replace(Decoding(), answer_tokens=calibrating.model.answer_tokens)
    named = ("temperature", "top_p", "answer_tokens")
    fields = {n: getattr(decoding, n) for n in named if getattr(decoding, n) != getattr(usual, n)}
    return fields if settings.system is None else {**fields, "system": settings.system}


def _of_mode(axis: SearchAxis) -> dict[str, Any]:
    """The mode of pruning where nobody named one: it was another before."""
    method = axis.method
    pruned = [key for key in axis.keys if key != method.untouched]
    if not pruned or "mode=" in axis.text or method.axis != "sparsity":
        return {}
    mode = method.made_to_check(pruned[0]).params().get("mode")
    return {} if mode is None else {"mode": mode}


def _of_calibration(
    calibrating: Calibrating, sources: Collection[CalibrationSource]
) -> dict[str, Any]:
    """The content of a user's files; and how much a real model is calibrated on."""
    fields: dict[str, Any] = {}
    if files := {source.name: of_file(source.file) for source in sources if source.file}:
        fields["calibration_files"] = files
    if sources and not calibrating.model.embedded:
        fields["calibration_sizes"] = {
            source.name: asdict(calibrating.size(source)) for source in sources
        }
    return fields
