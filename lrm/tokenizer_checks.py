"""Whether the tokenizer of a folder, as it is loaded, does what its tokenizer.json says."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from lrm.errors import BadInput, DamagedModel
from lrm.tokenizers import decode, encode, open_folder

SPOKEN = "If it is so, then x = 12,  y isn't 7.5.\n\n\tThe answer: (A) Ben's [30] cats; not 1,204!"
PROBES = (SPOKEN, "Größe 7 μm — naïve, 東京 は 1234567 人 🙂\r\n    return f(x)  # {'a': [1]}\n")
"""Texts that the loaded tokenizer must cut as its file does. All is in form NFC. The first is such
that every tokenizer of a language model gives it back."""


def check_tokenizer(folder: Path) -> None:
    """DamagedModel if a folder's tokenizer.json cannot be read, BadInput if the tokenizer gives
    other tokens or another text than the file, or does not give back the text that it cuts."""
    file = folder / "tokenizer.json"
    changed = file.stat().st_mtime_ns if file.is_file() else 0
    _check(folder, changed)


@cache
def _check(folder: Path, changed: int) -> None:
    """Asked again where the file has changed."""
    said = _read(folder / "tokenizer.json") if changed else None
    tokenizer = open_folder(folder)
    if said and not all(_agree(tokenizer, said, text) for text in PROBES):
        raise BadInput(
            f"the tokenizer of {folder} cuts text otherwise than its tokenizer.json says; save the "
            "tokenizer again"
        )
    text = decode(tokenizer, encode(tokenizer, SPOKEN))
    if text.strip() != SPOKEN:
        raise BadInput(
            f"the tokenizer of {folder} does not give back the text that it cuts: {SPOKEN[:20]!r} "
            f"becomes {text[:20]!r}; give the tokenizer that the model was trained with"
        )


def _agree(tokenizer: PreTrainedTokenizerBase, said: Tokenizer, text: str) -> bool:
    """Whether a tokenizer gives the ids of a text, and for these the text, as its file does."""
    ids = said.encode(text, add_special_tokens=False).ids
    spoken = said.decode(ids, skip_special_tokens=False)
    return encode(tokenizer, text) == ids and decode(tokenizer, ids) == spoken


def _read(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        reason = " ".join(str(error).split())[:200]
        raise DamagedModel(f"{file} is no tokenizer ({reason}); fetch it again.") from error
