"""Sampling the next token of many rows at once, each from its own uniform number."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lrm.errors import EngineFailed

HEAD = 32
"""Candidates looked at first."""

MIDDLE = 1024
"""Candidates looked at where the nucleus is wider, in float32 on a CPU. Only what they do not
settle is drawn from all tokens: sorting 150,000 takes ten times as long. In bfloat16 most tokens
are as probable as some other, and a GPU sorts fast."""


OVERFLOWED = (
    "the model's arithmetic overflowed, so that its scores are no numbers, as activations do that "
    "float16 cannot hold; run it with another engine, or check its weights"
)


def uniforms(seed: int, count: int) -> NDArray[np.float32]:
    """The numbers in [0, 1) that decide one reply; a smaller `count` gives a prefix."""
    return np.random.default_rng(seed).random(count, dtype=np.float32)


def draw(
    logits: torch.Tensor, numbers: torch.Tensor, temperature: float, top_p: float
) -> torch.Tensor:
    """Token ids [rows] from `logits` [rows, vocabulary] and `numbers` [rows] in [0, 1).

    The inverse of the cumulative distribution over the nucleus, which is the fewest most probable
    tokens whose mass reaches `top_p` (Holtzman et al. 2020, arXiv:1904.09751). `temperature` 0
    takes the most probable token. A row's result depends on its own logits and number only.
    Raises EngineFailed for logits that are no numbers, of which some token could always be drawn.
    """
    if temperature == 0:
        likeliest = logits.argmax(-1, keepdim=True)  # a NaN, if there is one
        _require_finite(logits.gather(-1, likeliest))
        return likeliest[:, 0]
    scaled = logits.float() / temperature
    log_total = scaled.logsumexp(-1, keepdim=True)
    _require_finite(log_total)
    # Nearly always the nucleus lies within the few most probable tokens; sorting all is slow.
    vocabulary = logits.shape[-1]
    tokens, complete, _ = _draw_from_head(scaled, log_total, numbers, top_p, min(HEAD, vocabulary))
    wide = (~complete).nonzero()[:, 0]
    middle = logits.device.type == "cpu" and logits.dtype == torch.float32 and vocabulary > MIDDLE
    for head in (MIDDLE, vocabulary) if middle else (vocabulary,):
        if len(wide):
            tokens[wide], complete, unique = _draw_from_head(
                scaled[wide], log_total[wide], numbers[wide], top_p, head
            )
            # Which of two equal tokens comes first depends on how many are sorted.
            wide = wide[~(complete & unique)]
    return tokens


def _require_finite(values: torch.Tensor) -> None:
    if not values.isfinite().all():
        raise EngineFailed(OVERFLOWED)


def _draw_from_head(
    scaled: torch.Tensor, log_total: torch.Tensor, numbers: torch.Tensor, top_p: float, head: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The draw among the `head` most probable tokens, whether they hold the whole nucleus, and
    whether no other token is known to be, or may be, as probable as the one drawn."""
    values, ids = scaled.topk(head, dim=-1)
    mass = (values - log_total).exp().cumsum(-1)
    last = (mass < top_p).sum(-1, keepdim=True).clamp_(max=head - 1)  # the nucleus ends here
    nucleus_mass = mass.gather(-1, last)
    pick = (mass <= numbers[:, None] * nucleus_mass).sum(-1, keepdim=True).minimum(last)
    unique = ((values == values.gather(-1, pick)).sum(-1) == 1) & (pick[:, 0] < head - 1)
    return ids.gather(-1, pick)[:, 0], nucleus_mass[:, 0] >= top_p, unique
