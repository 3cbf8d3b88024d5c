"""Quantization to GGUF: from a dense folder to files in fewer bits, by llama.cpp's quantizer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Self

from safetensors.numpy import load_file
from safetensors.torch import save_file

from lrm.compression.checkpoint.folder import Weights
from lrm.compression.checkpoint.staging import check_free, publish, staging_folder
from lrm.compression.gguf import quantizer as llama_quantizer
from lrm.compression.gguf.config import ModelConfig, config_of
from lrm.compression.gguf.convert import write_f16
from lrm.compression.gguf.files import tensors
from lrm.compression.gguf.importance import importance
from lrm.compression.gguf.logits import perplexity_of
from lrm.compression.gguf.measured import FILE, open_quantized, reports
from lrm.compression.gguf.plan import RecipePlan, kept, plan_config, plan_file
from lrm.compression.gguf.recipes import recipe
from lrm.compression.quality.perplexity import DIGEST
from lrm.contracts.method import OnModule, Params
from lrm.digests import of_json
from lrm.errors import BadInput, CompressionFailed
from lrm.records.model import Calibration, Checkpoint, Format

SEARCHED = (
    "f16",
    "Q8_0",
    "Q6_K",
    "Q4_K_M",
    "Q3_K_M",
    "dynamic-2.51",
    "Q2_K",
    "dynamic-1.73",
    "dynamic-1.58",
    "IQ2_XXS",
    "IQ1_M",
    "TQ1_0",
    "IQ1_S",
)
"""The levels that a search tries unless some are named."""

FALLBACKS = ("refuse", "allow")


@dataclass(frozen=True)
class GGUF:
    """Quantizes by a recipe of `lrm.compression.gguf.recipes`.

    A calibration gives the importance matrix, which the lowest types cannot do without. Linear
    layers that `protect` names (see `lrm.compression.gguf.plan.kept`) stay in float16. A tensor
    whose rows a type does not divide is refused, or with `fallback` "allow" gets the larger type
    that llama.cpp takes then, which its report says.

    A checkpoint is a folder with `model.gguf`, which holds tokenizer and chat template too, and
    its lineage.
    """

    name: ClassVar[str] = "gguf"
    format: ClassVar[Format] = "gguf"
    version: ClassVar[int] = 1  # rises when the same parameters give other weights
    level_fields: ClassVar[tuple[str, ...]] = ("recipe",)
    searched: ClassVar[tuple[str, ...]] = SEARCHED
    engine: ClassVar[str] = "llama_cpp"

    recipe: str
    calibration: Calibration | None = None
    protect: tuple[str, ...] = ()
    fallback: str = "refuse"

    def __post_init__(self) -> None:
        if recipe(self.recipe).needs_importance and self.calibration is None:
            raise BadInput(f"recipe {self.recipe} needs a calibration: traces, prompts or text.")
        if self.calibration is not None and not all(self.calibration.rows or [()]):
            raise BadInput("the calibration has no rows or an empty one; give gguf tokens.")
        if self.fallback not in FALLBACKS:
            raise BadInput(f"fallback must be {' or '.join(FALLBACKS)}, got {self.fallback!r}.")

    @classmethod
    def of(cls, level: str, calibration: Calibration | None, **options: Any) -> Self:
        return cls(level.partition("/")[0], calibration, **options).at(level)

    @property
    def level(self) -> str:
        """The recipe, and behind a slash what is protected: "Q2_K/final-mlp"."""
        return "/".join([self.recipe, *(["+".join(self.protect)] if self.protect else [])])

    def at(self, level: str) -> Self:
        name, _, kept = level.partition("/")
        return replace(self, recipe=name, protect=tuple(kept.split("+")) if kept else self.protect)

    def params(self) -> Params:
        params: dict[str, str | int | float] = {
            "method": self.name,
            "method_version": self.version,
            "recipe": self.recipe,
            "protect": "+".join(self.protect),
            "fallback": self.fallback,
        }
        if self.calibration is None:
            return params | {"calibration": "none"}
        return params | {
            "calibration": self.calibration.source,
            "calibration_tokens": self.calibration.tokens,
            "calibration_digest": self.calibration.digest,
        }

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        return self.apply_levels(checkpoint, {self.level: out})[self.level]

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[str, Path], on_module: OnModule | None = None
    ) -> dict[str, Checkpoint]:
        """One checkpoint per level, as in `level`, from one float16 file and one importance matrix.

        A job that was stopped goes on with those two, and with the levels that are there.
        `on_module` counts the tensors of all levels.
        """
        methods = {level: self.at(level) for level in outs}
        for out in outs.values():
            check_free(out)
        config = config_of(checkpoint)
        llama_quantizer.quantizer()
        first = next(iter(outs.values()))
        folder = first.parent / f".gguf.{self._shared(checkpoint)[:12]}"
        with staging_folder(folder, first):
            work = _Work(checkpoint, config, folder)
            plans = {level: work.plan(method) for level, method in methods.items()}
            matrix = work.importance(self.calibration)
            told = _Told(sum(len(made.tensors) for made in plans.values()), on_module)
            for level, out in outs.items():
                work.make(methods[level], plans[level], matrix, out, told.tensor)
                told.level(len(plans[level].tensors))
        shutil.rmtree(folder)
        return {level: open_quantized(out) for level, out in outs.items()}

    def check(self, checkpoint: Checkpoint) -> None:
        plan = plan_config(config_of(checkpoint), recipe(self.recipe), self.protect)
        if self.fallback == "refuse":
            plan.check()

    @staticmethod
    def open(path: Path) -> Checkpoint:
        return open_quantized(path)

    def _shared(self, checkpoint: Checkpoint) -> str:
        """A digest of what all levels are made from."""
        calibration = self.calibration and self.calibration.digest
        return of_json([checkpoint.revision, self.version, calibration])


@dataclass
class _Told:
    """What `on_module` is told: tensors done, over all levels, of `total`."""

    total: int
    on_module: OnModule | None
    done: int = 0

    def tensor(self, done: int, _: int) -> None:
        """So many tensors of the current level are done."""
        if self.on_module:
            self.on_module(self.done + done, self.total)

    def level(self, tensors: int) -> None:
        """A level of so many tensors is done."""
        self.done += tensors
        self.tensor(0, 0)


@dataclass(frozen=True)
class _Work:
    """The folder in which levels are made, with what they share."""

    checkpoint: Checkpoint
    config: ModelConfig
    folder: Path

    @property
    def dense(self) -> Path:
        """The model as a float16 file, written if it is not there."""
        file = self.folder / "f16.gguf"
        if not file.is_file():
            write_f16(self.checkpoint, file)
        return file

    def plan(self, method: GGUF) -> RecipePlan:
        """What will be made; BadInput if it is not what is asked for."""
        layers = kept(Weights(self.checkpoint.path).sizes(), method.protect)
        made = plan_file(self.dense, self.config, recipe(method.recipe), layers)
        if method.fallback == "refuse":
            made.check()
        return made

    @cached_property
    def perplexity(self) -> float:
        """That of the model itself, in float16."""
        return perplexity_of(self.dense)

    def importance(self, calibration: Calibration | None) -> llama_quantizer.Importance:
        """The importance matrix, measured if it is not there."""
        if calibration is None:
            return {}
        file = self.folder / "importance.safetensors"
        if not file.is_file():
            unfinished = file.with_suffix(".draft")
            save_file(importance(self.checkpoint, self.config, calibration), unfinished)
            unfinished.rename(file)
        matrix: llama_quantizer.Importance = load_file(file)
        return matrix

    def make(
        self,
        method: GGUF,
        plan: RecipePlan,
        matrix: llama_quantizer.Importance,
        out: Path,
        on_module: OnModule,
    ) -> None:
        """Quantizes, reads everything back, and publishes."""
        free = shutil.disk_usage(self.folder).free
        if free < plan.bytes:
            raise CompressionFailed(
                f"{out} needs {plan.bytes:,} bytes and {free:,} are free; make room and start again"
            )
        folder = self.folder / of_json(method.level)[:12]
        folder.mkdir(exist_ok=True)
        file = folder / FILE
        llama_quantizer.quantize(self.dense, file, plan.recipe, plan.overrides, matrix, on_module)
        if {t.name: t for t in tensors(file)} != {t.name: t for t in plan.tensors}:
            raise CompressionFailed(f"llama.cpp wrote {out} otherwise than it had planned")
        params = dict(method.params()) | {"quantizer": f"llama-cpp {version('llama-cpp-python')}"}
        step = {
            "method": f"{method.name}:{method.level}",
            "params": params,
            "modules": list(reports(self.dense, file, plan)),
            "perplexity": {
                "own": perplexity_of(file),
                "dense": self.perplexity,
                "text": DIGEST,
            },
        }
        publish(folder, out, self.checkpoint, step)
