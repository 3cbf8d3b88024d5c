"""The frozen facts that every part of the project exchanges. Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"
"""The tags around the thinking, as DeepSeek-R1 and the models distilled from it write them."""

Stop = Literal["stop", "length"]
Policy = Literal["force", "truncate"]
Rule = Literal["strict", "lenient"]
Truncation = Literal["truncated-is-wrong", "grade-what-is-there"]
Track = Literal["paper", "chat"]
Format = Literal["dense", "awq", "gptq", "compressed-tensors", "gguf", "tokenizer"]
"""How a model's weights are stored: dense safetensors; safetensors packed in one of three ways, by
the name that `quantization_config` has for it; GGUF; or not at all, only the tokenizer of a model
that runs elsewhere."""

Unit = Literal["tokens", "words"]
"""What the lengths of replies are counted in."""

LevelKey = float | str
"""What tells the levels of a search apart: a sparsity, or the name of a recipe."""


def level_label(key: LevelKey) -> str:
    """A level as people read it."""
    return key if isinstance(key, str) else f"{key:.0%}"


@dataclass(frozen=True, slots=True)
class Question:
    """One item of a benchmark.

    `prompt` is the exact text shown to the model on the "paper" track and ends with the opened
    thinking block; `message` is what the user says on the "chat" track, inside the model's chat
    template. `gold` lists the accepted answers, the canonical one first; `group` names a stratum
    that is reported apart (for example "2-hop"), or is empty.
    """

    id: str
    prompt: str
    gold: tuple[str, ...]
    group: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How replies are sampled, shared by all prompts of one call.

    `temperature` 0 is greedy. `max_tokens` caps the tokens decoded for one reply;
    `answer_tokens` caps what follows the thinking, its closing tag included.
    """

    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int = 512
    answer_tokens: int = 32
    seed: int = 0
    samples: int = 1

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature must be 0 or more, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        for name in ("max_tokens", "answer_tokens", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an engine continues: `text`, then the token ids `prefix_ids`, then the text `closing`.

    `prefix_ids` and `closing` are empty for a fresh reply. To force an answer at a budget,
    `prefix_ids` holds the thinking that is kept and `closing` the text that ends it. `seed` fixes
    the sampling of this one reply, whatever else is in the batch. `max_tokens` caps the newly
    decoded tokens. `chat` says that `text` is a user's message, which the engine puts into the
    model's chat template with the thinking block opened.

    `thinking` above 0 asks the engine to end the thinking itself after that many tokens, which some
    can. `reserved_tokens` is how many tokens must fit behind `text` in the model's context, where
    more may be asked later than `max_tokens` now: a forced answer continues the thinking so far.
    """

    text: str
    seed: int
    max_tokens: int
    prefix_ids: tuple[int, ...] = ()
    closing: str = ""
    chat: bool = False
    thinking: int = 0
    reserved_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One reply: all that follows `Prompt.text`, given (`prefix_ids`, `closing`) or decoded.

    `prompt_ids` are the tokens of `Prompt.text` as the model read them, its chat template and
    beginning-of-text token included; empty where nobody knows them. `token_ids` leaves out the
    end-of-text token; `given` of them were given, the rest decoded. It is empty where only the text
    is known. `thinking_tokens` precede the closing tag; `answer_tokens` are the rest, the tag
    included. `closed` says whether the closing tag is there, `stop` whether the model ended
    ("stop") or a cap did ("length"), `looped` whether the reply ran into a cap repeating itself.
    `reported_tokens` is how many tokens a server says it decoded, where one was asked; it may
    count the end-of-text token, and what the answer cap cut off.
    """

    token_ids: tuple[int, ...]
    text: str
    prompt_ids: tuple[int, ...]
    thinking_tokens: int
    answer_tokens: int
    closed: bool
    stop: Stop
    looped: bool
    given: int = 0
    reported_tokens: int | None = None

    @property
    def tokens(self) -> int:
        """Tokens of the whole reply: what one question costs at test time."""
        return self.thinking_tokens + self.answer_tokens


@dataclass(frozen=True, slots=True)
class Mark:
    """The answer that one extraction rule finds (None: nothing, which is not wrong) and its score.

    `vote` is what makes two answers the same one for a majority, where that is not `answer`.
    """

    answer: str | None
    score: float
    vote: str | None = None


@dataclass(frozen=True, slots=True)
class Grade:
    """What a reply answers (None: nothing found, which is not the same as wrong) and its score.

    `score` is in [0, 1] and is the benchmark's headline; `also` holds its further metrics, by
    name (for example "f1"); `marks` has the answer and score of each extraction rule, the headline
    one among them, and is empty where a benchmark knows one rule only; `vote` as in `Mark`.
    """

    answer: str | None
    score: float
    also: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[Rule, Mark] = field(default_factory=dict)
    vote: str | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """A cap on thinking tokens and what happens there.

    "force" closes the thinking and asks for the answer; "truncate" cuts, and what is unanswered
    is wrong.
    """

    tokens: int
    policy: Policy = "force"

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ValueError(f"a budget must be 1 thinking token or more, got {self.tokens}")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Token sequences that a compression method measures a model on.

    `source` says in words where they come from; `rows` are token ids, one tuple a sequence.
    """

    source: str
    rows: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        """Tokens in all rows together."""
        return sum(map(len, self.rows))

    @property
    def digest(self) -> str:
        """sha256 of the token ids alone."""
        return hashlib.sha256(json.dumps(self.rows).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model on disk.

    `revision` is a digest of the bytes that decide what it says (weights, config, tokenizer);
    `path` is a folder, or a GGUF file, the first part of a split one. `lineage` names the methods
    applied, oldest first; `measured` holds what was read back from the saved weights
    ("sparsity/achieved", "weights/bytes", "bits_per_weight"), and nothing that was not.
    """

    path: Path
    revision: str
    format: Format = "dense"
    lineage: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value} lies outside its interval [{self.low}, {self.high}]")


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the accuracy-versus-conciseness plane, and the run it comes from.

    `accuracy` is in [0, 1], the mean over benchmarks; `tokens` is tokens per question.
    `sparsity` is what was asked for, `sparsity_achieved` what was measured, None where nobody did.
    `level` names a level that is no sparsity ("Q2_K"); `weights_bytes` is None where unknown.
    """

    sparsity: float
    sparsity_achieved: float | None
    budget: Budget
    accuracy: Interval
    tokens: Interval
    run_id: str
    level: str = ""
    weights_bytes: float | None = None
