"""Where a benchmark's rows are, and one row with its checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lrm.errors import BadInput

VARIABLE = "LRM_DATA"
"""The environment variable that names the folder of the data sets, for use without network."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a benchmark's rows are.

    Offline they are in `file`, a JSONL file in the folder that LRM_DATA names. Online they are the
    `split` of the hub's data set `hub` (its `config`, if it has several) at the commit `revision`;
    with `data_file`, only that file is downloaded and taken as the split. A data set that the hub
    does not have is the JSON file at `url`, an address that pins its bytes. Either is downloaded
    once, and the copy then serves without network.
    """

    file: str
    split: str
    hub: str = ""
    revision: str | None = None
    config: str | None = None
    url: str | None = None
    data_file: str | None = None

    def __str__(self) -> str:
        return self.url or "/".join(filter(None, (f"{self.hub}@{self.revision}", self.data_file)))


@dataclass(frozen=True, slots=True)
class DataRow:
    """One row: its values, its number from 0, and where it was read, for error messages.

    Every method raises BadInput naming that origin for a field that is missing or wrong.
    """

    values: Mapping[str, object]
    index: int
    origin: str

    def text(self, field: str) -> str:
        """The non-empty string in a field."""
        value = self._value(field)
        if not isinstance(value, str) or not value.strip():
            raise self.bad(f'"{field}" must be a non-empty string, got {value!r:.80}')
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """The list of non-empty strings in a field."""
        values = self._value(field)
        if not isinstance(values, list) or not all(
            isinstance(v, str) and v.strip() for v in values
        ):
            raise self.bad(f'"{field}" must be a list of non-empty strings')
        return tuple(values)

    def integer(self, field: str) -> int:
        """The integer in a field, given as a number or in digits ("033" is 33)."""
        value = self._value(field)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.bad(f'"{field}" must be an integer, got {value!r:.80}')
        return value

    def rows(self, field: str) -> list[DataRow]:
        """The list of objects in a field, as rows."""
        values = self._value(field)
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.bad(f'"{field}" must be a list of objects')
        return [
            DataRow(value, index, f"{self.origin}, {field}[{index}]")
            for index, value in enumerate(values)
        ]

    def flag(self, field: str) -> bool:
        """The true or false in a field."""
        value = self._value(field)
        if not isinstance(value, bool):
            raise self.bad(f'"{field}" must be true or false, got {value!r:.80}')
        return value

    def has_list(self, field: str) -> bool:
        return isinstance(self._value(field), list)

    def bad(self, problem: str) -> BadInput:
        """The error for this row."""
        return BadInput(f"{self.origin}: {problem}; restore the file or fix that row")

    def _value(self, field: str) -> object:
        if field not in self.values:
            raise self.bad(f'the field "{field}" is missing')
        return self.values[field]
