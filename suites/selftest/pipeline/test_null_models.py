"""Null models on a model's hidden states: stored once, paired row by row, and shown on a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from editverdict.numerics.null_worlds import World
from editverdict.pipeline import artefacts
from editverdict.pipeline.artefacts import (
    OTHER_SAMPLE,
    SAME_SAMPLE,
    _two_samples,
    chosen_layers,
    comparison,
    on_model,
    synthetic,
    which,
)
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from suites.selftest.pipeline.sessions import ROOT

MODEL = "rehearsal-llama"
SMALL = World(d=64)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("nulls")), ROOT / "specs")


def test_layers_are_spread_from_the_first_to_the_last() -> None:
    assert chosen_layers((8, 10, 15, 20, 25, 28, 29)) == (8, 15, 25, 29)
    assert chosen_layers((1, 2, 3)) == (1, 2, 3)


def test_two_samples_share_no_text_and_stand_in_unrelated_order() -> None:
    texts = torch.arange(60).repeat_interleave(5)
    one, other = _two_samples(texts, 0)
    assert len(one) == len(other) == 150
    assert not set(texts[one].tolist()) & set(texts[other].tolist())
    assert len(set(other.tolist())) == 150
    drift = torch.corrcoef(torch.stack([texts[one], texts[other]]).double())[0, 1]
    # Four standard errors of the correlation of what is unrelated.
    assert abs(float(drift)) < 4 / 150**0.5


def test_on_a_random_model_the_mistakes_give_what_they_must(trial: Trial) -> None:
    found = on_model(trial, MODEL)
    assert [one.name for one in found] == ["layer 1", "layer 2", "layer 3"]
    for one in found:
        assert one.n > one.d == 48
        features, samples = (which(one, "mispaired", centring) for centring in ("features", "samples"))  # type: ignore[arg-type]
        assert features.along_ones == pytest.approx(1.0, abs=1e-3) and features.floor < one.d**0.5
        assert features.runaway > 1e5 and samples.runaway < 3
        assert samples.rest == pytest.approx(1.128, rel=0.1)
        assert samples.above >= one.d - 3
        wide = which(one, "mispaired", "features", "float64")
        assert wide.cond > 1e6 * features.cond
    later = found[-1]
    pair = which(later, "paired", "samples")
    # The toy's edit moves later layers by a few hundredths; with pairs and the right mean nothing runs away.
    assert pair.above == 0 and pair.runaway < 10 and which(later, "paired", "features").above == 1
    assert all(later.cosines[OTHER_SAMPLE][k] < cosine for k, cosine in later.cosines[SAME_SAMPLE].items())


def test_what_is_stored_is_not_made_again(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    first, made_up = on_model(trial, MODEL), synthetic(trial, SMALL)

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(artefacts, "nulls_of", never)
    assert on_model(trial, MODEL) == first
    assert synthetic(trial, SMALL) == made_up


def test_the_model_is_left_as_it_was(trial: Trial) -> None:
    on_model(trial, MODEL)
    trial.check_purity()


def test_everything_fits_into_a_file(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artefacts, "World", lambda **own: World(**{"d": 64, **own}))
    found = comparison(trial)
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["edited"]["method"] == "ROME" and len(again["model"]) == 3
    assert [one["name"] for one in again["resampled"]] == [
        f"made up, Gaussian, sigma_k as k^-{decay}" for decay in ("0.3", "0.5", "1")
    ]


def test_the_page_says_what_it_stands_on(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from editverdict.cli import tables

    monkeypatch.setattr(artefacts, "World", lambda **own: World(**{"d": 64, **own}))
    tables.artefacts(profile="smoke", store=trial.store.root, out=tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "no proof that it arose so" in text and "`rehearsal-llama`, layers 1, 2, 3" in text
    assert "Tables 21-23, 57 rows" in text and "1.11 ± 0.03" in text
    record = json.loads((tmp_path / "page.json").read_text())
    assert record["manifest"]["profile"] == "smoke" and len(record["model"]) == 3
    assert str(tmp_path / "page.md") in capsys.readouterr().out.replace("\n", "")
