"""A model in a format that an engine runs: as it is, or converted; refused early if neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.cli.engine_choice import EngineChoice
from experiments.cli.progress import say
from experiments.coordination.leases import Leases
from experiments.models.resolve import LocatedModel, find_model
from lrm import registry
from lrm.compression.packed.stored import has_twin, served, twin
from lrm.contracts.engine import Engine, RunsPacked
from lrm.digests import of_file
from lrm.engines.shared.loads import check_loads
from lrm.errors import BadInput
from lrm.files import write_atomic
from lrm.records.model import Checkpoint


def find_runnable(
    name: str, engine: EngineChoice, sparsity: Sequence[float] = (0.0,)
) -> LocatedModel:
    """The model that an engine is to run at these sparsities, before its weights are fetched.

    Raises BadInput if the engine cannot run it, or if its weights cannot be pruned.
    """
    loaded = engine.kind.formats
    model = find_model(name, tokenizer_only="tokenizer" in loaded)
    if model.format == "dense" and "gguf" in loaded:
        return model
    check_loads(model.name, model.format, engine.kind)
    if model.format != "dense" and any(sparsity):
        raise BadInput(
            f"{model.name} has {model.format} weights, and only dense ones are pruned: give "
            "--sparsity 0."
        )
    return model


def made(engine: EngineChoice, checkpoint: Checkpoint) -> Engine:
    """The engine on a checkpoint. A tokenizer that its options name is checked first, and fetched
    from the hub if it is none here."""
    if "tokenizer" in engine.options:
        named = find_model(str(engine.options["tokenizer"]), tokenizer_only=True).open()
        options = {**engine.options, "tokenizer": str(named.checkpoint.path)}
        engine = replace(engine, options=options)
    return engine.made(checkpoint)


def runnable(
    checkpoint: Checkpoint, engine: EngineChoice, folder: Path, heartbeat: float = 30.0
) -> Checkpoint:
    """The checkpoint in a format that the engine loads.

    A packed one becomes the same weights unpacked, where the engine has no kernels for it. A dense
    one becomes a GGUF file in float16, where the engine loads nothing else; it is kept in `folder`
    and made there under a lease of `heartbeat` seconds.
    """
    loaded = checkpoint.format in engine.kind.formats
    if loaded and (not has_twin(checkpoint) or _has_kernels(checkpoint, engine)):
        return checkpoint
    if unpacked := twin(checkpoint):
        return runnable(unpacked, engine, folder, heartbeat)
    path = folder / f"{checkpoint.revision[:24]}.gguf"
    with Leases(folder, heartbeat).hold(f".{path.stem}", "converts the model"):
        return _converted(checkpoint, path)


def _converted(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """The file that the checkpoint becomes, made unless it is there as it was made.

    Its digest lies beside it; that of a file which an earlier version made is noted now.
    """
    note = path.with_suffix(".sha256")
    if path.is_file():
        digest = of_file(path)
        if not note.is_file():
            write_atomic(note, digest.encode())
        if note.read_text(encoding="utf-8") == digest:
            return Checkpoint(path, digest, "gguf", checkpoint.lineage)
        say(f"{path} is not what it was when it was made; it is made again.")
        path.unlink()
    note.unlink(missing_ok=True)
    written = registry.file_format("gguf").write(checkpoint, path)
    write_atomic(note, written.revision.encode())
    return written


def _has_kernels(checkpoint: Checkpoint, engine: EngineChoice) -> bool:
    opened = engine.made(checkpoint)
    return isinstance(opened, RunsPacked) and opened.has_kernels and served(checkpoint.path)
