"""Claims along chains, on the toy with enough chains: what the controls say, and what the numbers have to obey."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from editverdict.geometry.accumulation import accumulation_exponent, planted_rates
from editverdict.numerics.random_matrices import standard_normal
from editverdict.numerics.spectrum import sample_spectrum
from editverdict.pipeline.cases import judge_case
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.measures import drifting
from editverdict.pipeline.measures.accumulation import smallest_step
from editverdict.pipeline.measures.along import schedule
from editverdict.pipeline.measures.stability import trend, trend_step
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.store import Store
from suites.selftest.pipeline.sessions import ROOT

CLAIMS = (
    "cum-linear-law",
    "cum-R-increases-with-steps",
    "cum-basis-drift-causes",
    "pc-decay-with-edits",
    "pc-basis-drift-worse-than-linear",
)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("along")), ROOT / "specs")
    enough = {"chains": 6, "chain_length": 4, "long_chain": 4, "schedule": (1, 2, 4), "random_seeds": 20}
    enough |= {"text_blocks": 20, "single_edits": 12}
    made.profile = made.profile.model_copy(update={"sizes": made.profile.sizes.model_copy(update=enough)})
    yield made
    torch.set_num_threads(threads)


@pytest.mark.parametrize("claim", CLAIMS)
def test_controls_are_in_order_and_every_chain_is_a_unit(trial: Trial, claim: str) -> None:
    row = judge_case(trial, Case(trial.library.claims[claim], "rehearsal-llama", "ROME", "worldfacts")).row
    assert row.traceback is None, row.traceback
    assert row.n_units == 6 and row.interval is not None
    assert [check for check in row.checks if not check.ok] == []
    guarding = {c.name: c.outcome for c in row.controls if c.role in ("negative", "positive")}
    assert set(guarding.values()) == {"ok"}, guarding
    comparators = [c for c in row.controls if c.role == "comparator"]
    assert all(c.n_units == 6 for c in comparators)


# --------------------------------------------------------------------------- corruptions of the drifting basis
def without_first_chain(trial: Trial, tmp_path: Path) -> Trial:
    """The trial on a copy of its store that lacks what the drift of bases was read off."""
    drop = {".locks", ".tmp", "drifting-basis", "drifting-basis-again"}
    shutil.copytree(trial.store.root, tmp_path / "store", ignore=lambda _folder, names: drop & set(names))
    kept = {key: value for key, value in trial._memo.items() if key[0] != "required"}
    return dataclasses.replace(trial, store=Store(tmp_path / "store"), _memo=kept)


def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = drifting.sample_spectrum

    def rounded(*args: Any, **options: Any) -> Any:
        found = honest(*args, **options)
        return dataclasses.replace(found, sigma=found.sigma.float().double())

    monkeypatch.setattr(drifting, "sample_spectrum", rounded)


def of_reordered_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = drifting.hidden_after
    monkeypatch.setattr(drifting, "hidden_after", lambda *a, **o: {n: x.roll(1, 0) for n, x in honest(*a, **o).items()})


def in_the_base_basis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base's basis in place of the reached one: no drift, whatever happens."""
    honest = drifting.basis_gap
    monkeypatch.setattr(drifting, "basis_gap", lambda before, base, change: honest(base, before, change))


@pytest.mark.parametrize(
    ("corrupt", "check"),
    [
        (in_float32, "spectrum-recomputed"),
        (of_reordered_samples, "states-reproduced"),
        (in_the_base_basis, "change-recomputed"),
    ],
)
def test_corrupted_readings_of_the_drift_are_invalid(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corrupt: Any, check: str
) -> None:
    corrupt(monkeypatch)
    claim = trial.library.claims["pc-basis-drift-worse-than-linear"]
    row = judge_case(without_first_chain(trial, tmp_path), Case(claim, "rehearsal-llama", "ROME", "worldfacts")).row
    assert row.verdict == "invalid" and f"check {check}" in row.reason, row.traceback or row.reason


def test_the_law_is_held_against_the_average_edit(trial: Trial) -> None:
    row = judge_case(trial, Case(trial.library.claims["cum-law-breaks"], "rehearsal-llama", "ROME", "worldfacts")).row
    assert row.traceback is None and row.n_units == 6 and row.descriptive["edits"] == 4
    outcomes = {c.name: c.outcome for c in row.controls if c.role in ("negative", "positive")}
    # After four edits a random walk is off by a factor of two: right at the threshold. Twenty tell it from the law.
    assert outcomes == {"coherent": "ok", "random-walk": "undecided"}
    assert set(row.descriptive["mean_r_min_of_single_edits"]) == {"1", "2", "3"}


def test_twenty_planted_edits_tell_a_random_walk_from_the_law() -> None:
    spectrum = sample_spectrum(standard_normal((400, 24), 0))

    def gap(seed: int, *, coherent: bool) -> float:
        average = sum(
            planted_rates(spectrum, [1], coherent=coherent, seed=1000 + s, spread=0.5)[1].r_min for s in range(50)
        )
        found = planted_rates(spectrum, [20], coherent=coherent, seed=seed, spread=0.5)[20].r_min
        return abs(math.log2(found / (20 * average / 50)))

    assert max(gap(s, coherent=True) for s in range(5)) < 0.8
    assert min(gap(s, coherent=False) for s in range(5)) > 1.3


def test_a_schedule_too_short_for_a_trend_is_not_run(trial: Trial) -> None:
    assert schedule(trial, 4) == [1, 2, 4]
    with pytest.raises(NotHere, match=r"needs 3 values of T; .* has \[1, 2\] up to T = 3"):
        schedule(trial, 3)


def test_trends_and_steps_by_hand() -> None:
    assert trend([1, 2, 5, 10], [0.9, 0.8, 0.7, 0.1]) == pytest.approx(-1.0)
    assert trend([1, 2, 5], [1.0, 1.0, 1.0]) is None
    # Exchanging two neighbours among four moves rho by one step.
    assert trend([1, 2, 3, 4], [1.0, 2.0, 4.0, 3.0]) == pytest.approx(1.0 - trend_step(4))
    assert smallest_step([1.0, 10.0, 1000.0]) == pytest.approx(1.0)
    assert smallest_step([1.0, 10.0, 5.0]) < 0
    assert accumulation_exponent([1, 2, 4], [3.0, 6.0, 12.0]).slope == pytest.approx(1.0)
