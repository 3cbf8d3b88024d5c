"""One compressed model as it was measured: its size, its method, and a grid for each benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrm.errors import BadInput
from lrm.records.point import Unit
from lrm.scoring.grid import Grid


@dataclass(frozen=True)
class Variant:
    """One compressed model (or the dense one) as it was measured, by one run.

    `name` is what people read, unique within a report; `method` is "none" for the dense model.
    `study` is the search that measured it and `engine` what ran it, "" where there was none.
    `sparsity` is the share of zeros that was asked for, `bits` bits per weight, `bytes` the size of
    the weights, and `packed_bytes` their size without stored zeros (see
    `lrm.compression.checkpoint.folder.measure`); None where it was not measured. `grids` has a grid
    for each benchmark and budget; budget None is the longest generation, with no budget set.
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
        """Its model and method, for people to read."""
        return f"{self.model} {'dense' if self.dense else self.method}"

    @property
    def size(self) -> float | None:
        """The bytes at which models are compared: without stored zeros where that was measured."""
        return self.bytes if self.packed_bytes is None else self.packed_bytes

    def grid(self, benchmark: str, budget: int | None) -> Grid:
        """Raises BadInput where this benchmark was not measured at this budget."""
        grid = self.grids.get(benchmark, {}).get(budget)
        if grid is None:
            where = "without a budget" if budget is None else f"at {budget} thinking {self.unit}"
            raise BadInput(
                f"{self.name} was not measured on {benchmark} {where}: choose benchmarks and "
                "budgets that all variants have."
            )
        return grid


def base_of(variant: Variant, among: Sequence[Variant]) -> Variant | None:
    """The dense model that a compressed one is measured against.

    It is that of the same study, else of the same engine, else the only one of the same model. None
    for a dense model, or where several would do.
    """
    same_model = [other for other in among if other.dense and other.model == variant.model]
    same_study = [other for other in same_model if other.study == variant.study]
    same_engine = [other for other in same_model if other.engine == variant.engine]
    for candidates in (same_study, same_engine, same_model):
        if len(candidates) == 1 and not variant.dense:
            return candidates[0]
    return None
