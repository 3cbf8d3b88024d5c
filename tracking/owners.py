"""Whose a run is: the tags that every run of a store carries."""

from __future__ import annotations

import getpass
import json
import os
import sys
from pathlib import Path

from lrm.errors import BadInput
from tracking.provenance import code

TEAM = "LRM_TEAM"


def tags_of_every_run(root: Path, team: str | None = None) -> dict[str, str]:
    """Who, what code, which team, and MLFLOW_RUN_CONTEXT's tags, which a plain client leaves out.

    `team` counts before LRM_TEAM, and that before a team in MLFLOW_RUN_CONTEXT.
    """
    remedy = 'MLFLOW_RUN_CONTEXT must be a JSON object of texts, for example {"team": "alpha"}.'
    try:
        context = json.loads(os.environ.get("MLFLOW_RUN_CONTEXT", "{}"))
    except json.JSONDecodeError as error:
        raise BadInput(remedy) from error
    if not isinstance(context, dict):
        raise BadInput(remedy)
    source = code(root)
    if "git.dirty" in source:
        source["mlflow.source.git.commit"] = source["git.commit"]
    named = team or os.environ.get(TEAM)
    return {
        "mlflow.user": _user(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": Path(sys.argv[0]).name,
        **source,
        **{str(key): str(value) for key, value in context.items()},
        **({"team": named} if named else {}),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
