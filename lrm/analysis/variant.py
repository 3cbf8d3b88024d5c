"""One compressed model as it was measured: its size, its method, and a grid for each benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrm.errors import BadInput
from lrm.records import Unit
from lrm.scoring.grid import Grid


@dataclass(frozen=True)
class Variant:
    """One compressed model (or the dense one) as it was measured, by one run.

    `name` is how people read it, unique within a report; `method` is "none" for the dense model.
    `study` is the search that measured it and `engine` what ran it, "" where there was none.
    `sparsity` is what was asked for, `bits` bits per weight, `bytes` the size of the weights and
    `packed_bytes` that without stored zeros (see `lrm.compression.checkpoint.folder.measure`), None
    where nobody measured them. `grids` has a grid for each benchmark and budget; budget None: the
    longest generation, with no budget set.
    """

    name: str
    run_id: str
    model: str
    method: str
    study: str
    engine: str
    sparsity: float | None
    bits: float | None
    bytes: float | None
    packed_bytes: float | None
    unit: Unit
    grids: Mapping[str, Mapping[int | None, Grid]]

    @property
    def dense(self) -> bool:
        return self.method == "none"

    @property
    def origin(self) -> str:
        """Its model and method, as people read them."""
        return f"{self.model} {'dense' if self.dense else self.method}"

    @property
    def size(self) -> float | None:
        """The bytes at which models are compared: without stored zeros where that was measured."""
        return self.bytes if self.packed_bytes is None else self.packed_bytes

    def grid(self, benchmark: str, budget: int | None) -> Grid:
        """Raises BadInput where this benchmark was not measured at this budget."""
        found = self.grids.get(benchmark, {}).get(budget)
        if found is None:
            told = "without a budget" if budget is None else f"at {budget} thinking {self.unit}"
            raise BadInput(
                f"{self.name} was not measured on {benchmark} {told}: take what all variants have."
            )
        return found


def base_of(variant: Variant, among: Sequence[Variant]) -> Variant | None:
    """The dense model that a compressed one is measured against: that of its study, else of its
    engine, else the only one of its model. None for a dense one, or where it is not clear."""
    own = [one for one in among if one.dense and one.model == variant.model]
    same_study = [one for one in own if one.study == variant.study]
    same_engine = [one for one in own if one.engine == variant.engine]
    for candidates in (same_study, same_engine, own):
        if len(candidates) == 1 and not variant.dense:
            return candidates[0]
    return None
