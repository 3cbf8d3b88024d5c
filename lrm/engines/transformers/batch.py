"""The rows of one call, waiting and running, and the step that decodes a token of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from lrm.engines.shared.queue import DecodingRow, common_prefix, same_text_together
from lrm.engines.shared.reply import EndRules
from lrm.engines.shared.sampling import draw
from lrm.engines.transformers.slots import Slots, Span, Step
from lrm.records.reply import Decoding, Stop

PREFILL_TOKENS = 2048
"""Prompt tokens taken into one forward pass, unless a single prompt is longer."""


class SlotBatch:
    """All rows of one call: those waiting, and those running in their slots.

    `count` rows run at once. `leaders` has, for each text, the row that computed its prompt, which
    others copy. `ended` has the rows that have just ended, by slot: their keys and values stay
    until the next step, for rows that go on from those replies.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        rows: Sequence[DecodingRow],
        count: int,
        decoding: Decoding,
        row_counts: Sequence[int],
    ) -> None:
        self.model, self.decoding = model, decoding
        self.count = count
        self.waiting = deque(same_text_together(rows))
        self.running: list[DecodingRow] = []
        self.leaders: dict[str, DecodingRow] = {}
        self.ended: dict[int, DecodingRow] = {}
        length = max(row.length for row in rows)
        self.slots = Slots(model.config, count, length, model.dtype, model.device, row_counts)

    @property
    def decoded(self) -> int:
        """Tokens that the running rows have so far."""
        return sum(row.reply.decoded for row in self.running)

    def add(self, rows: Sequence[DecodingRow]) -> None:
        """Puts further rows before those that wait."""
        self.waiting.extendleft(reversed(rows))

    @torch.inference_mode()
    def advance(self, rules: EndRules) -> list[tuple[DecodingRow, Stop]]:
        """Starts waiting rows, decodes one token of every row, returns those that ended."""
        # 1) Waiting rows move into free slots; their prompts join this pass.
        step, rows = self._admit()

        # 2) One forward pass: the last token of each running row, and the new rows' prompts.
        logits = self._forward(step, rows)

        # 3) Each row's next token, from its own random number.
        numbers = torch.tensor(
            [row.numbers[row.reply.decoded] for row in rows], device=logits.device
        )
        tokens = draw(logits, numbers, self.decoding.temperature, self.decoding.top_p)

        # 4) Replies grow by their tokens, and some end.
        ended: list[tuple[DecodingRow, Stop]] = []
        for row, token in zip(rows, tokens.tolist(), strict=True):
            # The new token's own keys and values come with the next pass.
            self.slots.lengths[row.slot] = len(row.reply.ids)
            stop = row.reply.append(token, rules)
            if stop:
                ended.append((row, stop))

        # 5) New rows are unmasked up to their prompts, and slots may be sorted by length.
        for row in rows[len(self.running) :]:
            self.slots.set_length(row.slot, self.slots.lengths[row.slot])
        new_slots = self.slots.sort()
        for row in rows if new_slots else ():
            row.slot = new_slots[row.slot]

        # 6) Ended rows leave, but what their slots hold stays for those that follow them.
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
            source, shared = self._best_source(row)
            size = len(row.reply.ids) - shared
            if new and tokens + size > PREFILL_TOKENS:
                break
            # A row that goes on from one that has just ended takes over its slot: no copy.
            takes_over = source in self.ended
            row.slot = source if takes_over else free.popleft() if free else self._free_ended()
            self.ended.pop(row.slot, None)
            if takes_over or source < 0:
                self.leaders[row.text] = row
            spans.append(Span(row.slot, shared, size, source))
            new.append(self.waiting.popleft())
            tokens += size
        while self.ended:
            self._free_ended()
        return Step(self.slots, spans), [*self.running, *new]

    def _best_source(self, row: DecodingRow) -> tuple[int, int]:
        """The slot that holds the most of a row's beginning (-1: none), and how many tokens.

        The row's last token is never shared, since its logits must be computed.
        """
        beginning = row.reply.ids[:-1]
        candidates = [
            (slot, common_prefix(other.reply.ids[: self.slots.lengths[slot]], beginning))
            for slot, other in self.ended.items()
            if other.text == row.text
        ]
        leader = self.leaders.get(row.text)
        if leader and leader.slot >= 0:
            candidates.append((leader.slot, common_prefix(leader.reply.ids[:-1], beginning)))
        return max(candidates, key=lambda candidate: candidate[1], default=(-1, 0))

    def _free_ended(self) -> int:
        """A slot whose row has ended, emptied."""
        slot = self.ended.popitem()[0]
        self.slots.set_length(slot, 0)
        return slot

    def _forward(self, step: Step, rows: Sequence[DecodingRow]) -> torch.Tensor:
        """Next-token logits [rows, vocabulary].

        The pass takes the tokens in one flat list: one for each slot (0 for a slot that does not
        run, whose result is not used), then the prompts of the new rows.
        """
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
        # The logits come as `outputs` lists them: each slot's, then each new row's.
        kept = [row.slot for row in self.running] + list(range(step.width, step.width + len(new)))
        logits: torch.Tensor = output.logits[0, torch.tensor(kept, device=device)]
        return logits
