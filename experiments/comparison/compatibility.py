"""Whether parties were asked the same in the same way, field by field."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from experiments.compare import FIELDS
from experiments.comparison.entries import Entry
from lrm.errors import BadInput

DIGEST_CHARACTERS = 12
UNKNOWN = ("", "not given")
DEFAULTS = {"lengths": "tokens"}


@dataclass(frozen=True)
class Apart:
    """A field in which parties differ, or that is not known of some: `told` names all values."""

    field: str
    told: str
    refused: bool


def join(parties: Sequence[Entry], allowed: Collection[str]) -> tuple[list[int], list[str]]:
    """The budgets at which the parties are compared (none: with no budget set), and what has to be
    said beside every number.

    Raises BadInput naming each field that differs, with its values, unless it is in `allowed`.
    """
    found = [*_differences(parties)]
    refused = [one for one in found if one.refused and one.field not in allowed]
    if refused:
        fields = ",".join(dict.fromkeys(one.field for one in refused))
        raise BadInput(
            f"These cannot be compared: {'; '.join(one.told for one in refused)}. Compare what was "
            f"asked alike, or go on with a mark by --allow {fields}."
        )
    return sorted(_common(parties)), [f"Not alike in {one.told}." for one in found]


def _common(parties: Sequence[Entry]) -> set[int]:
    """Budgets that all have."""
    return set.intersection(*(set(party.budgets) for party in parties))


def _differences(parties: Sequence[Entry]) -> Iterator[Apart]:
    for name in dict.fromkeys(name for party in parties for name in party.benchmarks):
        asked = [party for party in parties if name in party.benchmarks]
        yield from _of_field("version", f"version of {name}", _each(asked, _version, name), True)
        yield from _of_field("rows", f"rows of {name}", _each(asked, _rows, name), True)
    # At a budget that all have, neither larger budgets nor the cap behind them change a reply.
    harmless = {"budgets", "max_tokens"} if _common(parties) else set()
    for field in FIELDS[2:]:
        yield from _of_field(field, field, _each(parties, _asked, field), field not in harmless)
    # The joint front is one of accuracy and tokens, whatever else was searched for.
    yield from _of_field("objectives", "objectives", _each(parties, _objectives, ""), False)


def _each(parties: Sequence[Entry], read: Callable[[Entry, str], str], name: str) -> dict[str, str]:
    return {party.label: read(party, name) for party in parties}


def _asked(party: Entry, field: str) -> str:
    if field == "budgets":
        return ",".join(map(str, party.budgets)) or "none"
    return party.params.get(field, DEFAULTS.get(field, ""))


def _objectives(party: Entry, _: str) -> str:
    """What a search was for: where its levels are recipes, fewer bytes, too."""
    if party.home.kind != "study":
        return ""
    return "accuracy, tokens" + (", bytes" if "recipes" in party.config else "")


def _version(party: Entry, benchmark: str) -> str:
    known = party.config.get("identity", {}).get("benchmarks", {}).get(benchmark)
    return str(known[0]) if known else party.params.get(f"version/{benchmark}", "")


def _rows(party: Entry, benchmark: str) -> str:
    return party.params.get(f"rows/{benchmark}", "")[:DIGEST_CHARACTERS]


def _of_field(field: str, name: str, values: Mapping[str, str], refused: bool) -> Iterator[Apart]:
    """By label. Nothing where all have the same, or nobody knows."""
    by_value: dict[str, list[str]] = {}
    for label, value in values.items():
        by_value.setdefault("not known" if value in UNKNOWN else value, []).append(label)
    known = len(by_value) - ("not known" in by_value)
    if len(by_value) > 1:
        told = ", ".join(f"{value} ({', '.join(who)})" for value, who in by_value.items())
        yield Apart(field, f"{name}: {told}", refused and known > 1)
