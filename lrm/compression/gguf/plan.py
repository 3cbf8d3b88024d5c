"""What a recipe makes of a model, tensor by tensor, before a weight is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lrm.compression.checkpoint.module_filter import names_compressed, spared
from lrm.compression.gguf import quantizer
from lrm.compression.gguf.config import ModelConfig
from lrm.compression.gguf.convert import namer, write_hollow
from lrm.compression.gguf.files import Tensor, bits_per_weight, library
from lrm.compression.gguf.recipes import Override, Recipe, first_blocks
from lrm.errors import BadInput

KEPT = "F16"
ENDS = ("model.embed_tokens", "lm_head")


@dataclass(frozen=True)
class RecipePlan:
    """The types that llama.cpp will take, by its own dry run, and what they add up to."""

    recipe: Recipe
    overrides: Sequence[Override]
    tensors: Sequence[Tensor]

    @property
    def fallen(self) -> list[Tensor]:
        """Those that get another type because the one asked for does not divide their rows."""
        return [t for t in self.tensors if is_matrix(t) and t.row % self._block(t)]

    @property
    def bytes(self) -> int:
        """Of all tensors; a file has its header, vocabulary and padding beside them."""
        return sum(tensor.bytes for tensor in self.tensors)

    def asked(self, tensor: Tensor) -> str:
        """The type that the recipe means for a matrix, whatever a mixture raises it to; vectors
        stay as they are."""
        if not is_matrix(tensor):
            return tensor.type
        types = (kind for pattern, kind in self.overrides if re.search(pattern, tensor.name))
        return next(types, self.recipe.base)

    def check(self) -> None:
        """BadInput if a tensor would fall back to another type."""
        if self.fallen:
            first, more = self.fallen[0], len(self.fallen) - 1
            raise BadInput(
                f"{first.name} has rows of {first.row} values, and {self.asked(first)} stores "
                f"blocks of {self._block(first)}: llama.cpp would take {first.type} for it and "
                f"likewise for {more} more; choose Q8_0, or allow that with fallback=allow."
            )

    def _block(self, tensor: Tensor) -> int:
        gguf = library()
        size: int = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[self.asked(tensor)]][0]
        return size


def plan_file(file: Path, config: ModelConfig, recipe: Recipe, kept: Iterable[str]) -> RecipePlan:
    """The plan for a float16 file. `kept` names layers, as a folder does, that stay in float16."""
    overrides = overrides_of(config, recipe, kept)
    return RecipePlan(recipe, overrides, quantizer.plan(file, recipe, overrides))


def plan_config(config: ModelConfig, recipe: Recipe, protect: Sequence[str] = ()) -> RecipePlan:
    """The plan for a model of which only the config is there."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "hollow.gguf")
        sizes = write_hollow(config, file)
        return plan_file(file, config, recipe, kept(sizes, protect))


def kept(sizes: Mapping[str, int], protect: Sequence[str]) -> set[str]:
    """The layers that stay in float16: the linear layers of the blocks that are spared (see
    `lrm.compression.checkpoint.module_filter.spared`), and where what is quantized is named,
    embeddings and output too."""
    return spared(sizes, protect) | (set(ENDS) if names_compressed(protect) else set())


def overrides_of(config: ModelConfig, recipe: Recipe, kept: Iterable[str]) -> list[Override]:
    """What decides types beside llama.cpp's mixture: layers kept, then the recipe's own."""
    named: Callable[[str], str | None] = namer(config)
    names = (named(f"{name}.weight") or name for name in sorted(kept))
    protected = [(f"^{re.escape(name)}$", KEPT) for name in names]
    own = recipe.overrides(config.num_hidden_layers, config.tie_word_embeddings)
    return [*protected, *own]


def is_matrix(tensor: Tensor) -> bool:
    return tensor.elements > tensor.row


def bits(tensors: Iterable[Tensor]) -> dict[str, float]:
    """Bits per weight: `bits_per_weight` of all tensors, `bits_per_weight/blocks` of the linear
    layers of the blocks, `bits_per_weight/low` of the gate and up projections behind the first
    blocks, the low-bit part of a dynamic recipe."""
    stored = list(tensors)
    linear = [t for t in stored if is_matrix(t) and t.name.startswith("blk.")]
    blocks = 1 + max(_block_of(tensor) for tensor in linear)
    first = set(first_blocks(blocks))
    low = [t for t in linear if re.search("ffn_(gate|up)", t.name) and _block_of(t) not in first]
    parts: Mapping[str, list[Tensor]] = {"": stored, "/blocks": linear, "/low": low}
    return {f"bits_per_weight{name}": bits_per_weight(part) for name, part in parts.items() if part}


def _block_of(tensor: Tensor) -> int:
    return int(tensor.name.split(".")[1])
