"""Perplexity on a fixed text, which is the same for every model and needs no network.

The text is 64 worked replies to practice problems of the synthetic benchmarks
(`worked_replies.json`, drawn by `lrm.tiny.traces`). Each is read behind its prompt, and its own
tokens count, by the tokenizer of the model: figures of models that cut text otherwise cannot be
compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer

from lrm.compression.checkpoint.folder import Weights
from lrm.compression.gguf import logits as llama_logits
from lrm.compression.streaming.forward import last_hidden, logits
from lrm.compression.streaming.load import load
from lrm.digests import of_json
from lrm.errors import CompressionFailed

TEXTS: Sequence[tuple[str, str]] = [
    (prompt, reply)
    for prompt, reply in json.loads(Path(__file__).with_name("worked_replies.json").read_text())
]
"""Prompts and replies."""

DIGEST = of_json(TEXTS)

ROOM = 512
"""Tokens of a text that are read; what is behind them is left out."""


def of_folder(folder: Path) -> float:
    """Of a dense Hugging Face folder, on a GPU if there is one."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def encode(text: str, beginning: bool) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=beginning)["input_ids"]
        return ids

    def read(rows: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        decoder = load(Weights(folder))
        return logits(decoder, list(last_hidden(decoder, rows)))

    return _perplexity(encode, read, folder)


def of_gguf(file: Path) -> float:
    """Of a GGUF file, through llama.cpp."""
    with llama_logits.opened(file, ROOM) as reader:
        return _perplexity(reader.encode, partial(map, reader.logits), file)


def _perplexity(
    encode: Callable[[str, bool], list[int]],
    read: Callable[[Sequence[Sequence[int]]], Iterator[Tensor]],
    path: Path,
) -> float:
    """e to the mean negative log-likelihood of a reply's token; `read` gives each row's logits."""
    prompts = [encode(prompt, True) for prompt, _ in TEXTS]
    rows = [
        (asked + encode(reply, False))[:ROOM]
        for asked, (_, reply) in zip(prompts, TEXTS, strict=True)
    ]
    lost, count = 0.0, 0
    for asked, ids, found in zip(prompts, rows, read(rows), strict=True):
        told = torch.tensor(ids[len(asked) :])
        lost += float(cross_entropy(found.cpu()[len(asked) - 1 : -1], told, reduction="sum"))
        count += len(told)
    mean = math.exp(lost / count) if lost < math.inf else math.inf
    if not math.isfinite(mean):
        raise CompressionFailed(f"{path} gives probabilities that are not finite")
    return mean
