"""vLLM without us: the same requests given to a bare `LLM.generate`, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from experiments.engines import EngineChoice
from lrm.engines.vllm import VllmEngine
from lrm.engines.vllm_process import ENVIRONMENT
from lrm.records import Checkpoint, Completion, Decoding


def bare(
    choice: EngineChoice, checkpoint: Checkpoint, replies: Sequence[Completion], decoding: Decoding
) -> tuple[int, float]:
    """Tokens and seconds of generating replies of the same lengths from the same prompts.

    vLLM is started with the engine's own options. Each request asks for exactly as many tokens as
    its reply has.
    """
    engine = choice.made(checkpoint)
    assert isinstance(engine, VllmEngine)
    told = {
        "options": engine.options() | {"stream_interval": 1},
        "sampling": {"temperature": decoding.temperature, "top_p": decoding.top_p},
        "requests": [[list(one.prompt_ids), one.tokens - one.given] for one in replies],
    }
    command = [sys.executable, "-m", "experiments.bench_bare"]
    done = subprocess.run(
        command,
        input=json.dumps(told),
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    tokens, seconds = json.loads(done.stdout.splitlines()[-1])
    return tokens, seconds


def main(told: dict[str, Any]) -> tuple[int, float]:
    from vllm import LLM, SamplingParams

    llm = LLM(**told["options"])
    requests = [
        (
            {"prompt_token_ids": ids},
            SamplingParams(
                **told["sampling"], seed=seed, max_tokens=tokens, ignore_eos=True, detokenize=False
            ),
        )
        for seed, (ids, tokens) in enumerate(told["requests"])
    ]
    llm.generate([requests[0][0]], SamplingParams(max_tokens=8), use_tqdm=False)
    prompts, params = zip(*requests, strict=True)
    start = time.perf_counter()
    outputs = llm.generate(list(prompts), list(params), use_tqdm=False)
    seconds = time.perf_counter() - start
    return sum(len(output.outputs[0].token_ids) for output in outputs), seconds


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
