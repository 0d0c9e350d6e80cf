"""Lines of progress with rate and remaining time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW = 50
"""Ticks that the rate is taken over: what came out of the store at the start is soon forgotten."""


class Clock:
    """Turns counts into lines such as ``covariances: 12 of 127 batches, 1.3/s, 88 s left``.

    Parameters
    ----------
    what
        What is being done.
    unit
        What is counted, in the plural.
    report
        Where the lines go.
    seconds
        Shortest time between two lines, in seconds; the last line always comes.
    now
        A clock that never goes back, in seconds.
    """

    def __init__(
        self,
        what: str,
        unit: str,
        report: Callable[[str], None],
        seconds: float = 1.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._unit, self._report, self._pause, self._now = what, unit, report, seconds, now
        self._start = now()
        self._last = self._start - seconds
        self._seen: deque[tuple[float, int]] = deque([(self._start, 0)], maxlen=WINDOW)

    def tick(self, done: int, total: int, note: str = "") -> None:
        """Note that ``done`` of ``total`` are done; a line comes out now and then."""
        now = self._now()
        self._seen.append((now, done))
        if now - self._last < self._pause and done < total:
            return
        self._last = now
        self._report(f"{self._what}: {done} of {total} {self._unit}{self._pace(total)}{note}")

    def _pace(self, total: int) -> str:
        (since, before), (now, done) = self._seen[0], self._seen[-1]
        if now <= since or done <= before or done >= total:
            return ""
        rate = (done - before) / (now - since)
        per = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
        return f", {per}, {(total - done) / rate:.0f} s left"

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._now() - self._start
