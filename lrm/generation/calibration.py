"""Calibration data for compression: the model's own reasoning, prompts, or plain text.

Calibration on the dense model's own reasoning keeps more accuracy than web text does (RAC,
arXiv 2509.12464), and needs no downloads: the questions are practice questions of the twins, which
no benchmark asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from lrm.benchmarks.load import load_rows
from lrm.benchmarks.source import Source
from lrm.contracts.benchmark import Benchmark
from lrm.contracts.engine import Engine
from lrm.errors import BadInput
from lrm.generation.evaluate import seed_of
from lrm.generation.reply_cache import ReplyCache
from lrm.records.model import Calibration, Checkpoint
from lrm.records.reply import Completion, Decoding, Prompt
from lrm.tokenizers import encode_prompt, open_folder

ROWS = 64
ROW_TOKENS = 512
QUESTIONS = 64
"""Practice questions asked of each twin."""

TEXTS = {
    "text": (
        "C4 text",
        Source(
            "calibration/c4_demo_300.jsonl",
            "train",
            url="https://huggingface.co/datasets/allenai/c4/resolve/"
            "607bd4c8450a42878aa9ddc051a65a055450ef87/en/c4-validation.00000-of-00008.json.gz",
        ),
    ),
    "wikitext": (
        "WikiText-2",
        Source(
            "calibration/wikitext2_v1_valid_first400.jsonl",
            "validation",
            hub="Salesforce/wikitext",
            revision="b08601e04326c79dfdd32d625aee71d232d685c3",
            data_file="wikitext-2-v1/validation-00000-of-00001.parquet",
        ),
    ),
}
"""Plain text to calibrate on, by the name of the option: its description and its source."""


def own_reasoning(
    checkpoint: Checkpoint,
    twins: Sequence[Benchmark],
    decoding: Decoding,
    store: ReplyCache,
    engine: Engine,
    on_reply: Callable[[int], None],
) -> Calibration:
    """64 x 512 tokens of the model's replies, prompts included, to practice questions."""
    replies = practised(twins, QUESTIONS, decoding, store, engine, on_reply)
    texts = [prompt.text + reply.text for prompt, reply in replies]
    # The twins take turns, so that all of them are among the first 64 x 512 tokens.
    mixed = [texts[i] for start in range(QUESTIONS) for i in range(start, len(texts), QUESTIONS)]
    names = ", ".join(twin.name for twin in twins)
    return _packed(checkpoint, f"own reasoning on practice questions of {names}", mixed)


def practised(
    twins: Sequence[Benchmark],
    each: int,
    decoding: Decoding,
    store: ReplyCache,
    engine: Engine,
    on_reply: Callable[[int], None],
) -> list[tuple[Prompt, Completion]]:
    """`each` practice questions of every twin, twin by twin, and the model's replies."""
    asked = [question for twin in twins for question in twin.practice(each, seed=decoding.seed)]
    prompts = {
        question.id: Prompt(
            question.prompt, seed_of(decoding.seed, "calibration", question.id), decoding.max_tokens
        )
        for question in asked
    }
    replies = store.replies(prompts, decoding, engine, lambda name, tokens: on_reply(tokens))
    return [(prompts[name], replies[name]) for name in prompts]


def practice_prompts(checkpoint: Checkpoint, twins: Sequence[Benchmark], seed: int) -> Calibration:
    """At most 64 x 512 tokens of prompts alone, of practice questions."""
    drawn = [twin.practice(QUESTIONS, seed=seed) for twin in twins]
    prompts = [question.prompt for mixed in zip(*drawn, strict=True) for question in mixed]
    names = ", ".join(twin.name for twin in twins)
    return _packed(checkpoint, f"prompts of practice questions of {names}", prompts)


def plain_text(checkpoint: Checkpoint, name: str) -> Calibration:
    """64 x 512 tokens of one of TEXTS, from the folder LRM_DATA or online."""
    description, source = TEXTS[name]
    # WikiText stores a blank line as an empty row.
    texts = [row.text("text") for row in load_rows(source) if row.values.get("text") != ""]
    return _packed(checkpoint, description, texts)


def _packed(checkpoint: Checkpoint, source: str, texts: Iterable[str]) -> Calibration:
    """The texts as one stream of tokens, an end token after each, cut into rows of 512 tokens.

    Raises BadInput where there are fewer tokens than one row.
    """
    tokenizer = open_folder(checkpoint.path)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    stream: list[int] = []
    for text in texts:
        stream += encode_prompt(tokenizer, text) + end
        if len(stream) >= ROWS * ROW_TOKENS:
            break
    if len(stream) < ROW_TOKENS:
        raise BadInput(
            f"Calibration on {source} has {len(stream)} tokens; at least {ROW_TOKENS} are needed."
        )
    starts = range(0, min(len(stream), ROWS * ROW_TOKENS) - ROW_TOKENS + 1, ROW_TOKENS)
    return Calibration(source, tuple(tuple(stream[i : i + ROW_TOKENS]) for i in starts))
