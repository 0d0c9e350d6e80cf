"""The claims about encoder-decoders, run on a toy T5: controls, pairing, zero directions, unreached modules."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from editverdict.capture.modules import module_rows
from editverdict.editors.base import State, Step
from editverdict.editors.deltas import dense, installed
from editverdict.geometry.amplification import POOLINGS, all_poolings
from editverdict.geometry.angles import angle_profile
from editverdict.geometry.perturbation import paired_change
from editverdict.models.fingerprint import hash_weights
from editverdict.models.sites import Sites
from editverdict.numerics.spectrum import sample_spectrum
from editverdict.pipeline import module_changes, modules
from editverdict.pipeline.base import batches_of
from editverdict.pipeline.cases import Judged, judge_case
from editverdict.pipeline.matrix import matrix
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.measures import encoder_decoder, module_edits
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.reporting.evidence import Evidence
from editverdict.store import Store
from suites.selftest.pipeline.sessions import ROOT

MODEL, DATA = "rehearsal-t5", "worldfacts"
CLAIMS = ("amp-t5", "pc-t5-immediate-loss", "smallpert-t5-heterogeneous")
DECODER = ["Dec2-FFN-wi", "Dec2-FFN-wo", "Dec3-FFN-wi", "Dec3-FFN-wo"]
WI = "decoder.block.{}.layer.2.DenseReluDense.wi.weight"
WO = "decoder.block.{}.layer.2.DenseReluDense.wo.weight"


@pytest.fixture(scope="module")
def trial(common: Path) -> Trial:
    """The profile on a store that all workers share."""
    return make_trial(Options(profile=MODEL, store=common / "t5-store"), ROOT / "specs")


@pytest.fixture(scope="module")
def judged(trial: Trial) -> list[Judged]:
    """Every case of the profile."""
    return [judge_case(trial, one) for one in matrix(trial.library, trial.profile)]


@pytest.fixture
def fresh(trial: Trial, tmp_path: Path) -> Trial:
    """The same models and texts on an empty store."""
    return dataclasses.replace(trial, store=Store(tmp_path), _memo={})


def case(trial: Trial, claim: str, method: str = "FT-L", model: str = MODEL) -> Case:
    return Case(trial.library.claims[claim], model, method, DATA)


def noise(name: str, shape: tuple[int, ...], size: float, seed: int = 0) -> State:
    """A state that adds noise to one weight."""
    generator = torch.Generator().manual_seed(seed)
    return (Step(dense(name, size * torch.randn(shape, generator=generator)), {"key": f"{name}|{size}|{seed}"}),)


def given_states(trial: Trial, monkeypatch: pytest.MonkeyPatch, states: list[State]) -> Trial:
    """Let the measures take these states for the edits."""
    for module in (module_edits, encoder_decoder):
        monkeypatch.setattr(module, "single_states", lambda *_args: states)
    return trial


# --------------------------------------------------------------------------- the profile
def test_the_profile_runs_every_case_on_real_numbers(judged: list[Judged]) -> None:
    assert sorted((one.row.claim, one.row.method) for one in judged) == sorted(
        (claim, method) for claim in CLAIMS for method in ("MEND", "FT-L")
    )
    for one in judged:
        row = one.row
        assert row.verdict == "inconclusive" and row.reason.startswith("INCONCLUSIVE: 4 of 20 edits"), row.reason
        assert row.scope == "rehearsal" and Evidence(pictures=tuple(one.pictures)).pictures
        assert all(check.ok for check in row.checks) and len(row.checks) >= 3, row.checks
        assert {d.name for d in row.definitions if d.estimate is None} == set()
        assert [c.outcome for c in row.controls if c.role == "negative"] == ["ok"], row.case


def test_the_suite_has_a_test_of_each_claim() -> None:
    text = (ROOT / "suites" / "hypotheses" / "test_encoder_decoder.py").read_text()
    assert sorted(re.findall(r'@pytest\.mark\.claim\("(.*)"\)', text)) == sorted(CLAIMS)


def test_modules_that_no_edit_reaches_are_named(judged: list[Judged]) -> None:
    for row in (one.row for one in judged):
        assert row.descriptive["modules_reached"] == DECODER
        assert row.descriptive["modules_unreached"] == [name.replace("Dec", "Enc") for name in DECODER]
        assert "Dec2-FFN-wi" in row.stands_on and "Enc" not in row.stands_on


def test_table_8_is_shown_per_module(judged: list[Judged]) -> None:
    (table,) = [
        one.row.descriptive["collapse"] for one in judged if (one.row.claim, one.row.method) == ("amp-t5", "MEND")
    ]
    assert len(table) == 12 and {one["d"] for one in table.values()} == {48, 96}
    # A linear map from 48 dimensions has 48 directions, however many it puts out; its activation has all.
    assert {name: one["identified"] for name, one in table.items()} == {
        name: 96 if name.endswith("act") else 48 for name in table
    }
    for one in table.values():
        assert one["cond"] == pytest.approx(one["sigma_1"] / one["sigma_min"]) and 1 < one["r_eff"] < one["d"]


def test_a_second_run_builds_nothing(trial: Trial, judged: list[Judged]) -> None:
    again = dataclasses.replace(trial, store=Store(trial.store.root), _memo={})
    rows = [judge_case(again, one).row for one in matrix(again.library, again.profile)]
    assert [row.estimate for row in rows] == [one.row.estimate for one in judged]
    counts = again.store.ledger.snapshot().values()
    assert sum(one.built for one in counts) == 0 < sum(one.reused for one in counts)


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_decoder_only_model_is_not_run_and_nothing_is_computed(fresh: Trial, claim: str) -> None:
    fresh._models = {}
    row = judge_case(fresh, case(fresh, claim, "MEND", "rehearsal-llama")).row
    assert row.verdict == "not_run"
    assert row.reason == "NOT_RUN: needs an encoder-decoder; rehearsal-llama is decoder-only"
    assert not fresh._models and not fresh.store.ledger.snapshot()


# --------------------------------------------------------------------------- numbers
def naive(trial: Trial, state: State, scale: float) -> Callable[[str], tuple[Tensor, Tensor]]:
    loaded, sites = trial.model(MODEL), modules.sites_of(trial, MODEL)
    batches = batches_of(loaded, trial.subset(MODEL))
    before = module_rows(loaded, batches, sites)
    with installed(loaded.model, state, scale):
        after = module_rows(loaded, batches, sites)
    return lambda name: (before[name], after[name])


def test_changes_equal_whole_arrays_however_they_are_cut(fresh: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms, pooled components and angles from chunks and sums, against all samples at once."""
    monkeypatch.setattr(module_changes, "CHUNK", 60_000)
    monkeypatch.setattr(module_changes, "PROJECTED_ROWS", 7)
    monkeypatch.setattr(modules, "MEMORY", 8 * 5 * (2 * 96**2 + 48**2))
    assert len(modules.groups_of(modules.sites_of(fresh, MODEL))) == 4
    state = noise(WI.format(2), (96, 48), 0.02)
    (change,) = module_changes.module_changes(fresh, MODEL, [state], 3.0)
    arrays = naive(fresh, state, 3.0)
    assert change.reached == tuple(n for n in modules.sites_of(fresh, MODEL) if n.startswith("Dec"))
    full = modules.spectra(fresh, MODEL, fresh.sample(MODEL))
    for name in change.reached:
        before, after = arrays(name)
        spectrum = full[name].whole()
        expected = vars(paired_change(before, after, spectrum.rms_norm))
        for reading, value in change.norms[name].items():
            if reading in expected:
                assert value == pytest.approx(expected[reading], rel=1e-5), (name, reading)
        pooled = all_poolings(spectrum, after.double() - before.double())
        for row, pooling in enumerate(POOLINGS):
            torch.testing.assert_close(change.pooled[name][row], pooled[pooling].c, rtol=1e-4, atol=1e-7)
        like, edited = sample_spectrum(before), sample_spectrum(after)
        assert change.angles[name], name
        for label, angles in change.angles[name].items():
            wanted = angle_profile(like.basis, edited.basis, int(label))
            assert angles["largest_angle"] == pytest.approx(wanted.largest_angle, abs=1e-6), (name, label)
    assert all(ok for ok, _ in change.checks.values()) and set(change.checks) >= {"Dec2-FFN-wi"}


def test_k_beyond_the_identified_directions_is_left_out(trial: Trial) -> None:
    like = modules.spectra(trial, MODEL, trial.subset(MODEL))
    ks = {site.part: list(modules.table_ks(site.part, like[name].spectrum).values())
          for name, site in modules.sites_of(trial, MODEL).items()}  # fmt: skip
    assert ks == {"wi": [10], "act": [10, 50], "wo": [5, 10]}


def test_modules_are_grouped_by_memory() -> None:
    widths = {f"m{i}": width for i, width in enumerate([16384, 16384, 1024, 1024, 16384])}
    assert modules.groups_within(widths, 12 * 2**30) == [["m0"], ["m1", "m2", "m3"], ["m4"]]
    assert modules.groups_within({"wide": 16384}, 1) == [["wide"]]


# --------------------------------------------------------------------------- planted truths
def with_dead_unit(trial: Trial, store: Store, unit: int = 17) -> Trial:
    """A copy of the toy with a row of zeros in wi of decoder block 3."""
    loaded = trial.model(MODEL)
    model = copy.deepcopy(loaded.model)
    model.get_parameter(WI.format(3))[unit] = 0.0
    dead = dataclasses.replace(
        loaded,
        model=model,
        sites=Sites(model, loaded.sites.spec),
        identity=dataclasses.replace(loaded.identity, weights=hash_weights(model)),
    )
    return dataclasses.replace(trial, store=store, _models={MODEL: dead}, _memo={})


def test_a_dead_unit_is_counted_and_never_divided_by(fresh: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Edits wake the unit: R_k there is what the paper prints as 1e20; left out, all that remains is finite."""
    own = with_dead_unit(fresh, fresh.store)
    found = modules.spectra(own, MODEL, own.sample(MODEL))["Dec3-FFN-act"]
    assert found.dead == 1 and float(found.spectrum.sigma[-1]) == 0.0 and not found.spectrum.identified[-1]
    states = [noise(WI.format(3), (96, 48), 0.02, seed) for seed in range(3)]
    row = judge_case(given_states(own, monkeypatch, states), case(own, "amp-t5")).row
    assert row.verdict == "inconclusive", row.traceback or row.reason
    for part in ("wi", "act"):
        table = row.descriptive["by_module"][f"Dec3-FFN-{part}"]
        assert table["dead_units"] == 1 and table["dead_units_moved"] == 1.0
        assert table["identified"] == (48 if part == "wi" else 95)
        assert 0 < table["mean"] <= table["max"] < 100
    assert row.descriptive["by_module"]["Dec3-FFN-wo"]["dead_units"] == 0
    assert row.estimate is not None and row.estimate < 1


def test_controls_are_in_order_where_edits_are_alike(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    given_states(trial, monkeypatch, [noise(WI.format(2), (96, 48), 0.02, seed) for seed in range(6)])
    for claim in CLAIMS:
        row = judge_case(trial, case(trial, claim)).row
        found = {control.name: control.outcome for control in row.controls if control.role != "comparator"}
        assert set(found.values()) == {"ok"} and len(found) == 2, (claim, found)
        assert row.verdict == "inconclusive" and "6 of 20 edits" in row.reason


def test_a_direction_planted_at_the_floor_is_used() -> None:
    spectrum = sample_spectrum(torch.randn(200, 8, generator=torch.Generator().manual_seed(1)))
    planted = encoder_decoder.planted_at_the_floor(spectrum)
    assert bool(planted.identified.all())
    assert float(planted.sigma[-1] / planted.sigma[0]) == pytest.approx(1e-14)
    assert torch.equal(planted.sigma[:-1], spectrum.sigma[:-1])


def test_exchanged_samples_make_the_case_invalid(fresh: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = module_changes.module_rows, [0]

    def rolled(*args: Any) -> dict[str, Tensor]:
        calls[0] += 1
        found = real(*args)
        return {n: x.roll(1, 0) for n, x in found.items()} if calls[0] % 2 == 0 else found

    monkeypatch.setattr(module_changes, "module_rows", rolled)
    given_states(fresh, monkeypatch, [noise(WI.format(2), (96, 48), 0.02, seed) for seed in range(2)])
    row = judge_case(fresh, case(fresh, "smallpert-t5-heterogeneous")).row
    assert row.verdict == "invalid" and "check samples-paired" in row.reason and "no-op-zero" in row.reason


# --------------------------------------------------------------------------- too little reached
def test_passes_that_differ_in_their_last_bits_reach_nothing(fresh: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some GPU kernels sum: without a guard the encoder would count, and the spread be that of rounding."""
    real, generator = module_changes.module_rows, torch.Generator().manual_seed(3)

    def restless(*args: Any) -> dict[str, Tensor]:
        found = real(*args)
        return {n: x * (1 + 1e-7 * torch.randn(x.shape, generator=generator)) for n, x in found.items()}

    monkeypatch.setattr(module_changes, "module_rows", restless)
    states = [noise(WI.format(2), (96, 48), 0.02, seed) for seed in range(2)]
    assert len(module_changes.module_changes(fresh, MODEL, states)[0].reached) == 12
    row = judge_case(given_states(fresh, monkeypatch, states), case(fresh, "smallpert-t5-heterogeneous")).row
    assert row.descriptive["modules_reached"] == DECODER and all(check.ok for check in row.checks)
    assert row.estimate is not None and 1 < row.estimate < 20


def test_an_edit_of_the_last_projection_reaches_one_module(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    given_states(trial, monkeypatch, [noise(WO.format(3), (48, 96), 0.02, seed) for seed in range(2)])
    spread, rates, angles = (judge_case(trial, case(trial, name)).row for name in (CLAIMS[2], CLAIMS[0], CLAIMS[1]))
    assert (
        spread.verdict == "not_run" and "two modules or more; FT-L reaches Dec3-FFN-wo of Enc2-FFN-wi" in spread.reason
    )
    assert rates.verdict == "not_run" and "reach no wi module" in rates.reason and "Dec3-FFN-wo" in rates.reason
    assert angles.verdict == "inconclusive" and angles.descriptive["modules_reached"] == ["Dec3-FFN-wo"]


def test_an_edit_that_reaches_nothing_is_not_run(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    given_states(trial, monkeypatch, [noise(WO.format(3), (48, 96), 0.0, seed) for seed in range(2)])
    row = judge_case(trial, case(trial, CLAIMS[1])).row
    assert row.verdict == "not_run" and "no FT-L edit changes the states of any measured module" in row.reason


def test_an_edit_that_reaches_too_few_is_left_out_beside_others(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    states = [noise(WI.format(2), (96, 48), 0.02), noise(WI.format(2), (96, 48), 0.02, 1)]
    given_states(trial, monkeypatch, [*states, noise(WO.format(3), (48, 96), 0.02)])
    row = judge_case(trial, case(trial, CLAIMS[2])).row
    assert row.n_units == 2 and row.descriptive["edits_left_out"] == 1


def test_states_that_are_no_weight_deltas_are_refused() -> None:
    module_changes.require_weight_deltas([(), (Step(),), noise(WO.format(3), (48, 96), 1.0)])
    with pytest.raises(NotHere, match="this one's is not"):
        module_changes.require_weight_deltas([(Step({"codebook": torch.ones(2)}),)])
