"""Perplexity on a fixed text, which is the same for every model and needs no network.

The text is 64 worked replies to practice problems of the synthetic benchmarks
(`worked_replies.json`, drawn by `lrm.tiny.traces`). Each is read behind its prompt, and its own
tokens count, by the tokenizer of the model: figures of models that cut text otherwise cannot be
compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lrm import tokenizers
from lrm.compression.checkpoint.folder import Weights
from lrm.compression.streaming.forward import last_hidden, logits
from lrm.compression.streaming.load import load
from lrm.digests import of_json
from lrm.errors import CompressionFailed

TEXTS: Sequence[tuple[str, str]] = [
    (prompt, reply)
    for prompt, reply in json.loads(
        Path(__file__).with_name("worked_replies.json").read_text(encoding="utf-8")
    )
]
"""Prompts and replies."""

DIGEST = of_json(TEXTS)

LENGTH = 512
"""Tokens of a text that are read; what is behind them is left out."""

Encode = Callable[[str, bool], list[int]]
"""Token ids of a text; the flag says whether the beginning-of-text token is added."""

Logits = Callable[[Sequence[Sequence[int]]], Iterable[Tensor]]
"""The next-token logits, [tokens, vocabulary], of each row of token ids."""


def of_folder(folder: Path) -> float:
    """Of a dense Hugging Face folder, on a GPU if there is one."""
    tokenizer = tokenizers.open_folder(folder)

    def encode(text: str, beginning: bool) -> list[int]:
        return (tokenizers.encode_prompt if beginning else tokenizers.encode)(tokenizer, text)

    def read(rows: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        decoder = load(Weights(folder))
        return logits(decoder, list(last_hidden(decoder, rows)))

    return perplexity(encode, read, folder)


def perplexity(encode: Encode, read: Logits, path: Path) -> float:
    """e to the mean negative log-likelihood of a reply's token, by the model at `path`.

    Raises CompressionFailed if that is not finite.
    """
    prompts = [encode(prompt, True) for prompt, _ in TEXTS]
    rows = [
        (asked + encode(reply, False))[:LENGTH]
        for asked, (_, reply) in zip(prompts, TEXTS, strict=True)
    ]
    lost, count = 0.0, 0
    for asked, ids, output in zip(prompts, rows, read(rows), strict=True):
        reply = torch.tensor(ids[len(asked) :])
        lost += float(cross_entropy(output.cpu()[len(asked) - 1 : -1], reply, reduction="sum"))
        count += len(reply)
    mean = math.exp(lost / count) if lost < math.inf else math.inf
    if not math.isfinite(mean):
        raise CompressionFailed(f"{path} gives probabilities that are not finite")
    return mean
