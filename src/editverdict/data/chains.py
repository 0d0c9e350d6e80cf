"""Chains of edits: which records are edited one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from editverdict.data.errors import DataError
from editverdict.data.records import EditRecord
from editverdict.data.schedules import sequential
from editverdict.data.text import rank


def chains(
    records: Sequence[EditRecord], *, split: str, n_chains: int, length: int, long_length: int, seed: int
) -> list[list[EditRecord]]:
    """Draw disjoint chains, the same for the same records and seed.

    The records of the split are ordered by sha256 of seed and id. Chain ``i`` takes the records from ``i * length``;
    the first chain then goes on with records that no chain has, up to ``long_length``. So its first ``length`` records
    are its chain of that length, and a longer long chain changes no other chain.

    Raises
    ------
    DataError
        When the split has too few records.
    ValueError
        When a number makes no sense.
    """
    if n_chains < 1 or length < 1 or long_length < length:
        raise ValueError(
            f"need n_chains >= 1, length >= 1 and long_length >= length, got {n_chains}, {length} and {long_length}"
        )
    ordered = sorted((r for r in records if r.split == split), key=lambda r: (rank("chain", seed, r.id), r.id))
    needed = n_chains * length + (long_length - length)
    if len(ordered) < needed:
        splits = sorted({r.split for r in records})
        raise DataError(
            f"{n_chains} disjoint chains of {length} edits, the first going on to {long_length}, need {needed} records "
            f"of split {split!r}; there are {len(ordered)} (splits in the data: {', '.join(splits) or 'none'}). "
            "Give more records, or ask for fewer or shorter chains in the profile."
        )
    cut = [ordered[i * length : (i + 1) * length] for i in range(n_chains)]
    cut[0] = cut[0] + ordered[n_chains * length : needed]
    return cut


def first_chains(records: Sequence[EditRecord], n_chains: int, length: int, long_length: int) -> list[list[EditRecord]]:
    """Take the groups of appendix C.1: consecutive records from the beginning of the data, in its order.

    The first chain goes on to ``long_length`` over the records of the other groups, as C.1's sequence of 100 is made
    of its ten groups of ten; chains are disjoint up to ``length`` only.

    Raises
    ------
    DataError
        When there are too few records.
    """
    groups = [list(group) for group in sequential(records, length, n_chains * length).groups]
    groups[0] = list(records[: max(length, min(long_length, len(records)))])
    return groups


def single_edits(drawn: Sequence[Sequence[EditRecord]], number: int) -> list[EditRecord]:
    """Return ``number`` records of the chains, one chain after the other: their first records, then their second, ...

    Raises
    ------
    DataError
        When the chains hold fewer records.
    """
    longest = max((len(chain) for chain in drawn), default=0)
    dealt = [chain[i] for i in range(longest) for chain in drawn if i < len(chain)]
    if len(dealt) < number:
        raise DataError(f"{number} single edits wanted, but the chains hold {len(dealt)} records; give more records")
    return dealt[:number]
