"""One call of the vLLM engine: which process decodes which reply, and which are not finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrm.contracts.engine import OnCompletion
from lrm.engines.shared.folder_codec import FolderCodec
from lrm.engines.shared.reply import Reply
from lrm.engines.vllm.wire import Message, pack_reply, unpack
from lrm.errors import BadInput, EngineFailed
from lrm.records.reply import THINK_OPEN, Completion, Decoding, Prompt


@dataclass(frozen=True, slots=True)
class _Pending:
    """A reply that a worker decodes, and what it replies to."""

    reply: Reply
    prompt: Prompt


class GenerateCall:
    """The prompts of one call, shared out among `workers` processes.

    `completions` holds the finished replies by index, unless `on_completion` takes them.
    """

    def __init__(
        self,
        codec: FolderCodec,
        decoding: Decoding,
        *,
        context: int,
        workers: int,
        on_completion: OnCompletion | None,
    ) -> None:
        self.completions: dict[int, Completion] = {}
        self._codec, self._decoding = codec, decoding
        self._context, self._workers = context, workers
        self._on_completion = on_completion
        self._pending: dict[int, _Pending] = {}
        self._unfinished: dict[int, int] = {}  # replies of each worker
        self._total = 0

    def orders(self, prompts: Sequence[Prompt]) -> dict[int, Message]:
        """The order for each worker that gets prompts; BadInput if one does not fit.

        Prompts of one text go to the same worker, since they share its cached keys and values.
        """
        queues: dict[int, list[Message]] = {}
        worker_of: dict[str, int] = {}
        for prompt in prompts:
            worker = worker_of.setdefault(prompt.text, len(worker_of) % self._workers)
            queues.setdefault(worker, []).append(self._begin(prompt))
        self._unfinished = {worker: len(queue) for worker, queue in queues.items()}
        common = {
            "sampling": {
                "temperature": self._decoding.temperature,
                "top_p": self._decoding.top_p,
            },
            "eos": sorted(self._codec.eos),
            "close_ids": self._codec.close_ids,
            "answer_tokens": self._decoding.answer_tokens,
        }
        return {worker: {"replies": queue, **common} for worker, queue in queues.items()}

    def finish(self, worker: int, answer: Message) -> list[Message]:
        """Takes a worker's finished reply; returns what to send to that worker: the prompts that
        follow the reply, and that no more will come."""
        index: int = answer["index"]
        completion = self._completion(self._pending.pop(index), answer)
        further: list[Message] = []
        if self._on_completion:
            prompts = self._on_completion(index, completion) or ()
            further = [self._begin(prompt) for prompt in prompts]
        else:
            self.completions[index] = completion
        self._unfinished[worker] += len(further) - 1
        messages: list[Message] = [{"order": "more", "replies": further}] if further else []
        if not self._unfinished[worker]:
            messages.append({"order": "all"})
        return messages

    def _begin(self, prompt: Prompt) -> Message:
        """The reply to the next prompt, as it is sent."""
        reply = self._codec.start(self._total, prompt, self._decoding, self._context)
        self._pending[self._total] = _Pending(reply, prompt)
        self._total += 1
        return pack_reply(reply, prompt.seed, thinking_budget(self._codec, reply, prompt))

    def _completion(self, pending: _Pending, answer: Message) -> Completion:
        """The finished reply; EngineFailed if vLLM did not end its thinking."""
        reply, budget = pending.reply, pending.prompt.thinking
        reply.ids.extend(unpack(answer["decoded"]))
        completion = self._codec.completion(reply, answer["stop"], self._decoding)
        if budget and completion.thinking_tokens > budget:
            raise EngineFailed(
                f"vLLM let prompt {reply.index} think for {completion.thinking_tokens} tokens, "
                f"though its budget was {budget}; force the answers (--closing plain)"
            )
        return completion


def thinking_budget(codec: FolderCodec, reply: Reply, prompt: Prompt) -> int:
    """`Prompt.thinking` as vLLM counts it, which is from the opening tag on, so that what was given
    behind the tag counts too; 0 if the thinking has no budget."""
    if not prompt.thinking:
        return 0
    tag = codec.encode(THINK_OPEN)
    opened_at = _find_last(reply.ids, tag)
    if opened_at is None:
        raise BadInput(
            f"prompt {reply.index} has no {THINK_OPEN}, behind which vLLM counts the thinking; "
            "force the answers (--closing plain)"
        )
    return prompt.thinking + len(reply.ids) - opened_at - len(tag)


def _find_last(ids: Sequence[int], part: Sequence[int]) -> int | None:
    """Index of the last place where `part` occurs in `ids`, or None."""
    for start in range(len(ids) - len(part), -1, -1):
        if tuple(ids[start : start + len(part)]) == tuple(part):
            return start
    return None
