"""The vocabulary inside a GGUF file: text to tokens and back, where replies end, chat template."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any


class Vocab:
    """Reads a loaded model's own vocabulary through the library `lib` (llama_cpp)."""

    def __init__(self, lib: Any, model: Any) -> None:
        self._lib, self._model = lib, model
        self._vocab = lib.llama_model_get_vocab(model)
        self.size: int = lib.llama_vocab_n_tokens(self._vocab)
        self._pieces: dict[int, bytes] = {}

    def encode(self, text: str, beginning: bool = False) -> list[int]:
        """Token ids; special tokens in the text are taken as such, as Hugging Face does.

        `beginning` adds the beginning-of-text token if the file says that the model wants it.
        """
        data = text.encode()
        room = len(data) + 8
        while True:
            ids = (ctypes.c_int32 * room)()
            count = self._lib.llama_tokenize(
                self._vocab, data, len(data), ids, room, beginning, True
            )
            if count >= 0:
                return ids[:count]
            room = -count

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones included; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(map(self._piece, ids)).decode(errors="replace")

    def endings(self) -> frozenset[int]:
        """Every token that ends a reply."""
        is_end = self._lib.llama_vocab_is_eog
        return frozenset(token for token in range(self.size) if is_end(self._vocab, token))

    def bos(self) -> str:
        return self._name(self._lib.llama_vocab_bos(self._vocab))

    def eos(self) -> str:
        return self._name(self._lib.llama_vocab_eos(self._vocab))

    def chat_template(self) -> str | None:
        template: bytes | None = self._lib.llama_model_chat_template(self._model, None)
        return template.decode() if template else None

    def _piece(self, token: int) -> bytes:
        if token not in self._pieces:
            room = 64
            while True:
                buffer = ctypes.create_string_buffer(room)
                size = self._lib.llama_token_to_piece(self._vocab, token, buffer, room, 0, True)
                if size >= 0:
                    break
                room = -size
            self._pieces[token] = buffer.raw[:size]
        return self._pieces[token]

    def _name(self, token: int) -> str:
        """The text of a special token; a model without it has the id -1."""
        return self.decode([token]) if token >= 0 else ""
