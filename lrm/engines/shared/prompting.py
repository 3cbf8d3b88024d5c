"""Prompts and replies in the tokens of a Hugging Face folder, for the engines that run one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from lrm.engines.shared.chat import opened_chat
from lrm.engines.shared.codec import Codec
from lrm.engines.shared.reply import Reply
from lrm.errors import BadInput
from lrm.records import Checkpoint, Decoding, Prompt

LOCAL = {"local_files_only": True, "trust_remote_code": False}


class Prompting(Codec):
    """The codec of a Hugging Face folder, from its tokenizer and its configuration."""

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
        eos = frozenset(token for source in sources for token in _listed(source.eos_token_id))
        super().__init__(self._encode, self._decode, eos, int(config.max_position_embeddings))

    def start(self, index: int, prompt: Prompt, decoding: Decoding, context: int) -> Reply:
        """The reply to a prompt before anything is decoded; BadInput if it cannot fit."""
        return self.begin(index, prompt, self._asked(prompt), decoding, context)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _decode(self, ids: Sequence[int]) -> str:
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
