"""SCR by a model's own yes and no: who is asked so, what it takes to be asked, and the whole way on toys."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from editverdict.generation.in_context import confirm, confirmation_prompt
from editverdict.pipeline import confirming
from editverdict.pipeline.cases import judge_case
from editverdict.pipeline.confirming import IN_SCOPE, OUT_OF_SCOPE, confirmed_shares, require_selection, selection_pairs
from editverdict.pipeline.edits import answering_fields, editor_of
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.measures.answering import begin, scr_threshold
from editverdict.pipeline.scr_grid import scr_settings
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.protocols import AnswerProtocol
from suites.selftest.pipeline.sessions import ROOT

SETTLED = ("smollm2-135m", "rehearsal-llama")
TOYS = ("rehearsal-llama", "rehearsal-mistral", "rehearsal-qwen2", "rehearsal-qwen3")
DATA = "worldfacts"
CHAT = AnswerProtocol(id="chat-4", prompt_form="chat", max_new_tokens=4)


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return make_trial(Options(profile="smoke", store=tmp_path / "store"), ROOT / "specs")


def in_words(trial: Trial, *models: str) -> Trial:
    """SCR by yes and no on these models, asked in the chat template."""
    spec = trial.library.methods["SCR"]
    own = {model: {"confirmation": "yes-no", "threshold": 0.0} for model in models}
    methods = {**trial.library.methods, "SCR": spec.model_copy(update={"per_model": {**spec.per_model, **own}})}
    trial.library = dataclasses.replace(trial.library, methods=methods)
    trial.profile = trial.profile.model_copy(update={"models": models, "protocol": CHAT})
    return trial


# --------------------------------------------------------------------------- whose setting
def test_answers_that_are_stored_keep_their_settings(trial: Trial) -> None:
    """They are in the recipe of every answer, time and memory of SCR: another value makes all of them anew."""
    for model in SETTLED:
        settings = {"top_k": 3, "confirmation": "query-lift", "threshold": 2.0, "wording": 1}
        assert answering_fields(trial, "SCR", model) == {"name": "scr", "version": 2, "settings": settings}


def test_every_model_that_a_profile_tries_scr_on_has_a_setting(trial: Trial) -> None:
    tried = {
        model
        for profile in trial.library.profiles.values()
        if any(trial.library.methods[name].in_context for name in profile.methods)
        for model in profile.models
    }
    assert tried >= {"llama-3.1-8b-instruct", "deepseek-r1-distill-llama-8b", "qwen3-14b", "smollm2-135m"}
    for model in tried:
        settings = editor_of(trial, "SCR", model).hyperparameters
        own = ("query-lift", 2.0) if model in SETTLED else ("yes-no", 0.0)
        assert (settings.confirmation, settings.threshold, settings.top_k) == (*own, 3), model


def test_a_model_without_a_setting_is_told_both_ways(trial: Trial) -> None:
    case = Case(trial.library.claims["scr-locality-vs-preedit"], "rehearsal-mistral", "SCR", DATA)
    with pytest.raises(NotHere) as reason:
        scr_threshold(trial, case)
    assert "methods[SCR].per_model.rehearsal-mistral.threshold" in str(reason.value)
    assert "that no verdict rests on" in str(reason.value) and "confirmation: yes-no" in str(reason.value)


# --------------------------------------------------------------------------- whether it selects
def test_pairs_are_of_every_fact_and_are_what_they_are_called() -> None:
    pairs = selection_pairs()
    assert list(pairs) == [*IN_SCOPE, *OUT_OF_SCOPE] and {len(own) for own in pairs.values()} == {12}
    own = dict(pairs["own prompt"])
    assert len(own) == 12
    for kind, found in pairs.items():
        for text, query in found:
            subject = own[text].removeprefix("The painter ").partition(" was born")[0]
            assert text.startswith(own[text]) and text != query
            if "painter" in text:
                assert (subject in query) == (kind in IN_SCOPE), (kind, text, query)
    assert len({query for found in pairs.values() for _, query in found}) == 36  # those of others are others' own


KINDS = {pair: kind for kind, own in selection_pairs().items() for pair in own}


@pytest.mark.parametrize(
    ("says", "refused"),
    [
        (lambda kind: 1.0 if kind in IN_SCOPE else -1.0, None),
        (lambda _kind: 1.0, "question about another subject 1.00"),  # as SmolLM2-135M nearly does
        (lambda _kind: -1.0, "own prompt 0.00"),
        (lambda kind: 1.0 if kind in IN_SCOPE or kind == OUT_OF_SCOPE[0] else -1.0, "another subject 1.00"),
        (lambda kind: 1.0 if kind in IN_SCOPE[:2] else -1.0, "question 0.00"),
        (lambda _kind: 0.0, "rephrase 0.00"),  # the threshold itself is not above it
    ],
)
def test_a_model_that_does_not_select_is_not_run(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, says: Callable[[str], float], refused: str | None
) -> None:
    name = "rehearsal-qwen2"
    in_words(trial, name)
    real = trial.library.models[name].model_copy(update={"weights": "pretrained"})
    trial.library = dataclasses.replace(trial.library, models={**trial.library.models, name: real})

    def planted(_model: Any, _tokenizer: Any, pairs: Sequence[tuple[str, str]], *, rule: str) -> torch.Tensor:
        assert rule == "yes-no"
        return torch.tensor([says(KINDS[pair]) for pair in pairs], dtype=torch.float64)

    monkeypatch.setattr(confirming, "confirmation_scores", planted)
    if refused is None:
        assert scr_settings(trial, name).confirmation == "yes-no"
        # Found again in the store: nothing is asked twice.
        monkeypatch.setattr(confirming, "confirmation_scores", None)
        assert confirmed_shares(trial, "SCR", name) == {k: float(k in IN_SCOPE) for k in (*IN_SCOPE, *OUT_OF_SCOPE)}
        return
    with pytest.raises(NotHere, match="a confirmation that selects") as reason:
        scr_settings(trial, name)
    assert refused in str(reason.value)


def test_settled_thresholds_and_random_weights_are_not_asked(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirming, "confirmation_scores", None)
    require_selection(in_words(trial, "rehearsal-qwen3"), "SCR", "rehearsal-qwen3")
    require_selection(trial, "SCR", "smollm2-135m")


def test_random_weights_select_nothing(trial: Trial) -> None:
    """The real scores of a toy tell nothing apart, so that it would be refused if it were real."""
    name = "rehearsal-llama"
    in_words(trial, name)
    real = trial.library.models[name].model_copy(update={"weights": "pretrained"})
    trial.library = dataclasses.replace(trial.library, models={**trial.library.models, name: real})
    with pytest.raises(NotHere, match="a confirmation that selects"):
        require_selection(trial, "SCR", name)


# --------------------------------------------------------------------------- the whole way
@pytest.mark.parametrize("name", TOYS)
def test_a_claim_on_scr_runs_by_yes_and_no(name: str, trial: Trial) -> None:
    in_words(trial, name)
    case = Case(trial.library.claims["scr-locality-vs-preedit"], name, "SCR", DATA)
    row = judge_case(trial, case).row
    assert row.verdict in ("invalid", "inconclusive"), row.reason
    assert {check.name for check in row.checks} == set(case.claim.checks)
    asked, loaded = begin(trial, case), trial.model(name)
    for chain, answered in zip(asked.chains, asked.scr(), strict=True):
        queries = [row["prompt"] for row in answered.rows]
        pairs = [(record.statement, query) for query in queries for record in chain]  # all are among the nearest three
        said = iter(confirm(loaded.model, loaded.tokenizer, pairs, rule="yes-no"))
        wanted = [sum(next(said) for _ in chain) > 0 for _ in queries]
        assert [row["given"] is not None for row in answered.rows] == wanted
    assert confirmation_prompt("A.", "B").endswith("Does the fact finish it?")
