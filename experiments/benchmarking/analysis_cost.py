"""The analysis of a large study, timed step by step on a study that is simulated."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from experiments.benchmarking.settings import AnalysisBench
from lrm.analysis import collapse, efficiency, fronts, knowledge, lengths, tidy
from lrm.analysis.compare import Setting, compare
from lrm.analysis.variant import Variant
from lrm.scoring.grid import Grid

BUDGETS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
BENCHMARK = "hops"


def simulate(settings: AnalysisBench, level: int) -> Variant:
    """One level at every budget. All levels have the same questions with the same difficulties."""
    shape = (settings.questions, settings.samples)
    difficulty = np.random.default_rng(settings.seed).normal(size=(settings.questions, 1))
    rng = np.random.default_rng([settings.seed, 1 + level])
    ability = 1.5 - (level / 4) ** 2
    length = np.exp(7 + 0.5 * difficulty + 0.1 * level + 0.6 * rng.standard_normal(shape))
    length = np.minimum(length, BUDGETS[-1]).astype(np.float32)
    correct = difficulty + rng.standard_normal(shape) < ability
    forced_correct = correct & (rng.random(shape) < 0.4)
    ids = tuple(f"q{i}" for i in range(settings.questions))
    groups = tuple(f"{1 + i % 4}-hop" for i in range(settings.questions))
    grids: dict[int | None, Grid] = {}
    for budget in BUDGETS:
        forced = length > budget
        grids[budget] = Grid(
            questions=ids,
            groups=groups,
            score=np.where(forced, forced_correct, correct).astype(np.float32),
            tokens=np.minimum(length, budget) + 16,
            thinking=np.minimum(length, budget),
            closed=np.ones(shape, bool),
            truncated=np.zeros(shape, bool),
            looped=np.zeros(shape, bool),
            forced=forced,
            answered=np.ones(shape, bool),
        )
    return Variant(
        name=f"{level / 10:.0%}",
        run_id=f"simulated-{level}",
        model="simulated",
        method="simulated" if level else "none",
        study="",
        engine="",
        sparsity=level / 10,
        bits=None,
        bytes=None,
        packed_bytes=None,
        unit="tokens",
        grids={BENCHMARK: grids},
    )


def analyse(variants: Sequence[Variant], clock: Clock) -> None:
    """Computes everything that a report shows, at every budget."""
    dense = variants[0]
    settings = [Setting(variant, budget) for variant in variants for budget in BUDGETS]
    with clock("frontier, with its neighbours compared"):
        frontier = fronts.front(settings, [BENCHMARK])
        # Both are computed when they are first read.
        len(frontier.neighbours)
        len(frontier.history)
    with clock("collapse points"):
        for budget in BUDGETS:
            collapse.collapse(variants, BENCHMARK, budget)
    with clock("against the dense model"):
        for setting in settings[len(BUDGETS) :]:
            compare(setting, Setting(dense, setting.budget), [BENCHMARK])
    with clock("short against long"):
        for setting in settings:
            lengths.across(setting.grid(BENCHMARK))
            lengths.within(setting.grid(BENCHMARK))
    with clock("efficiency scores"):
        for setting in settings:
            efficiency.efficiency(setting.grid(BENCHMARK), dense.grid(BENCHMARK, setting.budget))
    with clock("knowledge against reasoning"):
        for setting in settings:
            knowledge.contrasts(setting.variant, dense, setting.budget)
    with clock("table of settings"):
        tidy.settings(variants)
    with clock("table of replies, variant by variant"):
        for variant in variants:
            tidy.replies([variant])


class Clock:
    """Seconds by name, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def run(settings: AnalysisBench) -> str:
    """The costs, as text."""
    clock = Clock()
    with clock("simulation"):
        variants = [simulate(settings, level) for level in range(settings.levels)]
    analyse(variants, clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    size = f"{settings.questions:,} questions x {settings.samples} samples"
    lines = [f"{size} x {settings.levels} sparsities x {len(BUDGETS)} budgets (simulated)"]
    lines += [f"{seconds:8.2f} s  {name}" for name, seconds in clock.seconds.items()]
    lines += [f"{sum(clock.seconds.values()):8.2f} s  in all", f"{peak:8.2f} GiB at the peak"]
    return "\n".join(lines)
