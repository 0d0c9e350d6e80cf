"""Methods against each other: what counts as a difference, one correction over the table, what is never compared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from editverdict.inference.contests import Contest, Fact, MethodState, contest
from editverdict.inference.corrections import holm

ID = "protocol/judge"
Right = Callable[[int, int], float]


def state(method: str, right: Right, schedule: str = "after 10", chains: int = 6, **more: str) -> MethodState:
    """Ten edits a chain, each of its own subject; one question of reliability per edit."""
    scores = {f"{c}-{e}": float(right(c, e)) for c in range(chains) for e in range(10)}
    facts = {name: Fact(f"S{name}", int(name.split("-")[0]), {"rel": score}) for name, score in scores.items()}
    questions = {"rel": {f"{name}|q": score for name, score in scores.items()}}
    return MethodState(method, schedule, more.get("score_id", ID), facts, questions)


def table(*states: MethodState) -> Contest:
    return contest("m", "d", ID, states, draws=999)


def half(chain: int, edit: int) -> float:
    return float((chain + edit) % 2)


def test_a_difference_in_every_chain_is_one() -> None:
    (line,) = table(state("A", lambda c, e: e < 9), state("B", lambda c, e: e < 4 + c % 2)).lines
    assert (line.first, line.second, line.n_facts, line.n_subjects, line.n_chains) == ("A", "B", 60, 60, 6)
    assert line.score_first == pytest.approx(0.9) and line.difference == pytest.approx(0.45)
    assert line.interval is not None and line.interval[0] > 0.2 and line.differs
    assert line.chains_interval is not None and line.chains_interval[0] > 0
    assert (line.only_first, line.only_second) == (27, 0) and line.p_mcnemar == pytest.approx(2 * 0.5**27)


def test_what_one_broken_chain_does_is_no_difference_of_methods() -> None:
    """Ten facts of one chain fall together: over subjects that looks certain, over chains it is one of six."""
    whole, broken = (state("A", lambda c, e: 1.0), state("B", lambda c, e: float(c != 0)))
    (line,) = table(whole, broken).lines
    assert line.p < 0.01 and line.interval is not None and line.interval[0] > 0
    assert line.chains_interval is not None and line.chains_interval[0] < 0 and not line.differs
    (alone,) = table(*(state(s.method, lambda c, e, s=s: s.facts[f"{c}-{e}"].scores["rel"], "single")
                       for s in (whole, broken))).lines  # fmt: skip
    assert alone.chains_interval is None and alone.differs  # single edits have a state each


def test_under_a_true_null_with_shared_states_hardly_any_table_shows_a_difference() -> None:
    """Chains fall and rise together: what subjects call certain is corrected over chains as well."""
    shown = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        states = []
        for t in (5, 10, 20):
            for name in ("A", "B", "C"):
                chance = 1 / (1 + np.exp(-1.5 * rng.standard_normal(6)))
                drawn = rng.random((6, 10)) < chance[:, None]
                states.append(state(name, lambda c, e, d=drawn: float(d[c, e]), f"after {t}"))
        shown += any(line.differs for line in contest("m", "d", ID, states, draws=99).lines)
    assert shown <= 1


def test_fewer_than_six_chains_show_nothing() -> None:
    states = [state("A", lambda c, e: 1.0, chains=5), state("B", lambda c, e: 0.0, chains=5)]
    (line,) = table(*states).lines
    assert line.p_holm < 0.01 and not line.differs


def test_holm_runs_over_all_schedules_dimensions_and_pairs() -> None:
    rng = np.random.default_rng(0)
    rights = {m: rng.random((6, 10)) < share for m, share in {"A": 0.9, "B": 0.6, "C": 0.55}.items()}
    states = [
        state(m, lambda c, e, r=r: float(r[c, e]), schedule)
        for m, r in rights.items()
        for schedule in ("after 10", "single")
    ]
    found = table(*states)
    assert [(line.schedule, line.first, line.second) for line in found.lines] == [
        (schedule, *pair) for schedule in ("single", "after 10") for pair in (("A", "B"), ("A", "C"), ("B", "C"))
    ]
    counted = [max(line.p, line.p_chains or 0.0) for line in found.lines]
    assert any(p > line.p for p, line in zip(counted, found.lines, strict=True))
    assert [line.p_holm for line in found.lines] == pytest.approx(holm(counted))


def test_the_same_answers_are_no_difference() -> None:
    (line,) = table(state("A", half), state("B", half)).lines
    assert (line.difference, line.p, line.p_holm, line.differs) == (0.0, 1.0, 1.0, False)
    assert line.interval is not None and line.interval[0] < 0 < line.interval[1]


def test_only_facts_of_both_are_compared_and_who_stands_alone_is_named() -> None:
    found = table(state("A", half), state("B", half, chains=3), state("C", half, "after 20"))
    assert [(line.first, line.second, line.n_facts) for line in found.lines] == [("A", "B", 30)]
    assert found.left_out == ("C, after 20 edits: no other method was asked about the same facts",)


def test_scores_in_shares_have_no_mcnemar() -> None:
    (line,) = table(state("A", lambda c, e: 0.5), state("B", lambda c, e: 0.25)).lines
    assert line.only_first is None and line.p_mcnemar is None and line.difference == pytest.approx(0.25)


def test_protocols_are_kept_apart() -> None:
    with pytest.raises(ValueError, match="cannot hold scores under other/judge"):
        table(state("A", half), state("B", half, score_id="other/judge"))
    with pytest.raises(ValueError, match="stands twice"):
        table(state("A", half), state("A", half))


def test_wrong_differences_are_rare_where_chains_vary() -> None:
    """Two methods alike, whose chains are lost or kept as a whole: subjects alone would often call them different."""
    rng, wrong, loose = np.random.default_rng(1), 0, 0
    for _ in range(150):
        a, b = (rng.random(6) for _ in range(2))
        first = state("A", lambda c, e, a=a: float(rng.random() < a[c]))
        second = state("B", lambda c, e, b=b: float(rng.random() < b[c]))
        (line,) = contest("m", "d", ID, [first, second], draws=199).lines
        wrong += line.differs
        loose += line.p < 0.01
    assert loose >= 15 and wrong <= 6
