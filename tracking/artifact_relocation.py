"""Corrects where artifacts are after a move of the project: MLflow stores absolute paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

import sqlalchemy

from lrm.errors import BadInput
from tracking.provenance import redact_address


@dataclass(frozen=True)
class Relocation:
    """An experiment whose artifacts belong under `new`; the database says that they are in `old`.

    Both are file: addresses.
    """

    experiment: str
    old: str
    new: str


def relocate(address: str, relocations: Sequence[Relocation]) -> None:
    """Rewrites the paths in the database at `address` if the artifacts are in the new folder.

    Beside an SQLite file they always are. Another database may be used from several folders: as
    long as the old folder exists, all use that one. Raises BadInput if neither folder has them.
    """
    engine = sqlalchemy.create_engine(address)
    with engine.begin() as session:
        if address.startswith("sqlite") or _have_moved(session, address, relocations):
            for relocation in relocations:
                _rewrite(session, relocation)
    engine.dispose()


def _have_moved(
    session: sqlalchemy.Connection, address: str, relocations: Sequence[Relocation]
) -> bool:
    before = {_folder(relocation.old).parent for relocation in relocations}
    if any(folder.exists() for folder in before):
        return False
    for relocation in relocations:
        query = sqlalchemy.text("SELECT run_uuid FROM runs WHERE experiment_id = :experiment")
        runs = session.scalars(query, {"experiment": int(relocation.experiment)})
        if any((_folder(relocation.new) / run).exists() for run in runs):
            return True
    raise BadInput(
        f"The store {redact_address(address)} keeps its artifacts in "
        f"{' and '.join(map(str, before))}, which is not here: share that folder, or put an "
        "MLflow server in front of the database and give its address with --tracking-uri."
    )


def _folder(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path))


def _rewrite(session: sqlalchemy.Connection, relocation: Relocation) -> None:
    old = relocation.old
    values = {
        "experiment": int(relocation.experiment), "old": old, "new": relocation.new,
        "length": len(old), "rest": len(old) + 1,
    }  # fmt: skip
    for statement in (
        "UPDATE experiments SET artifact_location = :new WHERE experiment_id = :experiment",
        "UPDATE runs SET artifact_uri = :new || substr(artifact_uri, :rest) "
        "WHERE experiment_id = :experiment AND substr(artifact_uri, 1, :length) = :old",
    ):
        session.execute(sqlalchemy.text(statement), values)
