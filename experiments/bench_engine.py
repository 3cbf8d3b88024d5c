"""What an engine costs, here: python -m experiments.bench_engine.

Measured on the synthetic benchmarks, sampled at temperature 0.6 and top-p 0.95: tokens a second
(useful tokens are those of the replies; prompts and padding left out); what eight budgets cost over
one generation at the largest; for vLLM, the same requests given to a bare LLM.generate; and, where
the engine can, what new weights cost over a new start. Timings are of one process on a machine that
may be shared: take their ratios.

A random model (--shape) says nothing that ends, so its thinking is ended by the engine (vLLM) after
--thinking tokens at the median, log-normally distributed like real ones.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from experiments.bench_bare import bare
from experiments.command import calm
from experiments.engines import EngineChoice, parse_engine
from experiments.random_models import SHAPES, random_model
from experiments.runnable import find_runnable, runnable
from lrm.benchmarks.arithmetic import ARITHMETIC
from lrm.benchmarks.deduction import DEDUCTION
from lrm.benchmarks.hops import HOPS
from lrm.benchmarks.timeline import TIMELINE
from lrm.contracts import Benchmark, Engine, OnCompletion, Swappable
from lrm.evaluate import evaluate
from lrm.records import Checkpoint, Completion, Decoding, Prompt, Question
from lrm.store import Generations

TWINS = (ARITHMETIC, DEDUCTION, HOPS, TIMELINE)
BUDGETS = (16, 32, 48, 64, 96, 128, 192, 384)
SHARES = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.7)
"""Budgets of a random model, as shares of its median thinking."""

SPREAD = 0.96
"""Standard deviation of the logarithm of thinking lengths: that of the outputs to AIME 2024 that
the authors of arXiv 2504.02010 released for R1-Distill-Llama-8B in AWQ 4-bit, whose median is some
6,000 tokens and which answer in some 480 behind them."""


@dataclass(frozen=True)
class Bench:
    """What is measured: an engine on a checkpoint, at some budgets, `each` questions a benchmark.

    `thinking` is the median length of a random model's thinking, 0 for a model that ends it itself.
    """

    choice: EngineChoice
    checkpoint: Checkpoint
    each: int
    budgets: Sequence[int]
    answer_tokens: int
    thinking: int

    @property
    def decoding(self) -> Decoding:
        return Decoding(
            max_tokens=max(self.budgets) + self.answer_tokens, answer_tokens=self.answer_tokens
        )

    def engine(self) -> Engine:
        made = self.choice.made(self.checkpoint)
        return Lengthened(made, self.thinking) if self.thinking else made

    def cost(self, budgets: Sequence[int]) -> Cost:
        """What an evaluation costs, stored as in a search, the engine's start left out."""
        decoded = 0

        def count(tokens: int, forced: bool) -> None:
            nonlocal decoded
            decoded += tokens

        engine, decoding = self.engine(), self.decoding
        with (
            tempfile.TemporaryDirectory() as folder,
            Generations(Path(folder), self.checkpoint, decoding, engine.identity) as store,
        ):
            store.replies({0: Prompt("1 + 1 = <think>\n", 0, 8)}, decoding, engine, lambda *_: None)
            questions: dict[Benchmark, list[Question]] = {
                twin: twin.load(self.each) for twin in TWINS
            }
            start, cpu = time.perf_counter(), time.process_time()
            found = evaluate(questions, decoding, budgets, store, engine, count)
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            replies = [reply for one in found for _, _, reply in one.generations()]
        return Cost(decoded, wall, cpu, replies)


@dataclass(frozen=True)
class Cost:
    """Tokens decoded, seconds, CPU seconds of this process, and the replies."""

    tokens: int
    wall: float
    cpu: float
    replies: Sequence[Completion]


@dataclass(frozen=True)
class Lengthened:
    """Contract: `lrm.contracts.Engine`. An engine whose fresh replies think for a drawn length."""

    inner: Engine
    median: int

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def identity(self) -> str:
        return f"{self.inner.identity} thinking {self.median}"

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.inner.__exit__(kind, error, trace)

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: OnCompletion | None = None,
    ) -> list[Completion]:
        told = [replace(one, thinking=self._length(one.seed)) for one in prompts]
        return self.inner.generate(told, decoding, on_completion)

    def _length(self, seed: int) -> int:
        return max(round(self.median * exp(Random(seed).gauss(0, SPREAD))), 1)


def compare(bench: Bench, repeats: int) -> None:
    """One generation at the largest budget, the same requests bare, and all budgets."""
    for _ in range(repeats):
        one = bench.cost(bench.budgets[-1:])
        print(
            f"budget {bench.budgets[-1]}: {one.tokens} tokens in {one.wall:.1f} s, "
            f"{one.tokens / one.wall:.0f} tokens/s ({one.cpu:.1f} CPU seconds of this process, "
            f"load {os.getloadavg()[0]:.1f})",
            flush=True,
        )
        if bench.choice.name == "vllm":
            tokens, wall = bare(bench.choice, bench.checkpoint, one.replies, bench.decoding)
            print(
                f"bare LLM.generate of the same requests: {tokens} tokens in {wall:.1f} s, "
                f"{tokens / wall:.0f} tokens/s; a token of ours takes "
                f"{one.wall / one.tokens / (wall / tokens):.3f} times as long",
                flush=True,
            )
        all_ = bench.cost(bench.budgets)
        print(
            f"budgets {','.join(map(str, bench.budgets))}: {all_.tokens} tokens in {all_.wall:.1f} "
            f"s; {all_.tokens / one.tokens:.2f} times the tokens, {all_.wall / one.wall:.2f} times "
            "the wall of the largest alone",
            flush=True,
        )


def swap(choice: EngineChoice, checkpoint: Checkpoint) -> None:
    """Seconds to start on a checkpoint, and to take its weights into a running engine."""
    prompt, start = Prompt("1 + 1 = ", 0, 8), time.perf_counter()
    with choice.made(checkpoint) as engine:
        engine.generate([prompt], Decoding())
        cold = time.perf_counter() - start
        if not isinstance(engine, Swappable):
            print(f"cold start {cold:.2f} s; the engine takes no other weights", flush=True)
            return
        start = time.perf_counter()
        engine.swap(replace(checkpoint, revision="again"))
        warm = time.perf_counter() - start
    print(f"cold start {cold:.2f} s, swap {warm:.3f} s: {cold / warm:.0f} times faster", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny-5m")
    parser.add_argument("--shape", choices=SHAPES, help="a random model instead")
    parser.add_argument("--thinking", type=int, default=0, help="its median thinking, in tokens")
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--each", type=int, default=50, help="questions of each benchmark")
    parser.add_argument("--answer", type=int, default=32, help="cap on an answer, in tokens")
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    if (given.shape is None) != (given.thinking == 0):
        parser.error("--shape and --thinking go together")
    calm()
    choice = parse_engine(given.engine)
    with tempfile.TemporaryDirectory() as folder:
        if given.shape:
            checkpoint = random_model(given.shape, Path(folder))
            budgets = [round(share * given.thinking) for share in SHARES]
        else:
            found = find_runnable(given.model, choice)
            checkpoint, budgets = found.open().checkpoint, list(BUDGETS)
        checkpoint = runnable(checkpoint, choice, Path(folder) / "gguf")
        identity = choice.made(checkpoint).identity
        name = given.shape or given.model
        print(f"{platform.machine()}, {os.cpu_count()} cores, {identity}, {name}", flush=True)
        bench = Bench(choice, checkpoint, given.each, budgets, given.answer, given.thinking)
        compare(bench, given.repeats)
        swap(choice, checkpoint)


if __name__ == "__main__":
    main()
