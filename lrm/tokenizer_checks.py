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
that every tokenizer of bytes gives it back."""


def check_tokenizer(folder: Path, embeddings: int | None = None) -> None:
    """DamagedModel if a folder's tokenizer.json cannot be read, BadInput if the tokenizer gives
    other tokens or another text than the file, has tokens beyond the model's `embeddings`, or is
    one of bytes and does not give back the text that it cuts."""
    files = (folder / "tokenizer.json", folder / "tokenizer_config.json")
    _check(folder, tuple(f.stat().st_mtime_ns if f.is_file() else 0 for f in files), embeddings)


@cache
def _check(folder: Path, changed: tuple[int, ...], embeddings: int | None) -> None:
    """Asked again where the files have changed; 0 is one that is not there."""
    said = _read(folder / "tokenizer.json") if changed[0] else None
    tokenizer = open_folder(folder)
    if said and not all(_agree(tokenizer, said, text) for text in PROBES):
        raise BadInput(
            f"the tokenizer of {folder} cuts text otherwise than its tokenizer.json says; save the "
            "tokenizer again"
        )
    if embeddings:
        _check_embeddings(folder, tokenizer, embeddings)
    # One of words, or of a few signs, cannot spell every text; one of bytes can.
    if said and "ByteLevel" in f"{said.pre_tokenizer!r} {said.decoder!r}":
        _check_spelling(folder, tokenizer)


def _check_spelling(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    text = decode(tokenizer, encode(tokenizer, SPOKEN))
    if text.strip() != SPOKEN:
        raise BadInput(
            f"the tokenizer of {folder} does not give back the text that it cuts: {SPOKEN[:20]!r} "
            f"becomes {text[:20]!r}; give the tokenizer that the model was trained with"
        )


def _check_embeddings(folder: Path, tokenizer: PreTrainedTokenizerBase, embeddings: int) -> None:
    beyond = {token for token, index in tokenizer.get_vocab().items() if index >= embeddings}
    # Nobody writes the token that fills up batches, which some add without making room for it.
    beyond.discard(str(tokenizer.pad_token))
    if beyond:
        raise BadInput(
            f"the tokenizer of {folder} has tokens that its model has no embedding for, as "
            f"{min(beyond)!r}: the model has {embeddings} embeddings; save them together"
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
