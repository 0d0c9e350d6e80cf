"""From an event to the facts that can be written into weights (appendix C.2 of the paper).

The paper asks GPT-4o for "subject, prompt, target" triples. Here any served model is asked, by a prompt of our own that
wants JSON; its answer is checked against a schema and against the event, and every answer is kept in the store, so
that a second run asks nothing again. Without a model, or where its answers stay unusable, the cloze rule of
:mod:`editverdict.data.cloze` draws the facts, and what it drew says so (`Conversion.by`).

A model that cannot be *reached* is no reason for the rule: the exception of the client goes up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from editverdict.data.cloze import cloze_triples
from editverdict.data.errors import DataError
from editverdict.data.fields import as_in_prompt
from editverdict.data.kinds import missing_kinds
from editverdict.data.records import EditRecord
from editverdict.data.text import contains, words
from editverdict.store import Artifact, Draft, Recipe, Store

RULE = "rule-based"
"""What `Conversion.by` says where no model drew the triples."""
PROMPT_VERSION = 1
ANSWER_VERSION = 1
ATTEMPTS = 2
"""Answers that are asked for before the rule takes over; the second time the model is told what was wrong."""
_ARTICLES = frozenset({"a", "an", "the"})


class Complete(Protocol):
    """A model that answers one prompt; it raises where it cannot be reached."""

    def __call__(self, prompt: str, /) -> str:
        """Return the answer to a prompt."""
        ...


class Triple(BaseModel):
    """A fact of an event, as an editor takes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    subject: str = Field(min_length=1, description="The entity that the fact is about, spelt as in the event.")
    prompt: str = Field(
        min_length=1, description="The beginning of a sentence that names the subject and ends before the target."
    )
    target_new: str = Field(min_length=1, description="The few words of the event that complete the sentence.")


class TripleList(BaseModel):
    """What a model is asked for."""

    model_config = ConfigDict(extra="forbid")

    triples: list[Triple] = Field(min_length=1)


TRIPLES_SCHEMA: dict[str, Any] = TripleList.model_json_schema()
"""JSON Schema of an answer, for endpoints that can hold a model to one."""


@dataclass(frozen=True)
class Conversion:
    """The facts of one event, and who drew them."""

    event_id: str
    triples: tuple[Triple, ...]
    by: str
    """Name of the model, or `RULE`."""
    problems: tuple[str, ...] = ()
    """What was wrong with the model's answers, in order; not empty where the rule had to step in for a model."""


# ------------------------------------------------------------------------------------------------------ asking
_TASK = """\
Break the event below into its single facts, so that each can be taught to a language model as a sentence to complete.

Rules
1. One entry per fact: who did what, where, when, with or for whom. Do not join two facts.
2. "subject": the entity that the fact is about, copied letter by letter from the event.
3. "prompt": the start of a plain sentence. It contains the subject letter by letter, it states the relation with a
   definite verb (not "is related to"), and it stops right before the target.
4. "target_new": the shortest piece of the event that completes the sentence, copied from it. It is not in the prompt.
5. Say only what the event says. Every entry must be understandable without the others.

Answer with JSON only, in this form:
{"triples": [{"subject": "...", "prompt": "...", "target_new": "..."}]}

For example, for the event "Marta Lindqvist opened Harbour Books in Bergen, with Jonas Ek as the manager." the answer is
{"triples": [
 {"subject": "Marta Lindqvist", "prompt": "Marta Lindqvist opened", "target_new": "Harbour Books"},
 {"subject": "Harbour Books", "prompt": "Harbour Books was opened in", "target_new": "Bergen"},
 {"subject": "Harbour Books", "prompt": "The manager of Harbour Books is", "target_new": "Jonas Ek"}]}

Event: """


def triples_prompt(event: str, complaint: str | None = None) -> str:
    """Return what a model is asked about an event; ``complaint`` says what was wrong with its last answer."""
    again = f"\n\nAn earlier answer could not be used: {complaint}\nAnswer again." if complaint else ""
    return f"{_TASK}{event.strip()}{again}"


# ------------------------------------------------------------------------------------------------------ reading
def parse_triples(answer: str, event: str) -> tuple[tuple[Triple, ...], list[str]]:
    """Return the usable triples of a model's answer, and what is wrong with the others.

    The answer must hold one JSON object of the form `TRIPLES_SCHEMA`; text or a code fence around it does no harm. A
    triple is usable when its subject and its target stand in the event and its subject, not its target, in its prompt.

    Raises
    ------
    DataError
        When the answer is not of that form, or no triple is usable.
    """
    try:
        listed = TripleList.model_validate(_json_object(answer))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the answer"
        raise DataError(f"{where}: {first['msg']}, found {str(first.get('input'))[:60]!r}") from None
    usable: list[Triple] = []
    wrong: list[str] = []
    for triple in listed.triples:
        spelt = triple.model_copy(update={"subject": as_in_prompt(triple.subject, triple.prompt)})
        reasons = list(_wrong_with(spelt, event))
        wrong += [f"{triple.prompt!r} -> {triple.target_new!r}: {reason}" for reason in reasons[:1]]
        if not reasons and all(_key(spelt) != _key(other) for other in usable):
            usable.append(spelt)
    if not usable:
        raise DataError("no usable triple: " + "; ".join(wrong))
    return tuple(usable), wrong


def _json_object(answer: str) -> Any:
    """Return the first JSON object of a text that has ``triples``; without one, the first object if it is whole.

    An object inside a broken one is no answer: what is said of it would hide that the answer broke off.
    """
    decoder, at = json.JSONDecoder(), answer.find("{")
    first: Any = None
    reason = "" if at >= 0 else "there is no '{'"
    while at >= 0:
        try:
            found, stop = decoder.raw_decode(answer, at)
        except json.JSONDecodeError as error:
            reason, stop = reason or f"{error.msg} at character {error.pos}", at + 1
        else:
            if "triples" in found:
                return found
            first = found if first is None and not reason else first
        at = answer.find("{", stop)
    if first is None:
        raise DataError(f"expected a JSON object with 'triples', found {answer.strip()[:60]!r} ({reason})")
    return first


def _wrong_with(triple: Triple, event: str) -> Iterator[str]:
    if triple.subject not in triple.prompt:
        yield f"the subject {triple.subject!r} is not in the prompt"
    if not contains(event, triple.subject):
        yield f"the subject {triple.subject!r} is not in the event"
    if not contains(event, _bare(triple.target_new)):
        yield "the target is not in the event"
    if contains(triple.prompt, _bare(triple.target_new)):
        yield "the target is in the prompt"


def _bare(name: str) -> str:
    """Return a name without its leading article, which an event need not have at that place."""
    head, _, rest = name.partition(" ")
    return rest if head.lower() in _ARTICLES and rest.strip() else name


def _key(triple: Triple) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return words(triple.prompt), words(triple.target_new)


# ------------------------------------------------------------------------------------------------------ converting
def convert_event(
    record: EditRecord, *, complete: Complete | None = None, name: str = "", store: Store | None = None
) -> Conversion:
    """Draw the facts of one event.

    Parameters
    ----------
    record
        A record with an ``event``.
    complete
        The model; None: the rule.
    name
        What identifies the model: endpoint's model id and whatever else its answers depend on. It is in the key of
        every stored answer.
    store
        Where answers are kept, unusable ones too; None: nowhere.

    Raises
    ------
    DataError
        When the record has no event, or not even the rule finds a fact in it.
    ValueError
        When there is a model without a name, or one that calls itself `RULE`.
    Exception
        Whatever ``complete`` raises when the model cannot be reached.
    """
    if record.event is None:
        raise DataError(f"record {record.id!r} has no event; expected one with the field 'event', such as ELKEN's")
    if complete is None:
        return Conversion(record.id, _by_rule(record), RULE)
    if not name or name == RULE:
        raise ValueError(f"a model needs a name of its own, found {name!r}; give its id, e.g. 'gpt-4o-2024-08-06'")
    problems: list[str] = []
    for _ in range(ATTEMPTS):
        answer = _answered(triples_prompt(record.event, problems[-1] if problems else None), complete, name, store)
        try:
            triples, wrong = parse_triples(answer, record.event)
        except DataError as error:
            problems.append(str(error))
            continue
        return Conversion(record.id, triples, name, (*problems, *wrong))
    return Conversion(record.id, _by_rule(record), RULE, tuple(problems))


def convert_events(
    records: Sequence[EditRecord],
    *,
    complete: Complete | None = None,
    name: str = "",
    store: Store | None = None,
    at_once: int = 1,
) -> list[Conversion]:
    """Draw the facts of events, ``at_once`` at a time, in the order of the records; see `convert_event`.

    What is stored is not asked again. When the model cannot be reached, what it has answered until then is stored.
    """

    def one(record: EditRecord) -> Conversion:
        return convert_event(record, complete=complete, name=name, store=store)

    with ThreadPoolExecutor(max_workers=max(at_once, 1)) as pool:
        pending = [pool.submit(one, record) for record in records]
        try:
            return [future.result() for future in pending]
        finally:
            for future in pending:
                future.cancel()


def fact_edits(record: EditRecord, conversion: Conversion) -> list[EditRecord]:
    """Return the facts of an event as records to be edited in sequence; they have no probes, the event's are asked.

    Raises
    ------
    ValueError
        When the conversion is that of another event.
    """
    if conversion.event_id != record.id:
        raise ValueError(f"the conversion is that of event {conversion.event_id!r}, not of {record.id!r}")
    return [
        EditRecord(
            id=f"{record.id}/{number}",
            prompt=triple.prompt,
            subject=triple.subject,
            target_new=triple.target_new,
            lacks=missing_kinds((), (), ()),
            split=record.split,
            source=f"{record.source or record.id}, triple {number} ({conversion.by})",
            part_of=record.id,
        )
        for number, triple in enumerate(conversion.triples)
    ]


def in_sequence(records: Sequence[EditRecord], conversions: Sequence[Conversion]) -> list[EditRecord]:
    """Return what is edited one after the other: each bare event's facts in its place, other records as they are.

    Raises
    ------
    DataError
        When an event has no conversion.
    """
    by_event = {conversion.event_id: conversion for conversion in conversions}
    missing = [record.id for record in records if record.bare_event and record.id not in by_event]
    if missing:
        raise DataError(
            f"no facts were drawn from {len(missing)} event(s): {', '.join(missing[:5])}; see convert_events"
        )
    found: list[EditRecord] = []
    for record in records:
        found += fact_edits(record, by_event[record.id]) if record.bare_event else [record]
    return found


def drawn_by(conversions: Sequence[Conversion]) -> dict[str, int]:
    """Number of events whose facts each model, or the rule, drew: what a report must say beside every score."""
    counts: dict[str, int] = {}
    for conversion in conversions:
        counts[conversion.by] = counts.get(conversion.by, 0) + 1
    return counts


def _by_rule(record: EditRecord) -> tuple[Triple, ...]:
    found = cloze_triples(record.event or "")
    if not found:
        raise DataError(f"record {record.id!r}: the rule finds no fact in the event {record.event!r}")
    return tuple(Triple(subject=subject, prompt=prompt, target_new=target) for subject, prompt, target in found)


def _answered(prompt: str, complete: Complete, name: str, store: Store | None) -> str:
    if store is None:
        return complete(prompt)

    def produce(draft: Draft) -> None:
        draft.write_json({"answer": complete(prompt)})

    recipe = Recipe.of("event-triples", ANSWER_VERSION, model=name, version=PROMPT_VERSION, prompt=prompt)
    artifact: Artifact = store.build(recipe, produce)
    return str(artifact.json()["answer"])
