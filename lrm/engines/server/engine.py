"""A model behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, wherever it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from transformers import PreTrainedTokenizerBase

from lrm.contracts.engine import OnCompletion, OnTokens
from lrm.digests import of_json
from lrm.engines.server.endpoint import Answer, Body, Endpoint
from lrm.engines.shared.chat import render_chat
from lrm.engines.shared.prompt_checks import check_context, closing_ids, refuse_thinking
from lrm.errors import BadInput
from lrm.records.model import Checkpoint, Format
from lrm.records.reply import THINK_CLOSE, Completion, Decoding, Prompt
from lrm.replies import assemble, find_close
from lrm.tokenizers import decode, encode, encode_prompt, open_folder

NEUTRAL_SAMPLING = {
    "top_k": 1 << 30,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "repeat_penalty": 1.0,
    "samplers": ["temperature", "top_p"],
}
"""Sent with every request, since the defaults of servers change what is sampled. llama.cpp has
top_k 40, min_p 0.05 and applies the temperature last (its server's README, "samplers");
llama-cpp-python also has repeat_penalty 1.1; vLLM and SGLang take what the model's
generation_config.json says. "All tokens" is a top_k of 0 to one server and of -1 to another, and
each is refused by a third, but a number above every vocabulary means the same to all. A server
ignores names it does not know."""

SEEDS = 1 << 31
"""Seeds are sent modulo this: llama.cpp holds them in 32 bits, and the largest means "random"."""


@dataclass(frozen=True, slots=True)
class _Request:
    """A prompt as it is sent.

    `given` are the ids of `Prompt.prefix_ids` and `closing`; `limit` caps the decoded tokens, and
    `open_limit` those of a reply that has not closed its thinking (0: nothing does).
    """

    index: int
    text: str
    seed: int
    prompt_ids: tuple[int, ...]
    given: tuple[int, ...]
    limit: int
    open_limit: int


class ServerEngine:
    """Asks the model named `model` of the server at `url` (the part before /v1).

    The server decides what runs, not `checkpoint`: the caller must see that it serves that
    checkpoint. Tokens are counted and chats rendered by `tokenizer`, a folder, by default the
    checkpoint's own. At most `concurrency` requests are in flight. A try fails after
    `timeout` seconds. Transient failures (no connection, a time-out, a busy or broken server) are
    tried `retries` times more, with growing pauses. The key is read from
    `lrm.engines.server.address.KEY_VARIABLE`.

    Servers exchange text, not tokens, which limits this engine:

    * Token ids are the tokenizer's encoding of the reply's text. The model may have produced other
      tokens for it, so counts may differ from `Completion.reported_tokens`, the server's own. A
      reply that encodes to more tokens than were asked for is cut there and has the stop reason
      "length". A cut in the middle of a character loses that character.
    * What is given (`Prompt.prefix_ids`, `closing`) is sent as the text it decodes to. Where
      encoding that text does not give the same ids (a token across the boundary of the two, such as
      a full stop with a line break; half a character at a cut), the model reads other ids than the
      completion says.
    * The server adds the beginning-of-text token as its tokenizer does by itself. Where a chat
      template writes it too, it is removed, so that it is there once.
    * An answer longer than `Decoding.answer_tokens` is decoded to its end before it is cut, except
      where the thinking was closed in the prompt. So is thinking that is longer than
      `Prompt.open_tokens`, up to `Prompt.max_tokens`.
    * Whether the same call gives the same completions depends on the server: its arithmetic may
      change with what else it runs. llama-cpp-python takes the nucleus (top_p) before it applies
      the temperature, which no option changes.
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
                f"{checkpoint.path} is a GGUF file; name the tokenizer that counts its tokens"
            )
        self.model = model
        self.concurrency = concurrency
        self._tokenizer_folder = Path(tokenizer or checkpoint.path)
        self._endpoint = Endpoint(url, timeout, retries)
        self._context: int | None = None  # unless the server says it

    @property
    def identity(self) -> str:
        """See `lrm.contracts.engine.Engine`. Token ids of two tokenizers are not mixed either."""
        fields = {"v": self._tokenizer.get_vocab(), "chat": self._tokenizer.chat_template}
        return f"{self.name} {self._endpoint.url} {self.model} tokenizer {of_json(fields)[:12]}"

    def __enter__(self) -> Self:
        if THINK_CLOSE in self._tokenizer.all_special_tokens:
            raise BadInput(
                f"tokenizer {self._tokenizer_folder} has {THINK_CLOSE} as a special token, which "
                "servers leave out of their replies; run this model with the transformers engine"
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
        on_tokens: OnTokens | None = None,
    ) -> list[Completion]:
        """See `lrm.contracts.engine.Engine`. BadInput first of all if a prompt does not fit and
        the server has said its context length; else when it refuses the prompt. A server's tokens
        come when a reply has ended, so `on_tokens` is not called."""
        refuse_thinking(prompts, self.name)
        pending: dict[int, _Request] = {}
        completions: dict[int, Completion] = {}

        def bodies(first: int, prompts: Iterable[Prompt]) -> list[Body]:
            requests = [
                self._request(index, prompt, decoding)
                for index, prompt in enumerate(prompts, first)
            ]
            pending.update({request.index: request for request in requests})
            return [self._body(request, decoding) for request in requests]

        total = len(prompts)

        def finish(index: int, answer: Answer) -> list[Body]:
            """Hands a reply over, or keeps it; returns the requests that follow it."""
            nonlocal total
            completion = self._completion(pending.pop(index), answer, decoding)
            if not on_completion:
                completions[index] = completion
                return []
            further = bodies(total, on_completion(index, completion) or ())
            total += len(further)
            return further

        self._endpoint.complete_all(bodies(0, prompts), self.concurrency, finish)
        return [completions[index] for index in sorted(completions)]

    def _request(self, index: int, prompt: Prompt, decoding: Decoding) -> _Request:
        text = self._chat(prompt) if prompt.chat else prompt.text
        given = (*prompt.prefix_ids, *self._encode(prompt.closing))
        limit = prompt.max_tokens
        close = find_close(given, self._decode, self._close_ids) if given else None
        if close is not None:  # one more, to tell an answer that ends at its cap from a cut one
            limit = min(limit, max(decoding.answer_tokens + 1 - (len(given) - close), 1))
        prompt_ids = tuple(encode_prompt(self._tokenizer, text))
        if self._context:
            reserved = max(limit, prompt.reserved_tokens - len(given))
            check_context(index, len(prompt_ids) + len(given), reserved, self._context)
        sent = text + self._decode(prompt.prefix_ids) + prompt.closing
        return _Request(
            index, sent, prompt.seed % SEEDS, prompt_ids, given, limit, prompt.open_tokens
        )

    def _body(self, request: _Request, decoding: Decoding) -> Body:
        return {
            "model": self.model,
            "prompt": request.text,
            "max_tokens": request.limit,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": request.seed,
            **NEUTRAL_SAMPLING,
        }

    def _completion(self, request: _Request, answer: Answer, decoding: Decoding) -> Completion:
        reported = answer.reported_tokens
        if answer.stop == "length" and reported is not None and reported < request.limit:
            raise BadInput(
                f"the server at {self._endpoint.url} cut the reply to prompt {request.index} after "
                f"{reported} of {request.limit} tokens, as where its context ends; give it a "
                "longer context, or lower max_tokens"
            )
        ids = self._encode(answer.text)
        reply = assemble(
            [*request.given, *ids[: request.limit]],
            given=len(request.given),
            prompt_ids=request.prompt_ids,
            stop="length" if len(ids) > request.limit else answer.stop,
            answer_tokens=decoding.answer_tokens,
            decode=self._decode,
            close_ids=self._close_ids,
            open_tokens=request.open_limit,
        )
        return replace(reply, reported_tokens=reported)

    def _chat(self, prompt: Prompt) -> str:
        chat = render_chat(self._tokenizer, prompt.text, self._tokenizer_folder, prompt.system)
        adds_bos = encode_prompt(self._tokenizer, "")[:1] == [self._tokenizer.bos_token_id]
        return chat.removeprefix(self._tokenizer.bos_token) if adds_bos else chat

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return open_folder(self._tokenizer_folder)

    @cached_property
    def _close_ids(self) -> list[int]:
        return closing_ids(self._encode, self._decode)

    def _encode(self, text: str) -> list[int]:
        return encode(self._tokenizer, text)

    def _decode(self, ids: Sequence[int]) -> str:
        return decode(self._tokenizer, ids)
