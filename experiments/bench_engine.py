"""What an engine costs, here: python -m experiments.bench_engine.

Three measurements on the synthetic benchmarks, sampled at temperature 0.6 and top-p 0.95: tokens a
second (useful tokens are those of the replies, prompts and padding left out); what eight budgets
cost over one generation at the largest; and, where the engine can, what new weights cost over a new
start. Timings are of one process on a machine that may be shared: take their ratios.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.command import calm
from experiments.engines import EngineChoice, parse_engine
from experiments.runnable import find_runnable, runnable
from lrm.benchmarks.arithmetic import ARITHMETIC
from lrm.benchmarks.deduction import DEDUCTION
from lrm.benchmarks.hops import HOPS
from lrm.benchmarks.timeline import TIMELINE
from lrm.contracts import Swappable
from lrm.evaluate import evaluate
from lrm.records import Checkpoint, Decoding, Prompt
from lrm.store import Generations
from tracking.address import project_root

TWINS = (ARITHMETIC, DEDUCTION, HOPS, TIMELINE)
BUDGETS = (16, 32, 48, 64, 96, 128, 192, 384)


def prompts(each: int = 50) -> list[Prompt]:
    """`each` questions of every benchmark, the benchmarks taking turns."""
    columns = [twin.load(each) for twin in TWINS]
    questions = [question for row in zip(*columns, strict=True) for question in row]
    return [Prompt(question.prompt, seed, 512) for seed, question in enumerate(questions)]


def throughput(choice: EngineChoice, checkpoint: Checkpoint, each: int, repeats: int) -> None:
    """Tokens a second over mixed questions."""
    with choice.made(checkpoint) as engine:
        for _ in range(repeats):
            start, cpu = time.perf_counter(), time.process_time()
            completions = engine.generate(prompts(each), Decoding())
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            tokens = sum(completion.tokens for completion in completions)
            print(
                f"{tokens} tokens in {wall:.1f} s: {tokens / wall:.0f} tokens/s "
                f"({cpu:.1f} CPU seconds of this process, load {os.getloadavg()[0]:.1f})",
                flush=True,
            )


def budgets(choice: EngineChoice, checkpoint: Checkpoint, each: int) -> None:
    """Tokens decoded and seconds: one generation at the largest budget, then eight budgets too."""
    decoding = Decoding(max_tokens=max(BUDGETS) + 32, answer_tokens=32)

    def cost(at: Sequence[int]) -> tuple[int, float]:
        decoded = 0

        def count(tokens: int, forced: bool = False) -> None:
            nonlocal decoded
            decoded += tokens

        engine = choice.made(checkpoint)
        with (
            tempfile.TemporaryDirectory() as folder,
            Generations(Path(folder), checkpoint, decoding, engine.identity) as store,
        ):
            store.replies({0: prompts(1)[0]}, decoding, engine, lambda *_: None)  # starts it
            start = time.perf_counter()
            evaluate({twin: twin.load(each) for twin in TWINS}, decoding, at, store, engine, count)
            return decoded, time.perf_counter() - start

    (one, first), (all_, second) = cost(BUDGETS[-1:]), cost(BUDGETS)
    print(
        f"budget {BUDGETS[-1]}: {one} tokens, {first:.1f} s; budgets {BUDGETS}: {all_} tokens, "
        f"{second:.1f} s; {all_ / one:.2f} times the tokens, {second / first:.2f} times the wall",
        flush=True,
    )


def swap(choice: EngineChoice, checkpoint: Checkpoint) -> None:
    """Seconds to start on a checkpoint, and to take its weights into a running engine."""
    start = time.perf_counter()
    with choice.made(checkpoint) as engine:
        engine.generate(prompts(1)[:1], Decoding())
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
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--each", type=int, default=50, help="questions of each benchmark")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    calm()
    choice = parse_engine(given.engine)
    model = find_runnable(given.model, choice).open()
    checkpoint = runnable(model.checkpoint, choice, project_root() / "mlruns" / "gguf")
    identity = choice.made(checkpoint).identity
    print(f"{platform.machine()}, {os.cpu_count()} cores, {identity}, {given.model}", flush=True)
    throughput(choice, checkpoint, given.each, given.repeats)
    budgets(choice, checkpoint, given.each)
    swap(choice, checkpoint)


if __name__ == "__main__":
    main()
