"""Calibration data for compression: the model's own reasoning, prompts, or plain text.

Calibration on the dense model's own reasoning keeps more accuracy than web text does (RAC,
arXiv 2509.12464), and needs no downloads: an embedded model reasons on practice questions of the
twins, which no benchmark asks, a real one on questions that the search leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from lrm.benchmarks.load import load_rows, read_rows
from lrm.benchmarks.source import Source
from lrm.contracts.benchmark import Benchmark
from lrm.contracts.engine import Engine
from lrm.errors import BadInput
from lrm.generation.evaluate import fresh, seed_of
from lrm.generation.reply_cache import ReplyCache
from lrm.model_config import read_config
from lrm.records.model import Calibration, Checkpoint
from lrm.records.question import Question, Track
from lrm.records.reply import Completion, Decoding, Prompt
from lrm.tokenizers import decode, encode_prompt, open_folder

EMBEDDED = (64, 512)
"""Rows and tokens of each, for the embedded models."""

ROWS, ROW_TOKENS = 128, 2048
"""At most, for other models: what the literature calibrates 7B and 8B models on."""

TOKENS_PER_INPUT = 18
"""Tokens for each input of a model's widest layer: of 14,336, as Llama 3.1 8B has, these are 126
rows of 2,048. SmolLM2-135M, whose widest has 1,536, gets 14 rows."""

HELD_OUT = 8
"""Rows behind the others, as far as there are some, that are only measured on."""

QUESTIONS = 64
"""Practice questions asked of each benchmark, at most."""

PORTION = 32
"""Questions asked together. The next ones are asked if there are too few tokens yet."""

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


@dataclass(frozen=True, slots=True)
class Size:
    """How much a model is calibrated on: `rows` of `row_tokens` tokens; and how many rows more are
    held out, as far as there are so many."""

    rows: int
    row_tokens: int
    held_out: int = 0


def size_of(
    checkpoint: Checkpoint, embedded: bool, rows: int | None = None, row_tokens: int | None = None
) -> Size:
    """The size asked for; what is None follows the model. BadInput if rows are longer than it
    reads."""
    config = read_config(checkpoint.path)
    reads, widest = config.get("max_position_embeddings"), config.get("intermediate_size")
    longest = reads if isinstance(reads, int) else ROW_TOKENS
    if row_tokens and row_tokens > longest:
        raise BadInput(
            f"row_tokens={row_tokens} is more than the {longest} tokens that the model reads: give "
            "that at most."
        )
    if embedded:
        return Size(rows or EMBEDDED[0], row_tokens or min(EMBEDDED[1], longest))
    length = row_tokens or min(ROW_TOKENS, longest)
    wanted = math.ceil(TOKENS_PER_INPUT * widest / length) if isinstance(widest, int) else ROWS
    return Size(rows or min(wanted, ROWS), length, HELD_OUT)


@dataclass(frozen=True)
class Asked:
    """Prompts that a model is to reason on, by name, in the order in which they are asked, and in
    words where they come from."""

    source: str
    prompts: Mapping[str, Prompt]


def own_reasoning(
    checkpoint: Checkpoint,
    size: Size,
    asked: Asked,
    decoding: Decoding,
    store: ReplyCache,
    engine: Engine,
    on_reply: Callable[[int], None],
) -> Calibration:
    """The model's replies to prompts, with the prompts in front, as many as the size takes.

    The prompts are asked in portions, until there are enough tokens.
    """

    def texts() -> Iterator[str]:
        tokenizer = open_folder(checkpoint.path)
        names = list(asked.prompts)
        for start in range(0, len(names), PORTION):
            portion = {name: asked.prompts[name] for name in names[start : start + PORTION]}
            replies = store.replies(
                portion, decoding, engine, lambda name, tokens: on_reply(tokens)
            )
            for name, prompt in portion.items():
                reply = replies[name]
                # In a chat, what the model read is not the text of the prompt alone.
                read = decode(tokenizer, reply.prompt_ids) if prompt.chat else prompt.text
                yield read + reply.text

    return packed(checkpoint, size, f"own reasoning on {asked.source}", texts())


def of_practice(twins: Sequence[Benchmark], decoding: Decoding) -> Asked:
    """Practice questions of twins. They take turns, so that the first tokens have all twins."""
    drawn = [practice(twin, QUESTIONS, decoding) for twin in twins]
    turns = zip(*(prompts.items() for prompts in drawn), strict=True)
    mixed = [item for turn in turns for item in turn]
    return Asked(f"practice questions of {', '.join(twin.name for twin in twins)}", dict(mixed))


def practice(twin: Benchmark, count: int, decoding: Decoding) -> dict[str, Prompt]:
    """The prompts of a benchmark's practice questions."""
    return {
        question.id: _fresh(question.id, question.prompt, decoding)
        for question in twin.practice(count, seed=decoding.seed)
    }


def practised(
    twins: Sequence[Benchmark],
    each: int,
    decoding: Decoding,
    store: ReplyCache,
    engine: Engine,
    on_reply: Callable[[int], None],
) -> list[tuple[Prompt, Completion]]:
    """`each` practice questions of every twin, twin by twin, and the model's replies."""
    prompts = {
        name: prompt for twin in twins for name, prompt in practice(twin, each, decoding).items()
    }
    replies = store.replies(prompts, decoding, engine, lambda name, tokens: on_reply(tokens))
    return [(prompts[name], replies[name]) for name in prompts]


def of_left_out(
    questions: Mapping[Benchmark, Sequence[Question]],
    decoding: Decoding,
    track: Track,
    system: str | None = None,
) -> Asked:
    """Questions of the benchmarks that a search does not ask: practice questions where a benchmark
    has them, else those behind the ones asked. The benchmarks take turns.

    BadInput if there are none.
    """
    spare = [
        benchmark.practice(QUESTIONS, seed=decoding.seed)
        or benchmark.load()[len(asked) : len(asked) + QUESTIONS]
        for benchmark, asked in questions.items()
    ]
    names = [benchmark.name for benchmark in questions]
    prompts = {
        f"{name} {question.id}": replace(
            fresh(question, track, decoding, name, 0, system),
            seed=seed_of(decoding.seed, "calibration", name, question.id),
        )
        for turn in zip_longest(*spare)
        for name, question in zip(names, turn, strict=True)
        if question is not None
    }
    if not prompts:
        raise BadInput(
            f"All questions of {', '.join(names)} are asked, so the model has none left to reason "
            "on for calibration: ask fewer (--questions), or give --method the option "
            "calibration=text, or calibration=traces:FILE.jsonl with prompts of your own."
        )
    with_some = [name for name, drawn in zip(names, spare, strict=True) if drawn]
    return Asked(f"questions of {', '.join(with_some)} that are not asked", prompts)


def of_file(path: Path, decoding: Decoding, track: Track, system: str | None = None) -> Asked:
    """The prompts of a file, an object with "prompt" a line; on the chat track each is a user's
    message."""
    rows = read_rows(path, "give another file")
    if not rows:
        raise BadInput(f"{path} holds no prompts; write one JSON object a line.")
    prompts = {}
    for row in rows:
        prompt = _fresh(f"{path.name} {row.index}", row.text("prompt"), decoding)
        chat = track == "chat"
        prompts[str(row.index)] = replace(prompt, chat=chat, system=system if chat else None)
    return Asked(f"the prompts of {path.name}", prompts)


def _fresh(name: str, text: str, decoding: Decoding) -> Prompt:
    return Prompt(text, seed_of(decoding.seed, "calibration", name), decoding.max_tokens)


def prompts_alone(checkpoint: Checkpoint, size: Size, asked: Asked) -> Calibration:
    """Prompts without any reply."""
    texts = (prompt.text for prompt in asked.prompts.values())
    return packed(checkpoint, size, f"prompts of {asked.source}", texts)


def plain_text(checkpoint: Checkpoint, size: Size, name: str) -> Calibration:
    """One of TEXTS, from the folder LRM_DATA or online."""
    description, source = TEXTS[name]
    # WikiText stores a blank line as an empty row.
    texts = [row.text("text") for row in load_rows(source) if row.values.get("text") != ""]
    return packed(checkpoint, size, description, texts)


def own_text(checkpoint: Checkpoint, size: Size, path: Path) -> Calibration:
    """The texts of a file, an object with "text" a line."""
    texts = [row.text("text") for row in read_rows(path, "give another file")]
    return packed(checkpoint, size, f"the texts of {path.name}", texts)


def packed(checkpoint: Checkpoint, size: Size, source: str, texts: Iterable[str]) -> Calibration:
    """The texts as one stream of tokens, an end token after each, cut into rows. As many texts are
    taken as the rows need, and the rows that are held out.

    Raises BadInput where there are fewer tokens than one row.
    """
    tokenizer, length = open_folder(checkpoint.path), size.row_tokens
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    stream: list[int] = []
    for text in texts:
        stream += encode_prompt(tokenizer, text) + end
        if len(stream) >= (size.rows + size.held_out) * length:
            break
    if len(stream) < length:
        raise BadInput(
            f"Calibration on {source} has {len(stream)} tokens; at least {length} are needed: give "
            "more, or a smaller row_tokens."
        )
    starts = range(0, len(stream) - length + 1, length)
    rows = [tuple(stream[start : start + length]) for start in starts]
    behind = rows[size.rows : size.rows + size.held_out]
    return Calibration(source, tuple(rows[: size.rows]), tuple(behind))
