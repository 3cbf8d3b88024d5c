"""A model on disk, how far it was compressed, and what that was calibrated on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Format = Literal["dense", "awq", "gptq", "compressed-tensors", "gguf", "tokenizer"]
"""How a model's weights are stored: dense safetensors; safetensors packed in one of three ways, by
the name that `quantization_config` has for it; GGUF; or not at all, only the tokenizer of a model
that runs elsewhere."""

LevelKey = float | str
"""What tells the levels of a search apart: a sparsity, or the name of a recipe."""


def level_label(key: LevelKey) -> str:
    """A level as people read it."""
    return key if isinstance(key, str) else f"{key:.0%}"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Token sequences that a compression method measures a model on.

    `source` says in words where they come from; `rows` are token ids, one tuple a sequence;
    `held_out` are more of them, which only what came of it is measured on.
    """

    source: str
    rows: tuple[tuple[int, ...], ...]
    held_out: tuple[tuple[int, ...], ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens in all rows together."""
        return sum(map(len, self.rows))

    @property
    def digest(self) -> str:
        """sha256 of the token ids alone."""
        return hashlib.sha256(json.dumps(self.rows).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model on disk.

    `revision` is a digest of the bytes that decide what it says (weights, config, tokenizer);
    `path` is a folder, or a GGUF file, the first part of a split one. `lineage` names the methods
    applied, oldest first; `measured` holds what was read back from the saved weights
    ("sparsity/achieved", "weights/bytes", "bits_per_weight"), and nothing that was not.
    """

    path: Path
    revision: str
    format: Format = "dense"
    lineage: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
