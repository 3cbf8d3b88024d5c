"""A model behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, wherever it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from lrm.contracts import OnCompletion
from lrm.digests import of_json
from lrm.engines.server.endpoint import Answer, Body, Endpoint
from lrm.engines.shared.chat import opened_chat
from lrm.engines.shared.codec import check_room, closing_ids, refuse_thinking
from lrm.engines.shared.tokenizer import open_tokenizer
from lrm.errors import BadInput
from lrm.records import THINK_CLOSE, Checkpoint, Completion, Decoding, Format, Prompt
from lrm.replies import assemble, find_close

NEUTRAL = {
    "top_k": 1 << 30,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "repeat_penalty": 1.0,
    "samplers": ["temperature", "top_p"],
}
"""Sent with every request, as servers have defaults of their own that change what is sampled:
llama.cpp top_k 40, min_p 0.05 and temperature applied last (its server's README, "samplers"),
llama-cpp-python also repeat_penalty 1.1, vLLM and SGLang what the model's generation_config.json
says. "All tokens" is a top_k of 0 to one server and -1 to another, each refused by a third; more
than any vocabulary is the same to all. A server ignores the names it does not know."""

SEEDS = 1 << 31
"""Seeds are sent modulo this: llama.cpp holds them in 32 bits, of which the last means "random"."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A prompt as it is sent; `given` are the ids of spoken and closing, `limit` what is decoded
    at most."""

    index: int
    text: str
    seed: int
    prompt_ids: tuple[int, ...]
    given: tuple[int, ...]
    limit: int


class ServerEngine:
    """Asks the model named `model` of the server at `url` (the part before /v1).

    The server, not `checkpoint`, decides what runs: it is for the caller to see that it serves that
    checkpoint. Tokens are counted and chats rendered by `tokenizer`, a folder or a hub id, unless
    given the checkpoint's own. At most `concurrency` requests are in flight. A try fails after
    `timeout` seconds; what may pass (no connection, a time-out, a busy or broken server) is tried
    `retries` times more, ever later. The key is read from
    `lrm.engines.server.endpoint.KEY_VARIABLE`.

    Servers exchange text, and from that follow the limits of this engine:

    * Token ids are the tokenizer's encoding of the reply's text. A model may have spoken in other
      tokens than these; so counts may differ from `Completion.reported_tokens`, the server's own,
      and a reply that takes more tokens than were asked for is cut there and has the stop reason
      "length". A cut in the middle of a character loses that character.
    * What is given (`Prompt.prefix_ids`, `closing`) is sent as the text it decodes to. Where
      encoding that text does not give the same ids (a token that runs over the seam between the
      two, such as a full stop with a line break; half a character at a cut), the model reads other
      ids than the completion says.
    * The server adds the beginning-of-text token as its tokenizer does by itself; a chat template
      that writes it has it taken away again, so that it is there once.
    * An answer longer than `Decoding.answer_tokens` is decoded to its end before it is cut, except
      where the thinking was closed in the prompt.
    * Whether the same call gives the same completions is the server's doing: its arithmetic may
      depend on what else it runs. llama-cpp-python takes the nucleus (top_p) before it applies the
      temperature and cannot be told otherwise.
    """

    name = "server"
    formats: ClassVar[tuple[Format, ...]] = ("tokenizer",)
    ends_thinking = False

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        url: str = "",
        model: str = "",
        tokenizer: str | Path | None = None,
        concurrency: int = 8,
        timeout: float = 600.0,
        retries: int = 5,
    ) -> None:
        if concurrency < 1 or timeout <= 0 or retries < 0:
            raise BadInput(
                f"concurrency must be 1 or more, timeout above 0 and retries 0 or more, got "
                f"{concurrency}, {timeout:g} and {retries}"
            )
        if tokenizer is None and checkpoint.format == "gguf":
            raise BadInput(
                f"{checkpoint.path} is a GGUF file; name the tokenizer that counts its tokens, a "
                "folder or a hub id"
            )
        self.model = model
        self.concurrency = concurrency
        self.source = str(tokenizer or checkpoint.path)
        self._endpoint = Endpoint(url, timeout, retries)
        self._context: int | None = None

    @property
    def identity(self) -> str:
        """See `lrm.contracts.Engine`. Token ids of two tokenizers may not be mixed either."""
        known = {"v": self._tokenizer.get_vocab(), "chat": self._tokenizer.chat_template}
        return f"{self.name} {self._endpoint.url} {self.model} tokenizer {of_json(known)[:12]}"

    def __enter__(self) -> Self:
        if THINK_CLOSE in self._tokenizer.all_special_tokens:
            raise BadInput(
                f"tokenizer {self.source} has {THINK_CLOSE} as a special token, which servers "
                "leave out of their replies; run this model with the transformers engine"
            )
        closing_ids(self._encode, self._decode)
        served = self._endpoint.models()
        if self.model not in served:
            raise BadInput(
                f"the server at {self._endpoint.url} has no model {self.model!r}; it serves "
                f"{', '.join(served) or 'none'}"
            )
        self._context = served[self.model]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: OnCompletion | None = None,
    ) -> list[Completion]:
        """See `lrm.contracts.Engine`. Raises BadInput first of all if a prompt does not fit and
        the server has told its context length; else when it refuses the prompt."""
        refuse_thinking(prompts, self.name)
        asked: dict[int, _Asked] = {}
        done: dict[int, Completion] = {}

        def bodies(first: int, prompts: Iterable[Prompt]) -> list[Body]:
            new = [self._asked(at, prompt, decoding) for at, prompt in enumerate(prompts, first)]
            asked.update({each.index: each for each in new})
            return [self._body(each, decoding) for each in new]

        count = len(prompts)

        def finish(index: int, answer: Answer) -> list[Body]:
            nonlocal count
            completion = self._completion(asked.pop(index), answer, decoding)
            if not on_completion:
                done[index] = completion
                return []
            further = bodies(count, on_completion(index, completion) or ())
            count += len(further)
            return further

        self._endpoint.complete_all(bodies(0, prompts), self.concurrency, finish)
        return [done[index] for index in sorted(done)]

    def _asked(self, index: int, prompt: Prompt, decoding: Decoding) -> _Asked:
        text = self._chat(prompt.text) if prompt.chat else prompt.text
        given = (*prompt.prefix_ids, *self._encode(prompt.closing))
        limit = prompt.max_tokens
        close = find_close(given, self._decode, self._close_ids) if given else None
        if close is not None:  # one more, to tell an answer that ends at its cap from a cut one
            limit = min(limit, max(decoding.answer_tokens + 1 - (len(given) - close), 1))
        prompt_ids = tuple(self._tokenizer(text)["input_ids"])
        if self._context:
            size = len(prompt_ids) + len(given)
            check_room(index, size, max(limit, prompt.reserved_tokens - len(given)), self._context)
        sent = text + self._decode(prompt.prefix_ids) + prompt.closing
        return _Asked(index, sent, prompt.seed % SEEDS, prompt_ids, given, limit)

    def _body(self, asked: _Asked, decoding: Decoding) -> Body:
        return {
            "model": self.model,
            "prompt": asked.text,
            "max_tokens": asked.limit,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": asked.seed,
            **NEUTRAL,
        }

    def _completion(self, asked: _Asked, answer: Answer, decoding: Decoding) -> Completion:
        reported = answer.reported_tokens
        if answer.stop == "length" and reported is not None and reported < asked.limit:
            raise BadInput(
                f"the server at {self._endpoint.url} cut the reply to prompt {asked.index} after "
                f"{reported} of {asked.limit} tokens, as where its context ends; give it a longer "
                "context, or lower max_tokens"
            )
        ids = self._encode(answer.text)
        reply = assemble(
            [*asked.given, *ids[: asked.limit]],
            given=len(asked.given),
            prompt_ids=asked.prompt_ids,
            stop="length" if len(ids) > asked.limit else answer.stop,
            answer_tokens=decoding.answer_tokens,
            decode=self._decode,
            close_ids=self._close_ids,
        )
        return replace(reply, reported_tokens=reported)

    def _chat(self, message: str) -> str:
        text = opened_chat(self._tokenizer, message, self.source)
        own = self._tokenizer("")["input_ids"][:1] == [self._tokenizer.bos_token_id]
        return text.removeprefix(self._tokenizer.bos_token) if own else text

    @cached_property
    def _tokenizer(self) -> Any:
        return open_tokenizer(self.source)

    @cached_property
    def _close_ids(self) -> list[int]:
        return closing_ids(self._encode, self._decode)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text
