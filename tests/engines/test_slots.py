"""The memory of the transformers engine: by what is asked, and by what there is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaConfig

from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.engines.transformers import memory
from lrm.engines.transformers.engine import TransformersEngine
from lrm.engines.transformers.memory import free_memory, rows_that_fit
from lrm.engines.transformers.row_counts import row_counts
from lrm.engines.transformers.slots import Slots, Span, Step
from lrm.errors import EngineFailed
from lrm.records.reply import Decoding, Prompt
from tests.support.models import SMALLEST

CPU = torch.device("cpu")
CONFIG = LlamaConfig(
    hidden_size=8, num_attention_heads=1, num_hidden_layers=2, num_key_value_heads=1
)
ROW = 2 * 2 * 8 * 4 * 100
"""Bytes of one row of 100 tokens in float32: keys and values of 2 layers of 8 numbers."""


def taken(slots: Slots) -> int:
    """Positions that there is memory for."""
    return slots.keys[0].shape[0] * slots.keys[0].shape[2]


def test_one_question_takes_one_slot_of_its_own_length() -> None:
    slots = Slots(CONFIG, 64, 16_384, torch.float32, CPU)
    assert taken(slots) == 0
    step = Step(slots, [Span(slot=0, start=0, size=40, source=-1)])
    assert (step.width, slots.rows, taken(slots)) == (16, 1, 64)


@pytest.mark.parametrize(
    ("used", "alone", "with_prompt"),
    [(1, 4, 16), (4, 4, 16), (5, 8, 16), (9, 16, 16), (17, 32, 32)],
)
def test_few_decoding_rows_are_padded_to_few(used: int, alone: int, with_prompt: int) -> None:
    slots = Slots(CONFIG, 64, 100, torch.float32, CPU, row_counts=(4, 8))
    for slot in range(used):
        slots.set_length(slot, 10)
    assert Step(slots, []).width == alone
    assert Step(slots, [Span(slot=used, start=0, size=5, source=-1)]).width == with_prompt
    slots.row_counts = ()
    assert Step(slots, []).width == with_prompt


class SumsFewRowsOtherwise(nn.Linear):
    """Gives fewer than 8 rows other last bits."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return super().forward(rows) + (1e-6 if len(rows) < 8 else 0)


def test_as_few_rows_are_computed_as_keep_the_bits_in_every_matrix() -> None:
    exact = nn.Linear(8, 8, dtype=torch.float64)
    exact.weight.data = torch.eye(8, dtype=torch.float64)
    assert row_counts(exact) == (4, 8)
    assert row_counts(nn.Sequential(exact, SumsFewRowsOtherwise(8, 9))) == (8,)


def test_slots_grow_and_keep_what_they_hold() -> None:
    slots = Slots(CONFIG, 6, 100, torch.float32, CPU)
    slots.reserve(2, 40)
    for buffer in (*slots.keys, *slots.values):
        buffer.fill_(7)
    slots.reserve(3, 65)
    assert tuple(slots.keys[0].shape) == (4, 1, 96, 8)  # twice the rows, half as many more tokens
    for buffer in (*slots.keys, *slots.values):
        assert (buffer[:2, :, :64] == 7).all()
        assert buffer.sum() == 7 * 2 * 64 * 8
    slots.reserve(6, 100)
    assert tuple(slots.values[1].shape) == (6, 1, 128, 8)  # never more than was announced


def test_memory_that_there_is_not_is_an_error_of_memory() -> None:
    slots = Slots(CONFIG, 2, 100, torch.float32, CPU)
    slots.length = 1 << 50
    with pytest.raises(MemoryError):
        slots.reserve(2, 1 << 50)


def test_fewer_replies_run_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, rows in ((100 * ROW, 64), (10 * ROW, 8), (1.25 * ROW, 1)):
        monkeypatch.setattr(memory, "free_memory", lambda device, free=free: int(free))
        assert rows_that_fit(CONFIG, 64, 100, torch.float32, CPU) == rows
    monkeypatch.setattr(memory, "free_memory", lambda device: ROW)
    with pytest.raises(EngineFailed, match=r"^one reply of up to 100 tokens needs .*: lower the b"):
        rows_that_fit(CONFIG, 64, 100, torch.float32, CPU)


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert free_memory(CPU) > 1_000_000  # no container
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\nactive_file 50\n")
    assert free_memory(CPU) == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(CPU) > 1_000_000


@pytest.mark.engine
def test_replies_are_the_same_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [Prompt(f"{number} + {number} = ?<think>\n", number, 60) for number in range(20)]
    decoding = Decoding(max_tokens=60)
    with TransformersEngine(open_checkpoint(SMALLEST), device="cpu", dtype=torch.float32) as engine:
        replies = engine.generate(prompts, decoding)
        monkeypatch.setattr(
            "lrm.engines.transformers.engine.rows_that_fit", lambda config, count, *_: min(count, 3)
        )
        assert engine.generate(prompts, decoding) == replies
