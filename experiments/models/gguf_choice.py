"""Which of several GGUF models is meant, in a folder or a repository."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from pathlib import PurePosixPath

from lrm.compression.gguf.parts import PART
from lrm.errors import BadInput


def choose(files: Iterable[str], word: str, source: str, how: str) -> list[str]:
    """The files of the one model whose name or folder contains `word`, its parts in order.

    A word ends where no letter, digit or underscore follows: Q2_K is in UD-Q2_K, but not in Q2_K_L.
    A whole name always means that model, whatever other names contain it. Raises BadInput where no
    model or several match; `how` says there how to name one of those that `source` holds.
    """
    models: dict[str, list[str]] = {}
    for file in sorted(file for file in files if file.endswith(".gguf")):
        part = PART.fullmatch(file)
        models.setdefault(part["stem"] if part else file.removesuffix(".gguf"), []).append(file)
    word = word.removesuffix(".gguf")
    bounded = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
    matches = [model for model in models if bounded.search(model)] if word else list(models)
    exact = [model for model in matches if word.lower() == PurePosixPath(model).name.lower()]
    if len(exact or matches) == 1:
        return models[(exact or matches)[0]]
    if matches:
        raise BadInput(f"{source} holds several models{_of(word)}: {_listed(matches, word)}; {how}")
    if not models:
        raise BadInput(f"{source} holds no GGUF files; leave out :{word}, or name another")
    raise BadInput(f"{source} has no model{_of(word)}, but {_listed(models, word)}; {how}")


def _of(word: str) -> str:
    return f" {word!r}" if word else ""


def _listed(models: Iterable[str], word: str) -> str:
    """Their names, the nearest to `word` first."""
    names = sorted(PurePosixPath(model).name for model in models)
    likeness = {name: SequenceMatcher(None, word.lower(), name.lower()).ratio() for name in names}
    return ", ".join(sorted(names, key=lambda name: -likeness[name]))
