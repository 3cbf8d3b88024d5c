"""The flags of bundle: what goes into a file, or which file is brought in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import tyro

from lrm.errors import BadInput


@dataclass(frozen=True)
class Export:
    """Writes a study with its runs, or an import, to a bundle. No address in it has a password."""

    out: Path
    """File to write, replaced if it is there."""

    study: str | None = None
    """The study, by its name."""

    run: str | None = None
    """The import (replies made elsewhere), or the study, by the id of its run."""

    unfinished: bool = False
    """Export a study that has not reached its end: what is finished of it, and marked so."""

    tracking_uri: str | None = None
    """MLflow tracking server or database. mlruns/mlflow.db if left out."""

    def __post_init__(self) -> None:
        if (self.study is None) == (self.run is None):
            raise BadInput("Give what to export: --study NAME, or --run ID of an import.")
        if self.out.is_dir() or not os.access(self.out.absolute().parent, os.W_OK):
            raise BadInput(f"--out {self.out} cannot be written: give a file in a writable folder.")


@dataclass(frozen=True)
class Import:
    """Brings a bundle in, once: a second time changes nothing, and what was stopped goes on.

    The whole bundle is checked before anything is written.
    """

    file: tyro.conf.Positional[Path]
    """The bundle."""

    as_: Annotated[str | None, tyro.conf.arg(name="as")] = None
    """What to call it here, if another study has its name."""

    tracking_uri: str | None = None
    """MLflow tracking server or database. mlruns/mlflow.db if left out."""


ExportOrImport = cast(
    "type[Export] | type[Import]",
    Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Import, tyro.conf.subcommand("import")],
)
"""One of the two, as tyro reads it: a subcommand for each."""
