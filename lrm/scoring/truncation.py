"""The policies for replies that a cap cut off.

* **truncated-is-wrong**, the headline: a reply that a cap cut, in its thinking or in its answer,
  counts as wrong. A reply that ended by itself is never truncated, whether it closed its thinking
  or not.
* **grade-what-is-there**: the text of a cut reply is graded like any other.

Both are computed from the same replies. Benchmarks grade the text that is there and know no policy.
"""

from __future__ import annotations

from lrm.records.question import Truncation

TRUNCATION: Truncation = "truncated-is-wrong"
"""The headline policy."""


def wrong_for_length(cut: bool, truncation: Truncation = TRUNCATION) -> bool:
    """Whether a reply counts as wrong because a cap cut it."""
    return cut and truncation == "truncated-is-wrong"
