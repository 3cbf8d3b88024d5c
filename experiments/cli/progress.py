"""What a person watches while a search runs."""

from __future__ import annotations

import io
import sys
import time

from tqdm import tqdm


def say(text: str) -> None:
    """A line on stderr, above the bar if there is one."""
    tqdm.write(text, file=sys.stderr)


class Progress:
    """One bar over the replies of all levels; forced answers and pruning show beside it. Where
    stderr is no terminal, a line now and then."""

    def __init__(self, replies: int) -> None:
        self._moves = sys.stderr.isatty()
        self._bar = tqdm(
            total=replies,
            file=sys.stderr if self._moves else io.StringIO(),
            dynamic_ncols=True,
            mininterval=float("inf"),
            bar_format="{desc} {percentage:3.0f}%|{bar:24}| {n_fmt}/{total_fmt} replies "
            "[{elapsed}<{remaining}]{postfix}",
        )
        self._pause = 0.2 if self._moves else 30.0
        self._shown = 0.0
        self.decoded = 0
        self.seconds = 0.0
        self._left = 0
        self._since = time.perf_counter()

    def stage(self, name: str, replies: int = 0) -> None:
        """Names what goes on; the next `replies` replies move the bar, further ones do not."""
        self._left = replies
        self._since = time.perf_counter()
        self._bar.set_description_str(name, refresh=False)
        self._show(self._since)

    def reply(self, tokens: int, forced: bool = False) -> None:
        """One reply is there, for which `tokens` were decoded now (0: it was stored); `forced`: an
        answer at a budget, which does not move the bar."""
        now = time.perf_counter()
        if tokens:
            self.decoded += tokens
            self.seconds += now - self._since
            self._bar.set_postfix_str(f"{self.decoded / self.seconds:,.0f} tokens/s", refresh=False)
        self._since = now
        if self._left and not forced:
            self._left -= 1
            self._bar.update()
        if now - self._shown > self._pause:
            self._show(now)

    def module(self, done: int, total: int) -> None:
        """So many matrices, or levels, of all are there."""
        now = time.perf_counter()
        self._bar.set_description_str(f"compressing all levels, {done}/{total}", refresh=False)
        if done == total or now - self._shown > self._pause:
            self._show(now)

    def close(self) -> None:
        self._show(time.perf_counter())
        self._bar.close()

    def _show(self, now: float) -> None:
        self._shown = now
        if self._moves:
            self._bar.refresh()
        else:
            say(str(self._bar))
