"""Efficacy, paraphrase and specificity against sums done by hand."""

from __future__ import annotations

from math import log, nan

import pytest

from editverdict.data.records import EditRecord, Probe
from editverdict.evaluation.probability import (
    ProbabilityScores,
    comparisons_of,
    pairs_of,
    probability_rows,
    probability_scores,
)


def record(name, old="Paris", rephrases=("r1", "r2")):  # type: ignore[no-untyped-def]
    return EditRecord(
        id=name,
        prompt="p",
        subject="s",
        target_new="Rome",
        target_old=old,
        rephrases=rephrases,
        locality=(
            Probe(prompt="l1", answers=("Bonn", "Bonn am Rhein"), kind="same-relation"),
            Probe(prompt="l2", answers=("Rome",), kind="same-relation"),
            Probe(prompt="l3", answers=("Asia",), kind="other-relation"),
        ),
    )


def test_what_is_compared():
    found = comparisons_of(record("a"))
    assert pairs_of(found) == [
        ("p", "Rome"),
        ("p", "Paris"),
        ("r1", "Rome"),
        ("r1", "Paris"),
        ("r2", "Rome"),
        ("r2", "Paris"),
        ("l1", "Bonn"),
        ("l1", "Rome"),
    ]  # l2 would compare Rome with itself, l3 is of another relation
    assert [c.part for c in found] == ["efficacy", "paraphrase", "paraphrase", "specificity"]
    assert [c.prompt for c in comparisons_of(record("a"), specificity_kinds=("other-relation",))][-1] == "l3"


def test_scores_and_magnitudes():
    both = [c for name in ("a", "b") for c in comparisons_of(record(name))]
    a = [0.6, 0.1, 0.5, 0.2, 0.1, 0.3, 0.2, 0.4]  # efficacy won, paraphrases won and lost, specificity lost
    b = [0.2, 0.3, 0.4, 0.1, 0.5, 0.1, 0.7, 0.1]  # lost, won twice, won
    got = probability_scores(probability_rows(both, [log(p) for p in a + b]))
    assert got.efficacy == pytest.approx(1 / 2)
    assert got.paraphrase == pytest.approx(3 / 4)
    assert got.specificity == pytest.approx(1 / 2)
    assert got.efficacy_magnitude == pytest.approx((0.5 - 0.1) / 2)
    assert got.paraphrase_magnitude == pytest.approx(((0.3 - 0.2) / 2 + (0.3 + 0.4) / 2) / 2)
    assert got.specificity_magnitude == pytest.approx((-0.2 + 0.6) / 2)
    assert got.score == pytest.approx(3 / (2 + 4 / 3 + 2))


def test_without_an_old_object_only_specificity_exists():
    got = probability_scores(probability_rows(comparisons_of(record("a", old=None)), [log(0.5), log(0.25)]))
    assert got == ProbabilityScores(specificity=1.0, specificity_magnitude=pytest.approx(0.25))
    assert probability_scores([]) == ProbabilityScores()
    no_rephrase = comparisons_of(record("a", rephrases=()))
    assert probability_scores(probability_rows(no_rephrase, [-1.0, -2.0, -3.0, -4.0])).paraphrase is None


def test_a_tie_is_not_won_and_zero_stays_zero():
    got = probability_scores(probability_rows(comparisons_of(record("a")), [-1.0] * 8))
    assert got.efficacy == 0.0 and got.score == 0.0 and got.efficacy_magnitude == 0.0


def test_refusals():
    found = comparisons_of(record("a"))
    with pytest.raises(ValueError, match=r"expected 8 log-probabilities .* found 7"):
        probability_rows(found, [-1.0] * 7)
    with pytest.raises(ValueError, match=r"edit a: .*NaN"):
        probability_rows(found, [nan] + [-1.0] * 7)
