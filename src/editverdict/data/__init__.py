"""Editing data and corpora: one record type each, whatever they come from; schedules; facts of events."""

from editverdict.data.chains import chains, first_chains, single_edits
from editverdict.data.corpus import corpus_hash, load_corpus
from editverdict.data.errors import DataError, DataNotHereError
from editverdict.data.events import EVENT_KINDS
from editverdict.data.kinds import PROBE_KINDS, missing_kinds
from editverdict.data.loaders import LoadedEdits, load_dataset, load_edits
from editverdict.data.records import EditRecord, Fact, Probe, kind_of
from editverdict.data.schedules import (
    ConfidenceSplit,
    Reading,
    Schedule,
    along,
    confidence_split,
    fine_grid,
    paper_schedules,
    readings,
    sequential,
    single,
)
from editverdict.data.shapes import save_edits
from editverdict.data.triples import (
    Complete,
    Conversion,
    Triple,
    convert_event,
    convert_events,
    drawn_by,
    fact_edits,
    in_sequence,
)
from editverdict.data.validate import validate_edits
from editverdict.data.worldfacts import build_worldfacts

__all__ = [
    "EVENT_KINDS",
    "PROBE_KINDS",
    "Complete",
    "ConfidenceSplit",
    "Conversion",
    "DataError",
    "DataNotHereError",
    "EditRecord",
    "Fact",
    "LoadedEdits",
    "Probe",
    "Reading",
    "Schedule",
    "Triple",
    "along",
    "build_worldfacts",
    "chains",
    "confidence_split",
    "convert_event",
    "convert_events",
    "corpus_hash",
    "drawn_by",
    "fact_edits",
    "fine_grid",
    "first_chains",
    "in_sequence",
    "kind_of",
    "load_corpus",
    "load_dataset",
    "load_edits",
    "missing_kinds",
    "paper_schedules",
    "readings",
    "save_edits",
    "sequential",
    "single",
    "single_edits",
    "validate_edits",
]
