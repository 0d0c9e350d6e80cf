"""One row per fact: all its scores side by side, from stored answers alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from editverdict.evaluation.dimensions import (
    AnswerRow,
    Locality,
    mean_over_kinds,
    per_edit_scores,
    require_one_score_id,
)
from editverdict.evaluation.probability import probability_scores
from editverdict.evaluation.questions import DIMENSIONS, Dimension
from editverdict.evaluation.tokens import per_edit_token_locality, token_rows

SCORES = ("rel", "gen", "loc", "loc_eq4", "port", "avg")


def fact_rows(
    rows: Sequence[AnswerRow],
    *,
    subjects: Mapping[str, str],
    before: Sequence[Mapping[str, Any]] | None = None,
    probability: Iterable[Mapping[str, Any]] = (),
    locality: Locality = "accuracy",
    parts: Sequence[Dimension] = DIMENSIONS,
) -> list[dict[str, Any]]:
    """Scores of every edit of one state.

    Parameters
    ----------
    rows : sequence of AnswerRow
        Judged answers of one state by one protocol and judge.
    subjects : mapping of str to str
        Edit id -> subject: what facts are clustered by.
    before : sequence of mapping, optional
        Answer rows of the unedited model, with ``tokens``, for token-level locality.
    probability : iterable of mapping, optional
        Rows of `probability_rows`.
    locality, parts : optional
        What the average is made of, as `scores_of`.

    Returns
    -------
    list of dict
        Keys: ``edit_id``, ``subject``, ``protocol``, ``judge``, those of `SCORES`, ``port:KIND`` for each kind of
        portability in ``rows``, ``token_match``, ``token_match_over_before``, ``token_beginning``, ``token_exact``,
        ``efficacy``, ``paraphrase``, ``specificity``. What was not asked is None.

    Raises
    ------
    ValueError
        If an edit has no subject.
    ProtocolMismatch
        If the rows carry different protocol or judge ids.
    """
    require_one_score_id(rows, "answers of one table")
    scores = per_edit_scores(rows, locality=locality, parts=parts)
    unknown = [edit for edit in scores if edit not in subjects]
    if unknown:
        raise ValueError(
            f"no subject for edit {unknown[0]} ({len(unknown)} of {len(scores)} edits); expected a subject for each, "
            "because facts of one subject are drawn together"
        )
    tokens = per_edit_token_locality(token_rows(rows, before)) if before is not None else {}
    answers, compared = _by_edit(rows), _by_edit(probability)
    kinds = sorted({str(row["kind"]) for row in rows if row["dimension"] == "port"})
    found = []
    for edit, own in scores.items():
        first = answers[edit][0]
        chances = probability_scores(compared.get(edit, []))
        matched = tokens.get(edit, {})
        found.append(
            {
                "edit_id": edit,
                "subject": subjects[edit],
                "protocol": first.get("protocol"),
                "judge": first.get("judge"),
                **{name: getattr(own, name) for name in SCORES},
                **_by_kind(answers[edit], kinds),
                "token_match": matched.get("ratio"),
                "token_match_over_before": matched.get("over_before"),
                "token_beginning": matched.get("beginning"),
                "token_exact": matched.get("exact"),
                "efficacy": chances.efficacy,
                "paraphrase": chances.paraphrase,
                "specificity": chances.specificity,
            }
        )
    return found


def _by_edit(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(str(row["edit_id"]), []).append(dict(row))
    return found


def _by_kind(own: Sequence[AnswerRow], kinds: Sequence[str]) -> dict[str, float | None]:
    """``port:KIND`` for every kind in the table, so that all rows have the same columns."""
    asked = [row for row in own if row["dimension"] == "port"]
    return {
        f"port:{kind}": mean_over_kinds((r for r in asked if r["kind"] == kind), lambda r: r["correct"])
        for kind in kinds
    }
