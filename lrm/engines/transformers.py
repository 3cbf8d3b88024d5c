"""Continuous batching with the Hugging Face modules of dense decoders, on a CPU or one GPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError
from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from lrm.engines.batch import Batch
from lrm.engines.chat import no_template, opened
from lrm.engines.rows import Codec, finish
from lrm.engines.slots import attend
from lrm.errors import BadInput
from lrm.records import Checkpoint, Completion, Decoding, Prompt

FAMILIES = ("llama", "qwen2", "qwen3")
ATTENTION = "lrm_slots"


class TransformersEngine:
    """Runs a Hugging Face folder of the families in `FAMILIES`.

    At most `slots` replies run at once; a slot is refilled as soon as its reply ends. Prompts of
    one call that share their text (forced answers, several samples) are prefilled once while one
    of them is running. `dtype` is the type of weights, caches and arithmetic: unless given,
    bfloat16 where the device multiplies it natively, else float32. It changes what a model says,
    so it belongs in the record of a run.

    The same call gives the same completions on the same machine. A reply's random numbers never
    depend on its neighbours. Its logits do in their last bits wherever the arithmetic library sums
    in another order for another number of rows, or where its prompt was shared, so a near-tie may
    fall differently in another batch: seldom in float32, more often in bfloat16.
    """

    name = "transformers"

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
        self.dtype = dtype or _native_dtype(self.device)
        self._model: Any = None
        self._tokenizer: Any = None

    @property
    def identity(self) -> str:
        """See `lrm.contracts.Engine`."""
        return f"{self.name} {str(self.dtype).removeprefix('torch.')}"

    def __enter__(self) -> Self:
        _check_folder(self.checkpoint)
        AttentionInterface.register(ATTENTION, attend)
        path = str(self.checkpoint.path)
        local = {"local_files_only": True, "trust_remote_code": False}
        how = {"use_safetensors": True, "dtype": self.dtype, "attn_implementation": ATTENTION}
        try:
            with _no_progress_bar():
                model = AutoModelForCausalLM.from_pretrained(path, **how, **local)
            self._tokenizer = AutoTokenizer.from_pretrained(path, **local)
        except (OSError, ValueError, SafetensorError) as error:
            raise BadInput(f"checkpoint {path} cannot be loaded, save it again: {error}") from error
        self._model = model.to(self.device).eval()
        self._codec = Codec(
            self._encode,
            self._decode,
            _eos_ids(model, self._tokenizer),
            model.config.max_position_embeddings,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._model = self._tokenizer = None

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """See `lrm.contracts.Engine`. Raises BadInput first of all if a prompt does not fit."""
        rows = [
            self._codec.row(index, prompt, self._asked(prompt), decoding)
            for index, prompt in enumerate(prompts)
        ]
        if not rows:
            return []
        batch = Batch(self._model, rows, self.slots, decoding)
        return finish(batch, len(rows), self._codec, decoding, on_completion)

    def _asked(self, prompt: Prompt) -> list[int]:
        """The prompt's own token ids."""
        if not prompt.chat:
            ids: list[int] = self._tokenizer(prompt.text)["input_ids"]
            return ids
        if not self._tokenizer.chat_template:
            raise no_template(self.checkpoint.path)
        message = [{"role": "user", "content": prompt.text}]
        text: str = self._tokenizer.apply_chat_template(
            message, tokenize=False, add_generation_prompt=True
        )
        return self._encode(opened(text))

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text


def _check_folder(checkpoint: Checkpoint) -> None:
    """Raises BadInput unless this is a folder with the weights of a family that can be run."""
    path = checkpoint.path
    if checkpoint.format != "hf":
        raise BadInput(f"{path} is a {checkpoint.format} file; run it with the llama.cpp engine")
    try:
        config = json.loads((path / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{path} has no readable config.json; give the folder of a Hugging Face checkpoint"
        ) from error
    family = config.get("model_type")
    if family not in FAMILIES:
        raise BadInput(
            f"{path} is of type {family}; the transformers engine runs {', '.join(FAMILIES)}"
        )
    if "sliding_attention" in (config.get("layer_types") or ()) or config.get("use_sliding_window"):
        raise BadInput(f"{path} uses sliding-window attention, which this engine does not run")
    if not any(path.glob("*.safetensors")):
        raise BadInput(f"{path} has no .safetensors weights; convert them, others are not read")


def _native_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    features = torch.cpu.get_capabilities()
    native = features.get("avx512_bf16") or features.get("amx_bf16")
    return torch.bfloat16 if native else torch.float32


def _eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends a reply, from the generation config, the config and the tokenizer."""
    ids: set[int] = set()
    for source in (model.generation_config, model.config, tokenizer):
        named = source.eos_token_id
        ids.update(named if isinstance(named, list) else [] if named is None else [named])
    return frozenset(ids)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
