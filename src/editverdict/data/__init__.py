"""Editing data and corpora: one record type each, whatever they come from."""

from editverdict.data.chains import chains, single_edits
from editverdict.data.corpus import corpus_hash, load_corpus
from editverdict.data.errors import DataError
from editverdict.data.kinds import PROBE_KINDS, missing_kinds
from editverdict.data.loaders import LoadedEdits, load_dataset, load_edits
from editverdict.data.records import EditRecord, Fact, Probe
from editverdict.data.validate import validate_edits
from editverdict.data.worldfacts import build_worldfacts

__all__ = [
    "PROBE_KINDS",
    "DataError",
    "EditRecord",
    "Fact",
    "LoadedEdits",
    "Probe",
    "build_worldfacts",
    "chains",
    "corpus_hash",
    "load_corpus",
    "load_dataset",
    "load_edits",
    "missing_kinds",
    "single_edits",
    "validate_edits",
]
