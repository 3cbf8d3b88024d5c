"""What an engine costs, here: python -m experiments.bench_engine.

Measured on the synthetic benchmarks, sampled at temperature 0.6 and top-p 0.95, in an engine that
has answered something before: an evaluation at the largest budget, in tokens a second (those of the
replies; prompts and padding left out); for vLLM, the same requests given to a bare LLM.generate;
the evaluation at eight budgets; and, where the engine can, what new weights cost over a new start.
Timings are of one process on a machine that may be shared: take their ratios.

With --shape the model is random and never ends by itself. Its replies are then ended at drawn
lengths, --thinking tokens at the median and log-normally distributed as real ones are, and counted
as if they had closed their thinking before the last --answer tokens.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.benchmarking.bare_vllm import bare
from experiments.benchmarking.random_models import SHAPES, SHARES, Lengthened, random_model
from experiments.cli.command import calm
from experiments.cli.engine_choice import EngineChoice, parse_engine
from experiments.models.conversion import find_runnable, runnable
from experiments.search.engine_cache import EngineCache
from lrm.benchmarks.arithmetic import ARITHMETIC
from lrm.benchmarks.deduction import DEDUCTION
from lrm.benchmarks.hops import HOPS
from lrm.benchmarks.timeline import TIMELINE
from lrm.contracts import Benchmark, Engine, Swappable
from lrm.errors import LrmError
from lrm.generation.evaluate import evaluate
from lrm.generation.reply_cache import ReplyCache
from lrm.records import Checkpoint, Completion, Decoding, Prompt, Question

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
class Bench:
    """What is measured: a running engine, at some budgets, `each` questions a benchmark."""

    engine: Engine
    checkpoint: Checkpoint
    each: int
    budgets: Sequence[int]
    decoding: Decoding

    def cost(self, budgets: Sequence[int], each: int | None = None) -> EngineCost:
        """What an evaluation costs, its replies stored as in a search."""
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
            ReplyCache(Path(folder), self.checkpoint, self.decoding, identity) as store,
        ):
            start, cpu = time.perf_counter(), time.process_time()
            found = evaluate(questions, self.decoding, budgets, store, self.engine, count)
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            replies = [reply for one in found for _, _, reply in one.generations()]
        return EngineCost(decoded, wall, cpu, replies)

    def compare(self, repeats: int) -> list[Completion]:
        """One generation at the largest budget, and all budgets; returns the former's replies."""
        self.cost(self.budgets, each=1 + self.each // 8)  # compiles, and fills memory
        for _ in range(repeats):
            one = self.cost(self.budgets[-1:])
            print(
                f"budget {self.budgets[-1]}: {one} ({one.cpu:.1f} CPU seconds of this process, "
                f"load {os.getloadavg()[0]:.1f})",
                flush=True,
            )
            every = self.cost(self.budgets)
            print(
                f"budgets {','.join(map(str, self.budgets))}: {every}; "
                f"{every.tokens / one.tokens:.2f} times the tokens, {every.wall / one.wall:.2f} "
                "times the wall",
                flush=True,
            )
        return list(one.replies)


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


def run(given: argparse.Namespace) -> None:
    """Prints what is measured, line by line; one after the other, for two engines would want the
    same memory."""
    choice = parse_engine(given.engine)
    with tempfile.TemporaryDirectory() as folder:
        budgets = list(BUDGETS)
        if given.shape:
            checkpoint = random_model(given.shape, Path(folder))
            budgets = [round(share * given.thinking) for share in SHARES]
        else:
            checkpoint = find_runnable(given.model, choice).open().checkpoint
        checkpoint = runnable(checkpoint, choice, Path(folder) / "gguf")
        decoding = Decoding(max_tokens=max(budgets) + given.answer, answer_tokens=given.answer)
        with EngineCache(choice) as warm:
            engine = warm.on(checkpoint)
            machine = f"{platform.machine()}, {os.cpu_count()} cores"
            print(f"{machine}, {engine.identity}, {given.shape or given.model}", flush=True)
            if given.shape:
                engine = Lengthened(engine, given.thinking)
            bench = Bench(engine, checkpoint, given.each, budgets, decoding)
            replies = bench.compare(given.repeats)
        if choice.name == "vllm":
            for tokens, wall in bare(choice, checkpoint, replies, decoding, given.repeats):
                print(
                    f"bare LLM.generate of the requests at budget {budgets[-1]}: {tokens} tokens "
                    f"in {wall:.1f} s, {tokens / wall:.0f} tokens/s",
                    flush=True,
                )
        swap(choice, checkpoint)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny-5m")
    parser.add_argument("--shape", choices=SHAPES, help="a random model instead")
    parser.add_argument("--thinking", type=int, default=6000, help="its median thinking, in tokens")
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--each", type=int, default=50, help="questions of each benchmark")
    parser.add_argument("--answer", type=int, default=32, help="cap on an answer, in tokens")
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    calm()
    try:
        run(given)
    except LrmError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
