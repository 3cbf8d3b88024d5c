"""The progress bar of a search."""

from __future__ import annotations

import io
import sys
import time

from tqdm import tqdm


def say(text: str) -> None:
    """Prints a line on stderr, above the bar if there is one."""
    tqdm.write(text, file=sys.stderr)


class Progress:
    """One bar over the replies of all levels; forced answers and pruning are shown beside it.

    If stderr is not a terminal, a line is printed now and then instead.
    """

    def __init__(self, replies: int) -> None:
        self._interactive = sys.stderr.isatty()
        self._bar = tqdm(
            total=replies,
            file=sys.stderr if self._interactive else io.StringIO(),
            dynamic_ncols=True,
            mininterval=float("inf"),
            bar_format="{desc} {percentage:3.0f}%|{bar:24}| {n_fmt}/{total_fmt} replies "
            "[{elapsed}<{remaining}]{postfix}",
        )
        self._pause = 0.2 if self._interactive else 30.0
        self._shown = 0.0
        self.decoded = 0
        self.seconds = 0.0
        self._left = 0
        self._since = time.perf_counter()

    def stage(self, name: str, replies: int = 0) -> None:
        """Names the current step. The next `replies` replies move the bar; later ones do not."""
        self._left = replies
        self._since = time.perf_counter()
        self._bar.set_description_str(name, refresh=False)
        self._show(self._since)

    def reply(self, tokens: int, forced: bool = False) -> None:
        """Counts one reply, for which `tokens` were decoded now (0 if it was stored already).

        A `forced` answer, at a budget, does not move the bar.
        """
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

    def writing(self, tokens: int) -> None:
        """Shows, on a terminal alone, how many tokens the replies have that are being decoded."""
        now = time.perf_counter()
        if not self._interactive or now - self._shown <= self._pause:
            return
        speed = (self.decoded + tokens) / (self.seconds + now - self._since)
        self._bar.set_postfix_str(
            f"{tokens:,} tokens being decoded, {speed:,.0f} tokens/s", refresh=False
        )
        self._show(now)

    def module(self, done: int, total: int) -> None:
        """Shows that `done` of `total` matrices, blocks or tensors are compressed."""
        now = time.perf_counter()
        self._bar.set_description_str(f"compressing all levels, {done}/{total}", refresh=False)
        if done == total or now - self._shown > self._pause:
            self._show(now)

    def close(self) -> None:
        self._show(time.perf_counter())
        self._bar.close()

    def _show(self, now: float) -> None:
        self._shown = now
        if self._interactive:
            self._bar.refresh()
        else:
            say(str(self._bar))
