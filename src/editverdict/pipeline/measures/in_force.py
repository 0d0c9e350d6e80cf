"""Whether a method does anything at all: without a text, and without an edit, it is the unedited model.

Looked at are the prompts that the model was given and the answers that it gave, never a setting. Which questions a text
must stand before, and of which state that is asked, stands in docs/decisions.md ("Retrieval in force"; "Edits in
force").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from editverdict.pipeline.answers import Answered
from editverdict.pipeline.measurement import declare_checks, passed

RETRIEVED = 0.2
"""Least share of the questions that call for a text before which one stands."""
CHECK = "retrieval-in-force"
CHANGED = 0.2
"""Least share of the edits' own prompts that are answered otherwise than by the unedited model."""
EDITS = "edits-in-force"
OPEN = "event-unknown"
"""Kind of question that an event leaves open: its sentence cannot answer it."""

declare_checks(
    retrieval_in_force="retrieval puts a text before a fifth of the edits' own prompts (events: of the questions that "
    "the event can answer): it does edit",
    edits_in_force="a fifth of the edits' own prompts (events: of the questions that the event can answer) is answered "
    "otherwise than by the unedited model, rightly or not: the method does edit",
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


def otherwise(answered: Sequence[Answered], before: Sequence[Answered]) -> tuple[int, int]:
    """How many questions that call for the edit have another answer than in the unedited model, and of how many.

    Raises
    ------
    KeyError
        A question was not put to the unedited model.
    """
    known = {(row["edit_id"], row["prompt"]): row["answer"] for one in before for row in one.rows}
    rows = called_for([row for one in answered for row in one.rows])
    return sum(row["answer"] != known[row["edit_id"], row["prompt"]] for row in rows), len(rows)


def edits_in_force(many: Mapping[str, Sequence[Answered]], before: Sequence[Answered]) -> dict[str, Any]:
    """The check that every method's edits change answers that they are meant to change.

    Parameters
    ----------
    many
        Method -> its answers, own prompts among them.
    before
        The unedited model's to the same questions.
    """
    counts = {method: otherwise(answered, before) for method, answered in many.items()}
    idle = [method for method, (other, asked) in counts.items() if not asked or other < CHANGED * asked]
    shown = idle or list(counts)[:1]
    told = ", ".join(f"{method}: {counts[method][0]} of {counts[method][1]}" for method in shown) or "no method"
    return passed(EDITS, not idle, f"own prompts answered otherwise than before: {told}, at least {CHANGED:.0%} needed")


def texts_given(**many: Sequence[Answered]) -> dict[str, float]:
    """State -> share of the questions that call for a text before which one stands, for the record."""
    found = {}
    for name, answered in many.items():
        rows = called_for([row for one in answered for row in one.rows])
        if rows:
            found[name] = sum(row["given"] is not None for row in rows) / len(rows)
    return found
