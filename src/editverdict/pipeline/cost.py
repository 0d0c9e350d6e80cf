"""What an edit costs: CPU seconds without one-time preparation, and the memory it takes at its peak."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psutil
import torch

from editverdict.data.records import EditRecord
from editverdict.editors.base import Compute, Step, Values
from editverdict.models.memory import give_back

SAMPLE_EVERY = 0.01
"""Seconds between two looks at the memory."""
VALUE_COST = "value_cost"
"""Where a stored value notes what it took: CPU seconds of one value, and the peak memory of its group."""
Result = TypeVar("Result")


@dataclass
class Cost:
    """Filled while an edit is made."""

    cpu_seconds: float = 0.0
    """CPU time of this process, preparation left out."""
    preparation_seconds: float = 0.0
    """CPU time of what is made once for all edits: covariances, projectors, hypernetworks, prefixes."""
    peak_mib: float = 0.0
    """Largest resident size of the process beyond that at the start."""
    cuda_peak_mib: float | None = None
    """Largest memory allocated on the CUDA device beyond that at the start; None where there is none in use."""
    _depth: int = field(default=0, repr=False)
    _elsewhere: float = field(default=0.0, repr=False)
    """Time spent on values here less what they took when they were made."""

    def once(self, call: Callable[..., Result]) -> Callable[..., Result]:
        """The same callable, its time booked as preparation."""

        def timed(*args: Any, **options: Any) -> Result:
            started, outermost = time.process_time(), self._depth == 0
            self._depth += 1
            try:
                return call(*args, **options)
            finally:
                self._depth -= 1
                if outermost:
                    self.preparation_seconds += time.process_time() - started

        return timed

    def shared(self, values: Values) -> Values:
        """The same values, booked at what they took when they were made, whoever made them.

        Values of first edits are optimised in groups and stored for all methods that start from them, so that the time
        spent here is that of a group for one edit, and nothing for the next.
        """

        def booked(fields: Mapping[str, Any], edits: Sequence[EditRecord], compute: Compute) -> list[Step]:
            started, prepared = time.process_time(), self.preparation_seconds
            found = values(fields, edits, compute)
            spent = time.process_time() - started - (self.preparation_seconds - prepared)
            costs = [step.info[VALUE_COST] for step in found]
            self._elsewhere += spent - sum(cost["cpu_seconds"] for cost in costs)
            self.peak_mib = max(self.peak_mib, *(cost["peak_mib"] for cost in costs))
            return found

        return booked

    def fields(self) -> dict[str, float]:
        """For a step's info."""
        on_cuda = {} if self.cuda_peak_mib is None else {"cuda_peak_mib": round(self.cuda_peak_mib, 1)}
        return {
            "cpu_seconds": round(self.cpu_seconds, 3),
            "preparation_seconds": round(self.preparation_seconds, 3),
            "peak_mib": round(self.peak_mib, 1),
            **on_cuda,
        }


@dataclass
class Peak:
    """Filled while a block runs."""

    mib: float = 0.0
    """Largest memory held at any moment: allocated on a CUDA device, resident size of the process on a CPU."""


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Watch how much memory there is in use, in all: on a CPU from a thread that sleeps between looks."""
    found = Peak()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        torch.cuda.synchronize(device)
        found.mib = torch.cuda.max_memory_allocated(device) / 2**20
        return
    give_back()
    process, stop = psutil.Process(), threading.Event()

    def look() -> None:
        found.mib = max(found.mib, process.memory_info().rss / 2**20)

    def watch() -> None:
        while not stop.wait(SAMPLE_EVERY):
            look()

    look()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        stop.set()
        watcher.join()
        look()


@contextmanager
def costing() -> Iterator[Cost]:
    """Time a block and watch its memory from a thread that sleeps between looks.

    What the allocator keeps of earlier work goes back to the system first: memory used again would not be seen.
    """
    give_back()
    cost, process, stop = Cost(), psutil.Process(), threading.Event()
    start = process.memory_info().rss
    on_cuda = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()

    def watch() -> None:
        while not stop.wait(SAMPLE_EVERY):
            cost.peak_mib = max(cost.peak_mib, (process.memory_info().rss - start) / 2**20)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    clock = time.process_time()
    try:
        yield cost
    finally:
        cost.cpu_seconds = time.process_time() - clock - cost.preparation_seconds - cost._elsewhere
        if on_cuda:
            cost.cuda_peak_mib = (torch.cuda.max_memory_allocated() - allocated) / 2**20
        stop.set()
        watcher.join()
