"""What the extraction rules have in common: where an answer is declared, and the grade it gets.

Every kind of answer (an integer, a letter, a label, a few words) has a module of its own with one
function that extracts it under two rules:

* **strict** takes what the reply declares: its last box, else what follows its last "Answer:" or
  "the answer is" (for a label also "the conclusion is").
* **lenient** equals strict where that finds an answer. Else it reads on as a careful reader would:
  the last option named, the option whose text is repeated, a verdict in other words, a conclusion
  restated. It never does so for a reply that a cap cut off, since what stands last there need not
  be its answer.

An answer that is not there is None, which is not the same as wrong. All of it is pure text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lrm.benchmarks.grading.passages import last_box, statements
from lrm.records.question import Grade, Mark, Rule

GAP = r"(?:\s|:|[*_]+(?=\s))*"
IS = r"(?:is|(?:would|should|must|will|could)\s+be)\b|:|="
ANSWER_CUE = re.compile(
    rf"(?<!this\s)\banswer\b[\s*_]*(?:{IS}){GAP}|\bfinal\s+answer\b[\s*_#]*\n\s*", re.IGNORECASE
)
"""Words that declare an answer: "the answer is", "Answer:", "Final answer" above a line. "This
answer is ..." judges one, so it declares none."""


@dataclass(frozen=True, slots=True)
class ExtractedAnswer:
    """The answer found in a text under each rule; None where a rule finds none."""

    strict: str | None
    lenient: str | None


def by_both_rules(answer: str | None) -> ExtractedAnswer:
    """What both rules find, which is an answer that is declared, or none at all."""
    return ExtractedAnswer(answer, answer)


def by_lenient_rule(answer: str | None) -> ExtractedAnswer:
    """What only the lenient rule finds."""
    return ExtractedAnswer(None, answer)


def declarations(text: str, cue: re.Pattern[str]) -> Iterator[str]:
    """The passages that declare an answer, the weightiest first: the last box, then the statements
    behind `cue`, from the last to the first."""
    box = last_box(text)
    if box is not None:
        yield box
    yield from statements(text, cue)


def grade_extracted(
    extracted: ExtractedAnswer, is_right: Callable[[str], bool], malformed: str | None = None
) -> Grade:
    """The grade of an extracted answer; the lenient rule is the headline.

    `malformed` is what the reply declared where that is no well-formed answer: it counts as given,
    and as wrong.
    """

    def mark(answer: str | None) -> Mark:
        if answer is None:
            return Mark(malformed, 0.0)
        return Mark(answer, float(is_right(answer)))

    marks: dict[Rule, Mark] = {
        "strict": mark(extracted.strict),
        "lenient": mark(extracted.lenient),
    }
    return Grade(marks["lenient"].answer, marks["lenient"].score, marks=marks)
