"""How the embedded models learn to think: a worked reply to each problem of the four twins.

A reply has the form of DeepSeek-R1's: the thinking, `</think>`, and the answer in a box. Four in
ten replies check themselves by going through the problem again, some of them twice, so that there
is overthinking, and a budget has something to cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lrm.benchmarks import arithmetic, deduction, hops, timeline
from lrm.benchmarks.twin import Problem, SeededRandom, held_out
from lrm.records.reply import THINK_CLOSE

P = TypeVar("P", bound=Problem)

CHECK = 0.4
CHECK_AGAIN = 0.3
WAIT = "Wait, let me check.\n"


def chain_walk(chain: arithmetic.Chain) -> str:
    lines, value = [], chain.start
    for operator, operand in chain.steps:
        raw = arithmetic.apply(value, operator, operand)
        reduced = "" if 0 <= raw < 1000 else f", so {raw % 1000}"
        lines.append(f"{value} {operator} {operand} = {raw}{reduced}.\n")
        value = raw % 1000
    return "".join(lines)


def argument_walk(argument: deduction.Argument) -> str:
    person = argument.person
    lines = [deduction.says(person, argument.first, True)]
    for rule in argument.chain:
        lines.append(f"{deduction.rule_text(rule)} So {deduction.says(person, *rule[1:])}")
    lines.append("Nothing more follows.")
    lines.append(f"The conclusion says {argument.conclusion} That is {argument.answer}.")
    return "\n".join(lines) + "\n"


def day_walk(day: timeline.Day) -> str:
    lines, now = [], day.woke
    for start, end in day.seen:
        lines.append(f"Free at {timeline.clock(now)}. Seen {timeline.span((start, end))}.\n")
        if start > now:
            break
        now = end
    else:
        lines.append(f"Free at {timeline.clock(now)}. Closed at {timeline.clock(day.closed)}.\n")
    return "".join(lines) + f"So {timeline.span(day.free)}, option {day.answer}.\n"


def path_walk(path: hops.Path) -> str:
    steps = zip(path.relations, path.stops, path.stops[1:], strict=False)
    return "".join(
        f"The {hops.RELATIONS[relation]} of {here} is {there}.\n" for relation, here, there in steps
    )


def reply(walk: str, answer: str, rng: SeededRandom) -> str:
    """The whole reply, checks included; its prompt has opened the thinking."""
    thinking = walk
    if rng.chance(CHECK):
        thinking += WAIT + walk
        if rng.chance(CHECK_AGAIN):
            thinking += WAIT + walk
    return f"{thinking}{THINK_CLOSE}\n\n\\boxed{{{answer}}}"


def train(
    draw: Callable[[SeededRandom], P], walk: Callable[[P], str], rng: SeededRandom
) -> tuple[str, str]:
    """A (prompt, reply) on a problem that is not held out; the same one may come again."""
    while held_out(problem := draw(rng)):
        pass
    return problem.prompt, reply(walk(problem), problem.answer, rng)


def document(rng: SeededRandom) -> tuple[str, str]:
    """One (prompt, reply) for training, from a twin drawn at random."""
    match rng.below(4):
        case 0:
            return train(arithmetic.draw, chain_walk, rng)
        case 1:
            return train(deduction.draw, argument_walk, rng)
        case 2:
            return train(timeline.draw, day_walk, rng)
        case _:
            return train(hops.draw, path_walk, rng)
