"""A coroutine in a thread of its own, whose results the caller reads as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from queue import Queue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None = None


def in_background(
    work: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]],
) -> Generator[T, None, None]:
    """Yields what `work(put)` puts, in that order, then raises what `work` raised, if it did.

    Closing the generator (or an exception that passes through it, such as Ctrl-C) cancels the
    coroutine at the next thing it waits for. A thread, because the caller may itself run inside an
    event loop, as a notebook does; a coroutine, because a thread that waits for a socket cannot be
    cancelled.
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
