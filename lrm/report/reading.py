"""One pass over the replies of one run to one benchmark, for all that a report shows of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lrm import registry
from lrm.analysis.first_correct import FirstCorrect, FirstCorrectSearch
from lrm.records.point import Unit
from lrm.report.samples import Picker
from lrm.scoring.replies import Replies, ReplyCollector
from lrm.scoring.stored_reply import StoredReply


@dataclass(frozen=True)
class BenchmarkReading:
    """What stays of the replies in memory: their numbers, a few texts to read, and when the correct
    answer first appears; without texts, only the numbers."""

    replies: Replies
    picker: Picker | None
    search: FirstCorrectSearch | None

    @property
    def first(self) -> FirstCorrect | None:
        """When the correct answer first appears. Raises BadInput where no reply is a longest
        generation."""
        return self.search.first() if self.search else None


class BenchmarkReader:
    """Takes the replies one by one, live from a search or read back from a run.

    With `texts` it also keeps some of them, and looks for the correct answer in each.
    """

    def __init__(self, unit: Unit = "tokens", texts: bool = True) -> None:
        self._collector = ReplyCollector(unit)
        self._picker = Picker(unit) if texts else None
        self._search = FirstCorrectSearch(unit) if texts else None

    def add(self, reply: StoredReply) -> None:
        """Takes a reply. Raises BadInput as `ReplyCollector` and `FirstCorrectSearch` do."""
        self._collector.add(reply)
        if self._picker:
            self._picker.add(reply)
        # Of a file of questions, a stored run has the texts, but not how an answer is found in one.
        if self._search and not registry.is_installed(reply.benchmark):
            self._search = None
        if self._search:
            self._search.add(reply)

    def reading(self) -> BenchmarkReading:
        """What stays of the replies taken."""
        return BenchmarkReading(self._collector.replies(), self._picker, self._search)


def read(replies: Iterable[StoredReply], unit: Unit, texts: bool = True) -> BenchmarkReading:
    """Reads all replies once."""
    reader = BenchmarkReader(unit, texts)
    for reply in replies:
        reader.add(reply)
    return reader.reading()
