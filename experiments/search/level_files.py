"""What a level's run will hold of its replies, written while they are gone through once."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path

from lrm.scoring.sample_table import Row, SampleTable
from lrm.scoring.stored_reply import StoredReply, to_line


class LevelFiles:
    """The generations of a level, gzipped in a folder until its run takes them, and the rows of its
    table of samples, which are of the largest `budget`."""

    def __init__(self, folder: Path, budget: int) -> None:
        self._folder = folder
        self._table = SampleTable(budget)
        self.generations: dict[str, Path] = {}
        """Files by benchmark."""

    def written(self, benchmark: str, replies: Iterable[StoredReply]) -> Iterator[StoredReply]:
        """The replies to a benchmark, each written on its way."""
        self.generations[benchmark] = path = self._folder / f"{benchmark}.jsonl.gz"
        with gzip.open(path, "wb") as file:
            for reply in self._table.noted(replies):
                file.write(to_line(reply))
                yield reply

    @property
    def samples(self) -> list[Row]:
        """The rows of the table, in their order."""
        return self._table.rows()
