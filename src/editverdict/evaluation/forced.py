"""Scores under teacher forcing: rows of the same form as those of free answers, under a protocol id of their own.

``correct`` is the share of the target's tokens that are the most probable ones (the field's usual score, with its
partial credit), ``all_correct`` whether all are, ``first_correct`` whether the first one is. No judge reads anything;
``same_as_before`` is the share of places at which the edited model's most probable token is the unedited model's, as
the field measures locality. Of several accepted answers the canonical one is forced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from editverdict.evaluation.dimensions import AnswerRow
from editverdict.evaluation.questions import Question
from editverdict.generation.forced import Forced

NO_JUDGE = "argmax"
"""Stands where a judge's id does."""
Key = tuple[str, str]
"""Prompt, target."""


def forced_pairs(questions: Iterable[Question]) -> list[Key]:
    """(prompt, target) pairs to be forced, one per question."""
    return [(question.prompt, question.accepted[0]) for question in questions]


def forced_rows(
    questions: Sequence[Question],
    forced: Sequence[Forced],
    protocol: str,
    before: Mapping[Key, Sequence[int]] | None = None,
) -> list[AnswerRow]:
    """Join questions with what teacher forcing found.

    Parameters
    ----------
    questions, forced
        Of equal length, in the same order; targets as `forced_pairs` has them.
    protocol : str
        Id of the teacher-forced protocol.
    before : mapping, optional
        (prompt, target) -> most probable tokens of the unedited model by the same protocol, for locality.

    Returns
    -------
    list of dict
        The keys of an answer row, ``answer`` being the most probable tokens as text, and ``tokens``, ``target_tokens``,
        ``all_correct``, ``first_correct``.

    Raises
    ------
    ValueError
        If the lengths differ, or the tokens from before are not as many as the target's.
    """
    if len(questions) != len(forced):
        raise ValueError(f"expected one forced target per question, found {len(forced)} for {len(questions)} questions")
    rows = []
    for question, found in zip(questions, forced, strict=True):
        rows.append(
            {
                "edit_id": question.edit_id,
                "dimension": question.dimension,
                "kind": question.kind,
                "prompt": question.prompt,
                "accepted": list(question.accepted),
                "answer": found.text,
                "correct": found.share,
                "same_as_before": _kept(question, found, before),
                "all_correct": found.target == found.best,
                "first_correct": found.first,
                "tokens": list(found.best),
                "target_tokens": list(found.target),
                "protocol": protocol,
                "judge": NO_JUDGE,
            }
        )
    return rows


def _kept(question: Question, found: Forced, before: Mapping[Key, Sequence[int]] | None) -> float | None:
    key = (question.prompt, question.accepted[0])
    if question.dimension != "loc" or before is None or key not in before:
        return None
    then = before[key]
    if len(then) != len(found.best):
        raise ValueError(
            f"edit {question.edit_id}: {len(then)} tokens from before the edit for {question.prompt!r}, expected "
            f"{len(found.best)}, as many as the target has"
        )
    return sum(a == b for a, b in zip(then, found.best, strict=True)) / len(then)
