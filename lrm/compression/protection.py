"""Which modules stay dense: named by patterns, as in "layers.31.mlp" or "*.down_proj"."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from lrm.errors import BadInput


def protected(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    """Those of the module names that a pattern names, or whose parent it names.

    A pattern (of `fnmatch`) stands for whole parts of a name, from any part on: "layers.3.mlp"
    names all of that MLP, "up_proj" that layer of every block. BadInput if one matches nothing.
    """
    found: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if _matches(name, pattern)}
        if not matched:
            endings = sorted({ending for name in names for ending in _endings(name)})
            near = get_close_matches(pattern, endings, n=1, cutoff=0)[0]
            raise BadInput(
                f"nothing to protect is named {pattern!r}: did you mean {near!r}? Modules are "
                f"named like {names[-1]}."
            )
        found |= matched
    return found


def _matches(name: str, pattern: str) -> bool:
    dotted = f".{name}."
    return fnmatchcase(dotted, f"*.{pattern}.*")


def _endings(name: str) -> list[str]:
    """What a pattern might have meant: every run of parts of a name."""
    parts = name.split(".")
    size = len(parts)
    return [".".join(parts[a:b]) for a in range(size) for b in range(a + 1, size + 1)]
