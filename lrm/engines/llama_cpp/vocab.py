"""The vocabulary inside a GGUF file: text to tokens and back, end-of-text tokens, chat template."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from lrm.engines.llama_cpp.library import LlamaLibrary, Model


class Vocab:
    """Reads a loaded model's own vocabulary. `size` is its number of tokens."""

    def __init__(self, lib: LlamaLibrary, model: Model) -> None:
        self._lib, self._model = lib, model
        self._vocab = lib.llama_model_get_vocab(model)
        self.size = lib.llama_vocab_n_tokens(self._vocab)
        self._pieces: dict[int, bytes] = {}

    def encode(self, text: str, add_special: bool = False) -> list[int]:
        """Token ids; special tokens in the text are taken as such, as Hugging Face does.

        `add_special` adds the beginning-of-text token if the file says that the model wants it.
        """
        data = text.encode()
        size = len(data) + 8
        while True:
            ids = (ctypes.c_int32 * size)()
            count = self._lib.llama_tokenize(
                self._vocab, data, len(data), ids, size, add_special, True
            )
            if count >= 0:
                return ids[:count]
            size = -count  # the size that is needed

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones included; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(map(self._piece, ids)).decode(errors="replace")

    def eos_ids(self) -> frozenset[int]:
        """Every token that ends a reply."""
        is_end = self._lib.llama_vocab_is_eog
        return frozenset(token for token in range(self.size) if is_end(self._vocab, token))

    def bos(self) -> str:
        """The text of the beginning-of-text token, empty if there is none."""
        return self._special(self._lib.llama_vocab_bos(self._vocab))

    def eos(self) -> str:
        """The text of the end-of-text token, empty if there is none."""
        return self._special(self._lib.llama_vocab_eos(self._vocab))

    def chat_template(self) -> str | None:
        template = self._lib.llama_model_chat_template(self._model, None)
        return template.decode() if template else None

    def _piece(self, token: int) -> bytes:
        """The bytes of a token, asked for once."""
        if token not in self._pieces:
            room = 64
            while True:
                buffer = ctypes.create_string_buffer(room)
                size = self._lib.llama_token_to_piece(self._vocab, token, buffer, room, 0, True)
                if size >= 0:
                    break
                room = -size  # the size that is needed
            self._pieces[token] = buffer.raw[:size]
        return self._pieces[token]

    def _special(self, token: int) -> str:
        return self.decode([token]) if token >= 0 else ""  # -1: the model has no such token
