"""One record type for an edit, whatever the dataset it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator


class Record(BaseModel):
    """Base of the data records: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Fact(Record):
    """A (subject, relation) pair: the identity by which the validator tells facts apart."""

    subject: str
    relation: str


class Probe(Record):
    """A prompt beside the edit, with the answers that count as right *after* the edit."""

    prompt: str
    answers: tuple[str, ...] = Field(min_length=1)
    """Accepted answers, the canonical one first."""
    kind: str
    """Sub-kind, e.g. ``same-relation``, ``other-relation``, ``alias``, ``inverse``, ``two-hop``, ``event-stated``."""
    facts: tuple[Fact, ...] = ()
    """The unedited facts that the answer rests on (locality: the fact itself; two-hop: the second hop)."""


class EditRecord(Record):
    """One edit: what is to change, and what must and must not change with it.

    What is to change is a fact (``prompt``, ``subject``, ``target_new``), or an ``event``, told in a sentence, from
    which several facts follow. Methods that keep text take an event as it is; methods that change weights take the
    facts that :mod:`editverdict.data.triples` draws from it, each a record of its own with ``part_of``.
    """

    id: str
    """Unique in the dataset."""
    prompt: str = ""
    """A text that ends where the object would follow; it contains ``subject`` literally. Empty for a bare event."""
    subject: str = ""
    """What the fact is about; of a bare event, the entity that its questions name first."""
    target_new: str = ""
    """The object after the edit, without leading space. Empty for a bare event."""
    target_new_aliases: tuple[str, ...] = ()
    target_old: str | None = None
    """The object before the edit, where the dataset names one."""
    target_old_aliases: tuple[str, ...] = ()
    relation: str | None = None
    rephrases: tuple[str, ...] = ()
    locality: tuple[Probe, ...] = ()
    portability: tuple[Probe, ...] = ()
    lacks: tuple[str, ...] = ()
    """Kinds of probe that this record has none of, e.g. ``portability/inverse``."""
    split: str = "test"
    """``tune`` or ``test``."""
    source: str | None = None
    """File and position, or the packages that the fact was built from."""
    event: str | None = None
    """The event in words, where the edit is one."""
    part_of: str | None = None
    """Id of the event that this fact was drawn from."""

    @model_validator(mode="after")
    def _a_fact_or_an_event(self) -> EditRecord:
        if self.event is not None and not self.event.strip():
            raise ValueError("'event' is empty; leave it out where the edit is no event")
        parts = {"prompt": self.prompt, "subject": self.subject, "target_new": self.target_new}
        empty = [name for name, text in parts.items() if not text.strip()]
        bare = self.event is not None and not self.prompt and not self.target_new
        if empty and not bare:
            raise ValueError(
                f"{', '.join(map(repr, empty))} must not be empty: an edit is a fact with prompt, subject and "
                "target_new, or an event without prompt and target_new"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_what_no_fact_has(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A record's JSON is hashed into rows: that of a plain fact is what it was before there were events.
        found: dict[str, Any] = handler(self)
        for name in ("event", "part_of"):
            if found.get(name) is None:
                found.pop(name, None)
        return found

    @property
    def bare_event(self) -> bool:
        """Whether there is no fact to write into weights: triples have to be drawn from the event first."""
        return self.event is not None and not self.prompt

    @property
    def alias_rephrases(self) -> bool:
        """Whether the dataset has no rephrase, and prompts with another name of the subject stand in for them."""
        return bool(self.rephrases) and "rephrase" in self.lacks

    @property
    def statement(self) -> str:
        """The new knowledge as a sentence, for methods that store text: the event itself, or the fact."""
        return self.event if self.event is not None else f"{self.prompt} {self.target_new}."


def kind_of(records: Iterable[EditRecord]) -> Literal["facts", "events", "mixed"]:
    """What records are: facts, bare events, or some of both."""
    found = {record.bare_event for record in records}
    return "mixed" if len(found) == 2 else "events" if found == {True} else "facts"
