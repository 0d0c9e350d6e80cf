"""Chains are disjoint, deterministic, and nested."""

from __future__ import annotations

import pytest

from editverdict.data import DataError, EditRecord, chains, first_chains, single_edits


def edits(number: int, split: str = "test") -> list[EditRecord]:
    return [
        EditRecord(id=f"{split}-{i}", prompt=f"Place {i} is in", subject=f"Place {i}", target_new="X", split=split)
        for i in range(number)
    ]


RECORDS = edits(120) + edits(30, "tune")


def ids(drawn: list[list[EditRecord]]) -> list[list[str]]:
    return [[r.id for r in chain] for chain in drawn]


def test_lengths_disjointness_and_split() -> None:
    drawn = chains(RECORDS, split="test", n_chains=6, length=10, long_length=50, seed=0)
    assert [len(chain) for chain in drawn] == [50, 10, 10, 10, 10, 10]
    flat = [r for chain in drawn for r in chain]
    assert len({r.id for r in flat}) == 100 and {r.split for r in flat} == {"test"}


def test_order_of_the_file_does_not_matter_but_the_seed_does() -> None:
    one = chains(RECORDS, split="test", n_chains=3, length=5, long_length=5, seed=0)
    assert ids(one) == ids(chains(RECORDS[::-1], split="test", n_chains=3, length=5, long_length=5, seed=0))
    assert ids(one) != ids(chains(RECORDS, split="test", n_chains=3, length=5, long_length=5, seed=1))


def test_a_longer_long_chain_changes_nothing_else() -> None:
    short = ids(chains(RECORDS, split="test", n_chains=6, length=10, long_length=10, seed=3))
    long = ids(chains(RECORDS, split="test", n_chains=6, length=10, long_length=60, seed=3))
    assert long[1:] == short[1:] and long[0][:10] == short[0]


def test_single_edits_are_the_first_records_of_the_chains() -> None:
    drawn = chains(RECORDS, split="test", n_chains=6, length=10, long_length=50, seed=0)
    singles = single_edits(drawn, 20)
    assert [r.id for r in singles[:6]] == [chain[0].id for chain in drawn]
    assert [r.id for r in singles[18:]] == [drawn[0][3].id, drawn[1][3].id]
    with pytest.raises(DataError, match="101 single edits wanted"):
        single_edits(drawn, 101)


def test_too_few_records_are_named() -> None:
    with pytest.raises(DataError, match=r"need 40 records of split 'tune'; there are 30"):
        chains(RECORDS, split="tune", n_chains=4, length=10, long_length=10, seed=0)
    with pytest.raises(ValueError, match="long_length >= length"):
        chains(RECORDS, split="test", n_chains=4, length=10, long_length=5, seed=0)


def test_the_first_chains_are_the_groups_of_the_file() -> None:
    """As appendix C.1 has them; its sequence of 100 is made of the records of its groups."""
    drawn = first_chains(RECORDS, 3, 10, 25)
    assert ids(drawn[1:]) == [[f"test-{i}" for i in range(start, start + 10)] for start in (10, 20)]
    assert ids(drawn)[0] == [f"test-{i}" for i in range(25)]
    assert [len(chain) for chain in first_chains(RECORDS, 3, 10, 10)] == [10, 10, 10]
    with pytest.raises(DataError, match="takes the first 200 records, found 150"):
        first_chains(RECORDS, 20, 10, 10)


def test_more_first_chains_leave_the_earlier_ones_as_they_are() -> None:
    assert first_chains(RECORDS, 6, 10, 10) == first_chains(RECORDS, 10, 10, 10)[:6]
