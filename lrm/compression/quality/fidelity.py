"""How far a compressed model is from the dense one, without asking it anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lrm.compression.checkpoint.folder import Weights
from lrm.compression.streaming.forward import last_hidden, logits
from lrm.compression.streaming.load import load
from lrm.records.model import Checkpoint
from lrm.tokenizers import encode_prompt, open_folder


@dataclass(frozen=True, slots=True)
class Fidelity:
    """`losses` are the mean negative log-likelihoods of each reply's tokens, in nats; e to their
    mean is the perplexity. `output_error` is ||X - X'||^2 / ||X||^2 of the last hidden states, X
    the dense model's."""

    losses: tuple[float, ...]
    output_error: float


def fidelity(
    dense: Checkpoint, compressed: Checkpoint, replies: Sequence[tuple[str, Sequence[int]]]
) -> Fidelity:
    """Both models on replies (token ids) to prompts that neither was calibrated on."""
    tokenizer = open_folder(dense.path)
    prompts = [encode_prompt(tokenizer, prompt) for prompt, _ in replies]
    rows = [[*prompt, *reply] for prompt, (_, reply) in zip(prompts, replies, strict=True)]
    models = [load(Weights(checkpoint.path)) for checkpoint in (dense, compressed)]
    before, after = (list(last_hidden(model, rows)) for model in models)
    losses = [
        float(
            cross_entropy(
                output[len(prompt) - 1 : -1], torch.tensor(row[len(prompt) :]).to(output.device)
            )
        )
        for output, prompt, row in zip(logits(models[1], after), prompts, rows, strict=True)
    ]
    lost = sum(_power(old - new) for old, new in zip(before, after, strict=True))
    return Fidelity(tuple(losses), lost / sum(map(_power, before)))


def _power(hidden: Tensor) -> float:
    return float(hidden.float().square().sum())
