"""What a graded reply counts under the policy for replies that a cap cut off.

* **truncated-is-wrong**, the headline: a reply that a cap cut, in its thinking or in its answer,
  has not answered. A reply that ended by itself is never truncated, whether it closed its thinking
  or not.
* **grade-what-is-there**: its text is graded like any other.

Both are computed from the same replies; benchmarks grade what is there and know no policy.
"""

from __future__ import annotations

from lrm.records import Truncation

TRUNCATION: Truncation = "truncated-is-wrong"
"""The headline policy."""


def wrong_for_length(cut: bool, truncation: Truncation = TRUNCATION) -> bool:
    """Whether a reply counts as wrong because a cap cut it."""
    return cut and truncation == "truncated-is-wrong"
