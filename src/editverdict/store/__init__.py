"""Content-addressed artifacts: recipes in, checksummed entries out, each made once."""

from editverdict.store.artifact import Artifact, DamagedEntryError, Draft
from editverdict.store.clock import Clock
from editverdict.store.ledger import Counts, Event, Ledger
from editverdict.store.recipe import Recipe
from editverdict.store.store import DamagedEntryWarning, Job, Store, default_root

__all__ = [
    "Artifact",
    "Clock",
    "Counts",
    "DamagedEntryError",
    "DamagedEntryWarning",
    "Draft",
    "Event",
    "Job",
    "Ledger",
    "Recipe",
    "Store",
    "default_root",
]
