"""Angles on a larger sample: against a computation of one's own, and as the bias of a claim's number."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from editverdict.capture.passes import full_pass, tail_pass
from editverdict.editors.base import State
from editverdict.editors.deltas import installed
from editverdict.geometry.angles import AngleProfile, angle_profile
from editverdict.geometry.checks import CheckOutcome
from editverdict.inference.intervals import t_interval
from editverdict.inference.rows import CheckResult
from editverdict.models.sources import LoadedModel
from editverdict.numerics.moments import Moments
from editverdict.pipeline import wide_again, wide_angles
from editverdict.pipeline.base import batches_of
from editverdict.pipeline.sample_bias import sample_bias
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.pipeline.validity import Finding, results
from editverdict.pipeline.wide_angles import HasAngles, WideAngles, wide_sample
from editverdict.store import Store
from suites.selftest.models.toys import assert_untouched, toy
from suites.selftest.pipeline.sessions import ROOT
from suites.selftest.pipeline.test_linearity import rank_one

MODEL = "rehearsal-llama"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trial, LoadedModel]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    trial = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("wide")), ROOT / "specs")
    loaded = toy(MODEL)
    sizes = trial.profile.sizes.model_copy(update={"angle_tokens": 100, "norm_tokens": 100})
    profile = trial.profile.model_copy(update={"sizes": sizes})
    made = dataclasses.replace(trial, profile=profile, _models={MODEL: loaded}, _samples={}, _memo={})
    made.__dict__["corpus"] = trial.corpus
    yield made, loaded
    torch.set_num_threads(threads)


def last_states(trial: Trial, loaded: LoadedModel, state: State, layer: int) -> torch.Tensor:
    sample, rows = wide_sample(trial, MODEL), []
    assert sample is not None
    with installed(loaded.model, state):
        full_pass(
            loaded,
            batches_of(loaded, sample),
            lambda batch, seen: rows.append(batch.samples(seen["h", layer]).clone()),
            outputs=[layer],
        )
    found: torch.Tensor = torch.cat(rows).double()
    return found - found.mean(0)


def test_angles_are_those_of_the_states_on_the_larger_sample(own: tuple[Trial, LoadedModel]) -> None:
    trial, loaded = own
    state, layer = rank_one(loaded, 1, 0.5), loaded.spec.layers.measured[-1]
    (found,) = wide_angles.wide_angles(trial, MODEL, [state], "a test")
    assert_untouched(loaded)
    before, after = (
        torch.linalg.svd(last_states(trial, loaded, one, layer), full_matrices=False).Vh[:10] for one in ((), state)
    )
    cosines = torch.linalg.svdvals(before @ after.T)
    own_angles = found.angles[layer]["10"]
    assert own_angles["largest_angle"] == pytest.approx(float(cosines.min()), abs=1e-5) and cosines.min() < 0.999
    assert own_angles["mean"] == pytest.approx(float(cosines.mean()), abs=1e-5)


def test_the_bias_is_what_the_number_differs_by(
    own: tuple[Trial, LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, _ = own
    few, many = ([WideAngles({0: {"10": {"mean": v}}}, "k") for v in values] for values in (FEW, MANY))
    monkeypatch.setattr(wide_angles, "wide_angles", lambda _trial, _model, states, _what: many[: len(states)])
    monkeypatch.setattr(wide_again, "found_again", lambda *_args: [])
    states: list[State] = [() for _ in few]
    found = sample_bias(trial, MODEL, states, few, lambda one: one.angles[0]["10"]["mean"], "a test")
    gaps = t_interval([a - b for a, b in zip(FEW[: trial.profile.sizes.angle_states], MANY, strict=True)])
    assert found.bias == gaps.interval and "differ by +0.02" in found.said
    hulled = t_interval(FEW, bias=found.bias).interval
    plain = t_interval(FEW).interval
    assert hulled is not None and plain is not None and gaps.interval is not None
    assert hulled == pytest.approx((plain[0], plain[1] - gaps.interval[0]))


FEW = (0.03, 0.031, 0.029, 0.03, 0.032, 0.028, 0.03, 0.03)
MANY = tuple(value + 0.02 + 0.001 * (-1) ** n for n, value in enumerate(FEW[:6]))


def test_a_subset_that_is_large_enough_has_no_bias(own: tuple[Trial, LoadedModel]) -> None:
    trial, loaded = own
    sizes = trial.profile.sizes.model_copy(update={"angle_tokens": 10 * loaded.sites.width})
    large = dataclasses.replace(trial, profile=trial.profile.model_copy(update={"sizes": sizes}), _memo={})
    assert wide_sample(large, MODEL) is None
    found = sample_bias(large, MODEL, [], [], lambda _one: 0.0, "a test")
    assert (found.bias, found.said, found.keys) == (None, "", ())


# --------------------------------------------------------------------------- found again
def shuffled_layers(loaded: LoadedModel, batches: Any, lower: Any, start: int, layers: Any) -> dict[int, torch.Tensor]:
    found = tail_pass(loaded, batches, lower, start, layers)
    return dict(zip(found, reversed(found.values()), strict=True))


def featureless(loaded: LoadedModel, batches: Any, lower: Any, start: int, layers: Any) -> dict[int, torch.Tensor]:
    found = tail_pass(loaded, batches, lower, start, layers)
    return {layer: x - x.mean(1, keepdim=True) for layer, x in found.items()}


def smallest(u1: torch.Tensor, u2: torch.Tensor, k: int) -> AngleProfile:
    return dataclasses.replace(own := angle_profile(u1, u2, k), largest_angle=own.smallest_angle)


def edited_against_itself(_u1: torch.Tensor, u2: torch.Tensor, k: int) -> AngleProfile:
    return angle_profile(u2, u2, k)


class Rounded(Moments):
    """Sums in float32."""

    def update(self, samples: torch.Tensor) -> None:
        super().update((samples + 100.0).float() - 100.0)


def checked(own: tuple[Trial, LoadedModel], place: Path) -> dict[str, CheckResult]:
    """Checks of one edited state, on a store of its own."""
    trial, loaded = own
    apart = dataclasses.replace(trial, store=Store(place), _memo={})
    apart.__dict__["corpus"] = trial.corpus
    state, sample = rank_one(loaded, 1, 0.5), wide_sample(apart, MODEL)
    (found,) = wide_angles.wide_angles(apart, MODEL, [state], "a test")
    assert sample is not None
    checks = results(wide_again.found_again(apart, MODEL, sample, state, found.angles))
    assert_untouched(loaded)
    return checks


def test_what_was_measured_is_found_again(own: tuple[Trial, LoadedModel], tmp_path: Path) -> None:
    checks = checked(own, tmp_path / "store")
    assert set(checks) == {"states-reproduced", "spectrum-recomputed", "angles-recomputed"}
    assert all(check.ok for check in checks.values()), checks


@pytest.mark.parametrize(
    ("where", "what", "check"),
    [
        ("wide_angles.tail_pass", shuffled_layers, "angles-recomputed"),
        ("wide_angles.tail_pass", featureless, "angles-recomputed"),
        ("wide_angles.angle_profile", smallest, "angles-recomputed"),
        ("wide_angles.angle_profile", edited_against_itself, "angles-recomputed"),
        ("wide_angles.Moments", Rounded, "spectrum-recomputed"),
    ],
)
def test_a_corrupted_measurement_is_seen(
    own: tuple[Trial, LoadedModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    what: Any,
    check: str,
) -> None:
    monkeypatch.setattr(f"editverdict.pipeline.{where}", what)
    checks = checked(own, tmp_path / "store")
    assert not checks[check].ok, checks


def test_states_of_another_model_are_seen(
    own: tuple[Trial, LoadedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes over the whole sample that read something else than the model gives alone."""

    def other(loaded: LoadedModel, batches: Any, visit: Any, **options: Any) -> None:
        full_pass(
            loaded, batches, lambda batch, seen: visit(batch, {place: 1.1 * x for place, x in seen.items()}), **options
        )

    for module in (wide_angles, wide_again):
        monkeypatch.setattr(module, "full_pass", other)
    assert not checked(own, tmp_path / "store")["states-reproduced"].ok


def test_the_claim_has_the_findings(own: tuple[Trial, LoadedModel], monkeypatch: pytest.MonkeyPatch) -> None:
    trial, loaded = own
    states = [rank_one(loaded, 1, size) for size in (0.5, 0.4)]
    measured = wide_angles.wide_angles(trial, MODEL, states, "a test")
    deep = loaded.spec.layers.measured[-1]

    def number(one: HasAngles) -> float:
        return one.angles[deep]["10"]["mean"]

    honest = results(sample_bias(trial, MODEL, states, measured, number, "a test").findings)
    assert honest and all(check.ok for check in honest.values())
    bad = CheckOutcome("angles-recomputed", False, "planted")
    monkeypatch.setattr(wide_again, "found_again", lambda *_args: [Finding("here", bad)])
    assert not results(sample_bias(trial, MODEL, states, measured, number, "a test").findings)["angles-recomputed"].ok
