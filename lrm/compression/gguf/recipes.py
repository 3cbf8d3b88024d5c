"""Recipes of quantization: which tensor of a GGUF file is stored in which type.

The plain ones are llama.cpp's own mixtures, under its names. The dynamic ones are an open analogue
of the files that Unsloth published of DeepSeek-R1 under 1.58, 1.73 and 2.51 bits. How those were
made is not public; what can be read off the files is that a few bits go to the bulk of the MLPs,
and more to attention, embeddings, output, first layers and down projections. The same is done here,
with types of our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrm.errors import BadInput

NEED_IMPORTANCE = {"IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S"}
"""Types that llama.cpp refuses to make without an importance matrix (embeddings excepted)."""

FIRST_SHARE = 16
"""One block in so many, at least one, counts as first."""

Override = tuple[str, str]
"""A regular expression on tensor names, and a type. The first that is found in a name decides."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """`file_type` is llama.cpp's name of the mixture, `base` the type of most of its tensors.

    A dynamic recipe has a type of its own for the `down` projections; gate and up projections
    behind the first blocks get `base`: they are its low-bit part, of `says` bits per weight.
    """

    name: str
    file_type: str
    base: str
    down: str = ""
    says: float | None = None

    @property
    def needs_importance(self) -> bool:
        return bool(NEED_IMPORTANCE & {self.base, self.down})

    def overrides(self, blocks: int, tied: bool) -> list[Override]:
        """What is not left to llama.cpp's mixture, for so many blocks; `tied` embeddings are the
        output too."""
        if not self.down:
            return []
        first = "|".join(str(block) for block in first_blocks(blocks))
        return [
            (rf"^blk\.({first})\.ffn_", "Q4_K"),
            (r"\.ffn_down\.", self.down),
            (r"\.ffn_(gate|up)\.", self.base),
            (r"\.attn_v\.", "Q6_K"),
            (r"\.attn_", "Q4_K"),
            (r"^token_embd\.", "Q6_K" if tied else "Q4_K"),
            (r"^output\.", "Q6_K"),
        ]


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("Q8_0", "Q8_0", "Q8_0"),
        Recipe("Q6_K", "Q6_K", "Q6_K"),
        Recipe("Q4_K_M", "Q4_K_M", "Q4_K"),
        Recipe("Q3_K_M", "Q3_K_M", "Q3_K"),
        Recipe("Q2_K", "Q2_K", "Q2_K"),
        Recipe("IQ2_XXS", "IQ2_XXS", "IQ2_XXS"),
        Recipe("IQ1_M", "IQ1_M", "IQ1_M"),
        Recipe("IQ1_S", "IQ1_S", "IQ1_S"),
        Recipe("TQ1_0", "TQ1_0", "TQ1_0"),
        Recipe("dynamic-2.51", "IQ2_M", "IQ2_S", down="Q3_K", says=2.51),
        Recipe("dynamic-1.73", "IQ1_M", "IQ1_M", down="IQ2_XXS", says=1.73),
        Recipe("dynamic-1.58", "IQ1_S", "IQ1_S", down="IQ2_XXS", says=1.58),
    )
}


def recipe(name: str) -> Recipe:
    """A recipe by its name; BadInput names those there are."""
    if name not in RECIPES:
        raise BadInput(f"there is no recipe {name!r}: choose from {', '.join(RECIPES)}.")
    return RECIPES[name]


def first_blocks(blocks: int) -> Sequence[int]:
    """The blocks whose MLPs a dynamic recipe keeps at more bits."""
    return range(max(1, blocks // FIRST_SHARE))
