"""The editing dataset that is built by code from facts of installed packages."""

from __future__ import annotations

from functools import lru_cache

from editverdict.data.records import EditRecord
from editverdict.data.text import rank
from editverdict.data.worldfacts.facts import read_world
from editverdict.data.worldfacts.places import place_records
from editverdict.data.worldfacts.plan import Plan
from editverdict.data.worldfacts.things import country_records, element_records

__all__ = ["build_worldfacts"]


def build_worldfacts(seed: int = 0) -> list[EditRecord]:
    """Build the counterfactual edits of real-world facts.

    Each record changes one fact to another object of the same type. Objects, splits and probes are chosen by sha256
    of the seed and the names, so that the same packages give the same records everywhere, in the same order.

    Parameters
    ----------
    seed
        Chooses splits, new objects, held-out subjects and the order.

    Returns
    -------
    list of EditRecord
        Both splits, relations mixed; at least 1,000 records of ``test`` with the packages that are pinned.

    Raises
    ------
    DataError
        When a package that the facts come from is missing.
    """
    return list(_build(seed))


@lru_cache(maxsize=4)
def _build(seed: int) -> tuple[EditRecord, ...]:
    plan = Plan(read_world(), seed)
    records = place_records(plan) + country_records(plan) + element_records(plan)
    return tuple(sorted(records, key=lambda record: rank(seed, "order", record.id)))
