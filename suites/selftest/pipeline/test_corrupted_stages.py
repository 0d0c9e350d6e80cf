"""Corrupting the pipeline from outside makes the affected cases invalid: pairing, sizes, centring, resolution.

Hidden states of other layers, models and texts: ``test_corrupted_states.py``; spectra, directions and angles:
``test_corrupted_geometry.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch

from editverdict.inference.rows import Row
from editverdict.models.fingerprint import hash_weights
from editverdict.models.sites import Sites
from editverdict.models.sources import LoadedModel
from editverdict.numerics.moments import Moments
from editverdict.pipeline import base, changes, trial
from editverdict.pipeline.measures import growth
from editverdict.pipeline.trial import Trial
from suites.selftest.pipeline.corruption import (
    ALL,
    AMPLIFICATION,
    CHANGES,
    COLLAPSE,
    EDITED,
    MODEL,
    PAIRED,
    REAL,
    SPECTRA,
    TELESCOPING,
    World,
    a_tenth,
    all_invalid,
    all_over,
    by_one,
    change_states,
    failed_checks,
    judged,
    reorder,
    verdicts,
)

SINGLES = ("cum-linear-law", "cum-law-breaks")
"""Claims on chains that read rates off single edits, too."""


# --------------------------------------------------------------------------- without corruption
def test_without_corruption_every_check_holds(honest: dict[str, Row]) -> None:
    assert {claim: failed_checks(row) for claim, row in honest.items() if failed_checks(row)} == {}
    assert honest[REAL].verdict == honest[PAIRED].verdict == "supported"


def test_without_corruption_the_cases_are_decided(honest: dict[str, Row]) -> None:
    decided = {claim for claim, row in honest.items() if row.verdict in ("supported", "refuted")}
    # Of random weights the largest step between layers lies at the threshold.
    assert decided == {*ALL} - {"smallpert-depth-continuity"}, verdicts(honest)


def test_claims_list_the_checks_of_the_stages_they_stand_on(world: World) -> None:
    states = {"states-reproduced", "texts-distinct"}
    spectra = states | {"spectrum-recomputed"}
    wanted = {
        "collapse": spectra | {"enough-samples", "centred-over-samples", "above-resolution"},
        "smallpert": spectra | {"enough-tokens", "samples-paired", "no-op-zero", "change-recomputed"},
        "pc": spectra | {"enough-tokens", "samples-paired", "no-op-zero", "angles-recomputed"},
        "amp": spectra | {"enough-tokens", "samples-paired", "no-op-zero", "above-resolution", "components-recomputed"},
        "checks": states,
        "identities": states,
    }
    wanted["cum"] = wanted["corr"] = wanted["amp"]
    # Claims of a family that stand on other stages than the rest of it.
    own = {
        "cum-basis-drift-causes": wanted["pc"],
        "pc-basis-drift-worse-than-linear": wanted["smallpert"],
        "smallpert-linear": states | {"enough-tokens", "samples-paired", "no-op-zero", "change-recomputed"},
        "collapse-pretrained-property": spectra | {"enough-samples", "centred-over-samples"},
        "amp-t5": wanted["amp"] | {"centred-over-samples", "change-recomputed"},
    }
    lacking = {
        claim.id: sorted(own.get(claim.id, wanted.get(claim.family, set())) - set(claim.checks))
        for claim in world.honest.library.claims.values()
    }
    assert {name: checks for name, checks in lacking.items() if checks} == {}


# --------------------------------------------------------------------------- re-ordered samples
@pytest.mark.parametrize(
    ("order", "claims"),
    [(all_over, (*CHANGES, TELESCOPING)), (by_one, ("smallpert-norm",)), (a_tenth, ("smallpert-norm",))],
)
def test_samples_reordered_between_base_and_edited_pass(
    world: World,
    honest: dict[str, Row],
    monkeypatch: pytest.MonkeyPatch,
    order: Callable[[int], torch.Tensor],
    claims: tuple[str, ...],
) -> None:
    own = world.again(EDITED)
    loaded = own.model(MODEL)
    weight = loaded.sites.down_proj(loaded.spec.layers.edit).weight.clone()
    reorder(monkeypatch, order, unedited=weight)
    all_invalid(judged(own, *claims), "samples-paired", honest)


def with_singles(own: Trial, count: int) -> Trial:
    """The trial with so many single edits, and three T."""
    quick = own.library.profiles["quick"]
    sizes = quick.sizes.model_copy(update={"single_edits": count, "schedule": (1, 2, 4)})
    made = dataclasses.replace(own, profile=quick.model_copy(update={"sizes": sizes}), _memo=dict(own._memo))
    made.__dict__["corpus"] = own.corpus
    return made


@pytest.mark.usefixtures("honest")
def test_single_edits_of_unpaired_samples(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chains are sound; the edits that the law is held against, and those at T = 1, are of other samples."""
    same = world.again(())
    sound, fewer = (judged(with_singles(same, count), *SINGLES) for count in (8, 7))  # more than there are chains
    own = with_singles(world.again(EDITED), 8)
    loaded = own.model(MODEL)
    weight = loaded.sites.down_proj(loaded.spec.layers.edit).weight.clone()
    honest_changes = growth.changes

    def unpaired(*args: Any, **options: Any) -> Any:
        with pytest.MonkeyPatch.context() as now:
            reorder(now, all_over, unedited=weight)
            return honest_changes(*args, **options)

    monkeypatch.setattr(growth, "changes", unpaired)
    rows = judged(own, *SINGLES)
    for claim in SINGLES:
        # Four edits are too few for the planted walk, so that without corruption there is no verdict to lose.
        assert failed_checks(sound[claim]) == set(), verdicts(sound)
        assert failed_checks(rows[claim]) >= {"samples-paired", "states-reproduced"}, verdicts(rows)
        assert rows[claim].verdict == "invalid"
        assert "8 single edits" in sound[claim].stands_on and "7 single edits" in fewer[claim].stands_on
        # What the number stands on names every one of them.
        assert sound[claim].hashes["evidence"] != fewer[claim].hashes["evidence"]


def test_samples_reordered_in_every_later_pass(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = world.again([*EDITED, "no-op-again"])
    reorder(monkeypatch, all_over)
    rows = judged(own, *CHANGES, PAIRED, TELESCOPING)
    all_invalid(rows, "samples-paired", honest)
    all_invalid(rows, "states-reproduced", honest)
    for claim in CHANGES:
        assert failed_checks(rows[claim]) >= {"no-op-zero", f"requires:{PAIRED}"}
    assert judged(own, REAL)[REAL].verdict == "supported"  # spectra know nothing of pairs


def test_norms_of_unpaired_samples(world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch) -> None:
    # The states are sound; only the one function that reads norms off them pairs each with another token.
    paired_change = changes.paired_change
    monkeypatch.setattr(
        changes, "paired_change", lambda before, after, scale: paired_change(before, after.roll(7, 0), scale)
    )
    all_invalid(judged(world.again(EDITED), "smallpert-norm"), "change-recomputed", honest)


# --------------------------------------------------------------------------- too few samples
def test_fewer_samples_than_dimensions(world: World, honest: dict[str, Row]) -> None:
    own = world.again(SPECTRA, "few", _samples={})
    rows = judged(own, *COLLAPSE, REAL, PAIRED, *CHANGES)
    n, width = own.sample(MODEL).n_tokens, own.model(MODEL).sites.down_proj(0).out_features
    assert n < width, "the profile must be what the test says"
    all_invalid({claim: rows[claim] for claim in (*COLLAPSE, REAL)}, "enough-samples", honest)
    all_invalid({claim: rows[claim] for claim in (*CHANGES, PAIRED)}, "enough-tokens", honest)
    # Too few units as well, which alone would be inconclusive: invalid comes first.
    assert 0 < rows[PAIRED].n_units < rows[PAIRED].min_units


def test_a_base_pass_that_stops_early(world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch) -> None:
    full_pass = base.full_pass

    def stopping(loaded: Any, batches: Any, visit: Any, **options: Any) -> None:
        full_pass(loaded, [batches[0], *batches[len(batches) // 2 :: 8]], visit, **options)

    monkeypatch.setattr(base, "full_pass", stopping)
    own = world.again(["base-pass", "change"])
    base.base_pass(own, MODEL)
    monkeypatch.undo()
    rows = judged(own, *COLLAPSE, REAL)
    all_invalid(rows, "enough-samples", honest)
    all_invalid(judged(own, *AMPLIFICATION), "states-reproduced", honest)


def test_texts_that_get_lost_on_the_way(world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trial.tokenize_sample

    def some(*args: Any, **options: Any) -> Any:
        sample = whole(*args, **options)
        return dataclasses.replace(sample, ids=sample.ids[: len(sample.ids) // 2])

    monkeypatch.setattr(trial, "tokenize_sample", some)
    rows = judged(world.again(SPECTRA, _samples={}), "collapse-eff-rank", "collapse-sigma-min")
    all_invalid(rows, "enough-samples", honest)
    assert all(failed_checks(row) == {"enough-samples"} for row in rows.values()), verdicts(rows)


# --------------------------------------------------------------------------- centring
def off_features(x: torch.Tensor) -> torch.Tensor:
    return x - x.mean(-1, keepdim=True)


def test_base_states_centred_over_features(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    change_states(monkeypatch, off_features)
    rows = judged(world.again(SPECTRA), *ALL)
    all_invalid({claim: row for claim, row in rows.items() if claim != TELESCOPING}, "states-reproduced", honest)
    assert all("centred-over-samples" in failed_checks(rows[claim]) for claim in (*COLLAPSE, REAL)), verdicts(rows)
    assert all(f"requires:{REAL}" in failed_checks(rows[claim]) for claim in AMPLIFICATION), verdicts(rows)


def test_moments_centred_over_features(world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch) -> None:
    # The states are sound; only the accumulator takes the mean off the wrong axis.
    update = Moments.update
    monkeypatch.setattr(Moments, "update", lambda self, x: update(self, off_features(x)))
    rows = judged(world.again(SPECTRA), *COLLAPSE, REAL, *CHANGES)
    all_invalid(rows, "spectrum-recomputed", honest)
    assert all("centred-over-samples" in failed_checks(rows[claim]) for claim in (*COLLAPSE, REAL)), verdicts(rows)


def test_edited_states_centred_over_features(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    tail_pass = changes.tail_pass
    monkeypatch.setattr(
        changes, "tail_pass", lambda *a, **o: {layer: off_features(x) for layer, x in tail_pass(*a, **o).items()}
    )
    all_invalid(judged(world.again([*EDITED, "no-op-again"]), *CHANGES), "states-reproduced", honest)


# --------------------------------------------------------------------------- models with a null direction
def reshaped(loaded: LoadedModel, keep: torch.Tensor) -> LoadedModel:
    """Another model: every down-projection is multiplied from the left by ``keep`` [d, d]."""
    model = deepcopy(loaded.model)
    sites = Sites(model, loaded.sites.spec)
    with torch.no_grad():
        for layer in range(sites.n_layers):
            weight = sites.down_proj(layer).weight
            weight.copy_((keep @ weight.double()).to(weight.dtype))
    identity = dataclasses.replace(loaded.identity, weights=hash_weights(model))
    return dataclasses.replace(loaded, model=model, sites=sites, identity=identity)


def with_null(world: World, along: torch.Tensor, factor: float) -> Any:
    """A trial of the toy whose hidden states have one direction shrunk by its weights."""
    keep = torch.eye(len(along), dtype=torch.float64) - (1.0 - factor) * torch.outer(along, along)
    model = reshaped(world.honest.model(MODEL), keep)
    return world.again((), "tiny", _models={MODEL: model})


def test_noise_floor_of_float32_reached(world: World, honest: dict[str, Row]) -> None:
    # What the weights' own rounding leaves of a direction is rounding in float32 states, but real in float64 ones:
    # exact mode sees it.
    vector = torch.randn(48, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    own = with_null(world, torch.nn.functional.normalize(vector - vector.mean(), dim=0), 0.0)
    rows = judged(own, REAL, *AMPLIFICATION, *COLLAPSE)
    assert rows[REAL].verdict == "refuted", verdicts(rows)
    assert {rows[claim].verdict for claim in AMPLIFICATION} == {"invalid"}, verdicts(rows)
    assert all(f"requires:{REAL}" in failed_checks(rows[claim]) for claim in AMPLIFICATION), verdicts(rows)
    assert rows["collapse-sigma-min"].verdict == rows["collapse-cond"].verdict == "supported", verdicts(rows)
    assert rows["collapse-sigma-min"].descriptive["layers_in_exact_mode"] == [0, 1, 2, 3]
    assert honest["collapse-sigma-min"].verdict == honest["collapse-cond"].verdict == "refuted"
    assert honest[REAL].verdict == "supported"


def dead_coordinate() -> torch.Tensor:
    return torch.eye(48, dtype=torch.float64)[11]


def test_a_direction_that_is_not_there_at_all(world: World, honest: dict[str, Row]) -> None:
    # Not even float64 tells what its size is: whatever is measured there is rounding, so there is nothing to judge.
    rows = judged(with_null(world, dead_coordinate(), 0.0), *COLLAPSE, *AMPLIFICATION)
    all_invalid({claim: rows[claim] for claim in COLLAPSE}, "above-resolution", honest)
    all_invalid({claim: rows[claim] for claim in AMPLIFICATION}, f"requires:{REAL}", honest)


def keep_all(monkeypatch: pytest.MonkeyPatch) -> str:
    """Use directions whether identified or not."""
    everything = property(lambda self: torch.ones(self.d, dtype=torch.bool))
    monkeypatch.setattr("editverdict.numerics.spectrum.Spectrum.identified", everything)
    return "above-resolution"


def no_floor(monkeypatch: pytest.MonkeyPatch) -> str:
    """State a limit below which nothing lies."""
    monkeypatch.setattr("editverdict.numerics.spectrum.MOMENTS_RESOLUTION", 1e-30)
    monkeypatch.setattr("editverdict.numerics.spectrum.EXACT_RESOLUTION", 1e-30)
    monkeypatch.setattr(
        "editverdict.numerics.spectrum.rounding_noise",
        lambda square, _n, _dtype, basis=None: torch.zeros(() if basis is None else square.shape, dtype=torch.float64),
    )
    return "spectrum-recomputed"


@pytest.mark.parametrize("corrupt", [keep_all, no_floor])
def test_null_directions_kept(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch, corrupt: Callable[[Any], str]
) -> None:
    check = corrupt(monkeypatch)
    rows = judged(with_null(world, dead_coordinate(), 0.0), *COLLAPSE, *AMPLIFICATION, REAL)
    # With the limit intact the check that the smallest direction is real needs no help: it cannot hold.
    blind = {REAL} if corrupt is keep_all else set()
    all_invalid({claim: row for claim, row in rows.items() if claim not in blind}, check, honest)
    assert rows[REAL].verdict != "supported", rows[REAL].reason
