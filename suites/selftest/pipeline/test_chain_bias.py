"""The bias of deep angles along chains: which T are measured again, what is made of them, and what without them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from editverdict.editors.base import State
from editverdict.geometry.checks import CheckOutcome
from editverdict.inference.intervals import t_interval
from editverdict.inference.results import rejudge
from editverdict.inference.rows import Row
from editverdict.pipeline import wide_again, wide_angles
from editverdict.pipeline.cases import judge_case
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.measures.along import states_along
from editverdict.pipeline.sample_bias import chain_bias, dealt, sample_bias
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.pipeline.validity import Finding
from editverdict.pipeline.wide_angles import HasAngles, WideAngles
from editverdict.store import Store
from suites.selftest.pipeline.sessions import ROOT

MODEL = "rehearsal-llama"
T = (1, 5, 10)
CLAIM = "cum-basis-drift-causes"
DATA = {"chains": 6, "chain_length": 4, "long_chain": 4, "schedule": (1, 2, 4), "single_edits": 6, "random_seeds": 20}
FEW = {"angle_tokens": 340, "norm_tokens": 340}
"""Seven samples per dimension of the toy."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("chains")), ROOT / "specs")
    yield sized(made, **DATA, text_blocks=20)
    torch.set_num_threads(threads)


def sized(trial: Trial, **sizes: Any) -> Trial:
    """The trial with other sizes, on the same store."""
    profile = trial.profile.model_copy(update={"sizes": trial.profile.sizes.model_copy(update=sizes)})
    corpus = trial.corpus
    made = dataclasses.replace(trial, profile=profile, _samples={}, _memo={})
    made.__dict__["corpus"] = corpus
    return made


def row_of(trial: Trial, claim: str = CLAIM) -> Row:
    row = judge_case(trial, Case(trial.library.claims[claim], MODEL, "ROME", "worldfacts")).row
    assert row.traceback is None, row.traceback
    return row


# --------------------------------------------------------------------------- which T
def weighted(hands: list[dict[int, float]], value: Any) -> list[float]:
    return [sum(weight * value(i, t) for t, weight in hand.items()) for i, hand in enumerate(hands)]


@pytest.mark.parametrize("chains", [2, 3, 5, 6, 7])
def test_the_dealt_t_weigh_as_much_as_the_mean_over_t(chains: int) -> None:
    hands = dealt(T, chains)
    assert all(1 in hand and len(hand) == 2 for hand in hands)
    for t in T:
        assert sum(hand.get(t, 0.0) for hand in hands) / chains == pytest.approx(1 / 3)
    assert np.mean(weighted(hands, lambda _i, t: t**2)) == pytest.approx(np.mean([t**2 for t in T]))


def test_six_chains_cost_six_states_beyond_single_edits() -> None:
    assert [t for hand in dealt(T, 6) for t in hand if t > 1] == [5, 10, 5, 10, 5, 10]


def test_chains_too_few_for_every_t_measure_nothing() -> None:
    assert dealt(T, 0) == dealt(T, 1) == dealt((1, 2, 3, 4), 2) == []


@pytest.mark.parametrize("slope", [0.0, -0.02, -0.2])
def test_intervals_of_the_dealt_bias_hold_it(slope: float) -> None:
    """Chains with a bias of their own that grows with T; the truth is its mean over T and chains."""
    generator, hands, missed = np.random.default_rng(1), dealt(T, 6), 0
    for _ in range(500):
        apart = generator.normal(0.0, 0.02, 6)
        noise = generator.normal(0.0, 0.01, (6, 11))

        def gap(i: int, t: int, apart: Any = apart, noise: Any = noise) -> float:
            return float(slope * np.log(t) + apart[i] + noise[i, t])

        interval = t_interval(weighted(hands, gap)).interval
        assert interval is not None
        missed += not interval[0] <= slope * np.mean(np.log(T)) <= interval[1]
    assert missed <= 12


# --------------------------------------------------------------------------- what is made of them
def planted(value: float) -> WideAngles:
    return WideAngles({0: {"10": {"mean": value}}}, "k")


def test_the_bias_along_chains_is_the_mean_over_t(whole: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """On ten samples per dimension a state after T edits has .01 T less; after a single edit nothing is measured."""
    trial = sized(whole, **FEW, angle_chains=6)
    asked: list[Any] = []
    again: list[Any] = []

    def less(_trial: Any, _model: Any, states: Any, _what: str) -> list[WideAngles]:
        asked.extend(states)
        return [planted(0.5 + 0.001 * i - 0.01 * t) for t, i in states]

    monkeypatch.setattr(wide_angles, "wide_angles", less)

    def keep(_trial: Any, _model: Any, _sample: Any, state: Any, _angles: Any) -> list[Finding]:
        again.append(state)
        return []

    monkeypatch.setattr(wide_again, "found_again", keep)
    states: Any = {t: [(t, i) for i in range(6)] for t in T}
    own: Any = {t: [planted(0.5 + 0.001 * i) for i in range(6)] for t in T}
    found = chain_bias(trial, MODEL, states, own, lambda one: one.angles[0]["10"]["mean"], "a test")
    assert sorted(asked) == sorted([(1, i) for i in range(6)] + [(5, 0), (10, 1), (5, 2), (10, 3), (5, 4), (10, 5)])
    assert again == [(10, 1)]  # a state after the most edits is made once more
    assert found.bias is not None and sum(found.bias) / 2 == pytest.approx(0.01 * sum(T) / 3)
    hulled, plain = found.hulled([0.5] * 6).interval, t_interval([0.5] * 6).interval
    assert hulled is not None and plain is not None
    assert hulled == pytest.approx((plain[0] - found.bias[1], plain[1] - min(0.0, found.bias[0])))
    assert "measured again on 10" in found.said and len(found.keys) == 12 and found.unknown is None


def number(one: HasAngles) -> float:
    return one.angles[0]["10"]["mean"]


STATES: list[State] = [() for _ in range(6)]
OWN = [planted(0.5) for _ in range(6)]


def test_without_a_larger_sample_the_bias_is_unknown_and_not_zero(whole: Trial) -> None:
    """No chains to spend on it, or no samples in the base pass itself: single edits were unhulled in the latter."""
    states, own = dict.fromkeys(T, STATES), dict.fromkeys(T, OWN)
    unspent = chain_bias(sized(whole, **FEW), MODEL, states, own, number, "a test")
    small = sized(whole, **FEW, angle_chains=6, base_texts=4, base_tokens=200)
    base = chain_bias(small, MODEL, states, own, number, "a test")
    single = sample_bias(small, MODEL, STATES, OWN, number, "a test")
    lone = sample_bias(sized(whole, **FEW), MODEL, STATES[:1], OWN[:1], number, "a test")
    for found in (unspent, base, single, lone):
        estimate = found.hulled([0.9, 0.91, 0.9, 0.92, 0.9, 0.9])
        assert found.bias is None and estimate.interval is None and estimate.n_units == 6
        assert estimate.open is not None and "where 10 are wanted" in estimate.open and "[0.8" in estimate.open
    assert "measures none of its chains again" in str(unspent.unknown)
    assert "the base sample" in str(base.unknown) and "the base sample" in str(single.unknown)


def test_ten_samples_per_dimension_have_no_bias(whole: Trial) -> None:
    found = chain_bias(whole, MODEL, dict.fromkeys(T, STATES), dict.fromkeys(T, OWN), number, "a test")
    assert (found.bias, found.said, found.keys, found.unknown) == (None, "", (), None)


# --------------------------------------------------------------------------- the claim
def test_a_profile_that_measures_no_chain_again_decides_nothing(whole: Trial) -> None:
    """Few samples per dimension were decided by the units' own spread."""
    row = row_of(sized(whole, **FEW))
    assert row.verdict == "inconclusive" and row.interval is None and row.n_units == 6, row.reason
    assert row.reason.startswith("INCONCLUSIVE: its angles are on 7.") and "where 10 are wanted" in row.reason
    assert "measures none of its chains again" in row.reason
    assert {one.verdict for one in row.definitions} == {"inconclusive"} and not row.depends_on_definition
    assert rejudge(row) == row and row.margin_to_flip is None
    assert row_of(whole).interval is not None  # ten samples per dimension


def test_the_claim_is_hulled_and_shares_single_edits(whole: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = sized(whole, **FEW, angle_chains=6)
    row = row_of(trial)
    assert row.interval is not None and rejudge(row) == row
    plain = t_interval(row.units).interval
    assert plain is not None and row.interval[0] <= plain[0] and plain[1] <= row.interval[1] and row.interval != plain
    assert [check for check in row.checks if not check.ok] == []
    states = states_along(trial, Case(trial.library.claims[CLAIM], MODEL, "ROME", "worldfacts"), "ROME", [1, 2, 4])
    alone = wide_angles.wide_angles(trial, MODEL, trial.single_states(MODEL, "ROME", "worldfacts"), "single edits")
    assert {one.key for one in wide_angles.wide_angles(trial, MODEL, states[1], "chains")} == {o.key for o in alone}
    bad = CheckOutcome("angles-recomputed", False, "planted")
    monkeypatch.setattr(wide_again, "found_again", lambda *_args: [Finding("here", bad)])
    assert row_of(trial).verdict == "invalid"


def test_angles_of_other_states_make_the_claim_invalid(
    whole: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The passes on the larger sample read something else than the edited model: the claim's own state shows it."""
    shutil.copytree(
        whole.store.root, tmp_path / "store", ignore=lambda _folder, names: {".locks", "wide-angles"} & {*names}
    )
    trial = dataclasses.replace(sized(whole, **FEW, angle_chains=6), store=Store(tmp_path / "store"))
    trial.__dict__["corpus"] = whole.corpus
    honest = wide_angles.tail_pass
    monkeypatch.setattr(
        wide_angles,
        "tail_pass",
        lambda *a, **o: {n: x - x.mean(1, keepdim=True) for n, x in honest(*a, **o).items()},
    )
    row = row_of(trial)
    assert row.verdict == "invalid" and "angles-recomputed" in row.reason, row.reason
