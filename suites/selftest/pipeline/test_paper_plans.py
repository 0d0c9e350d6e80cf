"""The paper's models on the paper's data: what one command plans. No model is loaded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from editverdict.pipeline.matrix import matrix
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from suites.selftest.pipeline.sessions import ROOT

DECODERS = {
    "llama-3.1-8b-instruct", "deepseek-r1-distill-llama-8b", "llama-2-7b-chat", "mistral-7b-instruct-v0.1",
    "llama-2-13b", "qwen3-14b",
}  # fmt: skip
FACTS, EVENTS = ("zsre", "wikidata-counterfact"), "elken"


def planned(tmp_path: Path, profile: str, *datasets: str) -> Trial:
    """A trial as the command line makes it, each dataset read from a file of its own."""
    given = []
    for name in (*FACTS, EVENTS):
        (tmp_path / f"{name}.json").write_text("[]", encoding="utf-8")
        given.append(f"{name}={tmp_path / f'{name}.json'}")
    options = Options(profile=profile, datasets=datasets, data=tuple(given), store=tmp_path / "store")
    return make_trial(options, ROOT / "specs")


def cases(trial: Trial) -> Counter[tuple[str, str]]:
    """(model, dataset) -> cases that the profile plans."""
    found = matrix(trial.library, trial.profile)
    return Counter((case.model, case.dataset) for case in found if case.dataset is not None)


def test_the_papers_models_meet_the_papers_data(tmp_path: Path) -> None:
    trial = planned(tmp_path, "paper-records")
    found = cases(trial)
    assert set(found) == {(model, data) for model in DECODERS for data in (*FACTS, EVENTS)}
    here = {(case.claim.id, case.method) for case in matrix(trial.library, trial.profile)}
    assert {("scr-dominates-avg", "ROME"), ("rq3-scr-best", "GRACE"), ("scr-locality-vs-preedit", None)} & here
    assert trial.profile.requires_cuda and trial.profile.chains_from == "first"
    for model in DECODERS:
        assert trial.profile.protocol_of(model).prompt_form == "chat", model
    assert trial.library.datasets["zsre"].source.path == str(tmp_path / "zsre.json")  # type: ignore[union-attr]


def test_it_has_the_claims_of_the_default_model_on_these_data(tmp_path: Path) -> None:
    own, ours = (planned(tmp_path, name).profile for name in ("paper-records", "records-100"))
    assert own.claims == ours.claims and own.datasets == ours.datasets and set(ours.methods) < set(own.methods)
    same = ("single_edits", "chains", "chain_length", "long_chain", "schedule")
    assert all(getattr(own.sizes, name) == getattr(ours.sizes, name) for name in same)
    assert (own.edit_form, own.chains_from, own.judge) == (ours.edit_form, ours.chains_from, ours.judge)


@pytest.mark.parametrize("datasets", [FACTS, (*FACTS, "worldfacts")])
def test_sequences_of_a_hundred_on_these_data(tmp_path: Path, datasets: tuple[str, ...]) -> None:
    trial = planned(tmp_path, "paper-editing", *datasets)
    assert trial.profile.sizes.chain_length == 100
    found = cases(trial)
    assert {model for model, _ in found} == DECODERS and {data for _, data in found} == set(datasets)
    # The claims that need such sequences, not only those of ten edits.
    late = {case.claim.id for case in matrix(trial.library, trial.profile) if case.dataset == "zsre"}
    assert late >= {"rq1-collapse-sequential", "rq1-long-run-decline", "rq2-reasoning-worse", "comb-scr-beats-combined"}
