"""What a model is asked, and what it replies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"
"""The tags around the thinking, as DeepSeek-R1 and the models distilled from it write them."""

Stop = Literal["stop", "length"]

TEMPERATURE = 0.6
TOP_P = 0.95
"""What DeepSeek recommends for R1 and the models distilled from it, and the paper uses."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How replies are sampled, shared by all prompts of one call.

    `temperature` 0 is greedy. `max_tokens` caps the tokens decoded for one reply;
    `answer_tokens` caps what follows the thinking, its closing tag included.
    """

    temperature: float = TEMPERATURE
    top_p: float = TOP_P
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
    model's chat template with the thinking block opened, behind the message `system` of the system,
    if that is not None.

    `thinking` above 0 asks the engine to end the thinking itself after that many tokens, which some
    can. `reserved_tokens` is how many tokens must fit behind `text` in the model's context, where
    more may be asked later than `max_tokens` now: a forced answer continues the thinking so far.
    `open_tokens` above 0 cuts a reply whose thinking is still open after that many decoded tokens;
    one that has closed it goes on.
    """

    text: str
    seed: int
    max_tokens: int
    prefix_ids: tuple[int, ...] = ()
    closing: str = ""
    chat: bool = False
    thinking: int = 0
    reserved_tokens: int = 0
    system: str | None = None
    open_tokens: int = 0


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
