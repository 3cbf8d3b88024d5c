"""AWQ and GPTQ: integers of a few bits, a scale for each group of weights; by llm-compressor."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import save_file

from lrm.compression.checkpoint.folder import COPIED, RECEIPT, Weights, architecture
from lrm.compression.checkpoint.module_filter import BLOCK, spared
from lrm.compression.checkpoint.staging import check_free, publish, workplace
from lrm.compression.packed import llm_compressor
from lrm.compression.packed.measured import SCALED, TWIN, open_packed, reports
from lrm.compression.pruning.save import OnModule
from lrm.compression.quality import perplexity
from lrm.digests import of_json
from lrm.errors import BadInput, CompressionFailed
from lrm.records import Calibration, Checkpoint, Format

FAMILIES = ("llama", "qwen2", "qwen3")
BITS = range(2, 9)
ORDERS = ("static", "weight", "none")
INDEX = ".index.json"
LEVEL = re.compile(r"(?P<bits>\d+)(-g(?P<group>\d+))?(/(?P<protect>.+))?")


@dataclass(frozen=True)
class _Packing:
    """What the two have in common: every `group` weights of a row share one scale, and each is an
    integer of so many `bits`. Linear layers that `protect` names (see
    `lrm.compression.checkpoint.module_filter.spared`) stay as they are stored, embeddings, head and
    norms too (but for AWQ's scales).

    A checkpoint is a folder with weights packed as compressed-tensors has them, and inside it one
    with the same weights unpacked, `lrm.compression.packed.measured.TWIN`, for engines without
    kernels.
    """

    name: ClassVar[str]
    format: ClassVar[Format] = "compressed-tensors"
    version: ClassVar[int] = 1  # rises when the same parameters give other weights

    calibration: Calibration
    bits: int = 4
    group: int = 128
    protect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise BadInput(f"bits must be {BITS[0]} to {BITS[-1]}, got {self.bits}.")
        if self.group < 1:
            raise BadInput(f"group must be 1 or more, got {self.group}.")
        if not self.calibration.rows or not all(self.calibration.rows):
            raise BadInput(f"the calibration has no rows or an empty one; give {self.name} tokens.")

    @classmethod
    def of(cls, level: str, calibration: Calibration | None, **options: Any) -> Self:
        """The method at a level, see `level`; BadInput if it is none, or without a calibration."""
        if calibration is None:
            raise BadInput(f"{cls.name} needs a calibration: traces, prompts or a text.")
        return cls(calibration, **options).at(level)

    @property
    def level(self) -> str:
        """Bits and group, and behind a slash what is protected: "4-g128/final-mlp"."""
        return "/".join([f"{self.bits}-g{self.group}", *filter(None, ["+".join(self.protect)])])

    def at(self, level: str) -> Self:
        """The same method at another level; "3" is 3 bits with the same group."""
        found = LEVEL.fullmatch(level)
        if not found:
            raise BadInput(
                f"{level!r} is no level of {self.name}: write BITS or BITS-gGROUP, and behind a "
                "slash what to protect, as in 4-g128 or 3-g64/final-mlp."
            )
        protect = found["protect"]
        return replace(
            self,
            bits=int(found["bits"]),
            group=int(found["group"] or self.group),
            protect=tuple(protect.split("+")) if protect else self.protect,
        )

    def params(self) -> Mapping[str, str | int | float]:
        """What decides the weights."""
        return {
            "method": self.name,
            "method_version": self.version,
            "recipe": f"{self.bits}-g{self.group}",
            "bits": self.bits,
            "group": self.group,
            "protect": "+".join(self.protect),
            "calibration": self.calibration.source,
            "calibration_tokens": self.calibration.tokens,
            "calibration_digest": self.calibration.digest,
        }

    def settings(self) -> Mapping[str, Any]:
        """What else the library is told."""
        return {"act_order": "none", "damping": 0.0}

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        """See `lrm.contracts.Method`."""
        return self.apply_levels(checkpoint, {self.level: out})[self.level]

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[str, Path], on_module: OnModule | None = None
    ) -> dict[str, Checkpoint]:
        """One checkpoint per level, one after the other; a level that was stopped starts again.

        `on_module` is called after each block of each level.
        """
        methods = {level: self.at(level) for level in outs}
        for level, out in outs.items():
            check_free(out)
            methods[level].check(checkpoint)
        dense = perplexity.of_folder(checkpoint.path)
        parts = 1 + _blocks(checkpoint)
        total = parts * len(outs)

        for index, (level, out) in enumerate(outs.items()):

            def tell(done: int, before: int = index * parts) -> None:
                if on_module:
                    on_module(min(before + done, total), total)

            methods[level]._make(checkpoint, out, dense, tell)
        return {level: self.open(out) for level, out in outs.items()}

    def check(self, checkpoint: Checkpoint) -> None:
        """BadInput if the checkpoint cannot be quantized so, as far as its headers tell."""
        if checkpoint.format != "dense":
            raise BadInput(
                f"{checkpoint.path} is stored as {checkpoint.format}; only dense weights are "
                "quantized."
            )
        kind = architecture(checkpoint.path)
        if kind not in FAMILIES:
            raise BadInput(f"{self.name} takes {', '.join(FAMILIES)} models, not {kind}.")
        source = Weights(checkpoint.path)
        kept = spared(source.sizes(), self.protect)
        left = [name for name in source.sizes() if name not in kept]
        if not left:
            raise BadInput("every module is protected, so that nothing is left to quantize.")
        for name in left:
            columns = source.shape(f"{name}.weight")[1]
            if columns % self.group:
                raise BadInput(
                    f"{name} has rows of {columns} weights, which groups of {self.group} do not "
                    f"divide; give a group that does, as in {self.bits}-g64."
                )
        llm_compressor.compressor()

    @staticmethod
    def open(place: Path) -> Checkpoint:
        """What was written there."""
        return open_packed(place)

    def _make(
        self, checkpoint: Checkpoint, out: Path, dense: float, on_part: Callable[[int], None]
    ) -> None:
        """Quantizes, reads everything back, and publishes; `dense` is the model's perplexity."""
        identity = of_json([checkpoint.revision, dict(self.params())])
        kept = spared(Weights(checkpoint.path).sizes(), self.protect)
        with workplace(out.parent / f".{out.name}.{identity[:12]}", out) as work:
            place, scaled = work / "made", work / SCALED
            shutil.rmtree(place, ignore_errors=True)
            (place / TWIN).mkdir(parents=True)
            self._check_room(checkpoint, work)
            torch.cuda.empty_cache()  # the other process wants the memory
            llm_compressor.run(self._job(checkpoint, work, place, kept), on_part)
            _complete(place, checkpoint.path)
            step = {
                "method": f"{self.name}:{self.level}",
                "params": {**self.params(), "quantizer": llm_compressor.compressor()},
                "modules": list(reports(checkpoint.path, place, kept, self.bits, scaled)),
                "perplexity": {
                    "own": perplexity.of_folder(place / TWIN),
                    "dense": dense,
                    "text": perplexity.DIGEST,
                },
            }
            publish(place, out, checkpoint, step)
        shutil.rmtree(work)

    def _job(
        self, checkpoint: Checkpoint, work: Path, place: Path, kept: Collection[str]
    ) -> Mapping[str, Any]:
        """What `lrm.compression.packed.llm_compressor_job` is told, the calibration beside it."""
        rows = work / "rows.safetensors"
        lengths = [len(row) for row in self.calibration.rows]
        tokens = [token for row in self.calibration.rows for token in row]
        save_file({"tokens": torch.tensor(tokens), "lengths": torch.tensor(lengths)}, rows)
        return {
            "model": str(checkpoint.path.absolute()),
            "out": str(place.absolute()),
            "twin": str((place / TWIN).absolute()),
            "scaled": str((work / SCALED).absolute()),
            "rows": str(rows.absolute()),
            "method": self.name,
            "bits": self.bits,
            "group": self.group,
            "ignore": sorted(kept),
            **self.settings(),
        }

    def _check_room(self, checkpoint: Checkpoint, work: Path) -> None:
        """Room for the twin, AWQ's scaled weights and the packed ones."""
        needed = int(checkpoint.measured["weights/bytes"] * 2.5)
        room = shutil.disk_usage(work).free
        if room < needed:
            raise CompressionFailed(
                f"{work.parent} needs {needed:,} bytes and {room:,} are free; make room and start "
                "again"
            )


@dataclass(frozen=True)
class GPTQ(_Packing):
    """Quantizes column after column, each error made up for by the columns that are left.

    Values are symmetric around zero. `act_order`: "static" takes the columns with the largest
    inputs first but groups them as they lie, "weight" groups them in that order too, "none" takes
    them as they lie. `damping` is the share of the Hessian's mean diagonal added to it.

    Source: Frantar et al., GPTQ (arXiv 2210.17323); the library's `GPTQModifier`.
    """

    name: ClassVar[str] = "gptq"

    act_order: str = "static"
    damping: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.act_order not in ORDERS:
            raise BadInput(f"act_order must be {' or '.join(ORDERS)}, got {self.act_order!r}.")
        if not 0 < self.damping < 1:
            raise BadInput(f"damping must be in (0, 1), got {self.damping}.")

    def params(self) -> Mapping[str, str | int | float]:
        return {**super().params(), **self.settings()}

    def settings(self) -> Mapping[str, Any]:
        return {"act_order": self.act_order, "damping": self.damping}


@dataclass(frozen=True)
class AWQ(_Packing):
    """Scales up the weights that meet large inputs before it rounds, and the inputs down.

    Values have a zero point of their own in each group.

    Source: Lin et al., AWQ (arXiv 2306.00978); the library's `AWQModifier`, duo scaling tried both
    ways.
    """

    name: ClassVar[str] = "awq"


def _complete(place: Path, source: Path) -> None:
    """Adds what the library leaves out: tokenizer, chat template, and the twin's configs."""
    for file in source.iterdir():
        if file.suffix in COPIED and file.name != RECEIPT and not file.name.endswith(INDEX):
            shutil.copyfile(file, place / TWIN / file.name)
            if not (place / file.name).exists():
                shutil.copyfile(file, place / file.name)
    (place / "recipe.yaml").unlink(missing_ok=True)
    for file in place.rglob("*.safetensors"):
        file.chmod(0o644)  # the library's are for their owner alone


def _blocks(checkpoint: Checkpoint) -> int:
    return len(
        {block[1] for block in map(BLOCK.search, Weights(checkpoint.path).linears()) if block}
    )
