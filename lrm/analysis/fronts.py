"""The frontier of variants under budgets, its knee, and which neighbours differ significantly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lrm.analysis.compare import Comparison, Setting, compare
from lrm.errors import BadInput
from lrm.records.point import Interval
from lrm.stats import frontier


@dataclass(frozen=True, slots=True)
class Spot:
    """One setting on the plane of accuracy and tokens per question, and the run it comes from."""

    setting: Setting
    accuracy: Interval
    tokens: Interval

    @property
    def name(self) -> str:
        return self.setting.name

    @property
    def run_id(self) -> str:
        return self.setting.variant.run_id

    @property
    def bytes(self) -> float | None:
        return self.setting.variant.bytes


@dataclass(frozen=True)
class Front:
    """All spots in the order given, and the front among them, by indices into `spots`.

    `front` has the spots that no other dominates, cheapest first; `knee` is where it bends (None:
    nowhere). `hypervolume` is in accuracy x tokens up to accuracy 0 and `worst_tokens`.
    `front_with_bytes` and `volume` count the bytes of the weights as a third cost, up to
    `worst_bytes`; None where they were not measured for every spot.
    """

    benchmarks: tuple[str, ...]
    spots: tuple[Spot, ...]
    front: tuple[int, ...]
    knee: int | None
    worst_tokens: float
    hypervolume: float
    front_with_bytes: tuple[int, ...] | None
    worst_bytes: float | None
    volume: float | None

    @cached_property
    def neighbours(self) -> tuple[Comparison, ...]:
        """Each spot of the front compared with the next cheaper one."""
        pairs = zip(self.front[1:], self.front, strict=False)
        return tuple(
            compare(self.spots[dearer].setting, self.spots[cheaper].setting, self.benchmarks)
            for dearer, cheaper in pairs
        )

    @property
    def history(self) -> list[float]:
        """The hypervolume after each spot, in the order given."""
        gains = [spot.accuracy.value for spot in self.spots]
        costs = [spot.tokens.value for spot in self.spots]
        return frontier.history(gains, costs, self.worst_tokens)


def front(
    settings: Sequence[Setting],
    benchmarks: Sequence[str],
    *,
    worst_tokens: float | None = None,
    worst_bytes: float | None = None,
) -> Front:
    """The frontier over one benchmark, or over the average of several.

    The reference point is part of the result. If left out, it is at the longest spot's length and
    the largest spot's bytes, and those spots then add nothing themselves. Raises BadInput
    where lengths come in different units.
    """
    if not settings:
        raise BadInput("No variant was measured: a frontier needs one point or more.")
    units = sorted({setting.variant.unit for setting in settings})
    if len(units) > 1:
        raise BadInput(f"Lengths are in {' and in '.join(units)}: draw one frontier for each.")
    spots = tuple(Spot(s, s.accuracy(benchmarks), s.tokens(benchmarks)) for s in settings)
    gains = [spot.accuracy.value for spot in spots]
    costs = [spot.tokens.value for spot in spots]
    reference = max(costs) if worst_tokens is None else worst_tokens
    sizes = [spot.bytes for spot in spots if spot.bytes is not None]
    sized = len(sizes) == len(spots)
    largest = (max(sizes) if worst_bytes is None else worst_bytes) if sized else None
    return Front(
        benchmarks=tuple(benchmarks),
        spots=spots,
        front=tuple(frontier.nondominated(gains, costs)),
        knee=frontier.knee(gains, costs),
        worst_tokens=reference,
        hypervolume=frontier.area(gains, costs, reference),
        front_with_bytes=tuple(frontier.nondominated(gains, costs, sizes)) if sized else None,
        worst_bytes=largest,
        volume=None
        if largest is None
        else frontier.volume(gains, costs, sizes, reference, largest),
    )
