"""Cohen's kappa against scikit-learn and by hand, and how often its interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from editverdict.inference.agreement import Share, cohens_kappa, kappa_interval


def test_by_hand() -> None:
    # Cohen's table with p_o = .7 and p_e = .5: kappa .4.
    labels = ["y"] * 25 + ["n"] * 25
    verdicts = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohens_kappa(labels, verdicts) == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(5))
def test_against_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.choice(["yes", "no"], 60).tolist()
    verdicts = generator.choice(["yes", "no", "undecided"], 60, p=[0.5, 0.3, 0.2]).tolist()
    assert cohens_kappa(labels, verdicts) == pytest.approx(cohen_kappa_score(labels, verdicts))


def test_undefined_is_none_and_not_a_number() -> None:
    assert cohens_kappa([], []) is None
    assert cohens_kappa(["y", "y"], ["y", "y"]) is None
    found = kappa_interval(["y", "y"], ["y", "y"], [0, 1])
    assert found.value is None and found.interval is None
    assert Share(0, 0).value is None and Share(0, 0).interval is None


def test_a_judge_that_always_says_yes_has_none() -> None:
    found = kappa_interval(["y", "n"] * 30, ["y"] * 60, list(range(60)))
    assert found.value == 0.0 and found.interval is not None and found.interval[0] < 0 < found.interval[1]


def test_perfect_agreement_is_no_point() -> None:
    labels = ["y", "n"] * 20
    found = kappa_interval(labels, labels, list(range(40)))
    assert found.value == 1.0 and found.interval is not None
    assert found.interval[1] == 1.0 and 0.6 < found.interval[0] < 0.9
    low, high = Share(40, 40).interval or (0, 0)
    assert high == 1.0 and low == pytest.approx(0.005 ** (1 / 40))


def test_clusters_widen_the_interval() -> None:
    """Answers that go right and wrong together, question by question, are fewer than they look."""
    labels = ["y", "n", "y", "n", "y", "n"] * 20
    verdicts = [v for q in range(20) for v in (labels[:6] if q % 4 else ["n", "y"] * 3)]
    alone = kappa_interval(labels, verdicts, list(range(120))).interval
    together = kappa_interval(labels, verdicts, [i // 6 for i in range(120)]).interval
    assert alone and together and together[1] - together[0] > 1.5 * (alone[1] - alone[0])


def test_the_interval_holds_the_truth() -> None:
    """Raters of known agreement: labels are fair coins, a verdict is the label with probability .9, so kappa is .8."""
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        labels = generator.integers(0, 2, 90)
        verdicts = np.where(generator.random(90) < 0.9, labels, 1 - labels)
        interval = kappa_interval(labels.tolist(), verdicts.tolist(), [i // 4 for i in range(90)], draws=400).interval
        assert interval is not None
        held += interval[0] <= 0.8 <= interval[1]
    assert held >= 97


def test_refusals() -> None:
    with pytest.raises(ValueError, match="found 1 for 2 labels"):
        cohens_kappa(["y", "n"], ["y"])
    with pytest.raises(ValueError, match="expected one cluster per item"):
        kappa_interval(["y", "n"], ["y", "n"], [0])
