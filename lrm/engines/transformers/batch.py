"""The rows of one call, waiting and running, and the step that moves them on together."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch

from lrm.engines.shared.queue import DecodingRow, common, same_text_together
from lrm.engines.shared.sampling import draw
from lrm.engines.transformers.slots import Slots, Span, Step
from lrm.records import Decoding, Stop

PREFILL_TOKENS = 2048
"""Prompt tokens taken into one forward pass, unless a single prompt is longer."""


class SlotBatch:
    """All rows of one call: those waiting, and those running in their slots.

    The slots of rows that have just ended stay as they are until the next step, for rows that go on
    from what they said.
    """

    def __init__(
        self, model: Any, rows: Sequence[DecodingRow], count: int, decoding: Decoding
    ) -> None:
        self.model, self.decoding = model, decoding
        self.count = count
        self.waiting = deque(same_text_together(rows))
        self.running: list[DecodingRow] = []
        self.leaders: dict[str, DecodingRow] = {}
        self.ended: dict[int, DecodingRow] = {}
        length = max(row.length for row in rows)
        self.slots = Slots(model.config, self.count, length, model.dtype, model.device)

    def add(self, rows: Sequence[DecodingRow]) -> None:
        """Puts further rows before those that wait."""
        self.waiting.extendleft(reversed(rows))

    @torch.inference_mode()
    def advance(
        self, eos: frozenset[int], close_ids: Sequence[int]
    ) -> list[tuple[DecodingRow, Stop]]:
        """Takes in waiting rows, decodes one token of every row, returns those that ended."""
        step, rows = self._admit()
        logits = self._forward(step, rows)
        numbers = torch.tensor(
            [row.numbers[row.reply.decoded] for row in rows], device=logits.device
        )
        tokens = draw(logits, numbers, self.decoding.temperature, self.decoding.top_p)
        ended: list[tuple[DecodingRow, Stop]] = []
        for row, token in zip(rows, tokens.tolist(), strict=True):
            self.slots.lengths[row.slot] = len(row.reply.ids)
            stop = row.reply.take(token, eos, close_ids, self.decoding.answer_tokens)
            if stop:
                ended.append((row, stop))
        for row in rows[len(self.running) :]:
            self.slots.set_length(row.slot, self.slots.lengths[row.slot])
        moved = self.slots.sort()
        for row in rows if moved else ():
            row.slot = moved[row.slot]
        for row, _ in ended:
            self.ended[row.slot] = row
            row.slot = -1
        self.running = [row for row in rows if row.slot >= 0]
        return ended

    def _admit(self) -> tuple[Step, list[DecodingRow]]:
        """Gives slots to waiting rows; returns the step to run and all rows in it."""
        free = deque(self.slots.free())
        new: list[DecodingRow] = []
        spans: list[Span] = []
        tokens = 0
        while self.waiting and len(self.running) + len(new) < self.count:
            row = self.waiting[0]
            source, shared = self._source(row)
            size = len(row.reply.ids) - shared
            if new and tokens + size > PREFILL_TOKENS:
                break
            stays = source in self.ended
            row.slot = source if stays else free.popleft() if free else self._freed()
            self.ended.pop(row.slot, None)
            if stays or source < 0:
                self.leaders[row.text] = row
            spans.append(Span(row.slot, shared, size, source))
            new.append(self.waiting.popleft())
            tokens += size
        while self.ended:
            self._freed()
        return Step(self.slots, spans), [*self.running, *new]

    def _source(self, row: DecodingRow) -> tuple[int, int]:
        """The slot that holds the most of a row's beginning, and how many tokens of it."""
        wanted = row.reply.ids[:-1]
        found = [
            (slot, common(one.reply.ids[: self.slots.lengths[slot]], wanted))
            for slot, one in self.ended.items()
            if one.text == row.text
        ]
        leader = self.leaders.get(row.text)
        if leader and leader.slot >= 0:
            found.append((leader.slot, common(leader.reply.ids[:-1], wanted)))
        return max(found, key=lambda pair: pair[1], default=(-1, 0))

    def _freed(self) -> int:
        """A slot whose row has ended, emptied."""
        slot = self.ended.popitem()[0]
        self.slots.set_length(slot, 0)
        return slot

    def _forward(self, step: Step, rows: Sequence[DecodingRow]) -> torch.Tensor:
        """Next-token logits [rows, vocabulary]."""
        device = self.model.device
        ids = [0] * step.width
        for row in self.running:
            ids[row.slot] = row.reply.ids[-1]
        new = rows[len(self.running) :]
        for row, span in zip(new, step.spans, strict=True):
            ids += row.reply.ids[span.start :]
        output = self.model(
            input_ids=torch.tensor([ids], device=device),
            position_ids=step.token_positions()[None],
            logits_to_keep=step.outputs(),
            use_cache=False,
            step=step,
        )
        picked = [row.slot for row in self.running] + list(range(step.width, step.width + len(new)))
        logits: torch.Tensor = output.logits[0, torch.tensor(picked, device=device)]
        return logits
