"""The codec of a checkpoint folder."""

from __future__ import annotations

from transformers import AutoConfig, GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from lrm.engines.shared.chat import render_chat
from lrm.engines.shared.codec import Codec
from lrm.engines.shared.reply import Reply
from lrm.errors import BadInput
from lrm.records.model import Checkpoint
from lrm.records.reply import Decoding, Prompt
from lrm.tokenizers import LOCAL_ONLY, decode, encode, encode_prompt, open_folder


class FolderCodec(Codec):
    """The codec of a Hugging Face folder, from its tokenizer and its configuration.

    Raises BadInput if one of the two cannot be read.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._path = checkpoint.path
        tokenizer = open_folder(self._path)
        try:
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
            ids = self.encode(render_chat(self._tokenizer, prompt.text, self._path, prompt.system))
        else:
            ids = encode_prompt(self._tokenizer, prompt.text)
        return self.begin(index, prompt, ids, decoding, context)


def _as_list(tokens: int | list[int] | None) -> list[int]:
    return tokens if isinstance(tokens, list) else [] if tokens is None else [tokens]
