"""What a benchmark offers."""

from __future__ import annotations

from typing import Protocol

from lrm.records.question import Grade, Question
from lrm.records.reply import Completion


class Benchmark(Protocol):
    """A set of questions and the rule that grades a reply. It is data.

    * **`version` rises with any change** to the questions, the prompt or the grading.
    * **`load` returns the same questions in the same order every time**; `limit` takes the first.
      Bad data raises `BadInput` naming file and line.
    * **`grade` is pure** and grades what is there; whether a truncated reply counts is decided
      elsewhere (`lrm.scoring.truncation`). An answer that is not there is `None`, never a wrong
      answer. Where rules of extraction may differ, it gives the answer under each.
    * A question has a `prompt`, exactly as the source publishes it, and a `message`, what a user
      says inside a chat template.
    * **`first_said` is pure too.** It takes any text and returns the end, in characters, of the
      earliest passage that says the gold answer; None if there is none. It may be deceived by a
      number or a name that stands there by chance, but it reads no other question's answer.
    * `practice` draws questions that `load` can never return, for calibration; a benchmark with
      no such source returns an empty list.
    * `knowledge` says that the answers must be remembered, not worked out. `open_book_of` names
      the benchmark that asks the same questions without the paragraphs shown here; it is "" where
      there is none.
    * `calibrates` says that models are calibrated on its practice questions: on those of all such
      benchmarks, in the order of the registry. Where `knowledge` holds too, only models that were
      trained on that knowledge are. **One benchmark more that calibrates changes every
      calibration**, and so every checkpoint that is made from one.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def knowledge(self) -> bool: ...

    @property
    def open_book_of(self) -> str: ...

    @property
    def calibrates(self) -> bool: ...

    def load(self, limit: int | None = None) -> list[Question]: ...

    def practice(self, count: int, seed: int) -> list[Question]: ...

    def grade(self, question: Question, completion: Completion) -> Grade: ...

    def first_said(self, question: Question, text: str) -> int | None: ...
