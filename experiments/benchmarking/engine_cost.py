"""An engine, timed: one budget, all budgets, and new weights against a new start."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.benchmarking.bare_vllm import bare
from experiments.benchmarking.random_models import random_model
from experiments.benchmarking.reply_lengths import SHARES, Lengthened
from experiments.benchmarking.settings import EngineBench
from experiments.cli.engine_choice import EngineChoice, parse_engine
from experiments.models.conversion import find_runnable, made, runnable
from experiments.search.engine_cache import EngineCache
from lrm.benchmarks.arithmetic import ARITHMETIC
from lrm.benchmarks.deduction import DEDUCTION
from lrm.benchmarks.hops import HOPS
from lrm.benchmarks.timeline import TIMELINE
from lrm.contracts.benchmark import Benchmark
from lrm.contracts.engine import Engine, Swappable
from lrm.generation.evaluate import evaluate
from lrm.generation.reply_cache import ReplyCache
from lrm.records.model import Checkpoint
from lrm.records.question import Question
from lrm.records.reply import Completion, Decoding, Prompt

TWINS = (ARITHMETIC, DEDUCTION, HOPS, TIMELINE)
BUDGETS = (16, 32, 48, 64, 96, 128, 192, 384)


@dataclass(frozen=True)
class EngineCost:
    """Tokens decoded, seconds, CPU seconds of this process, and the replies."""

    tokens: int
    wall: float
    cpu: float
    replies: Sequence[Completion]

    def __str__(self) -> str:
        return f"{self.tokens} tokens in {self.wall:.1f} s, {self.tokens / self.wall:.0f} tokens/s"


@dataclass(frozen=True)
class EngineTimer:
    """Times a running engine at some budgets, with `each` questions of every benchmark."""

    engine: Engine
    checkpoint: Checkpoint
    each: int
    budgets: Sequence[int]
    decoding: Decoding

    def cost(self, budgets: Sequence[int], each: int | None = None) -> EngineCost:
        """The cost of one evaluation, its replies stored as in a search."""
        decoded = 0

        def count(tokens: int, forced: bool) -> None:
            nonlocal decoded
            decoded += tokens

        questions: dict[Benchmark, list[Question]] = {
            twin: twin.load(each or self.each) for twin in TWINS
        }
        identity = self.engine.identity
        with (
            tempfile.TemporaryDirectory() as folder,
            ReplyCache(Path(folder), self.checkpoint, self.decoding, identity) as cache,
        ):
            start, cpu = time.perf_counter(), time.process_time()
            evaluations = evaluate(questions, self.decoding, budgets, cache, self.engine, count)
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            replies = [
                reply for evaluation in evaluations for _, _, reply in evaluation.generations()
            ]
        return EngineCost(decoded, wall, cpu, replies)

    def largest_then_all(self) -> list[Completion]:
        """Prints the cost of the largest budget, then of all; returns the former's replies."""
        largest = self.cost(self.budgets[-1:])
        print(
            f"budget {self.budgets[-1]}: {largest} ({largest.cpu:.1f} CPU seconds of this process, "
            f"load {os.getloadavg()[0]:.1f})",
            flush=True,
        )
        every = self.cost(self.budgets)
        print(
            f"budgets {','.join(map(str, self.budgets))}: {every}; "
            f"{every.tokens / largest.tokens:.2f} times the tokens, "
            f"{every.wall / largest.wall:.2f} times the wall",
            flush=True,
        )
        return list(largest.replies)


def run(settings: EngineBench) -> str:
    """Prints each cost as soon as it is measured; returns the last line.

    Only one engine runs at a time, since two would want the same memory.
    """
    choice = parse_engine(settings.engine)
    with tempfile.TemporaryDirectory() as folder:
        # The model, and the budgets that suit it.
        budgets = list(BUDGETS)
        if settings.shape:
            checkpoint = random_model(settings.shape, Path(folder))
            budgets = [max(1, round(share * settings.thinking)) for share in SHARES]
        else:
            checkpoint = find_runnable(settings.model, choice).open().checkpoint
        checkpoint = runnable(checkpoint, choice, Path(folder) / "gguf")
        decoding = Decoding(
            max_tokens=max(budgets) + settings.answer, answer_tokens=settings.answer
        )

        # Our engine.
        with EngineCache(choice) as cache:
            engine = cache.on(checkpoint)
            machine = f"{platform.machine()}, {os.cpu_count()} cores"
            model = settings.shape or settings.model
            print(f"{machine}, {engine.identity}, {model}", flush=True)
            if settings.shape:
                engine = Lengthened(engine, settings.thinking)
            timer = EngineTimer(engine, checkpoint, settings.each, budgets, decoding)
            timer.cost(budgets, each=1 + settings.each // 8)  # compiles, and fills memory
            replies = [timer.largest_then_all() for _ in range(settings.repeats)][-1]

        # The same requests without us.
        if choice.name == "vllm":
            for tokens, wall in bare(choice, checkpoint, replies, decoding, settings.repeats):
                print(
                    f"bare LLM.generate of the requests at budget {budgets[-1]}: {tokens} tokens "
                    f"in {wall:.1f} s, {tokens / wall:.0f} tokens/s",
                    flush=True,
                )
        return swap(choice, checkpoint)


def swap(choice: EngineChoice, checkpoint: Checkpoint) -> str:
    """Seconds to start on a checkpoint, and to take its weights into a running engine."""
    prompt, start = Prompt("1 + 1 = ", 0, 8), time.perf_counter()
    with made(choice, checkpoint) as engine:
        engine.generate([prompt], Decoding())
        cold = time.perf_counter() - start
        if not isinstance(engine, Swappable):
            return f"cold start {cold:.2f} s; the engine takes no other weights"
        start = time.perf_counter()
        engine.swap(replace(checkpoint, revision="again"))
        warm = time.perf_counter() - start
    return f"cold start {cold:.2f} s, swap {warm:.3f} s: {cold / warm:.0f} times faster"
