"""Twin of AIME 2024: a chain of sums and products on integers, modulo 1000.

One item: "Start with 417. Add 38. Multiply by 7. Subtract 254. What is the result modulo 1000?",
answer 931. Chains have 2 to 6 steps; `group` says how many.
"""

from __future__ import annotations

from dataclasses import dataclass

from lrm.benchmarks import aime
from lrm.benchmarks.twin import SeededRandom, Twin

VERBS = {"+": "Add", "-": "Subtract", "*": "Multiply by"}


@dataclass(frozen=True)
class Chain:
    """A start value and (operator, operand) steps."""

    start: int
    steps: tuple[tuple[str, int], ...]

    @property
    def key(self) -> str:
        steps = " ".join(f"{VERBS[operator]} {operand}." for operator, operand in self.steps)
        return f"Start with {self.start}. {steps} What is the result modulo 1000?"

    @property
    def prompt(self) -> str:
        return aime.prompt(self.key)

    @property
    def message(self) -> str:
        return aime.message(self.key)

    @property
    def group(self) -> str:
        return f"{len(self.steps)}-step"

    @property
    def answer(self) -> str:
        value = self.start
        for operator, operand in self.steps:
            value = apply(value, operator, operand) % 1000
        return str(value)


def apply(value: int, operator: str, operand: int) -> int:
    """One step, before the modulus."""
    if operator == "+":
        return value + operand
    return value - operand if operator == "-" else value * operand


def draw(rng: SeededRandom) -> Chain:
    steps = []
    for _ in range(rng.between(2, 6)):
        operator = rng.choice("+-*")
        steps.append((operator, rng.between(2, 9) if operator == "*" else rng.between(1, 999)))
    return Chain(rng.between(0, 999), tuple(steps))


ARITHMETIC = Twin("arithmetic", 3, draw, aime.AIME)
