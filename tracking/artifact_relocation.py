"""Artifacts follow their project's folder: MLflow stores absolute paths, which a move breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

import sqlalchemy

from lrm.errors import BadInput
from tracking.provenance import redact


@dataclass(frozen=True)
class Move:
    """An experiment whose artifacts should lie under `new`, and by the database lie under `old`."""

    experiment: str
    old: str
    new: str


def follow(place: str, moves: Sequence[Move]) -> None:
    """Rewrites the paths in the database `place` where the artifacts are in the new place.

    Beside an SQLite file they always are. Another database may be used from several folders: while
    the old one is there, it stays where all put theirs. Raises BadInput if neither has them.
    """
    engine = sqlalchemy.create_engine(place)
    with engine.begin() as session:
        if place.startswith("sqlite") or _moved(session, place, moves):
            for move in moves:
                _rewrite(session, move)
    engine.dispose()


def _moved(session: sqlalchemy.Connection, place: str, moves: Sequence[Move]) -> bool:
    before = {_folder(move.old).parent for move in moves}
    if any(folder.exists() for folder in before):
        return False
    for move in moves:
        ask = sqlalchemy.text("SELECT run_uuid FROM runs WHERE experiment_id = :experiment")
        runs = session.scalars(ask, {"experiment": int(move.experiment)})
        if any((_folder(move.new) / run).exists() for run in runs):
            return True
    raise BadInput(
        f"The store {redact(place)} keeps its artifacts in {' and '.join(map(str, before))}, which "
        "is not here: share that folder, or put an MLflow server in front of the database and give "
        "its address with --tracking-uri."
    )


def _folder(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path))


def _rewrite(session: sqlalchemy.Connection, move: Move) -> None:
    values = {
        "experiment": int(move.experiment), "old": move.old, "new": move.new,
        "length": len(move.old), "rest": len(move.old) + 1,
    }  # fmt: skip
    for statement in (
        "UPDATE experiments SET artifact_location = :new WHERE experiment_id = :experiment",
        "UPDATE runs SET artifact_uri = :new || substr(artifact_uri, :rest) "
        "WHERE experiment_id = :experiment AND substr(artifact_uri, 1, :length) = :old",
    ):
        session.execute(sqlalchemy.text(statement), values)
