"""Whether entries were asked the same questions in the same way, field by field."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from experiments.comparison.entries import Entry
from experiments.comparison.settings import FIELDS
from lrm.errors import BadInput

DIGEST_CHARACTERS = 12
UNKNOWN = ("", "not given")
DEFAULTS = {"lengths": "tokens", "system": "none"}
"""What a field is where a run does not record it."""


@dataclass(frozen=True)
class FieldDifference:
    """A field in which entries differ, or which is unknown for some of them.

    `description` names every value and who has it. `refused`: entries that differ in it may only be
    compared if the user allows it.
    """

    field: str
    description: str
    refused: bool


def check(entries: Sequence[Entry], allowed: Collection[str]) -> tuple[list[int], list[str]]:
    """The budgets at which the entries are compared (none: with no budget set), and sentences that
    must stand beside every number.

    Raises BadInput naming each field that differs, with its values, unless it is in `allowed`.
    """
    differences = list(_differences(entries))
    refused = [each for each in differences if each.refused and each.field not in allowed]
    if refused:
        fields = ",".join(dict.fromkeys(each.field for each in refused))
        raise BadInput(
            f"These cannot be compared: {'; '.join(each.description for each in refused)}. Compare "
            f"what was asked alike, or go on with a mark by --allow {fields}."
        )
    return sorted(_common(entries)), [f"Not alike in {each.description}." for each in differences]


def _common(entries: Sequence[Entry]) -> set[int]:
    """Budgets that all entries have."""
    return set.intersection(*(set(entry.budgets) for entry in entries))


def _differences(entries: Sequence[Entry]) -> Iterator[FieldDifference]:
    for name in dict.fromkeys(name for entry in entries for name in entry.benchmarks):
        asked = [entry for entry in entries if name in entry.benchmarks]
        yield from _of_field("version", f"version of {name}", _each(asked, _version, name), True)
        yield from _of_field("rows", f"rows of {name}", _each(asked, _rows, name), True)
    # At a budget that all entries have, neither larger budgets nor the cap behind them change a
    # reply.
    harmless = {"budgets", "max_tokens"} if _common(entries) else set()
    for field in FIELDS[2:]:
        yield from _of_field(field, field, _each(entries, _asked, field), field not in harmless)
    # The joint front is one of accuracy and tokens, whatever else was searched for.
    yield from _of_field("objectives", "objectives", _each(entries, _objectives, ""), False)


def _each(entries: Sequence[Entry], read: Callable[[Entry, str], str], name: str) -> dict[str, str]:
    return {entry.label: read(entry, name) for entry in entries}


def _asked(entry: Entry, field: str) -> str:
    if field == "budgets":
        return ",".join(map(str, entry.budgets)) or "none"
    return entry.params.get(field, DEFAULTS.get(field, ""))


def _objectives(entry: Entry, _: str) -> str:
    """What a search was for: where its levels are recipes, also for fewer bytes."""
    if entry.run.kind != "study":
        return ""
    return "accuracy, tokens" + (", bytes" if "recipes" in entry.config else "")


def _version(entry: Entry, benchmark: str) -> str:
    return entry.benchmark_version(benchmark) or entry.params.get(f"version/{benchmark}", "")


def _rows(entry: Entry, benchmark: str) -> str:
    return entry.params.get(f"rows/{benchmark}", "")[:DIGEST_CHARACTERS]


def _of_field(
    field: str, name: str, values: Mapping[str, str], refused: bool
) -> Iterator[FieldDifference]:
    """The difference in a field, of values by label; nothing if all are equal or all unknown."""
    by_value: dict[str, list[str]] = {}
    for label, value in values.items():
        by_value.setdefault("not known" if value in UNKNOWN else value, []).append(label)
    known = len(by_value) - ("not known" in by_value)
    if len(by_value) > 1:
        held = ", ".join(f"{value} ({', '.join(labels)})" for value, labels in by_value.items())
        yield FieldDifference(field, f"{name}: {held}", refused and known > 1)
