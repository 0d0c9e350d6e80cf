"""On which model and data a row's numbers stand, and what names need so that a reader can tell them apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from editverdict.inference.rows import Row
from editverdict.reporting.paper_rows import mapping_at

Place = tuple[str, str]
"""Model and dataset; an empty text where there is none."""


def place_of(row: Row) -> Place:
    """Model and dataset of a row."""
    return row.model or "", row.dataset or ""


def told_apart(places: Iterable[Place]) -> dict[Place, str]:
    """What a name must say of each place, in order of appearance: nothing where there is one model and one dataset."""
    found = list(dict.fromkeys(places))
    several = [len({place[part] for place in found}) > 1 for part in range(2)]
    return {
        place: ", ".join(name for name, needed in zip(place, several, strict=True) if needed and name)
        for place in found
    }


def named(name: str, apart: str) -> str:
    """A method or configuration with its place behind it: ``ROME (smollm2-135m, zsre)``."""
    return f"{name} ({apart})" if apart else name


def is_named(name: str, plain: str, *, variants: bool = False) -> bool:
    """Whether a name is a plain one with or without its place; ``variants`` counts ``AlphaEdit-L2-1`` as AlphaEdit."""
    return name == plain or name.startswith((f"{plain} (", f"{plain}-") if variants else f"{plain} (")


def same_place(one: str, other: str) -> bool:
    """Whether our id of a model or dataset is the paper's name: ``wikidata-counterfact``, ``WikiData_counterfact``."""
    return one.lower().replace("_", "-") == other.lower().replace("_", "-")


def event_data(rows: Sequence[Row]) -> frozenset[str]:
    """Datasets of events: those whose rows have scores, and not one number of Rel or Gen, which events do not have."""
    scored = [row for row in rows if row.dataset and mapping_at(row.descriptive, "scores")]
    facts = {row.dataset for row in scored if _has_facts(mapping_at(row.descriptive, "scores"))}
    return frozenset(row.dataset for row in scored if row.dataset and row.dataset not in facts)


def _has_facts(scores: Mapping[str, object]) -> bool:
    """Whether there is Rel or Gen: along chains (metric -> chains), or in some state (state -> metric -> number)."""
    states = [state for state in scores.values() if isinstance(state, Mapping)]
    return any(scores.get(m) or any(isinstance(s.get(m), int | float) for s in states) for m in ("rel", "gen"))
