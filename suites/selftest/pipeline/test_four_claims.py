"""Claims on the toy with enough units to decide: verdicts that are known beforehand, and every control in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from editverdict.inference.rows import Row
from editverdict.models.fingerprint import hash_weights
from editverdict.models.sites import Sites
from editverdict.models.sources import LoadedModel
from editverdict.pipeline import base, randoms
from editverdict.pipeline.cases import judge_case
from editverdict.pipeline.matrix import matrix
from editverdict.pipeline.measures import continuity
from editverdict.pipeline.randoms import random_twins
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.reporting.evidence import Evidence
from editverdict.store import Store
from suites.selftest.pipeline.corruption import ENOUGH, PROFILE
from suites.selftest.pipeline.sessions import ROOT

MODEL = "rehearsal-llama"
CLAIMS = ("collapse-universal", "collapse-pretrained-property", "smallpert-linear", "smallpert-depth-continuity")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, common: Path) -> Iterator[Trial]:
    profiles = tmp_path_factory.mktemp("claims") / "specs" / "profiles"
    profiles.mkdir(parents=True)
    # As in the tests of corrupted stages, whose store this shares.
    (profiles / "enough.yaml").write_text(PROFILE.format(name="enough", **ENOUGH))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield make_trial(Options(profile="enough", specs=(profiles.parent,), store=common / "honest-store"), ROOT / "specs")
    torch.set_num_threads(threads)


def judged(trial: Trial, claim: str) -> tuple[Row, list[dict[str, Any]]]:
    case = next(case for case in matrix(trial.library, trial.profile) if case.claim.id == claim)
    made = judge_case(trial, case)
    assert made.row.traceback is None, made.row.traceback
    return made.row, made.pictures


@pytest.fixture(scope="module")
def rows(own: Trial) -> dict[str, tuple[Row, list[dict[str, Any]]]]:
    return {claim: judged(own, claim) for claim in CLAIMS}


def aside(own: Trial, folder: Path, **changed: Any) -> Trial:
    """The trial on a store of its own."""
    made = dataclasses.replace(own, store=Store(folder / "aside"), _memo={}, **changed)
    made.__dict__["corpus"] = own.corpus
    return made


def outcomes(row: Row) -> dict[str, str]:
    return {c.name: c.outcome for c in row.controls if c.role in ("negative", "positive")}


def test_every_check_and_control_is_in_order(rows: dict[str, tuple[Row, Any]]) -> None:
    for claim, (row, _) in rows.items():
        assert all(check.ok for check in row.checks), (claim, row.checks)
        assert set(outcomes(row).values()) == {"ok"}, (claim, outcomes(row))
        assert row.n_units in (20, 24) and row.verdict in ("supported", "refuted", "inconclusive"), (claim, row.reason)


def test_pictures_are_what_the_renderers_read(rows: dict[str, tuple[Row, list[dict[str, Any]]]]) -> None:
    for claim, (_, pictures) in rows.items():
        assert Evidence.model_validate({"pictures": pictures}).pictures, claim


# --------------------------------------------------------------------------- collapse
def test_random_weights_do_not_collapse_in_every_trend(rows: dict[str, tuple[Row, Any]]) -> None:
    row = rows["collapse-universal"][0]
    assert row.verdict == "refuted" and row.estimate is not None and 4 < row.estimate < 6
    by_trend = {d.name: d.estimate for d in row.definitions}
    assert by_trend["worst-excess"] == max(by_trend["rank-excess"] or 0, by_trend["sigma-min-excess"] or 0)
    assert set(row.descriptive["rank_excess_by_layer"]) == {"0", "1", "2", "3"}


def test_random_weights_are_like_their_twins(rows: dict[str, tuple[Row, Any]]) -> None:
    """The toy is a random model itself, so nothing sets it apart; 120 tokens leave it open by how little."""
    row = rows["collapse-pretrained-property"][0]
    assert row.verdict in ("refuted", "inconclusive") and row.interval is not None, row.reason
    assert row.interval[0] < 0 < row.interval[1] and row.estimate is not None and abs(row.estimate) < 0.02
    assert 0 < row.descriptive["own_standard_error"] < 0.02 and row.descriptive["own_text_blocks"] > 2
    assert "blocks of texts" in row.descriptive["text_error"]
    shared = row.descriptive["estimation"]["shared"]
    assert shared == [row.descriptive["own_standard_error"], row.descriptive["own_text_blocks"] - 1]
    negative = next(c for c in row.controls if c.name == "twin-against-twin")
    assert negative.n_units == 10 and negative.estimate is not None and abs(negative.estimate) < 0.02


def of_low_rank(loaded: LoadedModel, rank: int) -> LoadedModel:
    """The same model, whose down-projections have a rank far below their width."""
    with torch.random.fork_rng(devices=[]):
        model = type(loaded.model)(loaded.model.config)
    model.load_state_dict(loaded.model.state_dict())
    model = model.eval().requires_grad_(False)
    sites = Sites(model, loaded.sites.spec)
    for layer in range(sites.n_layers):
        weight = sites.down_weight(layer)
        u, sigma, vh = torch.linalg.svd(weight, full_matrices=False)
        weight.copy_(u[:, :rank] @ torch.diag(sigma[:rank]) @ vh[:rank] + 1e-3 * weight)
    identity = dataclasses.replace(loaded.identity, weights=hash_weights(model))
    return dataclasses.replace(loaded, model=model, sites=sites, identity=identity)


def test_low_rank_is_not_specific_where_twins_have_it_too(
    own: Trial, rows: dict[str, tuple[Row, list[dict[str, Any]]]]
) -> None:
    """A random model beside its random twins: the comparator says no or leaves it open, as the contrast's own claim."""
    row, _ = judged(own, "collapse-eff-rank")
    found = {c.name: c for c in row.controls if c.role == "comparator"}
    assert set(found) == {"random-init", "coordinate-permuted"}
    twin = found["random-init"]
    contrast = rows["collapse-pretrained-property"][0]
    assert contrast.interval is not None and twin.contrast_interval is not None
    assert twin.contrast_interval == pytest.approx((-contrast.interval[1], -contrast.interval[0]))
    assert twin.specific in ("no", "undecided") and row.specific != "yes"


def test_a_model_that_has_collapsed_is_told_from_its_twins(own: Trial, tmp_path: Path) -> None:
    trial = aside(own, tmp_path, _models={MODEL: of_low_rank(own.model(MODEL), 12)})
    row, _ = judged(trial, "collapse-pretrained-property")
    assert row.verdict == "supported" and row.estimate is not None and row.estimate < -0.3, row.reason
    assert not row.depends_on_definition and set(outcomes(row).values()) == {"ok"}


def test_the_same_texts_on_both_sides_or_no_verdict(
    own: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest: Callable[..., Any] = randoms._produce

    def fewer(loaded: Any, sample: Any, draft: Any, *, jackknife: bool) -> None:
        honest(
            loaded, sample if jackknife else dataclasses.replace(sample, ids=sample.ids[1:]), draft, jackknife=jackknife
        )

    monkeypatch.setattr(randoms, "_produce", fewer)
    row, _ = judged(aside(own, tmp_path), "collapse-pretrained-property")
    assert row.verdict == "invalid" and [c.name for c in row.checks if not c.ok] == ["enough-samples"]


def test_twins_centred_over_features_are_found_out(own: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = randoms.full_pass

    def centred(loaded: Any, batches: Any, visit: Any, **options: Any) -> None:
        honest(
            loaded,
            batches,
            lambda batch, seen: visit(batch, {k: x - x.mean(-1, keepdim=True) for k, x in seen.items()}),
            **options,
        )

    monkeypatch.setattr(randoms, "full_pass", centred)
    row, _ = judged(aside(own, tmp_path), "collapse-pretrained-property")
    assert row.verdict == "invalid" and [c.name for c in row.checks if not c.ok] == ["centred-over-samples"]


def test_twins_differ_by_their_seed_alone(own: Trial) -> None:
    side, twins = random_twins(own, MODEL)
    assert len(twins) == 20 and len({twin.key for twin in twins}) == 20
    assert len({float(twin.sigmas[0][0]) for twin in twins}) == 20
    assert all((twin.n, twin.texts) == (side.n, side.texts) and not twin.left for twin in twins)
    assert len(side.left) == own.sample(MODEL).head(120).n_blocks


# --------------------------------------------------------------------------- what the smallest direction depends on
def test_the_smallest_direction_is_described_by_size_format_and_centring(own: Trial) -> None:
    for claim, power in (("collapse-sigma-min", 1), ("collapse-cond", -1)):
        row, pictures = judged(own, claim)
        found, n = row.descriptive, base.spectra_n(own, MODEL)
        assert list(found["by_sample_size"]) == [str(n), *list(found["by_sample_size"])[1:]]
        assert len(found["by_sample_size"]) == 3 and found["by_sample_size"][str(n)] == row.estimate
        arithmetic, features = found["subset_by_arithmetic"], found["subset_centred_over_features"]
        assert arithmetic["second moments"] == pytest.approx(arithmetic["exact mode"], rel=1e-6)
        assert arithmetic["rounded to bfloat16"] == pytest.approx(arithmetic["exact mode"], rel=1e-2)
        assert features["cosine of the last direction with (1, ..., 1)"] == pytest.approx(1.0)
        # Centring over features alone makes what the paper prints, of a model in which nothing collapses.
        assert (features["in float32"] ** power) < 1e-6 < 1e-2 < (features["next direction, exact mode"] ** power)
        limits = [found["subset_limit_of_format"][name] ** power for name in ("bfloat16", "float32", "float64")]
        assert limits == sorted(limits, reverse=True) and limits[1] < 1e-6 < limits[0]
        assert "every direction is identified" in found["float32_against_float64"]
        assert "descriptive" in pictures[1]["title"] and len(pictures[1]["groups"]) >= 6


def test_counts_of_directions_are_described(own: Trial) -> None:
    row, _ = judged(own, "collapse-eff-rank")
    assert set(row.descriptive["stable_rank"]) == {"0", "1", "2", "3"}
    counts = [row.descriptive[f"directions_above_{ratio}_sigma_1"]["0"] for ratio in ("0.1", "0.01", "0.001")]
    assert counts == sorted(counts) and counts[-1] == 48


# --------------------------------------------------------------------------- perturbations
def test_remainders_stand_on_their_own_samples(own: Trial, rows: dict[str, tuple[Row, Any]]) -> None:
    row = rows["smallpert-linear"][0]
    assert f"{row.descriptive['tokens']} tokens" in row.stands_on and "eager attention" in row.stands_on
    by_name = {d.name: d.estimate for d in row.definitions}
    assert by_name["edited-layer"] is not None and by_name["edited-layer"] < 1e-4
    assert by_name["jvp-remainder"] == pytest.approx(by_name["homogeneity"], rel=0.5)
    assert row.specific in ("yes", "no", "undecided")
    assert set(row.descriptive["remainder_by_layer"]) == {"1", "2", "3"}
    own.check_purity()


def test_an_edit_that_changes_nothing_is_left_out_by_name(own: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = continuity.changes

    def one_idle(*args: Any, **options: Any) -> Any:
        found = honest(*args, **options)
        still = {n: dict.fromkeys(norms, 0.0) | {"n": norms["n"]} for n, norms in found[4].norms.items()}
        nothing = {n: torch.zeros_like(pooled) for n, pooled in found[4].pooled.items()}
        return [*found[:4], dataclasses.replace(found[4], norms=still, pooled=nothing), *found[5:20]]

    monkeypatch.setattr(continuity, "changes", one_idle)
    row, _ = judged(own, "smallpert-depth-continuity")
    assert row.n_units == 19 and row.descriptive["edits_that_change_nothing"] == [4]
    assert row.verdict == "inconclusive" and "19 of 20 edits" in row.reason
