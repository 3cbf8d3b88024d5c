"""What AWQ and GPTQ share: integers of a few bits, a scale for each group of weights.

Both are made by llm-compressor. A checkpoint is a folder with weights packed as compressed-tensors
has them, and inside it one with the same weights unpacked,
`lrm.compression.packed.stored.TWIN`, for engines without kernels. Embeddings, head and norms stay
as they are stored (but for AWQ's scales).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from safetensors.torch import save_file

from lrm.compression.checkpoint.folder import COPIED, Weights, architecture
from lrm.compression.checkpoint.module_filter import BLOCK, spared
from lrm.compression.checkpoint.receipt import RECEIPT
from lrm.compression.checkpoint.staging import check_free, publish, staging_folder
from lrm.compression.packed import llm_compressor
from lrm.compression.packed.measured import SCALED, open_packed, reports
from lrm.compression.packed.stored import TWIN
from lrm.compression.quality import perplexity
from lrm.contracts.method import OnModule
from lrm.contracts.quantizer import Quantizer
from lrm.digests import of_json
from lrm.errors import BadInput, CompressionFailed
from lrm.records.model import Calibration, Checkpoint

FAMILIES = ("llama", "qwen2", "qwen3")
BITS = range(2, 9)
INDEX = ".index.json"
LEVEL = re.compile(r"(?P<bits>\d+)(-g(?P<group>\d+))?(/(?P<protect>.+))?")

SEARCHED = ("f16", "4-g128", "3-g128")
"""The levels that a search tries unless some are named."""


class Packing(Quantizer, Protocol):
    """The fields that both have: every `group` weights of a row share one scale, and each is an
    integer of so many `bits`. Linear layers that `protect` names (see
    `lrm.compression.checkpoint.module_filter.spared`) stay as they are stored. `settings` is what
    else the library is told.
    """

    version: ClassVar[int]

    @property
    def calibration(self) -> Calibration: ...

    @property
    def bits(self) -> int: ...

    @property
    def group(self) -> int: ...

    @property
    def protect(self) -> Sequence[str]: ...

    def settings(self) -> Mapping[str, str | float]: ...


def check_parameters(method: Packing) -> None:
    """BadInput if no model can be quantized so."""
    if method.bits not in BITS:
        raise BadInput(f"bits must be {BITS[0]} to {BITS[-1]}, got {method.bits}.")
    if method.group < 1:
        raise BadInput(f"group must be 1 or more, got {method.group}.")
    if not method.calibration.rows or not all(method.calibration.rows):
        raise BadInput(f"the calibration has no rows or an empty one; give {method.name} tokens.")


def required(calibration: Calibration | None, name: str) -> Calibration:
    """The calibration; BadInput if there is none."""
    if calibration is None:
        raise BadInput(f"{name} needs a calibration: traces, prompts or a text.")
    return calibration


def level_of(method: Packing) -> str:
    """Bits and group, and behind a slash what is protected: "4-g128/final-mlp"."""
    return "/".join([f"{method.bits}-g{method.group}", *filter(None, ["+".join(method.protect)])])


def parsed(level: str, method: Packing) -> tuple[int, int, tuple[str, ...]]:
    """Bits, group and protected modules of a level, of which the method gives what the level does
    not say: "3" is 3 bits with the same group. BadInput if it is no level."""
    match = LEVEL.fullmatch(level)
    if not match:
        raise BadInput(
            f"{level!r} is no level of {method.name}: write BITS or BITS-gGROUP, and behind a "
            "slash what to protect, as in 4-g128 or 3-g64/final-mlp."
        )
    protect = match["protect"].split("+") if match["protect"] else method.protect
    return int(match["bits"]), int(match["group"] or method.group), tuple(protect)


def params(method: Packing) -> dict[str, str | int | float]:
    """What decides the weights, as far as both have it."""
    return {
        "method": method.name,
        "method_version": method.version,
        "recipe": f"{method.bits}-g{method.group}",
        "bits": method.bits,
        "group": method.group,
        "protect": "+".join(method.protect),
        "calibration": method.calibration.source,
        "calibration_tokens": method.calibration.tokens,
        "calibration_digest": method.calibration.digest,
    }


def check(method: Packing, checkpoint: Checkpoint) -> None:
    """BadInput if the checkpoint cannot be quantized so, as far as its headers tell."""
    if checkpoint.format != "dense":
        raise BadInput(
            f"{checkpoint.path} is stored as {checkpoint.format}; only dense weights are quantized."
        )
    kind = architecture(checkpoint.path)
    if kind not in FAMILIES:
        raise BadInput(f"{method.name} takes {', '.join(FAMILIES)} models, not {kind}.")
    source = Weights(checkpoint.path)
    kept = spared(source.sizes(), method.protect)
    packed = [name for name in source.sizes() if name not in kept]
    if not packed:
        raise BadInput("every module is protected, so that nothing is left to quantize.")
    for name in packed:
        columns = source.shape(f"{name}.weight")[1]
        if columns % method.group:
            raise BadInput(
                f"{name} has rows of {columns} weights, which groups of {method.group} do not "
                f"divide; give a group that does, as in {method.bits}-g64."
            )
    llm_compressor.compressor()


def write(
    method: Packing,
    checkpoint: Checkpoint,
    outs: Mapping[str, Path],
    on_module: OnModule | None,
) -> dict[str, Checkpoint]:
    """One checkpoint per level, one after the other; a level that was stopped starts again.

    `on_module` is called after each block of each level.
    """
    methods = {level: method.at(level) for level in outs}
    for level, out in outs.items():
        check_free(out)
        methods[level].check(checkpoint)
    dense = perplexity.of_folder(checkpoint.path)
    parts = 1 + _blocks(checkpoint)
    total = parts * len(outs)

    for index, (level, out) in enumerate(outs.items()):

        def on_part(done: int, before: int = index * parts) -> None:
            if on_module:
                on_module(min(before + done, total), total)

        _write_level(methods[level], checkpoint, out, dense, on_part)
    return {level: open_packed(out) for level, out in outs.items()}


def _write_level(
    method: Packing,
    checkpoint: Checkpoint,
    out: Path,
    dense: float,
    on_part: Callable[[int], None],
) -> None:
    """Quantizes, reads everything back, and publishes; `dense` is the model's perplexity."""
    identity = of_json([checkpoint.revision, dict(method.params())])
    kept = spared(Weights(checkpoint.path).sizes(), method.protect)
    with staging_folder(out.parent / f".{out.name}.{identity[:12]}", out) as folder:
        # What an earlier call left is made again.
        packed, scaled = folder / "made", folder / SCALED
        shutil.rmtree(packed, ignore_errors=True)
        (packed / TWIN).mkdir(parents=True)
        _check_space(checkpoint, folder)

        # The library quantizes, in a process of its own that wants this one's memory.
        torch.cuda.empty_cache()
        llm_compressor.run(_job(method, checkpoint, folder, packed, kept), on_part)
        _add_missing(packed, checkpoint.path)

        # What is reported is read back from the files.
        step = {
            "method": f"{method.name}:{method.level}",
            "params": {**method.params(), "quantizer": llm_compressor.compressor()},
            "modules": list(reports(checkpoint.path, packed, kept, method.bits, scaled)),
            "perplexity": {
                "own": perplexity.of_folder(packed / TWIN),
                "dense": dense,
                "text": perplexity.DIGEST,
            },
        }
        publish(packed, out, checkpoint, step)
    shutil.rmtree(folder)


def _job(
    method: Packing, checkpoint: Checkpoint, folder: Path, packed: Path, kept: Collection[str]
) -> Mapping[str, object]:
    """A job for `lrm.compression.packed.llm_compressor_job`, the calibration in a file beside."""
    rows = folder / "rows.safetensors"
    lengths = [len(row) for row in method.calibration.rows]
    tokens = [token for row in method.calibration.rows for token in row]
    save_file({"tokens": torch.tensor(tokens), "lengths": torch.tensor(lengths)}, rows)
    return {
        "model": str(checkpoint.path.absolute()),
        "out": str(packed.absolute()),
        "twin": str((packed / TWIN).absolute()),
        "scaled": str((folder / SCALED).absolute()),
        "rows": str(rows.absolute()),
        "method": method.name,
        "bits": method.bits,
        "group": method.group,
        "ignore": sorted(kept),
        **method.settings(),
    }


def _check_space(checkpoint: Checkpoint, folder: Path) -> None:
    """CompressionFailed unless the twin, AWQ's scaled weights and the packed ones fit the disk."""
    needed = int(checkpoint.measured["weights/bytes"] * 2.5)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CompressionFailed(
            f"{folder.parent} needs {needed:,} bytes and {free:,} are free; make room and start "
            "again"
        )


def _add_missing(packed: Path, source: Path) -> None:
    """Adds what the library leaves out: tokenizer, chat template, and the twin's configs."""
    for file in source.iterdir():
        if file.suffix in COPIED and file.name != RECEIPT and not file.name.endswith(INDEX):
            shutil.copyfile(file, packed / TWIN / file.name)
            if not (packed / file.name).exists():
                shutil.copyfile(file, packed / file.name)
    (packed / "recipe.yaml").unlink(missing_ok=True)
    for file in packed.rglob("*.safetensors"):
        file.chmod(0o644)  # the library lets nobody but the owner read them


def _blocks(checkpoint: Checkpoint) -> int:
    return len(
        {block[1] for block in map(BLOCK.search, Weights(checkpoint.path).linears()) if block}
    )
