"""Hugging Face tokenizers: loaded as their tokenizer.json says, and text to tokens and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lrm.errors import BadInput

LOCAL_ONLY = {"local_files_only": True, "trust_remote_code": False}


def open_folder(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder; BadInput if it cannot be loaded.

    Where there is a tokenizer.json, it is loaded without the class that tokenizer_config.json
    names: transformers builds some tokenizers anew by the rules of their class, and
    LlamaTokenizerFast then loses every space of a byte-level tokenizer (5.17).
    """
    kind = PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else AutoTokenizer
    try:
        tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(str(folder), **LOCAL_ONLY)
        return tokenizer
    except Exception as error:  # a broken file ends in KeyError, or the library's bare Exception
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise BadInput(
            f"the tokenizer of {folder} cannot be loaded ({reason}); save or fetch it again"
        ) from error


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of the text alone, without a beginning-of-text token."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def encode_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text that goes on, with the special tokens that the tokenizer puts before it.

    Those that it puts behind are left out: after an end-of-text token a model begins another text.
    """
    if not text:  # what stands before any text
        return encode_prompt(tokenizer, "a")[: -len(encode(tokenizer, "a"))]
    return without_end(tokenizer(text, verbose=False)["input_ids"], encode(tokenizer, text))


def without_end(ids: Sequence[int], plain: Sequence[int]) -> list[int]:
    """`ids` up to where the tokens of the text alone, `plain`, end in them."""
    for end in range(len(ids), len(plain) - 1, -1):
        if list(ids[end - len(plain) : end]) == list(plain):
            return list(ids[:end])
    raise BadInput(
        "the tokenizer gives a text other tokens when it adds its special ones; save it again "
        "with a post_processor that only adds to the text"
    )


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of tokens, special ones and every space included."""
    text: str = tokenizer.decode(
        list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text
