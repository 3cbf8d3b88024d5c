"""What vLLM is started with: how a model is split over devices, and the memory it may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from lrm.engines.vllm.wire import Message
from lrm.errors import BadInput
from lrm.records.reply import THINK_CLOSE, THINK_OPEN

CPU_CACHE = 1 << 30
"""Bytes for keys and values on a CPU. vLLM would take nine tenths of the machine's memory."""

CPU_BLOCK = 32
"""Tokens in a block of the cache on a CPU, the fewest its kernels take. Only whole blocks are
shared between prompts, so with vLLM's own 128 short prompts would share nothing."""

CPU_STEP = 4096
"""Tokens in one step on a CPU, unless a single prompt may be longer. vLLM's own default."""

STREAM_INTERVAL = 32
"""Tokens of a reply that come in one piece. With fewer, each step takes longer, since an object is
made of each piece. With more, more tokens are decoded in vain behind an answer's cap, which is
checked only when a piece comes."""

FIXED_OPTIONS: Message = {
    "enable_prefix_caching": True,
    "reasoning_config": {"reasoning_start_str": THINK_OPEN, "reasoning_end_str": THINK_CLOSE},
    "stream_interval": STREAM_INTERVAL,
    "trust_remote_code": False,
}


@dataclass(frozen=True, slots=True)
class Parallelism:
    """Over how many GPUs each layer (`tensor`) and the stack of layers (`pipeline`) are split, and
    how many of the whole run side by side (`data`). `executor` is what runs the parts, by vLLM's
    names. Raises BadInput for a size below 1."""

    tensor: int
    pipeline: int
    data: int
    executor: str | None

    def __post_init__(self) -> None:
        if min(self.tensor, self.pipeline, self.data) < 1:
            raise BadInput(
                "tensor_parallel_size, pipeline_parallel_size and data_parallel_size must be 1 or "
                f"more, got {self.tensor}, {self.pipeline} and {self.data}"
            )

    @property
    def gpus(self) -> int:
        """GPUs that one of the whole runs on."""
        return self.tensor * self.pipeline

    def options(self) -> Message:
        return {
            "tensor_parallel_size": self.tensor,
            "pipeline_parallel_size": self.pipeline,
            "distributed_executor_backend": self.executor,
        }

    def check_model(self, path: Path, config: Mapping[str, object]) -> None:
        """BadInput if the attention heads do not divide by `tensor`, or the layers are fewer than
        `pipeline`."""
        heads = _count(config, "num_attention_heads")
        layers = _count(config, "num_hidden_layers")
        if heads % self.tensor:
            raise _indivisible(path, heads, "attention_heads", "tensor_parallel_size", self.tensor)
        if layers and layers < self.pipeline:
            raise _indivisible(
                path, layers, "hidden_layers", "pipeline_parallel_size", self.pipeline
            )


def _count(config: Mapping[str, object], key: str) -> int:
    """A number of the config, 0 if it has none (multimodal models keep theirs elsewhere)."""
    value = config.get(key)
    return value if isinstance(value, int) else 0


def _indivisible(path: Path, count: int, parts: str, option: str, size: int) -> BadInput:
    return BadInput(
        f"{path} has {count} {parts}, which {option} {size} does not split; give a smaller one "
        "that does"
    )


def memory_options(device: torch.device, gpu_memory: float, context: int) -> Message:
    """The memory that vLLM may take, and in what pieces.

    On a CPU a prompt is never split over steps: vLLM 0.32 then rewinds the reply's generator, which
    torch's CPU generators cannot do ("CPU Generator does not use offset").
    """
    if device.type != "cpu":
        return {"gpu_memory_utilization": gpu_memory}
    return {
        "kv_cache_memory_bytes": CPU_CACHE,
        "block_size": CPU_BLOCK,
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(CPU_STEP, context),
    }
