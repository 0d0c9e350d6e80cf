"""Token-level locality against counts done by hand."""

from __future__ import annotations

import pytest

from editverdict.evaluation.dimensions import rows_of, scores_of
from editverdict.evaluation.lexical import LexicalJudge
from editverdict.evaluation.questions import Question
from editverdict.evaluation.tokens import TokenMatch, token_locality, token_match, token_rows
from editverdict.generation.protocol import ProtocolMismatch


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([5, 6, 7], [5, 6, 7], TokenMatch(1.0, 1.0, 1.0, True)),
        ([5, 6, 7, 8], [5, 9, 7, 8], TokenMatch(3 / 4, 3 / 4, 1 / 4, False)),
        ([5, 6], [5, 6, 7, 8], TokenMatch(2 / 4, 2 / 2, 2 / 4, False)),
        ([5, 6, 7, 8], [5, 6], TokenMatch(2 / 4, 2 / 4, 2 / 4, False)),
        ([1, 2, 3, 4], [9, 1, 2, 3], TokenMatch(0.0, 0.0, 0.0, False)),  # shifted by one: all is lost
        ([1], [2], TokenMatch(0.0, 0.0, 0.0, False)),
    ],
)
def test_two_answers(before: list[int], after: list[int], expected: TokenMatch) -> None:
    assert token_match(before, after) == expected


def test_exact_is_all_of_it() -> None:
    """The definitions agree on what is the same, and the beginning is never more than the ratio."""
    sequences = [[a, b, c][:n] for a in (1, 2) for b in (1, 2) for c in (1, 2) for n in (1, 2, 3)]
    for before in sequences:
        for after in sequences:
            match = token_match(before, after)
            assert match.exact == (before == after) == (match.ratio == 1.0) == (match.beginning == 1.0)
            assert match.beginning <= match.ratio <= match.over_before <= 1.0


def row(edit: str, prompt: str, tokens: list[int] | None, kind: str = "a", **more: object) -> dict[str, object]:
    return {"edit_id": edit, "dimension": "loc", "kind": kind, "prompt": prompt, "tokens": tokens, **more}


BEFORE = [row("x", p, t, protocol="p1") for p, t in (("q1", [1, 2]), ("q2", [3, 4]), ("q3", [5, 6]), ("q4", [7]))]


def test_over_kinds_then_over_edits() -> None:
    after = [
        row("e1", "q1", [1, 2], protocol="p1"),  # 1
        row("e1", "q2", [3, 9], protocol="p1"),  # 1/2
        row("e1", "q3", [9, 9], kind="b", protocol="p1"),  # 0
        row("e2", "q4", [7], protocol="p1"),  # 1
    ]
    found = token_locality(token_rows(after, BEFORE))
    assert found.ratio == pytest.approx(((3 / 4 + 0) / 2 + 1) / 2)
    assert found.exact == pytest.approx(((1 / 2 + 0) / 2 + 1) / 2)
    assert found.n_edits == 2
    assert token_locality(token_rows([{**after[0], "dimension": "rel"}], BEFORE)).ratio is None
    assert token_locality([]).n_edits == 0


def test_the_unedited_model_matches_itself() -> None:
    found = token_locality(token_rows(BEFORE, BEFORE))
    assert (found.ratio, found.over_before, found.beginning, found.exact) == (1.0, 1.0, 1.0, 1.0)


def test_exact_answers_are_those_of_the_unedited_model_under_every_locality() -> None:
    """What claim tok-grace-100 implies: a method that keeps every token has the unedited model's accuracy."""
    questions = [Question("e", "loc", "a", p, ("Rome",)) for p in ("q1", "q2", "q3")]
    said = ["Rome.", "Lyon", ""]
    judge = LexicalJudge()
    before = dict(zip(("q1", "q2", "q3"), said, strict=True))
    unedited, edited = (scores_of(rows_of(questions, said, judge, before)) for _ in range(2))
    assert edited.loc_eq4 == 1.0 and edited.loc == unedited.loc == pytest.approx(1 / 3)


def test_refusals() -> None:
    with pytest.raises(ProtocolMismatch, match=r"before and after the edit carry different protocol ids \(p1, p2\)"):
        token_rows([row("e", "q1", [1, 2], protocol="p2")], BEFORE)
    with pytest.raises(ProtocolMismatch, match="token-level rows"):
        token_locality([{**vars(token_match([1], [1])), "edit_id": "e", "kind": "a", "protocol": p} for p in "ab"])
    with pytest.raises(ValueError, match="edit e: no answer of the unedited model to 'unasked'"):
        token_rows([row("e", "unasked", [1], protocol="p1")], BEFORE)
    with pytest.raises(ValueError, match="stored without its tokens"):
        token_rows([row("e", "q1", None, protocol="p1")], BEFORE)
    with pytest.raises(ValueError, match="found 0 before and 1 after"):
        token_match([], [1])
