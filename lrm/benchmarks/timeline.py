"""Twin of BIG-Bench Hard Temporal Sequences, in exactly its format.

One item: a person woke up, was seen here and there, a place closed; four options for when the
person could have gone there. Names, places and activities are ordinary words of our own or
made-up ones; none of the real questions was used. `group` is how many times the person was seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from lrm.benchmarks import temporal
from lrm.benchmarks.twin import SeededRandom, Twin

# fmt: off
NAMES = (
    "Adam", "Alice", "Andrew", "Angela", "Anthony", "Barbara", "Brian", "Carol", "Charles", "Diana",
    "Daniel", "Deborah", "Edward", "Emma", "Frank", "Grace", "Helen", "Henry", "Jack", "Jane",
    "Kevin", "Laura", "Leo", "Lucy", "Maria", "Mark", "Martin", "Mary", "Nancy", "Oliver", "Paul",
    "Rachel", "Richard", "Robert", "Ruth", "Sam", "Sophie", "Thomas", "Tom", "William",
)
PLACES = (
    "bakery", "bank", "barber shop", "beach", "bookshop", "bowling alley", "bus station", "cafe",
    "castle", "cinema", "clinic", "concert hall", "craft fair", "dance hall", "dentist", "farm",
    "flower shop", "football field", "garage", "garden", "golf course", "harbor", "hardware store",
    "hospital", "hotel", "ice rink", "lake", "laundry", "market", "museum", "music school",
    "office", "opera house", "park", "pharmacy", "post office", "pub", "race track", "river",
    "school", "shoe shop", "stadium", "swimming pool", "tea house", "tennis court", "theater",
    "town hall", "train museum", "zoo",
)
DOING = (
    "buying bread", "buying stamps", "carrying boxes", "cleaning windows", "cooking dinner",
    "counting birds", "cutting wood", "dancing", "drawing a map", "drinking tea", "driving",
    "eating lunch", "feeding the ducks", "fixing a bike", "flying a kite", "having a meeting",
    "jogging", "learning to swim", "listening to music", "looking at paintings", "meeting a friend",
    "painting a wall", "picking apples", "planting trees", "playing chess", "playing the piano",
    "practicing a song", "reading a book", "repairing a radio", "resting", "riding a horse",
    "rowing", "selling tickets", "singing", "sitting on a bench", "sketching", "taking photos",
    "talking to a neighbor", "taking a class", "teaching", "training", "waiting", "walking",
    "watching a game", "washing a car", "working", "working out", "writing a letter",
)
# fmt: on
LINKS = ("at the", "at a", "in the", "near the", "next to the", "by the", "towards the", "to the")
# fmt: off
SYLLABLES = (
    "ba", "co", "di", "fe", "gu", "ha", "jo", "ki", "la", "me", "no", "pu", "ra", "se", "ti", "vo",
    "wa", "xi", "yu", "za", "ster", "ling", "ton", "mond",
)
# fmt: on


def clock(hour: int) -> str:
    """12-hour clock: 0 is 12am, 13 is 1pm."""
    return f"{(hour - 1) % 12 + 1}{'am' if hour < 12 else 'pm'}"


def span(hours: tuple[int, int]) -> str:
    return f"{clock(hours[0])} to {clock(hours[1])}"


@dataclass(frozen=True)
class Day:
    """Hours of waking and closing, what was seen when, and the options offered."""

    person: str
    place: str
    woke: int
    closed: int
    seen: tuple[tuple[int, int], ...]
    lines: tuple[str, ...]
    options: tuple[tuple[int, int], ...]

    @property
    def key(self) -> str:
        listed = "\n".join(f"({'ABCD'[i]}) {span(option)}" for i, option in enumerate(self.options))
        return "\n".join(
            (
                f"Today, {self.person} went to the {self.place}. "
                "Between what times could they have gone?",
                "We know that:",
                f"{self.person} woke up at {clock(self.woke)}.",
                *self.lines,
                f"The {self.place} was closed after {clock(self.closed)}.",
                f"Between what times could {self.person} have gone to the {self.place}?",
                "Options:",
                listed,
            )
        )

    @property
    def prompt(self) -> str:
        return temporal.prompt(self.key)

    @property
    def message(self) -> str:
        return temporal.message(self.key)

    @property
    def free(self) -> tuple[int, int]:
        """The one stretch between waking and closing in which nobody saw the person."""
        now = self.woke
        for start, end in self.seen:
            if start > now:
                return now, start
            now = end
        return now, self.closed

    @property
    def group(self) -> str:
        return f"{len(self.seen)}-seen"

    @property
    def answer(self) -> str:
        return f"({'ABCD'[self.options.index(self.free)]})"


def word(rng: SeededRandom) -> str:
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.between(1, 3)))


def phrase(rng: SeededRandom, known: Sequence[str], made_up: int) -> str:
    """Ordinary words most of the time, otherwise up to `made_up` words that do not exist."""
    if rng.chance(0.7):
        return rng.choice(known)
    return " ".join(word(rng) for _ in range(rng.between(1, made_up)))


def person(rng: SeededRandom) -> str:
    return rng.choice(NAMES) if rng.chance(0.7) else word(rng).capitalize()


def activity(rng: SeededRandom) -> str:
    doing = phrase(rng, DOING, 3)
    if rng.chance(0.2):
        return doing
    place = phrase(rng, PLACES, 2)
    if rng.chance(0.2):
        place = " ".join(part.capitalize() for part in place.split())
    return f"{doing} {rng.choice(LINKS)} {place}"


def draw(rng: SeededRandom) -> Day:
    count = rng.between(3, 5)
    woke = rng.between(5, 12)
    edges = [woke, *sorted(rng.sample(range(woke + 1, 23), count + 1))]
    slots = list(itertools.pairwise(edges))
    gap = rng.below(len(slots))
    seen = tuple(slot for i, slot in enumerate(slots) if i != gap)
    others = rng.sample(seen, 3)
    who = person(rng)
    return Day(
        person=who,
        place=phrase(rng, PLACES, 2),
        woke=woke,
        closed=edges[-1],
        seen=seen,
        lines=tuple(f"{person(rng)} saw {who} {activity(rng)} from {span(slot)}." for slot in seen),
        options=tuple(rng.sample([slots[gap], *others], 4)),
    )


TIMELINE = Twin("timeline", 2, draw, temporal.TEMPORAL)
