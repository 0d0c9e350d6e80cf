"""What an edit costs: shared values at their own price, preparation apart, memory not hidden by what was freed."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from editverdict.data.records import EditRecord
from editverdict.editors.base import Step
from editverdict.pipeline.cost import VALUE_COST, costing


def work(seconds: float) -> None:
    """Keep the processor busy."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def stored(cpu_seconds: float, peak_mib: float = 0.0) -> list[Step]:
    return [Step({}, {VALUE_COST: {"cpu_seconds": cpu_seconds, "peak_mib": peak_mib}})]


def compute(_edits: Sequence[EditRecord]) -> list[Step]:
    return []


def test_a_value_counts_what_it_took_whoever_made_it() -> None:
    def a_group_of_four(*_: object) -> list[Step]:
        work(0.4)
        return stored(0.1)

    for values in (a_group_of_four, lambda *_: stored(0.1)):
        with costing() as cost:
            work(0.2)
            cost.shared(values)({}, [], compute)
        assert abs(cost.cpu_seconds - 0.3) < 0.05


def test_preparation_inside_of_a_value_is_not_taken_off_twice() -> None:
    with costing() as cost:
        prepare = cost.once(work)

        def values(*_: object) -> list[Step]:
            prepare(0.2)
            work(0.1)
            return stored(0.1)

        cost.shared(values)({}, [], compute)
    assert abs(cost.preparation_seconds - 0.2) < 0.05
    assert abs(cost.cpu_seconds - 0.1) < 0.05


def test_memory_that_was_freed_before_counts_when_it_is_used_again() -> None:
    def take() -> float:
        kept = [torch.ones(64, 1024) for _ in range(320)]  # 80 MiB in pieces that the allocator keeps
        time.sleep(0.05)
        return float(kept[-1].sum())

    peaks = []
    for _ in range(2):
        with costing() as cost:
            take()
        peaks.append(cost.peak_mib)
    assert min(peaks) > 60


def test_the_peak_of_a_stored_value_is_booked() -> None:
    with costing() as cost:
        cost.shared(lambda *_: stored(0.0, 123.0))({}, [], compute)
    assert cost.peak_mib >= 123.0
