"""Generations kept as they come: a reply is never decoded twice, and a kill loses none.

One append-only JSONL file holds the replies of one checkpoint, engine and way of sampling; a
reply's key is a digest of its whole prompt (text, given tokens, seed, cap), so any change of
question, budget or seed is another reply, and names and paths never matter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from filelock import FileLock

from lrm.contracts import Engine
from lrm.digests import of_json
from lrm.errors import BadInput
from lrm.records import Checkpoint, Completion, Decoding, Prompt

VERSION = 1
"""Rises when stored replies may no longer be mixed with new ones."""


class Generations:
    """A checkpoint's stored replies, opened by one process at a time.

    `engine` is the engine's identity. `reused` and `decoded` count the replies found in the file
    and those generated.
    """

    def __init__(
        self, folder: Path, checkpoint: Checkpoint, decoding: Decoding, engine: str
    ) -> None:
        self.identity = of_json(
            {
                "version": VERSION,
                "checkpoint": checkpoint.revision,
                "engine": engine,
                "temperature": decoding.temperature,
                "top_p": decoding.top_p,
                "answer_tokens": decoding.answer_tokens,
            }
        )
        self.path = folder / f"{self.identity[:24]}.jsonl"
        self.reused = self.decoded = 0
        self._replies: dict[str, Completion] = {}
        self._lock = FileLock(f"{self.path}.lock")
        self._file: BinaryIO | None = None
        self._engines = ExitStack()
        self._opened: Engine | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        whole = 0
        if self.path.exists():
            for number, line in enumerate(self.path.read_bytes().splitlines(keepends=True), 1):
                if not line.endswith(b"\n"):
                    break
                key, reply = self._parse(line, number)
                self._replies[key] = reply
                whole += len(line)
        self._file = self.path.open("ab")
        self._file.truncate(whole)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._engines.__exit__(kind, error, trace)
        finally:
            self._opened = None
            if self._file:
                self._file.close()
            self._lock.release()

    def replies(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        engine: Engine,
        on_reply: Callable[[int], None],
    ) -> list[Completion]:
        """One reply per prompt, in order, from the file or else from the engine.

        `engine` is opened only if something is missing, and stays open until the store closes:
        some take a minute to start, and one call's replies are the next one's prompts.
        `on_reply(tokens)` is called for each reply, with the tokens newly decoded for it.
        """
        keys = [of_json(asdict(prompt)) for prompt in prompts]
        missing = {k: p for k, p in zip(keys, prompts, strict=True) if k not in self._replies}
        for _ in range(len(prompts) - len(missing)):
            on_reply(0)
        self.reused += len(prompts) - len(missing)
        if missing:
            names = list(missing)

            def keep(index: int, reply: Completion) -> None:
                self._append(names[index], reply)
                self.decoded += 1
                on_reply(reply.tokens - reply.given)

            if self._opened is not engine:
                self._opened = None
                self._engines.close()
                self._opened = self._engines.enter_context(engine)
            engine.generate(list(missing.values()), decoding, keep)
        return [self._replies[key] for key in keys]

    def _append(self, key: str, reply: Completion) -> None:
        assert self._file is not None, "the store is not open"
        self._replies[key] = reply
        self._file.write(json.dumps({"key": key, **asdict(reply)}).encode() + b"\n")
        self._file.flush()

    def _parse(self, line: bytes, number: int) -> tuple[str, Completion]:
        try:
            row = json.loads(line)
            key = row.pop("key")
            return key, Completion(**row | {"token_ids": tuple(row["token_ids"])})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"{self.path}:{number} is not a stored reply; delete the file to decode them again"
            ) from error
