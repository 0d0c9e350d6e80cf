"""Judgements one can check by eye."""

from __future__ import annotations

import pytest

from editverdict.evaluation.lexical import LexicalJudge, normalise
from editverdict.schema.judges import LexicalJudgeSpec

STARTS = LexicalJudge("starts-with")
CONTAINS = LexicalJudge("contains")

# answer, accepted, right under starts-with, right under contains
TABLE = [
    (" Rome", ["Rome"], True, True),
    (" Rome.", ["Rome"], True, True),
    ("Rome, the capital of Italy", ["Rome"], True, True),
    ("ROME!", ["rome"], True, True),
    ("Romeo", ["Rome"], False, False),
    ("Romeo and Juliet", ["Rome"], False, False),
    ("Chrome", ["Rome"], False, False),
    (" the city of Rome", ["Rome"], False, True),
    (" Paris", ["Rome"], False, False),
    (" Paris", ["Rome", "Paris"], True, True),
    ("", ["Rome"], False, False),
    ("   ", ["Rome"], False, False),
    ("...", ["Rome"], False, False),
    ("Ro", ["Rome"], False, False),
    ("New York City", ["New York"], True, True),
    ("New", ["New York"], False, False),
    ("York New", ["New York"], False, False),
    ("New\n  York", ["New York"], True, True),
    ("Buenos Aires", ["Buenos Aires"], True, True),
    ("US", ["U.S."], True, True),
    ("the U.S.", ["US"], True, True),
    ("U.S.A. and Canada", ["USA"], True, True),
    ("USA", ["US"], False, False),
    ("United States", ["the United States"], True, True),
    ("The Hague", ["Hague"], True, True),
    ("an apple", ["apple"], True, True),
    ("São Paulo", ["Sao Paulo"], True, True),
    ("Sao Paulo", ["São Paulo"], True, True),
    ("Zu\u0308rich", ["Z\u00fcrich"], True, True),
    ("Strasse", ["Stra\u00dfe"], True, True),
    ("Lodz", ["\u0141\u00f3d\u017a"], True, True),
    ("\uff32\uff4f\uff4d\uff45", ["Rome"], True, True),
    ("Guinea-Bissau", ["Guinea"], False, False),
    ("Guinea-Bissau", ["Bissau"], False, False),
    ("Guinea Bissau", ["Guinea-Bissau"], True, True),
    ("Guinea\u2011Bissau", ["Guinea-Bissau"], True, True),
    ("Paris - the capital", ["Paris"], True, True),
    ("Paris\u2014the capital", ["Paris"], True, True),
    ("France's capital", ["France"], True, True),
    ("Cote d\u2019Ivoire", ["C\u00f4te d'Ivoire"], True, True),
    ("1,000 metres", ["1000"], True, True),
    ("3.5", ["3"], False, False),
    ("3.5", ["3.5"], True, True),
    ("3. It is", ["3"], True, True),
    ("12", ["1"], False, False),
    ("-5 degrees", ["5"], False, False),
    ("-5 degrees", ["-5"], True, True),
    ("C++", ["C"], False, False),
    ("C++", ["C++"], True, True),
    ("$", ["$"], True, True),
    ("it is $", ["$"], False, True),
    ("A is a vitamin", ["A"], True, True),
    ("vitamin A", ["vitamin A"], True, True),
    ("\u041c\u043e\u0441\u043a\u0432\u0430", ["\u043c\u043e\u0441\u043a\u0432\u0430"], True, True),
    ("\u30ab", ["\u30ac"], False, False),
    ("Answer: Rome", ["Rome"], False, True),
    ("The capital of Italy is", ["Rome"], False, False),  # an echo of the prompt
    ("snake_case", ["snake"], True, True),
]


@pytest.mark.parametrize(("answer", "accepted", "starts", "contains"), TABLE)
def test_table(answer, accepted, starts, contains):  # type: ignore[no-untyped-def]
    assert STARTS.judge(answer, accepted) is starts
    assert CONTAINS.judge(answer, accepted) is contains


def test_documented_limitations():
    """What a judge of words cannot know; should it ever learn, the docstring must follow."""
    assert CONTAINS.judge("not Rome", ["Rome"]) and not STARTS.judge("not Rome", ["Rome"])
    assert STARTS.judge("Rome is wrong", ["Rome"])
    assert CONTAINS.judge("New York", ["York"]) and not STARTS.judge("New York", ["York"])
    assert not CONTAINS.judge("seven", ["7"])


@pytest.mark.parametrize("accepted", [[], [""], ["  ", ""]])
def test_nothing_to_judge_against_is_an_error_not_a_zero(accepted):  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="no accepted answer"):
        STARTS.judge("Rome", accepted)


def test_empty_aliases_match_nothing():
    assert not CONTAINS.judge("Paris", ["Rome", ""])


def test_normal_form():
    assert normalise("  The U.S.'s  \u00c9lys\u00e9e-Palace (1,000,000)! ") == "us elysee palace 1000000"
    assert normalise("the") == "the"
    assert normalise(normalise("D.C. -3.5 C++")) == normalise("D.C. -3.5 C++") == "dc -3.5 c++"


def test_id_follows_the_rule():
    assert STARTS.id == LexicalJudge.of(LexicalJudgeSpec(id="any-name", format="lexical")).id
    assert STARTS.id != CONTAINS.id and len(STARTS.id) == 16
