"""The process that holds vLLM: `python -m lrm.engines.vllm.worker`.

One JSON object a line: orders come in on stdin, answers go out on what was stdout; whatever vLLM
itself prints goes to stderr. The orders are the methods `_start`, `_swap` and `_generate`, with
their arguments as fields. Each order is answered by lines of results and then {"end": true}. An
order that fails is answered by {"failed": why, "memory": whether memory ran out}, and the process
ends. It also ends when stdin does, which is when the other side ended, for whatever reason.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

import torch
from vllm import LLM, SamplingParams
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind

from lrm.engines.shared.reply import EndRules, Reply
from lrm.engines.vllm.wire import Message, pack, unpack_reply
from lrm.records.reply import Stop
from lrm.tokenizers import decode, open_folder

SHUTDOWN_GRACE = 10.0
"""Seconds that vLLM has to leave by itself once stdin has ended; then its processes are killed."""

SEEDS = 1 << 63
"""Seeds are taken modulo this: torch's generators take 64 bits, and to vLLM -1 means no seed."""


class Inbox:
    """Orders as they come. A thread reads them, so that the end of stdin is seen at any time."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[Message | None] = SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def __iter__(self) -> Iterator[Message]:
        """All orders until stdin ends."""
        return iter(self._orders.get, None)

    def new(self, wait: bool) -> Iterator[Message]:
        """The orders that have come; `wait`: for one if there is none. The end of stdin, which is
        when the other side ended, counts as an order to abort."""
        with suppress(Empty):
            while True:
                order = self._orders.get(wait)
                wait = False
                if order is None:
                    self._orders.put(None)
                    yield {"order": "abort"}
                    return
                yield order

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            self._orders.put(json.loads(line))
        self._orders.put(None)
        time.sleep(SHUTDOWN_GRACE)
        os.killpg(0, signal.SIGKILL)


class Worker:
    """A vLLM engine, and the orders that it carries out."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        # Answers get a copy of stdout; what vLLM prints there goes to stderr from now on.
        self._answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self._calls = 0

    def serve(self) -> None:
        """Carries out orders until there are no more, or one fails."""
        orders: dict[str, Callable[..., None]] = {
            "start": self._start,
            "swap": self._swap,
            "generate": self._generate,
        }
        try:
            for order in self._inbox:
                name = order.pop("order")
                if name in orders:  # an "abort" that came too late has nothing to end
                    orders[name](**order)
                    self._answer(end=True)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            # Only torch has a class for it; vLLM raises ValueError, so its words must tell.
            memory = isinstance(error, torch.OutOfMemoryError) or "memory" in reason
            self._answer(failed=reason, memory=memory)
            raise

    def _start(self, model: str, **options: object) -> None:
        self._llm = LLM(model=model, **options)
        self._decode = partial(decode, open_folder(Path(model)))

    def _swap(self, path: str) -> None:
        """Goes on with the weights in the folder `path`; what was cached is forgotten."""
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": path})
        if current_platform.is_cpu():
            self._llm.apply_model(_pack_head)
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("the prefix cache still holds keys and values of the old weights")

    def _generate(
        self,
        replies: list[Message],
        sampling: Message,
        eos: list[int],
        close_ids: list[int],
        answer_tokens: int,
    ) -> None:
        """Decodes replies in one queue; answers each as soon as it is finished.

        After each step it answers how many tokens the running replies have ("decoding").
        Meanwhile these orders may come: "more" adds replies before all that wait, "all" says that
        no more will come, "abort" that none is wanted any longer.
        """
        engine = self._llm.llm_engine
        rules = EndRules(frozenset(eos), close_ids, answer_tokens, self._decode)
        # vLLM runs requests in the order they come, so it gets no more than it runs at once: what
        # follows a reply can then run next, while the reply's tokens are still in the cache.
        most = engine.vllm_config.scheduler_config.max_num_seqs
        self._calls += 1
        waiting = deque(replies)
        running: dict[str, Reply] = {}

        while True:
            # 1) Orders that came meanwhile; without any reply to decode, wait for one.
            for order in self._inbox.new(wait=not (running or waiting)):
                if order["order"] == "abort":
                    engine.abort_request(list(running))
                    return
                if order["order"] == "all":
                    return
                waiting.extendleft(reversed(order["replies"]))

            # 2) vLLM is filled up with waiting replies.
            while waiting and len(running) < most:
                reply, params = _request(waiting.popleft(), sampling, eos)
                request_id = f"{self._calls}-{reply.index}"
                running[request_id] = reply
                engine.add_request(request_id, {"prompt_token_ids": list(reply.ids)}, params)

            # 3) One step of all that run. A piece may hold tokens behind a reply's end.
            outputs = engine.step()
            for output in outputs:
                reply = running[output.request_id]
                stop: Stop | None = None
                for token in output.outputs[0].token_ids:
                    stop = stop or reply.append(token, rules)
                if output.finished and not stop:
                    raise RuntimeError(f"a reply ended early ({output.outputs[0].finish_reason})")

                # 4) A finished reply leaves vLLM, if vLLM does not know that it has ended.
                if stop:
                    del running[output.request_id]
                    if not output.finished:
                        engine.abort_request([output.request_id])
                    self._hand_over(reply, stop, output.num_cached_tokens or 0)
            if outputs:
                self._answer(decoding=sum(reply.decoded for reply in running.values()))

    def _hand_over(self, reply: Reply, stop: Stop, reused: int) -> None:
        """Answers a finished reply, of whose prompt `reused` tokens were in the cache."""
        decoded = pack(reply.ids[reply.prompt_tokens + reply.given :])
        self._answer(index=reply.index, decoded=decoded, stop=stop, reused=reused)

    def _answer(self, **message: object) -> None:
        with suppress(BrokenPipeError):  # the other side has ended, and so will this one
            self._answers.write(json.dumps(message) + "\n")
            self._answers.flush()


def _request(fields: Message, sampling: Message, eos: list[int]) -> tuple[Reply, SamplingParams]:
    """A reply as it was sent, and how vLLM is to decode it: pieces of token ids, without text."""
    reply, seed, thinking_budget = unpack_reply(fields)
    params = SamplingParams(
        **sampling,
        seed=seed % SEEDS,
        max_tokens=reply.limit,
        thinking_token_budget=thinking_budget,
        stop_token_ids=eos,
        detokenize=False,
        skip_special_tokens=False,
        output_kind=RequestOutputKind.DELTA,
    )
    return reply, params


def _pack_head(model: torch.nn.Module) -> None:
    """Packs the weights of the head for the CPU again.

    A head tied to the embedding is reloaded through the embedding, and vLLM 0.32 then keeps its
    packed copy of the old weights (vllm/model_executor/model_loader/reload, "Limitations").
    """
    method = getattr(model.lm_head, "quant_method", None)
    if method is not None:
        method.process_weights_after_loading(model.lm_head)


if __name__ == "__main__":
    Worker(Inbox()).serve()
