"""From a prompt to the token ids that a model goes on from, and back: one way for all engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from lrm.engines.chat import opened_chat
from lrm.engines.reply import Reply
from lrm.errors import BadInput
from lrm.records import Checkpoint, Completion, Decoding, Prompt, Stop
from lrm.replies import THINK_CLOSE, assemble, find_close

LOCAL = {"local_files_only": True, "trust_remote_code": False}


class Prompting:
    """A checkpoint's tokenizer, and what of its configuration decides where replies end.

    `context` is the longest prompt and reply together, `eos` every token that ends a reply,
    `close_ids` the closing tag in the model's own tokens.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._path = checkpoint.path
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(self._path), **LOCAL)
            config: Any = AutoConfig.from_pretrained(str(self._path), **LOCAL)
            sources = [config, self._tokenizer]
            if (self._path / GENERATION_CONFIG_NAME).is_file():
                sources.append(GenerationConfig.from_pretrained(str(self._path), **LOCAL))
        except (OSError, ValueError) as error:
            raise BadInput(
                f"checkpoint {self._path} cannot be loaded, save it again: {error}"
            ) from error
        self.context = int(config.max_position_embeddings)
        self.eos = frozenset(token for source in sources for token in _listed(source.eos_token_id))
        self.close_ids = self.encode(THINK_CLOSE)

    def start(self, index: int, prompt: Prompt, decoding: Decoding, context: int) -> Reply:
        """The reply to a prompt before anything is decoded; BadInput if it cannot fit."""
        text = self._asked(prompt)
        given = [*prompt.spoken, *self.encode(prompt.closing)]
        size = len(text) + len(given)
        if not size:
            raise BadInput(f"prompt {index} is empty and its tokenizer adds nothing; give it text")
        if size + prompt.max_tokens > context:
            raise BadInput(
                f"prompt {index} has {size} tokens and asks for up to {prompt.max_tokens} more, "
                f"but the model reads at most {context}; shorten the prompt or lower max_tokens"
            )
        reply = Reply(index, [*text, *given], len(text), len(given), prompt.max_tokens)
        close = find_close(given, self.decode, self.close_ids) if given else None
        if close is not None:
            reply.close(len(given) - close, decoding.answer_tokens)
        return reply

    def completion(self, reply: Reply, stop: Stop, decoding: Decoding) -> Completion:
        """The finished reply."""
        return assemble(
            reply.ids[reply.prompt_tokens :],
            given=reply.given,
            prompt_tokens=reply.prompt_tokens,
            stop=stop,
            answer_tokens=decoding.answer_tokens,
            decode=self.decode,
            close_ids=self.close_ids,
        )

    def encode(self, text: str) -> list[int]:
        """The token ids of a text inside a reply: no beginning-of-text token."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens and all."""
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def _asked(self, prompt: Prompt) -> list[int]:
        """The prompt's own token ids; a template writes its beginning-of-text token itself."""
        if prompt.chat:
            return self.encode(opened_chat(self._tokenizer, prompt.text, self._path))
        ids: list[int] = self._tokenizer(prompt.text)["input_ids"]
        return ids


def _listed(named: int | list[int] | None) -> list[int]:
    return named if isinstance(named, list) else [] if named is None else [named]
