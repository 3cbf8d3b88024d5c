"""Parties compared: the front of all their points, who holds it, and their paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

from experiments.comparison.entries import Entry
from experiments.reporting import variants
from experiments.reporting.variants import Selection, SelectionReading
from lrm.analysis.compare import Comparison, Setting, compare
from lrm.analysis.fronts import Front, Spot, front
from lrm.analysis.variant import Variant
from lrm.report.material import in_common
from lrm.stats.frontier import area, nondominated
from lrm.tables import Table, amount, percent, signed, times


@dataclass(frozen=True)
class EntryPair:
    """One party's setting against another's, paired by question; `level` is what both stand at."""

    one: Entry
    other: Entry
    level: str
    budget: int | None
    found: Comparison


@dataclass(frozen=True)
class JointFront:
    """All variants of all parties on the benchmarks and questions that all answered.

    `of` has each variant's party, `told` sentences on what is left out, and `selection` all runs
    together, as a report takes them.
    """

    parties: Sequence[Entry]
    of: Sequence[Entry]
    variants: Sequence[Variant]
    budgets: Sequence[int | None]
    told: Sequence[str]
    selection: Selection

    @property
    def benchmarks(self) -> list[str]:
        return list(self.variants[0].grids)

    @cached_property
    def front(self) -> Front:
        """The mean over the benchmarks, each counting the same."""
        settings = [Setting(one, budget) for one in self.variants for budget in self.budgets]
        return front(settings, self.benchmarks)

    @property
    def on_front(self) -> list[Spot]:
        """The points of the front, the cheapest first."""
        return [self.front.spots[place] for place in self.front.front]

    def party(self, spot: Spot) -> Entry:
        """Whose a point is."""
        return self._party[spot.setting.variant.name]

    def holders(self, spot: Spot) -> list[Entry]:
        """Whose points are exactly there: equal ones share a place."""
        equal = [
            self.party(one)
            for one in self.front.spots
            if (one.accuracy.value, one.tokens.value) == (spot.accuracy.value, spot.tokens.value)
        ]
        return list({party.label: party for party in equal}.values())

    def held(self, party: Entry) -> int:
        """How many points of the front are the party's; equal ones count for each."""
        return sum(any(one is party for one in self.holders(spot)) for spot in self.on_front)

    @property
    def stretches(self) -> list[tuple[str, float, float]]:
        """The front from its cheapest point on: who holds a stretch of it, and the lengths at its
        ends."""
        found: list[tuple[str, float, float]] = []
        for spot in self.on_front:
            who, at = ", ".join(party.label for party in self.holders(spot)), spot.tokens.value
            if found and found[-1][0] == who:
                found[-1] = (who, found[-1][1], at)
            else:
                found.append((who, at, at))
        return found

    def own_front(self, party: Entry) -> list[Spot]:
        """The points of the party that no other of its own beats, the cheapest first."""
        own = [one for one in self.front.spots if self.party(one) is party]
        gains, costs = [one.accuracy.value for one in own], [one.tokens.value for one in own]
        return [own[place] for place in nondominated(gains, costs)]

    def hypervolume(self, party: Entry) -> float:
        """What the party covers by itself, up to the longest point of all."""
        own = self.own_front(party)
        gains, costs = [one.accuracy.value for one in own], [one.tokens.value for one in own]
        return area(gains, costs, self.front.worst_tokens)

    @cached_property
    def pairs(self) -> list[EntryPair]:
        """Every two parties at each level that both have, at each budget; where they share no
        level, the most accurate of each at the largest budget.

        Where one has a level on several calibrations, each is paired with that of the same one.
        """
        found = []
        for one, other in combinations(self.parties, 2):
            shared = list(self._shared(one, other))
            for level, mine, its in shared:
                for budget in self.budgets:
                    found.append(self._pair(one, other, level, budget, mine, its))
            if not shared:
                best = self._best(one), self._best(other)
                found.append(self._pair(one, other, "best of each", self.budgets[-1], *best))
        return found

    @cached_property
    def _party(self) -> Mapping[str, Entry]:
        return {one.name: party for one, party in zip(self.variants, self.of, strict=True)}

    def _own(self, party: Entry) -> list[Variant]:
        return [one for one, its in zip(self.variants, self.of, strict=True) if its is party]

    def _shared(self, one: Entry, other: Entry) -> Iterator[tuple[str, Variant, Variant]]:
        """Levels that both have, with the variant of each."""
        mine, its = self._levels(one), self._levels(other)
        for level in (level for level in mine if level in its):
            by_source, others = mine[level], its[level]
            if len(by_source) == len(others) == 1:
                yield level, next(iter(by_source.values())), next(iter(others.values()))
                continue
            for source in (source for source in by_source if source in others):
                yield f"{level} ({source})", by_source[source], others[source]

    def _levels(self, party: Entry) -> dict[str, dict[str, Variant]]:
        """The party's variants by how far they are compressed, then by what they are calibrated
        on."""
        found: dict[str, dict[str, Variant]] = {}
        for record, one in zip(party.selection.records, self._own(party), strict=True):
            found.setdefault(_level(record.params), {})[variants.calibration(record)] = one
        return found

    def _best(self, party: Entry) -> Variant:
        at = self.budgets[-1]
        return max(
            self._own(party), key=lambda one: Setting(one, at).accuracy(self.benchmarks).value
        )

    def _pair(
        self, one: Entry, other: Entry, level: str, budget: int | None, *both: Variant
    ) -> EntryPair:
        mine, its = (Setting(variant, budget) for variant in both)
        return EntryPair(one, other, level, budget, compare(mine, its, self.benchmarks))


def _level(params: Mapping[str, str]) -> str:
    """What is the same level in two studies: none, a recipe with what it protects, a sparsity."""
    if params.get("method") == "none":
        return "dense"
    if recipe := params.get("recipe"):
        return " ".join(filter(None, (recipe, params.get("protect"))))
    sparsity = params.get("sparsity")
    return f"{100 * float(sparsity):g}% sparse" if sparsity else params.get("method", "")


def joined(parties: Sequence[Entry], budgets: Sequence[int]) -> JointFront:
    """Reads the generations of all parties. Raises BadInput where no question is in common."""
    records = [record for party in parties for record in party.selection.records]
    selection = Selection(
        title="Comparison of " + ", ".join(party.label for party in parties),
        records=records,
        budgets=[budgets] * len(records),
        left_out=[
            f"{party.label}: {told}" for party in parties for told in party.selection.left_out
        ],
    )
    shared, told = in_common(read(selection, parties, texts=False).variants)
    return JointFront(
        parties=parties,
        of=[party for party in parties for _ in party.selection.records],
        variants=shared,
        budgets=list(budgets) or [None],
        told=[*selection.left_out, *told],
        selection=selection,
    )


def read(selection: Selection, parties: Sequence[Entry], texts: bool = True) -> SelectionReading:
    """What `variants.read` gives of the parties' runs, with names of variants and of studies that
    tell the parties apart."""
    reading = variants.read(selection, texts)
    named = [(party, f"{party.label}: {name}") for party in parties for name in party.names]
    both = list(zip(reading.variants, named, strict=True))
    new = {one.name: name for one, (_, name) in both}
    return SelectionReading(
        variants=[
            replace(one, name=name, study=party.label if party.home.kind == "study" else one.study)
            for one, (party, name) in both
        ],
        samples=[replace(one, variant=new[one.variant]) for one in reading.samples],
        firsts={(new[name], benchmark): one for (name, benchmark), one in reading.firsts.items()},
        against={new[name]: one for name, one in reading.against.items()},
    )


def parties_table(joint: JointFront) -> Table:
    rows = [
        (
            party.label,
            party.owner,
            party.study,
            party.params.get("model", ""),
            str(len(party.selection.records)),
            f"{joint.held(party)} of {len(joint.on_front)}",
            f"{joint.hypervolume(party):,.1f}",
            party.made_in,
        )
        for party in joint.parties
    ]
    header = ("who", "team or owner", "study", "model", "levels", "holds", "hypervolume", "store")
    note = (
        f"holds: points of the joint front, equal ones counted for each; hypervolume: by itself, "
        f"up to {joint.front.worst_tokens:,.1f} {joint.front.spots[0].setting.variant.unit}; "
        f"of all together: {joint.front.hypervolume:,.1f}."
    )
    return Table("Compared", header, rows, note)


def front_table(joint: JointFront) -> Table:
    unit = joint.front.spots[0].setting.variant.unit
    rows = [
        (
            ", ".join(party.label for party in joint.holders(spot)),
            spot.setting.variant.name.partition(": ")[2],
            "none" if spot.setting.budget is None else str(spot.setting.budget),
            percent(spot.accuracy),
            amount(spot.tokens),
            spot.run_id,
        )
        for spot in joint.on_front
    ]
    header = ("who", "level", "budget", "accuracy", f"{unit} per question", "run")
    heading = "Joint Pareto front: no other point is both more accurate and shorter"
    note = f"Means over {', '.join(joint.benchmarks)}; intervals: 95% over questions."
    return Table(heading, header, rows, note)


def pairs_table(joint: JointFront, pairs: Sequence[EntryPair]) -> Table:
    rows = [
        (
            pair.one.label,
            pair.other.label,
            pair.level,
            "none" if pair.budget is None else str(pair.budget),
            signed(pair.found.accuracy.interval),
            times(pair.found.tokens),
            str(pair.found.accuracy.questions),
            "yes" if pair.found.separable else "no significant difference",
        )
        for pair in pairs
    ]
    header = ("who", "against", "level", "budget", "accuracy", "length", "questions", "separable")
    note = "Paired by question: differences in percentage points, lengths as ratios; 95%."
    return Table("Differences on shared questions", header, rows, note)
