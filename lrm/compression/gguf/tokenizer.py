"""A Hugging Face tokenizer as GGUF metadata: byte-level BPE whose pieces llama.cpp cuts alike."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Required, TypedDict

from transformers import GenerationConfig, PreTrainedTokenizerBase

from lrm.errors import BadInput
from lrm.model_config import read_config
from lrm.tokenizers import encode_prompt, open_folder

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Types of tokens: `gguf.TokenType`, spelled out so that gguf is imported only to write."""

ENDS = 3
"""End of text, of turn and of message: what a GGUF file can say of tokens that end a reply."""

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2 = "gpt-2"
PIECES = {
    (_WORDS % r"\p{N}", False): "qwen2",
    (_WORDS % r"\p{N}{1,3}", True): "llama-bpe",
    (_WORDS % r"\p{N}{1,3}", False): "smaug-bpe",
    (GPT2, False): GPT2,
}
"""llama.cpp's name (src/llama-vocab.cpp) for a rule that cuts text into pieces: the regular
expression, and whether a piece that is a token is taken whole, without merges."""


class Stage(TypedDict, total=False):
    """A normalizer or pre-tokenizer of a tokenizer.json; a sequence has `pretokenizers`."""

    type: Required[str]
    pretokenizers: list[Stage]
    pattern: dict[str, str]
    use_regex: bool
    add_prefix_space: bool


class BpeModel(TypedDict, total=False):
    """The model of a tokenizer.json."""

    type: Required[str]
    vocab: Required[dict[str, int]]
    merges: Required[list[str | list[str]]]
    ignore_merges: bool


class AddedToken(TypedDict):
    """A token that is cut out before the model sees the text."""

    id: int
    content: str
    special: bool


class TokenizerSpec(TypedDict):
    """What is read of a tokenizer.json."""

    model: BpeModel
    pre_tokenizer: Stage | None
    normalizer: Stage | None
    added_tokens: list[AddedToken]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer.

    `types` as above, a type a token; `ends` are the tokens that end a reply, the main one first;
    `add_bos`: a text begins with `bos` of itself.
    """

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    pre: str
    bos: int | None
    ends: tuple[int, ...]
    pad: int | None
    add_bos: bool
    chat_template: str | None


def read(folder: Path, size: int) -> Vocabulary:
    """The tokenizer of a folder whose model has `size` embeddings; BadInput if llama.cpp would
    not cut text as it does."""
    spec = _spec(folder)
    loaded = open_folder(folder)
    tokens, types = _tokens(spec, size, folder)
    merges = spec["model"]["merges"]
    added = encode_prompt(loaded, "")
    if added not in ([], [loaded.bos_token_id]):
        raise BadInput(
            f"the tokenizer of {folder} adds more than a beginning-of-text token, which is not "
            "converted; give a model without that"
        )
    return Vocabulary(
        tokens=tokens,
        types=types,
        merges=tuple(pair if isinstance(pair, str) else " ".join(pair) for pair in merges),
        pre=_pre(spec, folder),
        bos=loaded.bos_token_id,
        ends=_ends(folder, loaded),
        pad=loaded.pad_token_id,
        add_bos=bool(added),
        chat_template=loaded.chat_template,
    )


def _spec(folder: Path) -> TokenizerSpec:
    """tokenizer.json, if it is byte-level BPE without further rules."""
    path = folder / "tokenizer.json"
    try:
        spec: TokenizerSpec = json.loads(path.read_text(encoding="utf-8"))
        model = spec["model"]
        further = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
        plain = model["type"] == "BPE" and not any(model.get(name) for name in further)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} cannot be read ({error}); save the tokenizer again") from error
    if not plain or _parts(spec)[-1:] != ["ByteLevel"]:
        raise BadInput(
            f"{path} is not byte-level BPE, the only kind that is converted to GGUF; give a model "
            "that has such a tokenizer"
        )
    return spec


def _stages(spec: TokenizerSpec) -> list[Stage]:
    stage = spec["pre_tokenizer"] or Stage(type="none")
    return stage.get("pretokenizers", [stage])


def _parts(spec: TokenizerSpec) -> list[str]:
    return [stage["type"] for stage in _stages(spec)]


def _pre(spec: TokenizerSpec, folder: Path) -> str:
    """llama.cpp's name for the way in which the tokenizer cuts text.

    An NFC normalizer (Qwen's) is accepted: llama.cpp has none, so that text which is not in that
    form, and only such text, gets other tokens.
    """
    *first, last = _stages(spec)
    normalizer = (spec["normalizer"] or Stage(type="NFC"))["type"]
    rule = GPT2 if not first and last["use_regex"] else None
    if _parts(spec) == ["Split", "ByteLevel"] and not last["use_regex"]:
        rule = first[0]["pattern"].get("Regex")
    key = (rule or "", bool(spec["model"].get("ignore_merges")))
    if key not in PIECES or normalizer != "NFC" or last["add_prefix_space"]:
        raise BadInput(
            f"the tokenizer of {folder} cuts text by a rule that llama.cpp has no known name for; "
            f"known are those of {', '.join(sorted(PIECES.values()))}"
        )
    return PIECES[key]


def _tokens(
    spec: TokenizerSpec, size: int, folder: Path
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """All `size` tokens and their types; embeddings that no token uses get a name of their own."""
    known = {index: (text, NORMAL) for text, index in spec["model"]["vocab"].items()}
    for added in spec["added_tokens"]:
        kind = CONTROL if added["special"] else USER_DEFINED
        known[added["id"]] = (added["content"], kind)
    if max(known) >= size:
        raise BadInput(
            f"the tokenizer of {folder} has token {max(known)}, but the model has only {size} "
            "embeddings; save them together"
        )
    pairs = [known.get(index, (f"[PAD{index}]", UNUSED)) for index in range(size)]
    return tuple(text for text, _ in pairs), tuple(kind for _, kind in pairs)


def _ends(folder: Path, loaded: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Tokens that end a reply, by the tokenizer, the generation config and the config: each of them
    does so in the other engines. BadInput if they are more than a GGUF file has room for."""
    ends = [loaded.eos_token_id]
    if (folder / "generation_config.json").is_file():
        generation = GenerationConfig.from_pretrained(folder, local_files_only=True)
        ends += _listed(generation.eos_token_id)
    ends += _listed(read_config(folder).get("eos_token_id"))
    different = tuple(dict.fromkeys(token for token in ends if token is not None))
    if len(different) > ENDS:
        raise BadInput(
            f"{folder} has {len(different)} tokens that end a reply (eos_token_id), and a GGUF "
            f"file has room for {ENDS}; run it with the transformers engine, or name fewer"
        )
    return different


def _listed(tokens: object) -> list[int | None]:
    return tokens if isinstance(tokens, list) else [tokens if isinstance(tokens, int) else None]
