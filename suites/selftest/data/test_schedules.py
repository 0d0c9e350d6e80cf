"""Schedules: groups as in C.1, the grid of Table 37, readings, the split of Table 38."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editverdict.data import (
    DataError,
    EditRecord,
    along,
    confidence_split,
    fine_grid,
    paper_schedules,
    readings,
    sequential,
    single,
)


def records(number: int) -> list[EditRecord]:
    return [
        EditRecord(id=f"e{i}", prompt=f"Place {i} is in", subject=f"Place {i}", target_new="X") for i in range(number)
    ]


def ids(group: tuple[EditRecord, ...]) -> list[str]:
    return [record.id for record in group]


def test_the_schedules_of_the_paper() -> None:
    alone, tens, all_ = paper_schedules(records(130))
    assert [(s.id, s.size, len(s.groups)) for s in (alone, tens, all_)] == [
        ("sequential-1", 1, 100),
        ("sequential-10", 10, 10),
        ("sequential-100", 100, 1),
    ]
    first = [f"e{i}" for i in range(100)]
    assert ids(alone.records) == ids(tens.records) == ids(all_.records) == first
    assert ids(tens.groups[3]) == first[30:40]
    assert single(records(130)).groups == alone.groups and single(records(130)).id == "single"
    assert [s.size for s in paper_schedules(records(20), first=20)] == [1, 10]


@given(size=st.integers(1, 12), groups=st.integers(1, 12), more=st.integers(0, 5))
def test_groups_part_the_first_records(size: int, groups: int, more: int) -> None:
    given_ = records(size * groups + more)
    schedule = sequential(given_, size, first=size * groups)
    assert list(schedule.records) == given_[: size * groups]
    assert {len(group) for group in schedule.groups} == {size} and len(schedule.groups) == groups


def test_schedules_that_cannot_be() -> None:
    with pytest.raises(DataError, match="schedule 'single' takes the first 100 records, found 99; give more"):
        single(records(99))
    with pytest.raises(
        DataError, match="100 records cannot be evenly divided into groups of 30; take a multiple of 30"
    ):
        sequential(records(100), 30)
    with pytest.raises(ValueError, match="at least one edit per group"):
        sequential(records(100), 0)


def test_the_fine_grid_ends_with_all() -> None:
    assert fine_grid(1301) == (1, 10, 20, 50, 100, 200, 500, 1000, 1301)
    assert fine_grid(100) == (1, 10, 20, 50, 100)
    assert fine_grid(1) == (1,) and fine_grid(7, (9, 3)) == (3, 7)
    with pytest.raises(ValueError, match="T counts edits"):
        fine_grid(0)
    with pytest.raises(ValueError, match="T counts edits"):
        fine_grid(5, (0, 2))


def test_one_sequence_read_along_the_grid() -> None:
    read = along(records(30))
    assert [len(r.made) for r in read] == [1, 10, 20, 30]
    assert all(r.made == r.asked for r in read) and all(read[-1].made[: len(r.made)] == r.made for r in read)


def test_retention_and_right_after_each_differ() -> None:
    group = records(3)
    (after,) = readings(group)
    assert ids(after.made) == ids(after.asked) == ["e0", "e1", "e2"]
    each = readings(group, "right-after-each")
    assert [(len(r.made), ids(r.asked)) for r in each] == [(1, ["e0"]), (2, ["e1"]), (3, ["e2"])]
    with pytest.raises(ValueError, match="unknown scoring 'average'"):
        readings(group, "average")  # type: ignore[arg-type]


def test_the_split_by_confidence() -> None:
    five = records(5)
    given_ = dict(zip(("e0", "e1", "e2", "e3", "e4", "other"), (-1.0, -9.0, -3.0, -math.inf, 0.0, -2.0), strict=True))
    split = confidence_split(five, given_)
    assert (ids(split.high), ids(split.low), ids(split.middle)) == (["e0", "e4"], ["e1", "e3"], ["e2"])
    assert (split.lowest_high, split.highest_low) == (-1.0, -9.0) and split.unscored == ()
    del given_["e0"]
    split = confidence_split(five, given_, by="terciles")
    assert (ids(split.high), ids(split.low)) == (["e4"], ["e3"])
    assert (ids(split.middle), ids(split.unscored)) == (["e1", "e2"], ["e0"])


@given(values=st.lists(st.sampled_from([-4.0, -3.0, -2.0, -1.0]), min_size=3, max_size=40), seed=st.integers(0, 9))
def test_the_split_is_fair_and_depends_on_no_order(values: list[float], seed: int) -> None:
    """Ties too: the parts are equally large, ordered by value, and those of any other order of the records."""
    given_ = records(len(values))
    logprobs = {record.id: value for record, value in zip(given_, values, strict=True)}
    shuffled = random.Random(seed).sample(given_, len(given_))
    for by, parts in (("median", 2), ("terciles", 3)):
        split = confidence_split(given_, logprobs, by)  # type: ignore[arg-type]
        assert len(split.high) == len(split.low) == len(values) // parts
        assert len(split.high) + len(split.low) + len(split.middle) == len(values)
        assert split.highest_low <= split.lowest_high
        assert max(logprobs[r.id] for r in split.low) == split.highest_low
        assert min(logprobs[r.id] for r in split.high) == split.lowest_high
        assert set(ids(confidence_split(shuffled, logprobs, by).high)) == set(ids(split.high))  # type: ignore[arg-type]


def test_splits_that_cannot_be() -> None:
    with pytest.raises(DataError, match="found 1 of 2; 'target_old' must be given"):
        confidence_split(records(2), {"e1": -1.0})
    with pytest.raises(ValueError, match="record 'e0': log-probability nan"):
        confidence_split(records(2), {"e0": math.nan, "e1": -1.0})
    with pytest.raises(ValueError, match=r"log-probability 0\.4; expected a number up to 0"):
        confidence_split(records(2), {"e0": 0.4, "e1": -1.0})
    with pytest.raises(ValueError, match="unknown split 'mean'"):
        confidence_split(records(2), {}, by="mean")  # type: ignore[arg-type]
