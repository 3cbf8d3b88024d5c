"""Hugging Face tokenizers: text to tokens and back, chats, and the codec of a checkpoint folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from huggingface_hub import HfApi
from transformers import AutoConfig, AutoTokenizer, GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from lrm.engines.shared.chat import missing_template, with_open_thinking
from lrm.engines.shared.codec import Codec
from lrm.engines.shared.reply import Reply
from lrm.errors import BadInput
from lrm.records import Checkpoint, Decoding, Prompt

LOCAL_ONLY = {"local_files_only": True, "trust_remote_code": False}

HUB_TIMEOUT = 5.0
"""Seconds of silence after which the hub counts as out of reach."""


class HfTokenizer(Protocol):
    """What is used of a `transformers` tokenizer."""

    chat_template: str | None
    bos_token: str
    bos_token_id: int | None
    eos_token_id: int | list[int] | None
    all_special_tokens: Sequence[str]

    def __call__(
        self, text: str, *, add_special_tokens: bool = True, verbose: bool = True
    ) -> Mapping[str, list[int]]: ...

    def decode(
        self, ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool
    ) -> str: ...

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str: ...

    def get_vocab(self) -> dict[str, int]: ...


def encode(tokenizer: HfTokenizer, text: str) -> list[int]:
    """Token ids of the text alone, without a beginning-of-text token."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def encode_prompt(tokenizer: HfTokenizer, text: str) -> list[int]:
    """Token ids of a prompt, with the special tokens that the tokenizer adds by itself."""
    return tokenizer(text)["input_ids"]


def decode(tokenizer: HfTokenizer, ids: Sequence[int]) -> str:
    """The text of tokens, special ones and every space included."""
    return tokenizer.decode(
        list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )


def render_chat(tokenizer: HfTokenizer, message: str, source: str | Path) -> str:
    """A user's message in the tokenizer's chat template, with the thinking opened.

    `source` names the tokenizer in the BadInput for one that has no template.
    """
    if not tokenizer.chat_template:
        raise missing_template(source)
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
    )
    return with_open_thinking(chat)


class FolderCodec(Codec):
    """The codec of a Hugging Face folder, from its tokenizer and its configuration.

    Raises BadInput if one of the two cannot be read.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._path = checkpoint.path
        try:
            tokenizer: HfTokenizer = AutoTokenizer.from_pretrained(str(self._path), **LOCAL_ONLY)
            config = AutoConfig.from_pretrained(str(self._path), **LOCAL_ONLY)
            eos_sources = [config, tokenizer]
            if (self._path / GENERATION_CONFIG_NAME).is_file():
                eos_sources.append(GenerationConfig.from_pretrained(str(self._path), **LOCAL_ONLY))
        except (OSError, ValueError) as error:
            raise BadInput(
                f"checkpoint {self._path} cannot be loaded, save it again: {error}"
            ) from error
        self._tokenizer = tokenizer
        # The three files may name different end-of-text tokens; each of them ends a reply.
        eos = frozenset(token for source in eos_sources for token in _as_list(source.eos_token_id))
        super().__init__(
            encode=lambda text: encode(tokenizer, text),
            decode=lambda ids: decode(tokenizer, ids),
            eos=eos,
            context=int(config.max_position_embeddings),
        )

    def start(self, index: int, prompt: Prompt, decoding: Decoding, context: int) -> Reply:
        """The reply to a prompt before anything is decoded; BadInput if it cannot fit into
        `context` tokens."""
        if prompt.chat:  # a template writes the beginning-of-text token itself
            ids = self.encode(render_chat(self._tokenizer, prompt.text, self._path))
        else:
            ids = encode_prompt(self._tokenizer, prompt.text)
        return self.begin(index, prompt, ids, decoding, context)


def _as_list(tokens: int | list[int] | None) -> list[int]:
    return tokens if isinstance(tokens, list) else [] if tokens is None else [tokens]


def open_tokenizer(source: str) -> HfTokenizer:
    """The tokenizer in a folder, else the one downloaded before, else the one on the hub.

    The hub is asked for the repository first, since a download from an unreachable hub retries for
    half a minute. Raises BadInput for every failure: a broken file may end in KeyError, or even in
    a bare Exception of the tokenizers library.
    """
    try:
        try:
            local: HfTokenizer = AutoTokenizer.from_pretrained(source, **LOCAL_ONLY)
            return local
        except (OSError, ValueError):
            if Path(source).exists():
                raise
        HfApi().model_info(source, timeout=HUB_TIMEOUT)
        downloaded: HfTokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        return downloaded
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise BadInput(
            f"tokenizer {source} cannot be loaded ({reason}); give a folder that holds "
            "tokenizer.json, or the hub id of one"
        ) from error
