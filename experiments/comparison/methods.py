"""Compression methods on one model, at the same sparsities, in one table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from experiments.cli.engine_choice import parse_engine
from experiments.cli.method_choice import parse_method
from experiments.cli.progress import Progress
from experiments.comparison.settings import CompareMethodsSettings
from experiments.models.resolve import Model, open_model
from experiments.search.engine_cache import EngineCache
from experiments.search.level import HEADLINE
from experiments.search.level_evaluator import LevelEvaluator
from lrm import registry
from lrm.compression.quality.fidelity import fidelity
from lrm.generation.calibration import practised
from lrm.records.point import Budget
from lrm.records.reply import Decoding
from lrm.stats import intervals
from lrm.tables import Table, amount, percent

HELD_OUT = 16
"""Held-out replies to practice questions of each twin."""


def run(settings: CompareMethodsSettings, folder: Path) -> str:
    """The table, as text. Checkpoints and replies are kept in `folder`."""
    model = open_model(settings.model)
    replies = len(settings.benchmarks) * settings.questions
    progress = Progress(len(settings.methods) * len(settings.sparsity) * replies)
    with EngineCache(parse_engine(settings.engine)) as engines:
        evaluators = list(_evaluators(settings, folder, model, engines, progress))
        held_out = _held_out(evaluators[0])
        rows = []
        for sparsity in settings.sparsity:
            for method, evaluator in zip(settings.methods, evaluators, strict=True):
                error = fidelity(model.checkpoint, evaluator.checkpoint(sparsity), held_out)
                point = evaluator.measure(sparsity).point(Budget(settings.budget, HEADLINE))
                rows.append(
                    (
                        f"{sparsity:.0%}",
                        method,
                        _perplexity(error.losses),
                        f"{error.output_error:.4f}",
                        percent(point.accuracy),
                        amount(point.tokens),
                    )
                )
    progress.close()
    return Table(
        f"{model.name}, {settings.questions} questions of {', '.join(settings.benchmarks)}",
        ("sparsity", "method", "perplexity", "output error", "accuracy", "tokens per question"),
        rows,
        f"Perplexity and output error on {len(held_out)} of the dense model's replies, to practice "
        "questions that no method was calibrated on; accuracy is the mean over benchmarks; "
        "intervals: 95%.",
    ).text()


def _evaluators(
    settings: CompareMethodsSettings,
    folder: Path,
    model: Model,
    engines: EngineCache,
    progress: Progress,
) -> Iterator[LevelEvaluator]:
    """An evaluator for each method; they share one store of replies."""
    questions = {
        benchmark: benchmark.load(settings.questions)
        for benchmark in map(registry.benchmark, settings.benchmarks)
    }
    for text in settings.methods:
        method = parse_method(text, settings.sparsity)
        method.check(model.checkpoint)
        yield LevelEvaluator(
            folder=folder,
            checkpoints=folder / "checkpoints",
            model=model,
            method=method,
            engine_cache=engines,
            questions=questions,
            decoding=Decoding(
                max_tokens=settings.budget + model.answer_tokens,
                answer_tokens=model.answer_tokens,
                seed=settings.seed,
            ),
            track="paper",
            closing="plain",
            keys=settings.sparsity,
            budgets=(settings.budget,),
            progress=progress,
        )


def _held_out(evaluator: LevelEvaluator) -> list[tuple[str, Sequence[int]]]:
    """Practice questions drawn with another seed, and the dense model's replies to them."""
    decoding = replace(evaluator.decoding, seed=evaluator.decoding.seed + 1)
    progress = evaluator.progress
    progress.stage("held-out reasoning")
    with replace(evaluator, decoding=decoding).dense() as (engine, store):
        twins = evaluator.practice_twins
        pairs = practised(twins, HELD_OUT, decoding, store, engine, progress.reply)
    return [(prompt.text, reply.token_ids) for prompt, reply in pairs if reply.token_ids]


def _perplexity(losses: Sequence[float]) -> str:
    """Perplexity with its interval over replies."""
    mean = intervals.mean([[loss] for loss in losses])
    return f"{math.exp(mean.value):.3f} [{math.exp(mean.low):.3f}, {math.exp(mean.high):.3f}]"
