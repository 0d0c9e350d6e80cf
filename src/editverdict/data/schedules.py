"""Schedules of edits: which edits are made one after another, and on which of them a state is then scored.

Appendix C.1 of the paper takes the first 100 records of a dataset: each alone and averaged (1), ten groups of ten (10),
all in sequence (100). Table 37 follows one sequence along a finer grid of T, Table 38 does so apart for facts that the
unedited model holds with high and with low probability. All functions here are pure: of records, sizes, numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from editverdict.data.errors import DataError
from editverdict.data.records import EditRecord

PAPER_RECORDS = 100
"""Records that C.1 takes, from the beginning of the dataset."""
PAPER_SIZES = (1, 10, 100)
"""Edits in a row in C.1."""
FINE_GRID = (1, 10, 20, 50, 100, 200, 500, 1000)
"""T of Table 37 below all records (100 is in Table 38 alone)."""

Scoring = Literal["retention", "right-after-each"]
"""``retention``: after a sequence's last edit, on all its edits (the paper's). ``right-after-each``: each edit's own
questions in the state that it has just made; another protocol, never averaged or compared with the first."""


@dataclass(frozen=True)
class Schedule:
    """Groups of edits: each group is edited in its order on the clean model, and groups do not know of each other."""

    id: str
    """``single`` or ``sequential-N``: edits in a row."""
    groups: tuple[tuple[EditRecord, ...], ...]

    @property
    def size(self) -> int:
        """Edits in a row."""
        return len(self.groups[0])

    @property
    def records(self) -> tuple[EditRecord, ...]:
        """All edits, in their order."""
        return tuple(record for group in self.groups for record in group)


@dataclass(frozen=True)
class Reading:
    """When a sequence is scored, and on what."""

    made: tuple[EditRecord, ...]
    """Edits that the state has, in their order."""
    asked: tuple[EditRecord, ...]
    """Edits whose questions are put."""


@dataclass(frozen=True)
class ConfidenceSplit:
    """Records by how probable the unedited model holds their old object; each part in the order of the records."""

    high: tuple[EditRecord, ...]
    """The paper's "stubborn errors"."""
    low: tuple[EditRecord, ...]
    """Its "simple errors"."""
    middle: tuple[EditRecord, ...]
    """In neither: the middle tercile, or the one record in the middle of an odd number."""
    unscored: tuple[EditRecord, ...]
    """Without a log-probability, most often because the dataset names no old object; missing is not improbable."""
    lowest_high: float
    """Least log-probability (nats) of ``high``."""
    highest_low: float
    """Largest log-probability (nats) of ``low``."""


def single(records: Sequence[EditRecord], first: int = PAPER_RECORDS) -> Schedule:
    """Each of the first records alone on the clean model.

    Raises
    ------
    DataError
        When there are fewer records.
    """
    return _schedule("single", records, 1, first)


def sequential(records: Sequence[EditRecord], size: int, first: int = PAPER_RECORDS) -> Schedule:
    """The first records in groups of ``size`` consecutive ones, each edited in sequence on the clean model.

    With ``size`` 1 the groups are those of `single`; the name differs, because a sequence of one is asked for.

    Raises
    ------
    DataError
        When there are fewer records, or they cannot be evenly divided: no group may be smaller than the others.
    """
    return _schedule(f"sequential-{size}", records, size, first)


def paper_schedules(
    records: Sequence[EditRecord], first: int = PAPER_RECORDS, sizes: Sequence[int] = PAPER_SIZES
) -> tuple[Schedule, ...]:
    """The schedules of C.1, over the same records; sizes beyond ``first`` are left out.

    Raises
    ------
    DataError
        As `sequential`.
    """
    return tuple(sequential(records, size, first) for size in sizes if size <= first)


def fine_grid(n: int, grid: Sequence[int] = FINE_GRID) -> tuple[int, ...]:
    """T at which a sequence of ``n`` edits is measured: those of the grid below ``n``, and ``n`` itself ("All").

    Raises
    ------
    ValueError
        When ``n`` or a value of the grid is not positive.
    """
    if n < 1 or any(t < 1 for t in grid):
        raise ValueError(f"T counts edits, from 1: found n = {n}, grid {tuple(grid)}")
    return tuple(sorted({t for t in grid if t < n} | {n}))


def along(records: Sequence[EditRecord], grid: Sequence[int] = FINE_GRID) -> tuple[Reading, ...]:
    """One sequence over all records, read along the grid: after T edits, on those T edits (retention).

    The paper does not say whether its N of Table 37 is such a beginning or a mean over groups of N; the value of "All"
    is the same either way, and a beginning costs one sequence instead of many.
    """
    made = tuple(records)
    return tuple(Reading(made[:t], made[:t]) for t in fine_grid(len(made), grid))


def readings(group: Sequence[EditRecord], scoring: Scoring = "retention") -> tuple[Reading, ...]:
    """When one group is scored, and on which of its edits.

    Raises
    ------
    ValueError
        When there is no such protocol.
    """
    made = tuple(group)
    if scoring == "retention":
        return (Reading(made, made),)
    if scoring == "right-after-each":
        return tuple(Reading(made[: t + 1], (made[t],)) for t in range(len(made)))
    raise ValueError(f"unknown scoring {scoring!r}; expected 'retention' or 'right-after-each'")


def confidence_split(
    records: Sequence[EditRecord],
    logprobs: Mapping[str, float],
    by: Literal["median", "terciles"] = "median",
) -> ConfidenceSplit:
    """Split records by the unedited model's log-probability of the old object (Table 38).

    The paper gives no threshold. ``median``: the upper and the lower half; of an odd number the record in the middle
    is in neither. ``terciles``: the upper and the lower third (rounded down), which lie further apart. Equal values are
    ordered by id, so that the parts are equally large and the same on every machine; log-probabilities of the whole
    object and means per token are both possible, but not together.

    Parameters
    ----------
    records
        Records with distinct ids.
    logprobs
        Id -> log-probability in nats; ids of no record are ignored.

    Raises
    ------
    DataError
        When fewer than two records (three for terciles) have one.
    ValueError
        When one is not a number, or above 0, or ``by`` is no such split.
    """
    if by not in ("median", "terciles"):
        raise ValueError(f"unknown split {by!r}; expected 'median' or 'terciles'")
    scored = [record for record in records if record.id in logprobs]
    for record in scored:
        value = logprobs[record.id]
        # Minus infinity is a value: the model gives the object no probability at all. Rounding may leave a trace.
        if math.isnan(value) or value > 1e-6:
            raise ValueError(f"record {record.id!r}: log-probability {value}; expected a number up to 0 (nats)")
    parts = 2 if by == "median" else 3
    if len(scored) < parts:
        raise DataError(
            f"a split by {by} needs at least {parts} records with a log-probability of their old object, found "
            f"{len(scored)} of {len(records)}; 'target_old' must be given"
        )
    ordered = sorted(scored, key=lambda record: (logprobs[record.id], record.id))
    count = len(ordered) // parts
    low, high = {r.id for r in ordered[:count]}, {r.id for r in ordered[-count:]}
    return ConfidenceSplit(
        high=tuple(r for r in scored if r.id in high),
        low=tuple(r for r in scored if r.id in low),
        middle=tuple(r for r in scored if r.id not in high | low),
        unscored=tuple(r for r in records if r.id not in logprobs),
        lowest_high=logprobs[ordered[-count].id],
        highest_low=logprobs[ordered[count - 1].id],
    )


def _schedule(name: str, records: Sequence[EditRecord], size: int, first: int) -> Schedule:
    if size < 1 or first < 1:
        raise ValueError(f"need at least one edit per group and one record, got size {size} and first {first}")
    if len(records) < first:
        raise DataError(
            f"schedule {name!r} takes the first {first} records, found {len(records)}; give more records "
            "or ask for fewer"
        )
    if first % size:
        raise DataError(
            f"schedule {name!r}: {first} records cannot be evenly divided into groups of {size}; "
            f"take a multiple of {size}"
        )
    taken = tuple(records[:first])
    return Schedule(name, tuple(taken[start : start + size] for start in range(0, first, size)))
