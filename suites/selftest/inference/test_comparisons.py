"""Paired comparisons against scipy, closed forms, brute force and simulated worlds."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from editverdict.inference.comparisons import (
    Outcomes,
    ProtocolsDiffer,
    clustered_bootstrap,
    compare,
    comparison_table,
    mcnemar,
    protocol_gap,
    sign_flip_p,
)
from editverdict.inference.corrections import holm


def discordant(only_a: int, only_b: int, both: int = 3, none: int = 2) -> tuple[list[int], list[int]]:
    first = [1] * only_a + [0] * only_b + [1] * both + [0] * none
    return first, [0] * only_a + [1] * only_b + [1] * both + [0] * none


# --------------------------------------------------------------------------- McNemar
@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 1), (9, 9), (7, 8), (0, 12), (30, 14)])
def test_mcnemar_is_the_binomial_test(b: int, c: int) -> None:
    found = mcnemar(*discordant(b, c))
    assert (found.only_first, found.only_second) == (b, c)
    n = b + c
    # By its definition: outcomes less likely count whole, those as likely as the observed one whole (exact) or half.
    chance = [math.comb(n, k) / 2**n for k in range(n + 1)]
    far = abs(b - n / 2)
    beyond = sum(p for k, p in enumerate(chance) if abs(k - n / 2) > far)
    level = sum(p for k, p in enumerate(chance) if abs(k - n / 2) == far)
    assert found.p_exact == pytest.approx(beyond + level)
    assert found.p_mid == pytest.approx(1.0 if n == 0 else beyond + level / 2)
    if n:
        assert found.p_exact == pytest.approx(stats.binomtest(b, n, 0.5).pvalue)


def test_mcnemar_on_known_numbers() -> None:
    """Six facts against none: 2/64; nine against one: 22/1024, mid-p 12/1024."""
    assert mcnemar(*discordant(6, 0)).p_exact == pytest.approx(2 / 64)
    assert mcnemar(*discordant(9, 1)).p_exact == pytest.approx(22 / 1024)
    assert mcnemar(*discordant(9, 1)).p_mid == pytest.approx(12 / 1024)


def test_levels_of_mcnemar() -> None:
    """Without a difference the exact test never rejects in more than 5% of worlds; mid-p does so on average."""
    exact, mid = [], []
    for n in range(6, 61):
        chances = [math.comb(n, b) / 2**n for b in range(n + 1)]
        found = [mcnemar(*discordant(b, n - b)) for b in range(n + 1)]
        exact.append(sum(p for p, one in zip(chances, found, strict=True) if one.p_exact <= 0.05))
        mid.append(sum(p for p, one in zip(chances, found, strict=True) if one.p_mid <= 0.05))
    assert max(exact) <= 0.05
    assert np.mean(mid) == pytest.approx(0.05, abs=0.005)
    assert np.mean(exact) < np.mean(mid) - 0.01


# --------------------------------------------------------------------------- sign flips
@pytest.mark.parametrize(("b", "c"), [(0, 0), (3, 3), (6, 1), (2, 9), (0, 7)])
def test_with_one_fact_per_subject_sign_flips_are_mcnemars_test(b: int, c: int) -> None:
    first, second = discordant(b, c)
    differences = [x - y for x, y in zip(first, second, strict=True)]
    assert sign_flip_p(differences, range(len(differences))) == pytest.approx(mcnemar(first, second).p_exact)


def test_sign_flips_of_fractions_are_counted_and_not_drawn() -> None:
    """Means of a few answers: thirds and halves; no p of draws would be below one in ten thousand."""
    differences = [1 / 3, -1 / 2, 2 / 3, 1 / 6, 1.0, 1 / 2, -1 / 3]
    signs = np.array(list(product((-1, 1), repeat=len(differences))))
    beyond = np.abs(signs @ np.array(differences)) >= abs(sum(differences)) - 1e-12
    assert sign_flip_p(differences, range(len(differences)), draws=1) == pytest.approx(float(beyond.mean()))
    assert sign_flip_p([1 / 3] * 60, range(60)) == pytest.approx(2 / 2**60)


def test_sign_flips_equal_brute_force_over_clusters() -> None:
    differences, clusters = [1, 1, 0, -1, 1, 1, 1, -1, 0, 1, 1, 1], [0, 0, 0, 1, 2, 2, 3, 3, 4, 5, 5, 5]
    sums = [sum(d for d, c in zip(differences, clusters, strict=True) if c == k) for k in range(6)]
    observed = abs(sum(sums))
    flips = [abs(sum(s * x for s, x in zip(signs, sums, strict=True))) for signs in product((1, -1), repeat=6)]
    expected = sum(flip >= observed for flip in flips) / len(flips)
    assert sign_flip_p(differences, clusters) == pytest.approx(expected)
    # Sums with no common denominator: random signs must find nearly the same.
    odd = [d / math.pi for d in differences]
    assert sign_flip_p(odd, clusters, draws=40_000) == pytest.approx(expected, abs=0.01)


def test_random_flips_never_give_zero_and_repeat() -> None:
    values = [0.3 + math.sqrt(i) / 100 for i in range(40)]
    p = sign_flip_p(values, range(40), draws=99)
    assert p == 1 / 100 == sign_flip_p(values, range(40), draws=99)


def test_a_cluster_is_one_witness() -> None:
    """Twelve facts of one subject are one flip of a coin; as twelve subjects they would be significant."""
    assert sign_flip_p([1] * 12, ["Rome"] * 12) == 1.0
    assert sign_flip_p([1] * 12, range(12)) == pytest.approx(2 / 2**12)


# --------------------------------------------------------------------------- bootstrap
def test_with_many_single_facts_the_bootstrap_is_students_interval() -> None:
    generator = np.random.default_rng(3)
    values = generator.choice([-1.0, 0.0, 0.0, 1.0], size=400, p=[0.1, 0.3, 0.3, 0.3])
    found = clustered_bootstrap(values.tolist(), range(400), 0.95, draws=40_000)
    low, high = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert found.value == pytest.approx(values.mean())
    assert found.interval is not None
    assert found.interval == (pytest.approx(low, abs=0.004), pytest.approx(high, abs=0.004))
    assert (found.n_facts, found.n_clusters) == (400, 400)


def test_whole_clusters_are_drawn() -> None:
    """Facts that say the same within a subject are worth one fact: the interval is that of the subjects."""
    generator = np.random.default_rng(5)
    subjects = generator.choice([-1.0, 0.0, 1.0], size=30)
    repeated = np.repeat(subjects, 10)
    one = clustered_bootstrap(subjects.tolist(), range(30), 0.95, seed=1)
    ten = clustered_bootstrap(repeated.tolist(), np.repeat(range(30), 10).tolist(), 0.95, seed=1)
    naive = clustered_bootstrap(repeated.tolist(), range(300), 0.95, seed=1)
    assert one.interval is not None and ten.interval is not None and naive.interval is not None
    assert ten.interval == pytest.approx(one.interval)
    assert ten.interval[1] - ten.interval[0] > 2.5 * (naive.interval[1] - naive.interval[0])
    assert (ten.n_facts, ten.n_clusters) == (300, 30)


@pytest.mark.parametrize("m", [8, 20, 60])
def test_coverage(m: int) -> None:
    """Worlds of m subjects with one to five facts that share a random part: the interval holds the truth."""
    generator = np.random.default_rng(11)
    worlds, hits, truth = 400, 0, 0.2
    for _ in range(worlds):
        sizes = generator.integers(1, 6, size=m)
        chance = np.clip(generator.normal(truth, 0.25, size=m), -1.0, 1.0)
        values, clusters = [], []
        for cluster, (size, p) in enumerate(zip(sizes, chance, strict=True)):
            drawn = generator.random(size) < abs(p)
            values += (np.sign(p) * drawn).tolist()
            clusters += [cluster] * int(size)
        found = clustered_bootstrap(values, clusters, 0.95, draws=999, seed=int(generator.integers(1 << 30)))
        assert found.interval is not None
        hits += found.interval[0] <= truth <= found.interval[1]
    assert 0.90 <= hits / worlds <= 0.99


def test_no_spread_is_not_certainty() -> None:
    """Twenty subjects without a difference leave room for one in five that differs."""
    found = clustered_bootstrap([0.0] * 20, range(20), 0.99)
    assert found.interval is not None
    reach = found.interval[1]
    assert found.interval == (-reach, reach)
    # Clopper and Pearson's upper end for none of twenty.
    assert reach == pytest.approx(stats.binomtest(0, 20).proportion_ci(0.99, "exact").high)
    all_won = clustered_bootstrap([1.0] * 20, range(20), 0.99)
    assert all_won.interval == (pytest.approx(1.0 - reach), 1.0)


def test_too_little() -> None:
    assert clustered_bootstrap([], []).value is None
    single = clustered_bootstrap([1.0, 0.0], ["Rome", "Rome"])
    assert single.value == 0.5 and single.interval is None and single.n_clusters == 1


# --------------------------------------------------------------------------- tables
def outcomes(name: str, values: dict[Any, float], protocol: str = "p/j", **more: Any) -> Outcomes:
    return Outcomes(name, protocol, values, more.get("subjects", {fact: f"s{fact}" for fact in values}))


def scored(name: str, right: range, n: int = 40, **more: Any) -> Outcomes:
    return outcomes(name, {fact: float(fact in right) for fact in range(n)}, **more)


A, B, C = scored("A", range(0, 30)), scored("B", range(10, 34)), scored("C", range(0, 3))


def test_a_table_with_holm() -> None:
    table = comparison_table([A, B, C])
    assert [(c.first, c.second) for c in table] == [("A", "B"), ("A", "C"), ("B", "C")]
    assert [c.p_holm for c in table] == pytest.approx(holm([c.p for c in table]))
    first = table[0]
    assert first.difference.value == pytest.approx(6 / 40) and first.protocol == "p/j"
    assert first.mcnemar is not None and (first.mcnemar.only_first, first.mcnemar.only_second) == (10, 4)
    assert first.p == pytest.approx(first.mcnemar.p_exact), "every subject has one fact"
    assert table[1].p_holm < 0.01 < first.p_holm


def test_against_one() -> None:
    table = comparison_table([A, B, C], against="B")
    assert [(c.first, c.second) for c in table] == [("A", "B"), ("C", "B")]
    assert comparison_table([A], against="A") == []


def test_subjects_count() -> None:
    """The same answers, but all facts of four subjects: nothing is significant any more."""
    four = {fact: f"s{fact % 4}" for fact in range(40)}
    found = compare(scored("A", range(0, 30), subjects=four), scored("C", range(0, 3), subjects=four))
    assert found.difference.n_clusters == 4 and found.p == pytest.approx(2 / 16)
    assert found.mcnemar is not None and found.mcnemar.p_exact < 1e-6


def test_shares_have_no_mcnemar() -> None:
    half = outcomes("H", dict.fromkeys(range(40), 0.5))
    assert compare(A, half).mcnemar is None
    with pytest.raises(ValueError, match=r"right \(1\) or wrong \(0\)"):
        mcnemar([0.5], [1.0])


def test_numbers_of_different_protocols_are_never_compared() -> None:
    other = scored("B", range(10, 34), protocol="q/j")
    with pytest.raises(ProtocolsDiffer, match="A was scored by p/j and B by q/j"):
        compare(A, other)
    with pytest.raises(ProtocolsDiffer):
        comparison_table([A, C, other])


def test_the_gap_between_protocols() -> None:
    forced = outcomes("A", {fact: 0.5 + 0.5 * (fact < 30) for fact in range(40)}, protocol="tf/argmax")
    gap = protocol_gap(forced, A)
    assert gap.difference.value == pytest.approx(0.125) and gap.protocol == "tf/argmax minus p/j"
    assert gap.p == pytest.approx(2 / 2**10, abs=1e-3)
    with pytest.raises(ValueError, match="no gap between a protocol and itself"):
        protocol_gap(A, A)
    with pytest.raises(ValueError, match="is of one method, found B and A"):
        protocol_gap(outcomes("B", dict(forced.values), protocol="tf/argmax"), A)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"20 are of one side only, e\.g\. 20"):
        compare(A, scored("B", range(3), n=20))
    with pytest.raises(ValueError, match="fact 0 belongs to 's0' for A and to 'x' for B"):
        compare(A, scored("B", range(3), subjects=dict.fromkeys(range(40), "x")))
    with pytest.raises(ValueError, match="every method once"):
        comparison_table([A, A])
    with pytest.raises(ValueError, match="no method is called 'Z'; the table has A, B"):
        comparison_table([A, B], against="Z")
    with pytest.raises(ValueError, match="1 scores are not finite"):
        compare(A, outcomes("N", {**A.values, 0: float("nan")}))
    with pytest.raises(ValueError, match="found 1 for 2 facts"):
        clustered_bootstrap([1.0, 0.0], [1])
    with pytest.raises(ValueError, match="not finite"):
        sign_flip_p([float("nan")], [0])
    with pytest.raises(ValueError, match="shapes"):
        mcnemar([1], [1, 0])
