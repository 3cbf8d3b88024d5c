"""Continuous batching with the Hugging Face modules of dense decoders, on a CPU or one GPU."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import ClassVar, Self

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from lrm.contracts.engine import OnCompletion, OnTokens
from lrm.engines.shared.dtypes import native_dtype
from lrm.engines.shared.folder import check_folder
from lrm.engines.shared.folder_codec import FolderCodec
from lrm.engines.shared.prompt_checks import refuse_thinking
from lrm.engines.shared.queue import DecodingRow, decode_all, decoding_row, parallel_rows
from lrm.engines.shared.swap import check_same_files, not_swapped
from lrm.engines.transformers.batch import SlotBatch
from lrm.engines.transformers.memory import rows_that_fit
from lrm.engines.transformers.row_counts import row_counts
from lrm.engines.transformers.slots import attend
from lrm.errors import BadInput, EngineFailed, unreadable
from lrm.records.model import Checkpoint, Format
from lrm.records.reply import Completion, Decoding, Prompt
from lrm.tokenizers import LOCAL_ONLY
from lrm.weight_files import COMPUTED, weight_files

FAMILIES = ("llama", "qwen2", "qwen3")
ATTENTION = "lrm_slots"
"""The name under which `attend` is registered with transformers."""


class TransformersEngine:
    """Runs a Hugging Face folder of the families in `FAMILIES`.

    At most `slots` replies run at once, fewer where memory is short; a slot is refilled as soon as
    its reply ends. Prompts of one call that share their text (forced answers, several samples) are
    prefilled once, while one of them is running. `dtype` is the type of weights, caches and
    arithmetic. By default it is bfloat16 where the device multiplies that natively, else float32.
    It changes what a model says, so it is part of `identity`.

    The same call gives the same completions on the same machine. A reply's random numbers never
    depend on its neighbours. Its logits may differ in their last bits where the arithmetic library
    sums in another order for another number of rows, or where its prompt was shared. So a near-tie
    may be decided differently in another batch: seldom in float32, more often in bfloat16.
    """

    _model: PreTrainedModel

    name = "transformers"
    formats: ClassVar[tuple[Format, ...]] = ("dense",)
    ends_thinking = False

    def __init__(
        self,
        checkpoint: Checkpoint,
        slots: int = 64,
        device: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if slots < 1:
            raise BadInput(f"slots must be 1 or more, got {slots}")
        self.checkpoint = checkpoint
        self.slots = slots
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = dtype or native_dtype(self.device)

    @property
    def identity(self) -> str:
        """See `lrm.contracts.engine.Engine`."""
        return f"{self.name} {str(self.dtype).removeprefix('torch.')}"

    def __enter__(self) -> Self:
        _check_family(self.checkpoint)
        AttentionInterface.register(ATTENTION, attend)
        path = str(self.checkpoint.path)
        self._codec = FolderCodec(self.checkpoint)
        try:
            with _no_progress_bar():
                model, report = AutoModelForCausalLM.from_pretrained(
                    path,
                    output_loading_info=True,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,  # the report says it
                    dtype=self.dtype,
                    attn_implementation=ATTENTION,
                    **LOCAL_ONLY,
                )
        except (OSError, ValueError, SafetensorError, StrictDataclassError) as error:
            raise BadInput(f"checkpoint {path} cannot be loaded, save it again: {error}") from error
        _check_report(self.checkpoint, report)
        try:
            self._model = model.to(self.device).eval()
        except torch.OutOfMemoryError as error:
            raise EngineFailed(
                f"{self.device} has not enough memory for the weights of {path}: free it, or give "
                "a GPU with more, or --engine vllm:tensor_parallel_size=2 where there are two"
            ) from error
        self._row_counts = row_counts(self._model)
        return self

    def swap(self, checkpoint: Checkpoint) -> None:
        """See `lrm.contracts.engine.Swappable`. Keys and values last one call, so none is stale."""
        _check_family(checkpoint)
        check_same_files(self.checkpoint, checkpoint)
        weights: dict[str, torch.Tensor] = {}
        for path in weight_files(checkpoint.path):
            try:
                weights |= load_file(path)
            except (OSError, SafetensorError) as error:
                raise unreadable(path, error) from error
        # All are looked at before the first is changed.
        parameters = dict(self._model.named_parameters())
        for name, tensor in parameters.items():
            if name not in weights or weights[name].shape != tensor.shape:
                raise not_swapped(self.checkpoint, checkpoint, "weights' names or shapes")
        with torch.no_grad():
            for name, tensor in parameters.items():
                tensor.copy_(weights[name])
        self.checkpoint = checkpoint

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del self._model

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: OnCompletion | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[Completion]:
        """See `lrm.contracts.engine.Engine`. BadInput first of all if a prompt does not fit."""
        refuse_thinking(prompts, self.name)

        def make_row(index: int, prompt: Prompt) -> DecodingRow:
            reply = self._codec.start(index, prompt, decoding, self._codec.context)
            return decoding_row(prompt, reply)

        rows = [make_row(index, prompt) for index, prompt in enumerate(prompts)]
        if not rows:
            return []
        count = rows_that_fit(
            self._model.config,
            parallel_rows(rows, prompts, self.slots),
            max(row.length for row in rows),
            self.dtype,
            self.device,
        )
        try:
            batch = SlotBatch(self._model, rows, count, decoding, self._row_counts)
            return decode_all(
                batch, rows, self._codec, decoding, make_row, on_completion, on_tokens
            )
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise EngineFailed(
                f"not enough memory on {self.device} for {count} replies at once: lower the slots "
                "(--engine transformers:slots=N) or the budgets"
            ) from error


def _check_family(checkpoint: Checkpoint) -> None:
    """Raises BadInput unless this is a folder with the weights of a family that can be run."""
    path, config = checkpoint.path, check_folder(checkpoint, TransformersEngine)
    family = config.get("model_type")
    layer_types = config.get("layer_types")
    if family not in FAMILIES:
        raise BadInput(
            f"{path} is of type {family}; the transformers engine runs {', '.join(FAMILIES)}, the "
            "vllm engine (--engine vllm) many more"
        )
    slides = isinstance(layer_types, list) and "sliding_attention" in layer_types
    if slides or config.get("use_sliding_window"):
        raise BadInput(f"{path} uses sliding-window attention, which this engine does not run")


def _check_report(checkpoint: Checkpoint, report: Mapping[str, Collection[object]]) -> None:
    """Raises BadInput if weights were missing, which are random then, or had no place in the model.

    Opening a checkpoint finds those first; this is what the loader itself says.
    """
    for fault, words in (
        ("missing_keys", "lacks weights of its model"),
        ("mismatched_keys", "has weights of other shapes than its model"),
        ("unexpected_keys", "has weights that its model has no place for"),
    ):
        # Those of another shape come with both shapes.
        keys = report.get(fault) or ()
        names = sorted(str(key[0] if isinstance(key, tuple) else key) for key in keys)
        strange = [name for name in names if not name.endswith(COMPUTED)]
        if strange:
            raise BadInput(
                f"{checkpoint.path} {words}, {strange[0]}; save or fetch the model again"
            )


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Loading prints no progress bar of transformers'."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
