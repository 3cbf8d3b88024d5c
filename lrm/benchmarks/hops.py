"""Twin of closed-book MuSiQue: questions over a made-up graph that the weights must remember.

One item: "Who is the mentor of the rival of Zoravi?", answered by an entity. 2,000 entities with
6 relations each give 12,000 facts; questions chain 1 to 4 of them (`group`: "1-hop" to "4-hop").
A question held out for testing is never asked in training, though its facts occur there as steps
of other questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from lrm.benchmarks import musique
from lrm.benchmarks.twin import SeededRandom, Twin

ENTITIES = 2000
RELATIONS = ("mentor", "rival", "cousin", "neighbor", "partner", "teacher")
# fmt: off
ONSETS = (
    "b", "br", "c", "d", "dr", "f", "g", "gl", "h", "j", "k", "kr", "l", "m", "n", "p", "pr", "r",
    "s", "st", "t", "tr", "v", "w", "z",
)
# fmt: on
VOWELS = ["a", "e", "i", "o", "u", "ai", "ei", "ou"]
GRAPH_SEED = 2504_02010


@cache
def graph() -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Entity names, and for each entity the index of the one each relation leads to."""
    rng = SeededRandom(GRAPH_SEED)
    names: dict[str, None] = {}
    while len(names) < ENTITIES:
        parts = [rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.between(2, 3))]
        names["".join(parts).capitalize()] = None
    edges = tuple(
        tuple((i + rng.between(1, ENTITIES - 1)) % ENTITIES for _ in RELATIONS)
        for i in range(ENTITIES)
    )
    return tuple(names), edges


@dataclass(frozen=True)
class Path:
    """An entity and the relations to follow from it, nearest first (both as indices)."""

    start: int
    relations: tuple[int, ...]

    @property
    def stops(self) -> tuple[str, ...]:
        """Names along the way, the start first."""
        names, edges = graph()
        entities = [self.start]
        for relation in self.relations:
            entities.append(edges[entities[-1]][relation])
        return tuple(names[entity] for entity in entities)

    @property
    def key(self) -> str:
        chain = " of the ".join(RELATIONS[relation] for relation in reversed(self.relations))
        return f"Who is the {chain} of {graph()[0][self.start]}?"

    @property
    def prompt(self) -> str:
        return musique.prompt(self.key)

    @property
    def message(self) -> str:
        return musique.message(self.key)

    @property
    def group(self) -> str:
        return f"{len(self.relations)}-hop"

    @property
    def answer(self) -> str:
        return self.stops[-1]


def draw(rng: SeededRandom) -> Path:
    hops = rng.between(1, 4)
    start = rng.below(ENTITIES)
    return Path(start, tuple(rng.below(len(RELATIONS)) for _ in range(hops)))


HOPS = Twin("hops", 2, draw, musique.MUSIQUE)
