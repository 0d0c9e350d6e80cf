"""From edits to the questions that are asked of an edited model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from editverdict.data.records import EditRecord, Probe

Dimension = Literal["rel", "gen", "loc", "port"]
DIMENSIONS: tuple[Dimension, ...] = ("rel", "gen", "loc", "port")
"""Reliability, generalization, locality, portability, in the order of the paper's tables."""


@dataclass(frozen=True)
class Question:
    """A prompt, and what counts as right after the edit."""

    edit_id: str
    dimension: Dimension
    kind: str
    """Sub-kind: ``prompt`` (rel), ``rephrase`` (gen), the probe's own kind (loc, port)."""
    prompt: str
    accepted: tuple[str, ...]
    """Accepted answers, the canonical one first."""


def questions_of(record: EditRecord) -> list[Question]:
    """Questions of one edit: its prompt, rephrases, locality and portability probes, in the record's own order.

    A record that has none of a kind gives no question of that kind; nothing stands in for it. A bare event has no
    prompt of its own, and so no reliability: the paper's tables of ELKEN have none either.
    """
    target = (record.target_new, *record.target_new_aliases)
    asked = [] if record.bare_event else [Question(record.id, "rel", "prompt", record.prompt, target)]
    asked += [Question(record.id, "gen", "rephrase", text, target) for text in record.rephrases]
    asked += [_of_probe(record.id, "loc", probe) for probe in record.locality]
    asked += [_of_probe(record.id, "port", probe) for probe in record.portability]
    return asked


def questions_of_all(records: Iterable[EditRecord]) -> list[Question]:
    """Questions of several edits, edit by edit."""
    return [question for record in records for question in questions_of(record)]


def _of_probe(edit_id: str, dimension: Dimension, probe: Probe) -> Question:
    return Question(edit_id, dimension, probe.kind, probe.prompt, probe.answers)
