"""vLLM without us: the same requests given to a bare `LLM.generate`, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import TypedDict

from experiments.cli.engine_choice import EngineChoice
from lrm.engines.vllm.engine import VllmEngine
from lrm.engines.vllm.process import ENVIRONMENT
from lrm.records.model import Checkpoint
from lrm.records.reply import Completion, Decoding


class Sampling(TypedDict):
    """How every request is sampled."""

    temperature: float
    top_p: float


class BareJob(TypedDict):
    """What the other process reads: `requests` are prompt ids with a number of tokens each."""

    options: dict[str, object]
    sampling: Sampling
    requests: list[tuple[list[int], int]]
    repeats: int


def bare(
    choice: EngineChoice,
    checkpoint: Checkpoint,
    replies: Sequence[Completion],
    decoding: Decoding,
    repeats: int,
) -> list[tuple[int, float]]:
    """Tokens and seconds, for each repeat, of generating replies as long as `replies` from the same
    prompts.

    vLLM is started with the engine's own options, once for all repeats. Each request asks for
    exactly as many tokens as its reply has.
    """
    engine = choice.made(checkpoint)
    assert isinstance(engine, VllmEngine)
    job: BareJob = {
        "options": engine.options() | {"stream_interval": 1},
        "sampling": {"temperature": decoding.temperature, "top_p": decoding.top_p},
        "requests": [(list(reply.prompt_ids), reply.tokens - reply.given) for reply in replies],
        "repeats": repeats,
    }
    command = [sys.executable, "-m", "experiments.benchmarking.bare_vllm"]
    done = subprocess.run(
        command,
        input=json.dumps(job),
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [(tokens, wall) for tokens, wall in json.loads(done.stdout.splitlines()[-1])]


def main(job: BareJob) -> list[tuple[int, float]]:
    from vllm import LLM, SamplingParams

    llm = LLM(**job["options"])
    requests = [
        (
            {"prompt_token_ids": ids},
            SamplingParams(
                **job["sampling"], seed=seed, max_tokens=tokens, ignore_eos=True, detokenize=False
            ),
        )
        for seed, (ids, tokens) in enumerate(job["requests"])
    ]
    prompts, params = (list(part) for part in zip(*requests, strict=True))
    few = 1 + len(requests) // 8
    llm.generate(prompts[:few], params[:few], use_tqdm=False)  # compiles, and fills memory
    costs = []
    for _ in range(job["repeats"]):
        start = time.perf_counter()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        wall = time.perf_counter() - start
        costs.append((sum(len(output.outputs[0].token_ids) for output in outputs), wall))
    return costs


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
