"""What a method is calibrated on, as it is named on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lrm import registry
from lrm.errors import BadInput
from lrm.generation.calibration import TEXTS

NAMED = ("traces", "prompts", *TEXTS)
TRACES_OF = "traces:"
FILES = (".jsonl", ".jsonl.gz")
SIZES = ("rows", "row_tokens")
"""The options beside `calibration`, of every method that has it."""


@dataclass(frozen=True, slots=True)
class CalibrationSource:
    """Where calibration comes from, and how much of it.

    `name` is "traces", the model's own reasoning; "prompts"; a text of
    `lrm.generation.calibration.TEXTS`; a file of texts, or of a run's stored replies; or "traces:"
    and a file of prompts to reason on. `rows` of `row_tokens` each are taken; what is None follows
    the model (`lrm.generation.calibration.size_of`).
    """

    name: str
    rows: int | None = None
    row_tokens: int | None = None

    @property
    def file(self) -> Path | None:
        """The user's own file, if it is one."""
        own = self.name.removeprefix(TRACES_OF)
        return Path(own) if own.endswith(FILES) else None

    @property
    def reasons(self) -> bool:
        """Whether the model itself writes what it is calibrated on."""
        return self.name.partition(":")[0] == "traces"


def parse_source(
    name: str, given: Mapping[str, str] | None = None, also: tuple[str, ...] = ()
) -> CalibrationSource:
    """Reads the options `calibration`, `rows` and `row_tokens`; `also` are further names that are
    allowed. BadInput if a file is not there."""
    sizes = {key: _size(key, text) for key, text in (given or {}).items() if key in SIZES}
    source = CalibrationSource(name, **sizes)
    if source.file is None:
        registry.require("calibration source", name, (*NAMED, *also))
    elif not source.file.is_file():
        raise BadInput(
            f"calibration={name}: there is no file {source.file}: give a JSONL file, an object "
            f'with "{"prompt" if source.reasons else "text"}" a line.'
        )
    return source


def _size(key: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise BadInput(f"{key} must be a number of 1 or more, got {text!r}.")
    return int(text)
