"""Several samples of one question: the chance that one of k is correct, and the majority's answer.

The mean over samples, avg@k, is plain accuracy: it estimates the same quantity for any k.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import comb


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that at least one of k samples is correct, given `correct` of `samples`.

    The unbiased estimate 1 - C(n - c, k) / C(n, k) of Chen et al. 2021, arXiv 2107.03374: the share
    of all sets of k samples that hold a correct one.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k must lie between 1 and the {samples} samples, got {k}")
    if not 0 <= correct <= samples:
        raise ValueError(f"of {samples} samples {correct} cannot be correct")
    return 1 - comb(samples - correct, k) / comb(samples, k)


def majority(votes: Sequence[Hashable | None]) -> int | None:
    """Index of the first sample with the most frequent vote (self-consistency, arXiv 2203.11171).

    None among the votes is no vote. Of equally frequent votes the one given first wins. None if
    nobody voted.
    """
    counts: dict[Hashable, int] = {}
    for vote in votes:
        if vote is not None:
            counts[vote] = counts.get(vote, 0) + 1
    return votes.index(max(counts, key=counts.__getitem__)) if counts else None


def sizes(samples: int) -> list[int]:
    """The values of k to report for that many samples: 1, 2, 4, ... and all of them."""
    powers = [2**i for i in range(samples.bit_length()) if 2**i < samples]
    return [*powers, samples]
