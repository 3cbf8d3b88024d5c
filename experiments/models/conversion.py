"""What an engine runs of a model: as it is, or converted; and what it does not, said in time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.cli.engine_choice import EngineChoice
from experiments.coordination.leases import Leases
from experiments.models.resolve import LocatedModel, find_model
from lrm import formats
from lrm.compression.gguf.convert import write_f16
from lrm.compression.packed.measured import has_twin, served, twin
from lrm.contracts import RunsPacked
from lrm.digests import of_file
from lrm.errors import BadInput
from lrm.records import Checkpoint


def find_runnable(
    name: str, engine: EngineChoice, sparsity: Sequence[float] = (0.0,)
) -> LocatedModel:
    """The model for an engine, at these sparsities; BadInput before any weights are fetched if it
    cannot be."""
    loaded = engine.kind.formats
    found = find_model(name, tokenizer_only="tokenizer" in loaded)
    if found.format == "dense" and "gguf" in loaded:
        return found
    formats.check(found.name, found.format, engine.kind)
    if found.format != "dense" and any(sparsity):
        raise BadInput(
            f"{found.name} has {found.format} weights, and only dense ones are pruned: give "
            "--sparsity 0."
        )
    return found


def runnable(
    checkpoint: Checkpoint, engine: EngineChoice, folder: Path, heartbeat: float = 30.0
) -> Checkpoint:
    """The checkpoint as the engine loads it: a dense one, where it takes only GGUF files, as one in
    float16, which is kept in `folder` and made there under a lease of `heartbeat` seconds; a packed
    one, where it has no kernels for it, as the same weights unpacked."""
    loaded = checkpoint.format in engine.kind.formats
    if loaded and (not has_twin(checkpoint) or _has_kernels(checkpoint, engine)):
        return checkpoint
    if unpacked := twin(checkpoint):
        return runnable(unpacked, engine, folder, heartbeat)
    place = folder / f"{checkpoint.revision[:24]}.gguf"
    with Leases(folder, heartbeat).hold(f".{place.stem}", "converts the model"):
        if not place.is_file():
            return write_f16(checkpoint, place)
    return Checkpoint(place, of_file(place), "gguf", checkpoint.lineage)


def _has_kernels(checkpoint: Checkpoint, engine: EngineChoice) -> bool:
    made = engine.made(checkpoint)
    return isinstance(made, RunsPacked) and made.has_kernels and served(checkpoint.path)
