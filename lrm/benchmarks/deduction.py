"""Twin of FOLIO: premises about made-up people, and a conclusion to judge.

One item: premises "People who are kind are tall. Anna is kind. People who are tall are not loud.
...", conclusion "Anna is loud.", answer False. The labels are equally frequent; `group` is how
many rules apply to the conclusion's person.
"""

from __future__ import annotations

from dataclasses import dataclass

from lrm.benchmarks import folio
from lrm.benchmarks.twin import SeededRandom, Twin

# fmt: off
PEOPLE = (
    "Anna", "Boris", "Clara", "Dmitri", "Elena", "Felix", "Greta", "Hugo", "Irene", "Jonas",
    "Karin", "Lukas", "Marta", "Nils", "Olga", "Pavel", "Rosa", "Stefan", "Tilda", "Ugo", "Vera",
    "Walter", "Yara", "Zoe", "Amir", "Bianca", "Cyril", "Dora", "Emil", "Farah",
)
TRAITS = (
    "kind", "tall", "loud", "quiet", "brave", "calm", "clever", "proud", "gentle", "honest", "lazy",
    "quick", "rich", "poor", "strong", "weak", "young", "old", "happy", "sad", "polite", "rude",
    "neat", "messy", "shy", "bold", "funny", "serious", "hungry", "sleepy", "curious", "wise",
    "careful", "careless", "patient", "eager", "humble", "vain", "cheerful", "grumpy", "loyal",
    "fair", "tidy", "jolly", "modest", "witty",
)
# fmt: on

Rule = tuple[str, str, bool]
"""(trait, what follows from it, whether it follows or is ruled out)"""


@dataclass(frozen=True)
class Argument:
    """Facts and rules, and the claim to judge.

    `chain` holds the rules that apply to the claim's person, in order; `premises` are
    sentences, in the order in which they are shown.
    """

    person: str
    first: str
    chain: tuple[Rule, ...]
    premises: tuple[str, ...]
    claim: tuple[str, bool]

    @property
    def conclusion(self) -> str:
        return says(self.person, *self.claim)

    @property
    def key(self) -> str:
        return "\n".join((*self.premises, self.conclusion))

    @property
    def prompt(self) -> str:
        return folio.prompt("\n".join(self.premises), self.conclusion)

    @property
    def message(self) -> str:
        return folio.message("\n".join(self.premises), self.conclusion)

    @property
    def group(self) -> str:
        return f"{len(self.chain)}-rule"

    @property
    def answer(self) -> str:
        known = {self.first: True} | {then: holds for _, then, holds in self.chain}
        trait, positive = self.claim
        return "Uncertain" if trait not in known else str(known[trait] is positive)


def says(person: str, trait: str, positive: bool) -> str:
    return f"{person} is {'' if positive else 'not '}{trait}."


def rule_text(rule: Rule) -> str:
    trait, then, holds = rule
    return f"People who are {trait} are {'' if holds else 'not '}{then}."


def draw(rng: SeededRandom) -> Argument:
    traits = rng.sample(TRAITS, 14)
    length = rng.between(1, 5)
    on, off = traits[: length + 1], traits[length + 1 :]  # on the person's chain, and off it
    negative_end = rng.chance(0.5)
    chain = tuple((on[i], on[i + 1], not (negative_end and i == length - 1)) for i in range(length))
    stray = tuple((off[i], off[i + 1], rng.chance(0.6)) for i in range(rng.between(1, 4)))
    person, other = rng.sample(PEOPLE, 2)
    label = rng.choice(("True", "False", "Uncertain"))
    if label == "Uncertain":
        claim = (rng.choice(off[: len(stray) + 1]), rng.chance(0.5))
    else:
        depth = rng.between(0, length)
        holds = chain[depth - 1][2] if depth else True
        claim = (on[depth], holds is (label == "True"))
    premises = [rule_text(rule) for rule in chain + stray]
    premises += [says(person, on[0], True), says(other, off[0], True)]
    return Argument(person, on[0], chain, tuple(rng.sample(premises, len(premises))), claim)


DEDUCTION = Twin("deduction", 2, draw, folio.FOLIO)
