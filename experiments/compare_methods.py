"""Several methods side by side: python -m experiments.compare_methods.

Every method prunes the same model to the same sparsities. Perplexity and the error of the last
hidden states are measured on the dense model's replies to practice questions that no method was
calibrated on; accuracy and tokens per question on the benchmarks. What is compressed and decoded
is kept in mlruns/, so that a second run repeats nothing.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from experiments.cli.command import command
from experiments.cli.engine_choice import parse_engine
from experiments.cli.method_choice import parse_method
from experiments.cli.progress import Progress
from experiments.cli.settings import listed, parse_benchmarks, parse_sparsity
from experiments.models.resolve import Model, open_model
from experiments.search.engine_cache import EngineCache
from experiments.search.level import HEADLINE
from experiments.search.level_evaluator import LevelEvaluator
from lrm import registry
from lrm.generation.calibration import practised
from lrm.records import Budget, Decoding
from lrm.stats import intervals
from lrm.tables import Table, amount, percent
from tracking.address import project_root

HELD_OUT = 16
"""Held-out replies to practice questions of each twin."""


@dataclass(frozen=True)
class MethodComparison:
    """Compares compression methods on one model."""

    methods: tuple[str, ...] = ("sparsegpt", "sparsegpt:mode=sequential")
    """Methods with their options, separated by spaces."""

    model: str = "tiny-5m"
    """Embedded model (tiny-1m, tiny-5m), local folder, or hub id."""

    sparsity: Annotated[tuple[float, ...], listed(parse_sparsity, "LOW:HIGH:STEP|LEVEL,...")] = (
        0.4,
        0.5,
        0.6,
        0.7,
    )
    """Sparsity levels: a range or a list, in [0, 1)."""

    benchmarks: Annotated[tuple[str, ...], listed(parse_benchmarks, "NAME,...")] = (
        "arithmetic",
        "deduction",
        "timeline",
        "hops",
    )
    """Benchmarks to ask."""

    questions: int = 50
    """Questions per benchmark."""

    budget: int = 384
    """Thinking tokens at most."""

    engine: str = "transformers"
    """What runs the model, with options if any."""

    seed: int = 0
    """Seed of calibration and sampling."""


def compare(settings: MethodComparison, folder: Path) -> str:
    """The table, as text."""
    from lrm.compression.quality.fidelity import fidelity

    model = open_model(settings.model)
    replies = len(settings.benchmarks) * settings.questions
    progress = Progress(len(settings.methods) * len(settings.sparsity) * replies)
    with EngineCache(parse_engine(settings.engine)) as warm:
        labs = list(_labs(settings, folder, model, warm, progress))
        held_out = _held_out(labs[0])
        rows = []
        for sparsity in settings.sparsity:
            for text, lab in zip(settings.methods, labs, strict=True):
                found = fidelity(model.checkpoint, lab.checkpoint(sparsity), held_out)
                point = lab.measure(sparsity).point(Budget(settings.budget, HEADLINE))
                rows.append(
                    (
                        f"{sparsity:.0%}",
                        text,
                        _perplexity(found.losses),
                        f"{found.output_error:.4f}",
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


def _labs(
    settings: MethodComparison, folder: Path, model: Model, warm: EngineCache, progress: Progress
) -> Iterator[LevelEvaluator]:
    """A lab for each method; they share what was decoded."""
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
            engine_cache=warm,
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


def _held_out(lab: LevelEvaluator) -> list[tuple[str, Sequence[int]]]:
    """Practice questions drawn with another seed, and the dense model's replies."""
    decoding = replace(lab.decoding, seed=lab.decoding.seed + 1)
    lab.progress.stage("held-out reasoning")
    other = replace(lab, decoding=decoding)
    with other.dense() as (engine, store):
        found = practised(lab.practice_twins, HELD_OUT, decoding, store, engine, lab.progress.reply)
    return [(prompt.text, reply.token_ids) for prompt, reply in found if reply.token_ids]


def _perplexity(losses: Sequence[float]) -> str:
    """With its interval over replies."""
    found = intervals.mean([[loss] for loss in losses])
    return f"{math.exp(found.value):.3f} [{math.exp(found.low):.3f}, {math.exp(found.high):.3f}]"


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Runs the comparison; returns its exit status."""

    def work(settings: MethodComparison) -> str:
        return compare(settings, (root or project_root()) / "mlruns")

    stopped = "Nothing is lost: the same command goes on from here."
    return command(MethodComparison, "compare_methods", __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
