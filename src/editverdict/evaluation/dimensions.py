"""The four dimensions: answers to rows, rows to scores.

Aggregation is the field's: mean within a sub-kind, then over the sub-kinds of an edit, then over edits. What was not
asked has no score (None), which is not a score of zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from editverdict.evaluation.judging import Item, Judge, Judgement
from editverdict.evaluation.lexical import normalise
from editverdict.evaluation.questions import DIMENSIONS, Dimension, Question
from editverdict.generation.decode import Answer
from editverdict.generation.protocol import one_protocol

AnswerRow = dict[str, Any]
"""Keys: ``edit_id``, ``dimension``, ``kind``, ``prompt``, ``accepted`` (list), ``answer`` (text as generated),
``correct`` (bool; under teacher forcing the share of tokens; None where the judge gave no verdict), ``same_as_before``
(bool for locality with an answer from before the edit, else None) and, where a model judged, ``reason`` (its own). From
the store also ``protocol`` and ``judge``, whose ids together are the score's, and ``tokens`` (ids as generated); of a
protocol with a thinking part ``thinking`` and ``thinking_closed``."""

Locality = Literal["accuracy", "eq4"]


@dataclass(frozen=True)
class Scores:
    """Shares in [0, 1]; None where nothing was asked."""

    rel: float | None = None
    """Reliability: the edit's own prompt gives the new object."""
    gen: float | None = None
    """Generalization: so do its rephrases."""
    loc: float | None = None
    """Locality as accuracy against the reference answers."""
    port: float | None = None
    """Portability: what follows from the new object is answered accordingly."""
    loc_eq4: float | None = None
    """Locality as Eq. 4 of the paper: the answer is the one given before the edit."""
    avg: float | None = None
    """Unweighted mean of the chosen parts; None unless every one of them exists."""


def rows_of(
    questions: Sequence[Question],
    answers: Sequence[Answer | str],
    judge: Judge | Sequence[Judgement],
    before: Mapping[str, str] | None = None,
) -> list[AnswerRow]:
    """Judge answers.

    Parameters
    ----------
    questions, answers
        Of equal length, in the same order.
    judge : Judge or sequence of Judgement
        Decides ``correct``; or what was decided, in the order of the answers. What is undecided counts neither as right
        nor as wrong: it is left out of scores, and `undecided` counts it.
    before : mapping of str to str, optional
        Prompt -> answer of the unedited model under the same protocol, for Eq. 4. Two answers are the same if their
        normalised words are all equal (two empty ones are); a prompt that is absent gives None.

    Raises
    ------
    ValueError
        If there are not as many answers, or judgements, as questions.
    """
    if len(questions) != len(answers):
        raise ValueError(f"expected one answer per question, found {len(answers)} for {len(questions)} questions")
    judgements = judge if isinstance(judge, Sequence) else judge.judge_many(items_of(questions, answers))
    if len(judgements) != len(questions):
        raise ValueError(f"expected one judgement per question, found {len(judgements)} for {len(questions)} questions")
    rows = []
    for question, answer, judgement in zip(questions, answers, judgements, strict=True):
        text = _text(answer)
        rows.append(
            {
                "edit_id": question.edit_id,
                "dimension": question.dimension,
                "kind": question.kind,
                "prompt": question.prompt,
                "accepted": list(question.accepted),
                "answer": text,
                "correct": judgement.correct,
                "same_as_before": _same(question, text, before),
                **({"reason": judgement.reason} if judgement.replies else {}),
            }
        )
    return rows


def items_of(questions: Sequence[Question], answers: Sequence[Answer | str]) -> list[Item]:
    """What a judge is asked about these answers, in their order."""
    return [Item(q.prompt, q.accepted, _text(a)) for q, a in zip(questions, answers, strict=True)]


def undecided(rows: Iterable[AnswerRow]) -> int:
    """Count the answers that the judge gave no verdict about."""
    return sum(row["correct"] is None for row in rows)


def _text(answer: Answer | str) -> str:
    return answer if isinstance(answer, str) else answer.text


def _same(question: Question, text: str, before: Mapping[str, str] | None) -> bool | None:
    if question.dimension != "loc" or before is None or question.prompt not in before:
        return None
    return normalise(text) == normalise(before[question.prompt])


def per_edit_scores(
    rows: Iterable[AnswerRow],
    *,
    locality: Locality = "accuracy",
    parts: Sequence[Dimension] = DIMENSIONS,
) -> dict[str, Scores]:
    """Scores of each edit, in order of first appearance; arguments and errors as in `scores_of`."""
    rows = list(rows)
    require_one_score_id(rows, "answers to be scored together")
    by_edit: dict[str, list[AnswerRow]] = {}
    for row in rows:
        if row["dimension"] not in DIMENSIONS:
            known = ", ".join(DIMENSIONS)
            raise ValueError(f"edit {row['edit_id']}: dimension {row['dimension']!r} is none of {known}")
        by_edit.setdefault(str(row["edit_id"]), []).append(row)
    return {edit: _with_avg(_of_edit(own), locality, parts) for edit, own in by_edit.items()}


def scores_of(
    rows: Iterable[AnswerRow],
    *,
    locality: Locality = "accuracy",
    parts: Sequence[Dimension] = DIMENSIONS,
) -> Scores:
    """Scores over all edits: each dimension is the mean over the edits that have it.

    Parameters
    ----------
    rows : iterable of AnswerRow
        From `rows_of`.
    locality : {"accuracy", "eq4"}, optional
        Which locality enters the average; the paper's tables take accuracy. Both are reported anyway.
    parts : sequence of Dimension, optional
        What the average is made of. For data that lacks a dimension by design (no rephrases), name the others.

    Raises
    ------
    ValueError
        If a row's dimension or a part is unknown, or if there are no parts.
    ProtocolMismatch
        If the rows carry different protocol or judge ids.
    """
    edits = list(per_edit_scores(rows, locality=locality, parts=parts).values())
    means = {name: mean_of(getattr(edit, name) for edit in edits) for name in (*DIMENSIONS, "loc_eq4")}
    return _with_avg(Scores(**means), locality, parts)


def edit_counts(rows: Iterable[AnswerRow]) -> dict[str, int]:
    """Count the edits behind each score, e.g. ``{"rel": 20, ..., "port": 12, "loc_eq4": 20}``."""
    edits = list(per_edit_scores(rows).values())
    return {name: sum(getattr(e, name) is not None for e in edits) for name in (*DIMENSIONS, "loc_eq4")}


@dataclass(frozen=True)
class KindScore:
    """One sub-kind of a dimension: portability by reasoning, alias, one hop, ..."""

    share: float
    """Mean over an edit's questions of the kind, then over edits."""
    n_edits: int
    n_questions: int


def scores_by_kind(rows: Iterable[AnswerRow], dimension: Dimension) -> dict[str, KindScore]:
    """Scores of a dimension kind by kind, in alphabetical order; kinds that were not asked are absent.

    Raises
    ------
    ValueError
        If the dimension is unknown.
    ProtocolMismatch
        If the rows carry different protocol or judge ids.
    """
    if dimension not in DIMENSIONS:
        raise ValueError(f"dimension must be one of {', '.join(DIMENSIONS)}, found {dimension!r}")
    chosen = [row for row in rows if row["dimension"] == dimension]
    require_one_score_id(chosen, "answers to be scored together")
    found: dict[str, dict[str, list[float]]] = {}
    for row in chosen:
        if row["correct"] is not None:
            found.setdefault(str(row["kind"]), {}).setdefault(str(row["edit_id"]), []).append(float(row["correct"]))
    return {
        kind: KindScore(
            fmean(fmean(values) for values in edits.values()), len(edits), sum(len(values) for values in edits.values())
        )
        for kind, edits in sorted(found.items())
    }


def require_one_score_id(rows: Iterable[Mapping[str, Any]], what: str, *, judged: bool = True) -> str | None:
    """The one score id of rows, ``protocol/judge`` (protocol alone, if not ``judged``); None if they carry none.

    Raises
    ------
    ProtocolMismatch
        If there is more than one.
    """

    def of(row: Mapping[str, Any]) -> str | None:
        protocol, judge = row.get("protocol"), row.get("judge")
        return protocol if protocol is None or not judged else f"{protocol}/{judge or 'no judge'}"

    return one_protocol((of(row) for row in rows), what)


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of what is there; None if nothing is."""
    present = [value for value in values if value is not None]
    return fmean(present) if present else None


def mean_over_kinds(
    rows: Iterable[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float | None]
) -> float | None:
    """Mean within each sub-kind, then over sub-kinds; rows without a value are left out."""
    by_kind: dict[str, list[float]] = {}
    for row in rows:
        measured = value(row)
        if measured is not None:
            by_kind.setdefault(str(row["kind"]), []).append(float(measured))
    return mean_of(fmean(values) for values in by_kind.values())


def _of_edit(rows: list[AnswerRow]) -> Scores:
    def correct(dimension: str) -> float | None:
        return mean_over_kinds((r for r in rows if r["dimension"] == dimension), lambda r: r["correct"])

    eq4 = mean_over_kinds((r for r in rows if r["dimension"] == "loc"), lambda r: r.get("same_as_before"))
    return Scores(correct("rel"), correct("gen"), correct("loc"), correct("port"), eq4)


def _with_avg(scores: Scores, locality: Locality, parts: Sequence[Dimension]) -> Scores:
    unknown = [part for part in parts if part not in DIMENSIONS]
    if unknown or not parts:
        raise ValueError(f"parts of the average must be some of {', '.join(DIMENSIONS)}; found {list(parts)}")
    if locality not in ("accuracy", "eq4"):
        raise ValueError(f"locality in the average must be 'accuracy' or 'eq4', found {locality!r}")
    names = ["loc_eq4" if part == "loc" and locality == "eq4" else part for part in dict.fromkeys(parts)]
    values = [getattr(scores, name) for name in names]
    avg = None if any(value is None for value in values) else fmean(values)
    return Scores(scores.rel, scores.gen, scores.loc, scores.port, scores.loc_eq4, avg)
