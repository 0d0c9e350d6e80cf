"""Angles on a larger sample: against a computation of one's own, and as the bias of a claim's number."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch

from editverdict.capture.passes import full_pass
from editverdict.editors.base import State
from editverdict.editors.deltas import installed
from editverdict.inference.intervals import t_interval
from editverdict.models.sources import LoadedModel
from editverdict.pipeline import wide_angles
from editverdict.pipeline.base import batches_of
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.pipeline.wide_angles import WideAngles, sample_bias, wide_sample
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
