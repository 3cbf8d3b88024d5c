"""A coroutine that runs in a thread of its own, while the caller reads its results as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from queue import Queue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    """No more results follow; `error` is what the coroutine raised, if it did."""

    error: BaseException | None = None


def in_background(
    work: Callable[[Callable[[T], None]], Coroutine[object, None, None]],
) -> Generator[T, None, None]:
    """Yields what `work(put)` puts, in that order, then raises what `work` raised, if it did.

    Closing the generator (or an exception that passes through it, such as Ctrl-C) cancels the
    coroutine at its next await. It runs in a thread because the caller may itself be inside an
    event loop, as in a notebook; and it is a coroutine because a thread that waits for a socket
    cannot be cancelled.
    """
    results: Queue[T | _End] = Queue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work(results.put))

    def run() -> None:
        end = _End()
        try:
            loop.run_until_complete(task)
        except BaseException as error:
            end = _End(error)
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            results.put(end)

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        while not isinstance(item := results.get(), _End):
            yield item
        if item.error:
            raise item.error
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()
