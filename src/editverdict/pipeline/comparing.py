"""From stored answers to paired comparisons: one score per fact, clustered by subject, under one score id."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.evaluation.dimensions import Locality, per_edit_scores, require_one_score_id
from editverdict.evaluation.questions import DIMENSIONS, Dimension
from editverdict.inference.comparisons import Outcomes
from editverdict.inference.forms import OTHERWISE


def subjects_of(records: Sequence[EditRecord]) -> dict[str, str]:
    """Edit id -> subject, the cluster of paired comparisons."""
    return {record.id: record.subject for record in records}


def facts_kept(
    method: str,
    schedule: str,
    chains: Sequence[Sequence[EditRecord]],
    answered: Sequence[Sequence[Mapping[str, Any]]],
    keys: Sequence[Sequence[str]] = (),
) -> dict[str, Any]:
    """What a method's states came to, fact by fact: what a case keeps for the table of methods against each other.

    Parameters
    ----------
    method : str
        Its id.
    schedule : str
        ``single``, or ``after N``.
    chains : sequence of sequence of EditRecord
        The edits.
    answered : sequence of sequence of mapping
        Judged answer rows, chain by chain.
    keys : sequence of sequence of str, optional
        Where those rows lie in the store (``artifact:member``), chain by chain: another judge finds them there.

    Returns
    -------
    dict
        ``facts``: [edit, subject, chain, {dimension: score}]; ``questions``: dimension -> {question: right};
        ``answers``: [chain, key]. Ids and numbers only. Empty where answers carry no score id, so that nothing could
        say what they may be compared with.

    Raises
    ------
    ProtocolMismatch
        The rows carry different protocol or judge ids.
    """
    rows = [dict(row) for own in answered for row in own]
    score_id = require_one_score_id(rows, f"answers under {method}")
    if score_id is None:
        return {}
    scores = per_edit_scores(rows)
    facts = [
        [record.id, record.subject, number, own]
        for number, chain in enumerate(chains)
        for record in chain
        if record.id in scores
        and (own := {d: v for d in DIMENSIONS if (v := getattr(scores[record.id], d)) is not None})
    ]
    questions: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["correct"] is not None:
            questions.setdefault(row["dimension"], {})[question_name(row)] = float(row["correct"])
    kept = {"method": method, "schedule": schedule, "score_id": score_id, "facts": facts, "questions": questions}
    where = [[number, key] for number, own in enumerate(keys) for key in own]
    return {**kept, "answers": where} if where else kept


def in_other_form(states: Sequence[Mapping[str, Any]], form: str) -> list[dict[str, Any]]:
    """Kept states, marked as edited in a form that is not the profile's: no table sets them beside its other states.

    Protocol and judge do not tell them apart, for those are about how a state is asked, not how it was made.
    """
    return [{**state, OTHERWISE: form} for state in states if state]


def question_name(row: Mapping[str, Any]) -> str:
    """``edit|hash``: a question without its words."""
    digest = hashlib.sha256(f"{row['kind']}|{row['prompt']}".encode()).hexdigest()[:12]
    return f"{row['edit_id']}|{digest}"


def fact_outcomes(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    records: Sequence[EditRecord],
    score: Dimension = "rel",
    *,
    locality: Locality = "accuracy",
) -> Outcomes:
    """One score per edit: what `compare`, `comparison_table` and `protocol_gap` take.

    Parameters
    ----------
    name : str
        Of the method.
    rows : sequence of mapping
        Judged answer rows of one state or several, every edit in one of them.
    records : sequence of EditRecord
        The edits, for their subjects.
    score : {"rel", "gen", "loc", "port"}, optional
        The dimension; edits that lack it are left out.
    locality : {"accuracy", "eq4"}, optional
        Which locality, if that is the dimension.

    Raises
    ------
    ProtocolMismatch
        The rows carry different protocol or judge ids.
    ValueError
        The rows carry no score id, so that nothing could tell what they may be compared with.
    """
    score_id = require_one_score_id(rows, f"answers under {name}")
    if rows and score_id is None:
        raise ValueError(f"answers under {name} carry no protocol id; take them from pipeline.answers.ask")
    part = "loc_eq4" if score == "loc" and locality == "eq4" else score
    values: dict[Hashable, float] = {
        edit: value
        for edit, scores in per_edit_scores(map(dict, rows)).items()
        if (value := getattr(scores, part)) is not None
    }
    clusters: dict[Hashable, str] = {record.id: record.subject for record in records}
    return Outcomes(name, str(score_id), values, clusters)


def question_outcomes(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    records: Sequence[EditRecord],
    dimension: Dimension,
    value: Callable[[Mapping[str, Any]], float | None] = lambda row: row["correct"],
) -> Outcomes:
    """One score per question, right or wrong: what McNemar's test takes. Arguments and errors as `fact_outcomes`.

    ``value`` reads the score of a row (None: left out), e.g. ``lambda row: row["same_as_before"]`` for Eq. 4. A fact is
    then (edit, kind, prompt), and questions of one subject are a cluster.
    """
    chosen = [row for row in rows if row["dimension"] == dimension]
    score_id = require_one_score_id(chosen, f"answers under {name}")
    if chosen and score_id is None:
        raise ValueError(f"answers under {name} carry no protocol id; take them from pipeline.answers.ask")
    subject, values, clusters = subjects_of(records), {}, {}
    for row in chosen:
        found = value(row)
        if found is not None:
            fact: Hashable = (row["edit_id"], row["kind"], row["prompt"])
            values[fact], clusters[fact] = float(found), subject[str(row["edit_id"])]
    return Outcomes(name, str(score_id), values, clusters)
