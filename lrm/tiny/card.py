"""The card of an embedded model: what it is, and how well it does on held-out questions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

from lrm import registry
from lrm.engines.transformers.engine import TransformersEngine
from lrm.generation.evaluate import evaluate
from lrm.generation.reply_cache import ReplyCache
from lrm.records.model import Checkpoint
from lrm.records.point import Budget, Interval
from lrm.records.reply import Decoding
from lrm.scoring.grading import graded_replies
from lrm.scoring.replies import collect
from lrm.scoring.scores import score
from lrm.tables import bounds

BUDGET = 512
"""Thinking tokens at most."""

TASKS = {
    "arithmetic": "chains of 2 to 6 sums and products modulo 1000",
    "deduction": "True, False or Uncertain from premises",
    "timeline": "the format of BIG-Bench Hard Temporal Sequences",
    "hops": "1 to 4 hops through a made-up graph of 12,000 facts, closed book",
}
"""The twins, and what each asks."""

QUESTIONS: int | None = None
"""Of each twin; None: all held-out ones."""

HeldOutScores = Mapping[str, tuple[int, Interval]]
"""By benchmark: the number of questions, and the accuracy with its 95% interval."""


def held_out_questions() -> int:
    """How many questions `held_out_scores` asks."""
    return sum(len(registry.benchmark(name).load(QUESTIONS)) for name in TASKS)


def held_out_scores(checkpoint: Checkpoint, on_reply: Callable[[int, bool], None]) -> HeldOutScores:
    """Scores on all held-out questions. `on_reply` gets the tokens of each reply, and whether it
    was forced, as soon as it is decoded."""
    decoding = Decoding(max_tokens=BUDGET + 32, answer_tokens=32)
    questions = {
        benchmark: benchmark.load(QUESTIONS) for benchmark in map(registry.benchmark, TASKS)
    }
    engine = TransformersEngine(checkpoint)
    with (
        tempfile.TemporaryDirectory() as scratch,
        ReplyCache(Path(scratch), checkpoint, decoding, engine.identity) as cache,
    ):
        evaluations = evaluate(questions, decoding, [BUDGET], cache, engine, on_reply)
        # Scored in here, since replies are read from the cache while it is open.
        scores = {
            each.benchmark.name: score(collect(graded_replies(each)), Budget(BUDGET))
            for each in evaluations
        }
    return {name: (len(each.per_question), each.accuracy) for name, each in scores.items()}


def card(name: str, measured: Mapping[str, float], scores: HeldOutScores, day: date) -> str:
    """The model card, in Markdown. `measured` is that of the model's checkpoint."""
    rows = "\n".join(
        f"| {twin} | {TASKS[twin]} | {questions} | {accuracy.value:.2%}{bounds(accuracy, '.1%')} |"
        for twin, (questions, accuracy) in scores.items()
    )
    return f"""# {name}

A reasoning model in miniature: it thinks between `<think>` and `</think>` and answers in a
`\\boxed{{}}`, as DeepSeek-R1 does, and it knows four made-up tasks and nothing else. It is not a
language model; it exists so that compression, budgets and tracking can be tried on a laptop.

* Size: {measured["weights/nonzero"] / 1e6:.2f}M parameters, {measured["weights/bytes"]:,.0f} bytes
  of bfloat16 safetensors; Llama architecture; a byte-level BPE tokenizer with 1,024 tokens.
* Data: documents of the four twins, made on the fly by `lrm/tiny/traces.py` from the seed in
  `lrm/tiny/training.py`; no text from anywhere else. Questions held out for testing (by a hash of
  their content) are never among them. Four in ten documents check themselves once or twice.
* Trained by `python -m experiments.train_tiny --model {name}`.
* Licence: as the project's.

Accuracy on all held-out questions (temperature 0.6, top-p 0.95, seed 0, one sample, at most
{BUDGET} thinking tokens, engine `transformers`), {day:%Y-%m-%d}:

| benchmark | task | n | accuracy [95% interval] |
|---|---|---|---|
{rows}
"""
