"""One record type for an edit, whatever the dataset it comes from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


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
    """Sub-kind, e.g. ``same-relation``, ``other-relation``, ``alias``, ``inverse``, ``two-hop``."""
    facts: tuple[Fact, ...] = ()
    """The unedited facts that the answer rests on (locality: the fact itself; two-hop: the second hop)."""


class EditRecord(Record):
    """One edit: what is to change, and what must and must not change with it."""

    id: str
    """Unique in the dataset."""
    prompt: str
    """A text that ends where the object would follow; it contains ``subject`` literally."""
    subject: str
    target_new: str
    """The object after the edit, without leading space."""
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

    @property
    def statement(self) -> str:
        """The new knowledge as a sentence, for methods that store text."""
        return f"{self.prompt} {self.target_new}."
