"""MuSiQue-Answerable, development set: questions of 2 to 4 hops, closed book and open book.

Trivedi et al. 2022, arXiv 2108.00573. Four benchmarks of the same form:

* `musique`: the 100 questions that the paper's authors drew, closed book. Source: the file
  `random_100_musique.json` in their repository, at the commit in the address below; the hub has no
  copy of these 100.
* `musique-open`: the same 100 with their supporting paragraphs in front, so that what a model has
  forgotten can be told from what it cannot reason.
* `musique-dev`, `musique-dev-open`: likewise all 2,417 questions, from the copy on the hub
  `dgslibisey/MuSiQue`, whose file has the bytes of the authors' own. Offline the open book needs
  that file, with paragraphs.

`group` is the number of hops, from the id. The gold is the answer, then its aliases. Five questions
of the whole set stand there twice under different ids, with the same answers; both count, so that n
is the published one. One item, shortened:

    {"id": "2hop__151750_141308", "question": "What company is the record label of Magic Christian
     Music part of?", "answer": "Apple Corps", "answer_aliases": [], "paragraphs": [{"title": ...,
     "paragraph_text": ..., "is_supporting": true}, ...], ...}
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import ClassVar

from lrm.benchmarks.grading.short import first_words, grade_short
from lrm.benchmarks.load import load_questions
from lrm.benchmarks.source import DataRow, Source
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion

HUNDRED = Source(
    file="musique_ans_dev/musique_random_100_with_paragraphs.jsonl",
    split="train",
    url="https://raw.githubusercontent.com/psunlpgroup/Compression-Effects/"
    "dd5ed49f182c2815db3202a3d95b3452ff6ef5bd/random_100_musique.json",
)
WHOLE = Source(
    file="musique_ans_dev/musique_ans_v1.0_dev_no_paragraphs.jsonl",
    split="validation",
    hub="dgslibisey/MuSiQue",
    revision="c8f4f8c9465fb69d31a8eae894c3fd509c4ca321",
    data_file="musique_ans_v1.0_dev.jsonl",
)
WHOLE_WITH_PARAGRAPHS = replace(WHOLE, file="musique_ans_dev/musique_ans_v1.0_dev.jsonl")


def prompt(question: str) -> str:
    """The paper's exact prompt, closed book: no paragraph is shown."""
    return f"{message(question)}\n<think>\n"


def message(question: str) -> str:
    """What the user says on the chat track: the paper's words."""
    return (
        f"{question} Final answer of this question should be in as fewer number of words as "
        "possible."
    )


@dataclass(frozen=True, slots=True)
class Musique:
    """Contract: `lrm.contracts.benchmark.Benchmark`. No practice questions."""

    name: str
    source: Source
    open_book_of: str = ""
    version: int = 2
    calibrates: ClassVar[bool] = False

    @property
    def knowledge(self) -> bool:
        return not self.open_book_of

    def load(self, limit: int | None = None) -> list[Question]:
        return load_questions(self.source, self._question, limit)

    def practice(self, count: int, seed: int) -> list[Question]:
        return []

    def grade(self, question: Question, completion: Completion) -> Grade:
        return grade_short(question, completion)

    def first_said(self, question: Question, text: str) -> int | None:
        return first_words(text, question.gold)

    def _question(self, row: DataRow) -> Question:
        name = row.text("id")
        hops = re.match(r"([234])hop", name)
        if hops is None:
            raise row.bad(f'"id" must begin with 2hop, 3hop or 4hop, got "{name}"')
        gold = (row.text("answer"), *row.texts("answer_aliases"))
        asked = row.text("question")
        if self.open_book_of:
            asked = "\n\n".join((*_supporting(row), asked))
        return Question(name, prompt(asked), gold, f"{hops[1]}-hop", message(asked))


def _supporting(row: DataRow) -> list[str]:
    """The supporting paragraphs in their order, each under its title."""
    shown = [
        f"{part.text('title')}\n{part.text('paragraph_text')}"
        for part in row.rows("paragraphs")
        if part.flag("is_supporting")
    ]
    if not shown:
        raise row.bad('"paragraphs" holds none that "is_supporting"')
    return shown


MUSIQUE = Musique("musique", HUNDRED)
MUSIQUE_OPEN = Musique("musique-open", HUNDRED, open_book_of=MUSIQUE.name)
MUSIQUE_DEV = Musique("musique-dev", WHOLE)
MUSIQUE_DEV_OPEN = Musique("musique-dev-open", WHOLE_WITH_PARAGRAPHS, open_book_of=MUSIQUE_DEV.name)
