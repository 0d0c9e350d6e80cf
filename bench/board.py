"""What the benchmarks share: a table whose lines have budgets, and CPU seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table


def cpu(call: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    call()
    return time.process_time() - started


class Board:
    """The table; every line is also told as soon as it is there."""

    def __init__(self, title: str, console: Console) -> None:
        self.table = Table("what", "measured", "ratio", "budget", "", title=title)
        self._console, self._start = console, time.monotonic()
        self.over = 0

    def say(self, message: str) -> None:
        """A line of progress."""
        self._console.print(f"{time.monotonic() - self._start:5.0f} s  {message}", highlight=False, markup=False)

    def row(self, what: str, measured: str, value: float, unit: str, budget: float | None = None) -> None:
        """One line: what was measured, the number that counts, and its budget if it has one."""
        verdict = "" if budget is None else ("within" if value <= budget else "OVER")
        self.over += verdict == "OVER"
        number = f"{value:.4f} {unit}" if value < 0.1 else f"{value:.2f} {unit}" if value < 5 else f"{value:.1f} {unit}"
        self.say(f"{what}: {number} {verdict}")
        self.table.add_row(what, measured, number, "" if budget is None else f"≤ {budget:g}", verdict)
