"""Who a run belongs to: the tags that every run of a store has."""

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
    """Tags for the user, the code and the team, and those of MLFLOW_RUN_CONTEXT, which MLflow's
    plain client leaves out.

    `team` overrides LRM_TEAM, and that a team in MLFLOW_RUN_CONTEXT. Raises BadInput if
    MLFLOW_RUN_CONTEXT is no JSON object.
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
    team = team or os.environ.get(TEAM)
    return {
        "mlflow.user": _user(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": Path(sys.argv[0]).name,
        **source,
        **{str(key): str(value) for key, value in context.items()},
        **({"team": team} if team else {}),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
