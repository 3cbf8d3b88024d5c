"""Stored generations: a reply is never decoded twice, and none is lost when a process is killed.

One append-only JSONL file holds the replies of one checkpoint, engine and way of sampling. A
reply's key is a digest of its whole prompt (text, given tokens, seed, caps): any change of
question, budget or seed is another reply, and names and paths never matter. A stored reply whose
open thinking was not cut serves where it may be cut too. Memory holds only where each reply begins
in the file. The file stays open, and replies are read back one at a time.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from os import SEEK_END
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Generic, Self, TypeVar

from filelock import FileLock

from lrm.contracts.engine import Engine, OnTokens
from lrm.digests import of_json
from lrm.errors import BadInput
from lrm.records.model import Checkpoint
from lrm.records.reply import Completion, Decoding, Prompt

VERSION = 2
"""Rises when stored replies may no longer be mixed with new ones."""

FIELDS = tuple(field.name for field in fields(Completion))
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, eq=False)
class CachedReplies(Mapping[K, Completion], Generic[K]):
    """Stored replies by name, each read when it is asked for, as long as its cache is open.

    `offsets` has the byte of the cache's file at which each begins; `read` reads the one at a byte.
    """

    offsets: Mapping[K, int]
    read: Callable[[int], Completion]

    def __getitem__(self, name: K) -> Completion:
        return self.read(self.offsets[name])

    def __contains__(self, name: object) -> bool:
        return name in self.offsets  # Mapping would read the reply

    def __iter__(self) -> Iterator[K]:
        return iter(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets)


class ReplyCache:
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
        self._offsets: dict[str, int] = {}
        self._lock = FileLock(f"{self.path}.lock")
        self._file: BinaryIO | None = None
        self._engines = ExitStack()
        self._opened: Engine | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self._file = self.path.open("a+b")
            self._file.truncate(self._index(self._file))
        except BaseException:
            self.__exit__(None, None, None)
            raise
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
        prompts: Mapping[K, Prompt],
        decoding: Decoding,
        engine: Engine,
        on_reply: Callable[[K, int], None],
        then: Callable[[K, Completion], Mapping[K, Prompt]] = lambda name, reply: {},
        on_tokens: OnTokens | None = None,
    ) -> Mapping[K, Completion]:
        """The reply to each prompt, by its name, from the file or else from the engine.

        `then(name, reply)` gives further prompts, whose replies are wanted too; the engine decodes
        them together with what it still has to do. `on_reply(name, tokens)` is called for each
        reply, with the tokens newly decoded for it; `on_tokens` is the engine's. `engine` is opened
        only if something is missing, and stays open until the store closes, since some take a
        minute to start.
        """
        offsets: dict[K, int] = {}
        keys: list[str] = []  # of the prompts that the engine is given, by its index
        names: dict[str, list[K]] = {}

        def missing(wanted: Mapping[K, Prompt]) -> list[Prompt]:
            """Those of `wanted`, and of what follows from them, that nobody has asked yet."""
            unasked: list[Prompt] = []
            for name, prompt in wanted.items():
                key = self._key(prompt)
                if key in self._offsets:
                    offsets[name] = self._offsets[key]
                    self.reused += 1
                    on_reply(name, 0)
                    unasked += missing(then(name, self._read(offsets[name])))
                elif key in names:
                    names[key].append(name)
                else:
                    keys.append(key)
                    names[key] = [name]
                    unasked.append(prompt)
            return unasked

        def keep(index: int, reply: Completion) -> list[Prompt]:
            key = keys[index]
            self._append(key, reply)
            self.decoded += 1
            unasked: list[Prompt] = []
            tokens = reply.tokens - reply.given
            for name in names.pop(key):
                offsets[name] = self._offsets[key]
                on_reply(name, tokens)
                unasked += missing(then(name, reply))
                tokens = 0
            return unasked

        if first := missing(prompts):
            if self._opened is not engine:
                self._opened = None
                self._engines.close()
                self._opened = self._engines.enter_context(engine)
            engine.generate(first, decoding, keep, on_tokens)
        return CachedReplies(offsets, self._read)

    def _key(self, prompt: Prompt) -> str:
        """Where the reply to a prompt is stored, or will be."""
        key, whole = key_of(prompt), key_of(replace(prompt, open_tokens=0))
        return whole if whole in self._offsets and key not in self._offsets else key

    def _append(self, key: str, reply: Completion) -> None:
        assert self._file is not None, "the cache is not open"
        row = {"key": key} | {name: getattr(reply, name) for name in FIELDS}
        # The same handle reads, so its position may be anywhere.
        self._offsets[key] = self._file.seek(0, SEEK_END)
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()

    def _read(self, offset: int) -> Completion:
        assert self._file is not None, "the cache is not open"
        self._file.seek(offset)
        return _parse(self._file.readline())[1]

    def _index(self, file: BinaryIO) -> int:
        """Notes where each whole line begins; returns where the last whole line ends."""
        end = file.seek(0)
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                self._offsets[_parse(line)[0]] = end
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BadInput(
                    f"{self.path}:{number} is not a stored reply; delete the file to decode "
                    "them again"
                ) from error
            end += len(line)
        return end


def key_of(prompt: Prompt) -> str:
    """A digest of all that decides the reply to a prompt. The tokens reserved for it do not."""
    parts = (prompt.text, prompt.seed, prompt.max_tokens, prompt.closing, prompt.chat)
    # Replies that were stored before there were system texts are found again.
    system = [] if prompt.system is None else [prompt.system]
    cut = [prompt.open_tokens] if prompt.open_tokens else []
    digest = hashlib.sha256(json.dumps([*parts, prompt.thinking, *system, *cut]).encode())
    digest.update(array("q", prompt.prefix_ids).tobytes())
    return digest.hexdigest()


def _parse(line: bytes) -> tuple[str, Completion]:
    row: dict[str, Any] = json.loads(line)
    key: str = row.pop("key")
    row |= {name: tuple(row[name]) for name in ("token_ids", "prompt_ids")}
    return key, Completion(**row)
