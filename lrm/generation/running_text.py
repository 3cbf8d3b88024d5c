"""The texts that perplexity is measured on: WikiText-2 and C4, each as one long text."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrm.benchmarks.load import load_rows
from lrm.benchmarks.source import VARIABLE, Source
from lrm.generation.calibration import TEXTS

C4_TEXTS = 1100
"""Texts of C4, as SparseGPT's and Wanda's own code take."""


def _half(texts: Sequence[str]) -> str:
    # Calibration reads the file from its beginning.
    return " ".join(texts[len(texts) // 2 :][:C4_TEXTS])


@dataclass(frozen=True, slots=True)
class RunningText:
    """A text by the name that its perplexity is logged under: its source, and how the rows of that
    become one text."""

    name: str
    source: Source
    join: Callable[[Sequence[str]], str]

    def read(self) -> str:
        """The whole text, from the folder LRM_DATA or online; BadInput if it cannot be had."""
        rows = load_rows(self.source)
        texts = [row.values.get("text") for row in rows]
        for row, text in zip(rows, texts, strict=True):
            if not isinstance(text, str):  # a blank line is an empty string
                raise row.bad('"text" must be a string')
        return self.join([str(text) for text in texts])


WIKITEXT = RunningText(
    "wikitext2",
    Source(
        "calibration/wikitext2_raw_test.jsonl",
        "test",
        hub="Salesforce/wikitext",
        revision=TEXTS["wikitext"][1].revision,
        data_file="wikitext-2-raw-v1/test-00000-of-00001.parquet",
    ),
    "\n\n".join,
)
"""What the literature reports."""

WIKITEXT_VALID = RunningText("wikitext2-valid", TEXTS["wikitext"][1], "\n\n".join)
"""Another text, cut into words with blanks between them: figures on it compare with one another
alone."""

C4 = RunningText("c4", TEXTS["text"][1], _half)
"""The second half of the validation texts, at most 1,100 of them."""


def running_texts() -> list[RunningText]:
    """What perplexity is measured on. A folder LRM_DATA that has no WikiText-2 test split, but the
    lines of the validation split, gives these, under their own name."""
    folder = os.environ.get(VARIABLE)
    if folder and not _there(folder, WIKITEXT) and _there(folder, WIKITEXT_VALID):
        return [WIKITEXT_VALID, C4]
    return [WIKITEXT, C4]


def _there(folder: str, text: RunningText) -> bool:
    return os.path.isfile(Path(folder) / text.source.file)
