"""How far a compressed model is from the dense one, without asking it anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from lrm.compression.checkpoints import Weights
from lrm.compression.loading import load
from lrm.records import Checkpoint


@dataclass(frozen=True, slots=True)
class Fidelity:
    """`losses` are the mean negative log-likelihoods of each row's tokens but the first, in nats;
    e to their mean is the perplexity. `output_error` is ||X - X'||^2 / ||X||^2 of the last hidden
    states, X the dense model's."""

    losses: tuple[float, ...]
    output_error: float


@torch.no_grad()
def fidelity(dense: Checkpoint, compressed: Checkpoint, rows: Sequence[Sequence[int]]) -> Fidelity:
    """Both models on rows of two or more token ids, that neither was calibrated on."""
    models: list[Any] = [load(Weights(one.path)) for one in (dense, compressed)]
    losses, lost, total = [], 0.0, 0.0
    for row in rows:
        ids = torch.tensor([row], device=models[0].device)
        before, after = (model.base_model(ids, use_cache=False)[0] for model in models)
        logits = models[1].lm_head(after)[0, :-1].float()
        losses.append(float(cross_entropy(logits, ids[0, 1:])))
        lost += float((before - after).float().square().sum())
        total += float(before.float().square().sum())
    return Fidelity(tuple(losses), lost / total)
