"""What is edited where an edit is an event: its sentence, or the facts that are drawn from it (appendix C.2).

A method that keeps texts takes the sentence. Any other takes the facts, one after the other, so that the state of an
event is that of a chain of edits; the questions stay with the event.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from editverdict.data import Complete, Conversion, EditRecord, convert_event, drawn_by, fact_edits
from editverdict.data.triples import RULE, TRIPLES_SCHEMA
from editverdict.editors.base import KeepsTexts, State
from editverdict.evaluation.judging import JudgeNeeds
from editverdict.evaluation.openai_judge import OpenAIJudge
from editverdict.pipeline.edits import editor_of, singles, state_method, steps
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.judges import OpenAIJudgeSpec


def conversion_of(trial: Trial, record: EditRecord) -> Conversion:
    """The facts of one event, by the profile's model or by rule; kept.

    Raises
    ------
    NotHere
        The model needs a key that is not here.
    JudgeError
        It cannot be reached.
    DataError
        There is no fact in the event.
    """
    memo = ("facts-of", record.id, record.event)
    if memo not in trial._memo:
        complete, name = _drawing_model(trial)
        try:
            trial._memo[memo] = convert_event(record, complete=complete, name=name, store=trial.store)
        except JudgeNeeds as needs:
            raise NotHere(str(needs)) from None
    found: Conversion = trial._memo[memo]
    return found


def _drawing_model(trial: Trial) -> tuple[Complete | None, str]:
    """The model that draws facts, and its name with what else its answers depend on; none: the rule."""
    if trial.profile.triples is None:
        return None, ""
    memo = ("triples", trial.profile.triples)
    if memo not in trial._memo:
        spec = trial.library.get("judges", trial.profile.triples)
        if not isinstance(spec, OpenAIJudgeSpec):
            raise NotHere(
                f"facts of events are drawn by a served model, and judge '{spec.id}' is of format '{spec.format}', "
                f"expected 'openai'; without 'triples' they are drawn by rule ({RULE})"
            )
        model = OpenAIJudge(spec)
        fields = {name: value for name, value in model.fields().items() if name not in ("prompt", "replies")}
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]

        def complete(prompt: str, /) -> str:
            return model.complete(prompt, "triples", TRIPLES_SCHEMA)

        trial._memo[memo] = complete, f"{spec.model} ({digest})"
    found: tuple[Complete, str] = trial._memo[memo]
    return found


def facts_of(trial: Trial, records: Sequence[EditRecord]) -> list[EditRecord]:
    """What is written into weights, in sequence: each bare event's facts in its place, other records as they are."""
    return [
        fact
        for record in records
        for fact in (fact_edits(record, conversion_of(trial, record)) if record.bare_event else [record])
    ]


def edited_by(trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord]) -> list[EditRecord]:
    """What a method edits of these records: events as they are where it keeps texts, their facts otherwise."""
    if not any(record.bare_event for record in records):
        return list(records)
    editor = editor_of(trial, state_method(trial, method_id), model_id)
    return list(records) if isinstance(editor, KeepsTexts) else facts_of(trial, records)


def state_after(trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord]) -> State:
    """The state after a chain of records; that of events is made of the edits of their facts."""
    return steps(trial, model_id, method_id, edited_by(trial, model_id, method_id, records))


def states_alone(trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord]) -> list[State]:
    """One state per record, each edited alone on the clean model: of an event, with all of its facts."""
    if all(edited_by(trial, model_id, method_id, [record]) == [record] for record in records):
        return singles(trial, model_id, method_id, records)
    order = trial.offset(list(range(len(records))))
    made = {i: state_after(trial, model_id, method_id, [records[i]]) for i in order}
    return [made[i] for i in range(len(records))]


def drawn(trial: Trial, records: Sequence[EditRecord]) -> dict[str, Any]:
    """What a row says of the facts of events: how many, of how many events, drawn by whom, and their hash."""
    events = [record for record in records if record.bare_event]
    if not events:
        return {}
    conversions = [conversion_of(trial, record) for record in events]
    texts = [triple.model_dump_json() for conversion in conversions for triple in conversion.triples]
    return {
        "events": len(events),
        "facts": len(texts),
        "drawn_by": drawn_by(conversions),
        "hash": hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16],
    }


def told(facts: dict[str, Any]) -> str:
    """The same in a few words, e.g. ``17 facts of 10 events drawn by rule-based``."""
    who = ", ".join(facts["drawn_by"])
    return f"{facts['facts']} facts of {facts['events']} events drawn by {who}"
