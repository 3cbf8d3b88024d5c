"""What the runs of a store may be called, and a name of that kind made of any text."""

from __future__ import annotations

import re

from lrm.errors import BadInput

STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/:-]*")
LONGEST_NAME = 250
"""Characters that MLflow has room for in the name of a run (SqlRun in its dbmodels/models.py)."""


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
