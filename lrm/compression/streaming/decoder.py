"""A decoder that need not fit into memory: its parts have weights only while they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, cast

from torch import Tensor, nn

from lrm.errors import BadInput

Read = Callable[[str], Tensor]
"""A weight by its full name, on the device and in the dtype that it is computed with."""


class DecoderConfig(Protocol):
    """What is read of a model's config."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def hidden_size(self) -> int: ...

    @property
    def max_position_embeddings(self) -> int: ...


class Decoder:
    """A causal language model, a list of blocks in it.

    With `read` the model itself has no weights (they are on torch's device "meta"): those of a
    part are read when it is materialized, and released afterwards. Without, all of them are there.
    BadInput if its blocks are not blocks of linear layers.
    """

    def __init__(self, model: nn.Module, read: Read | None = None) -> None:
        self.model = model
        self.kind = type(model).__name__
        self.blocks = blocks_of(model)
        self.linears = linears_of(model)
        self.body = cast(nn.Module, model.base_model)
        self.config = cast(DecoderConfig, model.config)
        self._read = read
        self._names = {part: name for name, part in model.named_modules()}

    @contextmanager
    def materialized(self, *parts: nn.Module) -> Iterator[None]:
        """Modules of the model have their weights meanwhile."""
        if self._read is None:
            yield
            return
        bare = [part.state_dict() for part in parts]
        try:
            for part, names in zip(parts, bare, strict=True):
                weights = {name: self._read(f"{self._names[part]}.{name}") for name in names}
                part.load_state_dict(weights, assign=True)
            yield
        finally:
            for part, names in zip(parts, bare, strict=True):
                part.load_state_dict(names, assign=True)

    @contextmanager
    def block(self, index: int) -> Iterator[nn.Module]:
        """Block `index` with its weights."""
        with self.materialized(self.blocks[index]):
            yield self.blocks[index]

    def linears_in(self, index: int) -> dict[str, nn.Linear]:
        """The linear layers of a block by their full names."""
        inside = set(self.blocks[index].modules())
        return {name: layer for name, layer in self.linears.items() if layer in inside}


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The decoder's blocks; BadInput if they are not blocks of linear layers."""
    blocks = getattr(getattr(model, "base_model", None), "layers", None)
    kind = type(model).__name__
    if not isinstance(blocks, nn.ModuleList) or not len(blocks):
        raise BadInput(f"{kind} cannot be pruned: it has no list of blocks named layers.")
    for name, module in blocks.named_modules():
        if not isinstance(module, nn.Linear):
            for own, weight in module.named_parameters(recurse=False):
                if weight.ndim > 1:
                    raise BadInput(
                        f"{kind} cannot be pruned: layers.{name}.{own} is no linear layer's "
                        "weight; use a dense model of the Llama or Qwen family."
                    )
    return blocks


def linears_of(model: nn.Module) -> dict[str, nn.Linear]:
    """Every linear layer of the blocks by its full name: what is pruned."""
    inside = set(blocks_of(model).modules())
    return {
        name: module
        for name, module in model.named_modules()
        if module in inside and isinstance(module, nn.Linear)
    }
