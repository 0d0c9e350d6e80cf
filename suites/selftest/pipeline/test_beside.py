"""Methods and models beside each other, on toys: what is compared, on which layers, and what each control says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from editverdict.pipeline.measurement import Case, Measurement, measures
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import NotHere, Trial
from suites.selftest.pipeline.sessions import ROOT

MODEL, OTHER, DATA = "rehearsal-llama", "rehearsal-mistral", "worldfacts"


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("beside")), ROOT / "specs")
    methods = ("ROME", "MEMIT", "AlphaEdit")
    made.profile = made.profile.model_copy(update={"models": (MODEL, OTHER), "methods": methods})
    yield made
    torch.set_num_threads(threads)


def measured(trial: Trial, claim: str, method: str) -> Measurement:
    spec = trial.library.claims[claim]
    return measures()[spec.quantity](trial, Case(spec, MODEL, method, DATA))


def test_methods_are_compared_where_all_are_measured(trial: Trial) -> None:
    made = measured(trial, "amp-method-differences", "AlphaEdit")
    # ROME edits layer 1 of the toy, the others its layers 0 to 2.
    assert made.descriptive["layers"] == [1, 2, 3]
    rates = made.descriptive["median_r"]
    assert set(rates) == {"AlphaEdit", "MEMIT", "ROME"} and min(rates.values()) > 0
    assert all(check.ok for check in made.checks.values()), made.checks
    beside, instead = (made.controls[name].units for name in ("first-edit-beside", "first-edit-instead"))
    assert beside == pytest.approx([-value for value in instead]) and any(instead)


def test_a_method_that_is_not_there_cannot_be_compared_with(trial: Trial) -> None:
    whole = trial.profile
    trial.profile = whole.model_copy(update={"methods": ("ROME", "AlphaEdit")})
    try:
        with pytest.raises(NotHere, match="the profile lacks MEMIT"):
            measured(trial, "amp-method-differences", "AlphaEdit")
    finally:
        trial.profile = whole


def test_subspaces_of_two_methods(trial: Trial) -> None:
    made = measured(trial, "pc-alphaedit-more-stable-than-rome", "AlphaEdit")
    cosine = made.descriptive["cosine"]
    assert made.definitions["largest-angle"].value == pytest.approx(cosine["AlphaEdit"] - cosine["ROME"])
    # The unedited model stands still, and ROME does not.
    assert min(made.controls["no-op"].units) > 0 > max(made.controls["rome-beside-no-op"].units)


def test_models_are_compared_chain_by_chain(trial: Trial) -> None:
    made = measured(trial, "amp-model-sensitivity", "ROME")
    largest = made.descriptive["largest_r"]
    assert set(largest) == {MODEL, OTHER} and len(largest[MODEL]) == len(largest[OTHER]) == 2
    ratios = torch.tensor(largest[MODEL]).log10() - torch.tensor(largest[OTHER]).log10()
    assert made.definitions["largest"].units == pytest.approx(ratios.tolist(), rel=1e-5)
    # A direction planted at 1e-8 σ_1 makes whichever side it is in the extreme one.
    assert min(made.controls["planted-near-null"].units) > 3
    assert max(made.controls["planted-in-others"].units) < -3


def test_one_model_alone_cannot_be_compared(trial: Trial) -> None:
    whole = trial.profile
    trial.profile = whole.model_copy(update={"models": (MODEL,)})
    try:
        with pytest.raises(NotHere, match="the profile has no other"):
            measured(trial, "amp-model-sensitivity", "ROME")
    finally:
        trial.profile = whole
