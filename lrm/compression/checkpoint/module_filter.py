"""Which modules stay dense, or denser than the rest: named by patterns, as in "layers.31.mlp" or
"*.down_proj", or drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from random import Random

from lrm.errors import BadInput

FINAL_MLP = "final-mlp"
DRAWN = "random:"
EXCEPT = "except:"
BLOCK = re.compile(r"\blayers\.(\d+)\.")


def ceilings(sizes: Mapping[str, int], patterns: Sequence[str]) -> dict[str, float]:
    """The highest sparsity of each module that a pattern names, in the order of `sizes`.

    A pattern is one of `spared`, whose modules stay dense (0), or such a one with "@SHARE" behind
    it, as in "layers.31.mlp@0.3": at most 30% sparse. Of several the lowest counts.
    """
    limits: dict[str, float] = {}
    for pattern in patterns:
        named, at, share = pattern.partition("@")
        most = _share(pattern, share) if at else 0.0
        for name in spared(sizes, [named]):
            limits[name] = min(most, limits.get(name, most))
    return {name: limits[name] for name in sizes if name in limits}


def _share(pattern: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise BadInput(
            f"protect={pattern}: write the highest sparsity behind the @, in [0, 1), as in "
            "layers.31.mlp@0.3."
        )
    return share


def spared(sizes: Mapping[str, int], patterns: Sequence[str]) -> set[str]:
    """Those of the modules, given with how many weights they have, that stay dense.

    A pattern is one of `protected`, or "final-mlp", the MLP of the last block, or
    "random:SHARE[:DRAW]", the control: whole modules drawn at random, as many as fit into that
    share of all weights; DRAW, a whole number, says which draw. With "except:" before any of these
    all modules stay dense but those it names.
    """
    dense: set[str] = set()
    for pattern in patterns:
        if pattern == FINAL_MLP:
            last = max(int(block[1]) for block in map(BLOCK.search, sizes) if block)
            dense |= protected(list(sizes), [f"layers.{last}.mlp"])
        elif pattern.startswith(DRAWN):
            dense |= _drawn(sizes, pattern)
        elif pattern.startswith(EXCEPT):
            dense |= set(sizes) - spared(sizes, [pattern.removeprefix(EXCEPT)])
        else:
            dense |= protected(list(sizes), [pattern])
    if len(dense) == len(sizes) and names_compressed(patterns):
        raise BadInput(
            f"protect={'+'.join(patterns)} leaves nothing to compress: give one except: that names "
            "all of it."
        )
    return dense


def names_compressed(patterns: Sequence[str]) -> bool:
    """Whether the patterns name what is compressed, and not what stays dense."""
    return any(pattern.startswith(EXCEPT) for pattern in patterns)


def _drawn(sizes: Mapping[str, int], pattern: str) -> set[str]:
    share, _, draw = pattern.removeprefix(DRAWN).partition(":")
    try:
        left, names = float(share) * sum(sizes.values()), sorted(sizes)
        Random(int(draw or 0)).shuffle(names)
    except ValueError:
        left = -1.0
    if not 0 <= left < sum(sizes.values()):
        raise BadInput(
            f"protect={pattern} is no draw: write random:SHARE or random:SHARE:DRAW, with a share "
            "in [0, 1), as in random:0.02."
        )
    drawn = set()
    for name in names:
        if sizes[name] <= left:
            drawn.add(name)
            left -= sizes[name]
    if not drawn:
        raise BadInput(
            f"protect={pattern} protects nothing: the smallest module has "
            f"{min(sizes.values()) / sum(sizes.values()):.2%} of the weights; give a larger share."
        )
    return drawn


def protected(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    """Those of the module names that a pattern names, or whose parent it names.

    A pattern (of `fnmatch`) stands for whole parts of a name, from any part on: "layers.3.mlp"
    names all of that MLP, "up_proj" that layer of every block. BadInput if one matches nothing.
    """
    named: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if _matches(name, pattern)}
        if not matched:
            endings = sorted({ending for name in names for ending in _endings(name)})
            near = get_close_matches(pattern, endings, n=1, cutoff=0)[0]
            raise BadInput(
                f"nothing to protect is named {pattern!r}: did you mean {near!r}? Modules are "
                f"named like {names[-1]}."
            )
        named |= matched
    return named


def _matches(name: str, pattern: str) -> bool:
    dotted = f".{name}."
    return fnmatchcase(dotted, f"*.{pattern}.*")


def _endings(name: str) -> list[str]:
    """What a pattern might have meant: every run of parts of a name."""
    parts = name.split(".")
    size = len(parts)
    return [".".join(parts[a:b]) for a in range(size) for b in range(a + 1, size + 1)]
