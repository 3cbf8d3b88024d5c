"""What the runs of a store may be called, and values of params that it keeps whole."""

from __future__ import annotations

import re

from lrm.digests import of_json
from lrm.errors import BadInput
from tracking.provenance import redact

STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/:-]*")
LONGEST_NAME = 250
"""Characters that MLflow has room for in the name of a run (SqlRun in its dbmodels/models.py)."""

LONGEST_PARAM = 6_000
"""Characters of a param's value. MLflow cuts a longer one without a word
(MAX_PARAM_VAL_LENGTH in its utils/validation.py)."""


def check_name(name: str, kind: str) -> None:
    """Raises BadInput if `name` cannot be the name of `kind`, for example "a study"."""
    if not STUDY_NAME.fullmatch(name):
        raise BadInput(
            f"{name!r} cannot name {kind}: use letters, digits, spaces and . _ - / : only."
        )
    if len(name) > LONGEST_NAME:
        raise BadInput(
            f"{name[:40]!r}... cannot name {kind}, as it has {len(name)} characters: use "
            f"{LONGEST_NAME} or fewer."
        )


def allowed_name(text: str, otherwise: str, room: int = LONGEST_NAME) -> str:
    """The text with "-" for what a name may not have, cut to `room` characters; `otherwise` if
    nothing of it is left."""
    name = re.sub(r"[^A-Za-z0-9 ._/:-]", "-", text).lstrip(" ._/:-")
    return name[:room] or otherwise


def param_text(value: object) -> str:
    """A param's value as it is stored, without secrets. One too long keeps its beginning and has a
    digest of all of it at its end, so that two values that differ anywhere stay different."""
    text = redact(str(value))
    if len(text) <= LONGEST_PARAM:
        return text
    ending = f"... sha256 of all {len(text):,} characters: {of_json(text)}"
    return text[: LONGEST_PARAM - len(ending)] + ending
