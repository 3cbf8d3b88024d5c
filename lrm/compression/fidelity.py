"""How far a compressed model is from the dense one, without asking it anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer

from lrm.compression.checkpoints import Weights
from lrm.compression.loading import load
from lrm.records import Checkpoint


@dataclass(frozen=True, slots=True)
class Fidelity:
    """`losses` are the mean negative log-likelihoods of each reply's tokens, in nats; e to their
    mean is the perplexity. `output_error` is ||X - X'||^2 / ||X||^2 of the last hidden states, X
    the dense model's."""

    losses: tuple[float, ...]
    output_error: float


@torch.no_grad()
def fidelity(
    dense: Checkpoint, compressed: Checkpoint, replies: Sequence[tuple[str, Sequence[int]]]
) -> Fidelity:
    """Both models on replies (token ids) to prompts that neither was calibrated on."""
    models: list[Any] = [load(Weights(one.path)) for one in (dense, compressed)]
    tokenizer = AutoTokenizer.from_pretrained(dense.path, local_files_only=True)
    losses, lost, total = [], 0.0, 0.0
    for prompt, reply in replies:
        asked = tokenizer(prompt)["input_ids"]
        ids = torch.tensor([[*asked, *reply]], device=models[0].device)
        before, after = (model.base_model(ids, use_cache=False)[0] for model in models)
        logits = models[1].lm_head(after)[0, len(asked) - 1 : -1].float()
        losses.append(float(cross_entropy(logits, ids[0, len(asked) :])))
        lost += float((before - after).float().square().sum())
        total += float(before.float().square().sum())
    return Fidelity(tuple(losses), lost / total)
