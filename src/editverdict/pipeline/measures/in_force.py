"""Whether retrieval with in-context answering retrieves at all: without a text it is the unedited model.

Looked at are the prompts that the model was given, never a setting. Which questions a text must stand before, and of
which state that is asked, stands in docs/decisions.md ("Retrieval in force").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from editverdict.pipeline.answers import Answered
from editverdict.pipeline.measurement import declare_checks, passed

RETRIEVED = 0.2
"""Least share of the questions that call for a text before which one stands."""
CHECK = "retrieval-in-force"
OPEN = "event-unknown"
"""Kind of question that an event leaves open: its sentence cannot answer it."""

declare_checks(
    retrieval_in_force="retrieval puts a text before a fifth of the edits' own prompts (events: of the questions that "
    "the event can answer): it does edit"
)


def called_for(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The questions before which a text should stand: own prompts; of events, which have none, what they can answer."""
    own = [row for row in rows if row["dimension"] == "rel"]
    return own or [row for row in rows if row["dimension"] == "port" and row["kind"] != OPEN]


def in_force(given: Iterable[bool], what: str) -> dict[str, Any]:
    """The check, of questions that call for a text: whether each got one.

    No such question at all fails: nothing then says that texts are found.
    """
    flags = list(given)
    put, wanted = sum(flags), len(flags)
    detail = f"a text before {put} of {wanted} {what}, at least {RETRIEVED:.0%} needed"
    return passed(CHECK, wanted > 0 and put >= RETRIEVED * wanted, detail)


def retrieval_in_force(answered: Sequence[Answered]) -> dict[str, Any]:
    """The check that texts are found and confirmed at all, of SCR's answers (all questions, not locality alone)."""
    rows = called_for([row for one in answered for row in one.rows])
    events = bool(rows) and rows[0]["dimension"] != "rel"
    what = "questions about the events" if events else "own prompts"
    return in_force((row["given"] is not None for row in rows), what)


def not_asked(why: str) -> dict[str, Any]:
    """The check of a case without SCR, where other cases of the claim have it."""
    return passed(CHECK, True, why)


def texts_given(**many: Sequence[Answered]) -> dict[str, float]:
    """State -> share of the questions that call for a text before which one stands, for the record."""
    found = {}
    for name, answered in many.items():
        rows = called_for([row for one in answered for row in one.rows])
        if rows:
            found[name] = sum(row["given"] is not None for row in rows) / len(rows)
    return found
