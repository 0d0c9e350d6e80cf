"""Every claim on schedules, retrieval and AlphaEdit runs its whole way on the toy, out of the same stored answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from editverdict.inference.forms import FORMS_KEY
from editverdict.inference.forms import apart as told_apart
from editverdict.pipeline.answers import unedited
from editverdict.pipeline.cases import judge_case
from editverdict.pipeline.forms import forms_of
from editverdict.pipeline.matrix import cases_of
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.setup import Options, load_library, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.schema.protocols import AnswerProtocol, Thinking
from suites.selftest.pipeline.sessions import ROOT

MODEL, OTHER, DATA = "rehearsal-llama", "rehearsal-mistral", "worldfacts"
METHODS = ("ROME", "MEMIT", "AlphaEdit", "AlphaEdit-L2-1", "SCR", "ROME+SCR")


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("toy")), ROOT / "specs")
    made.profile = made.profile.model_copy(update={"methods": METHODS, "models": (MODEL, OTHER)})
    yield made
    torch.set_num_threads(threads)


CASES = [
    ("rq1-far-from-perfect", "ROME"),
    ("rq1-alphaedit-stable", "AlphaEdit"),
    ("rq1-timing-varies", None),
    ("rq1-long-run-decline", "ROME"),
    ("rq1-confidence-split", "ROME"),
    ("rq1-method-independent", None),
    ("scr-dominates-cells", "ROME"),
    ("scr-locality-vs-preedit", "SCR"),
    ("scr-single-vs-seq", "SCR"),
    ("comb-scr-beats-combined", "ROME+SCR"),
    ("comb-retrieval-helps", "ROME+SCR"),
    ("comb-collapsed-unrecoverable", "ROME+SCR"),
    ("fail-first-token-success", "ROME"),
    ("proto-teacher-forcing-optimistic", "ROME"),
    ("proto-locality-definition", None),
    ("alpha-l2-sensitive", "AlphaEdit"),
    ("alpha-single-vs-seq-tradeoff", "AlphaEdit"),
    ("alpha-model-dependent", "ROME"),  # the other toy has no threshold for AlphaEdit's null space
]


@pytest.mark.parametrize(("claim", "method"), CASES)
def test_a_row_with_answers_checks_and_pictures(trial: Trial, claim: str, method: str | None) -> None:
    spec = trial.library.claims[claim]
    judged = judge_case(trial, Case(spec, MODEL, method, DATA))
    row = judged.row
    # The toy knows nothing, so nothing is decided; everything else is there.
    assert row.verdict in ("invalid", "inconclusive"), row.reason
    checks = {check.name: check for check in row.checks}
    assert set(checks) == set(spec.checks) and checks["answers-complete"].ok
    assert {c.name for c in row.controls} == {c.name for c in spec.controls}
    assert {d.name for d in row.definitions} == {d.name for d in spec.definitions}
    assert row.descriptive["scores"] and judged.pictures and row.hashes["evidence"]
    for state in judged.facts:  # another judge finds the answers where the facts say
        where = {key.partition(":")[0] for _, key in state["answers"]}
        assert where and all((trial.store.root / "answers" / key[:2] / key).is_dir() for key in where)
    assert row.descriptive["edits"] == (3 if isinstance(spec.edits, int) and spec.edits > 1 else spec.edits)


def test_claims_at_ten_edits_ask_nothing_that_the_first_ones_have_not_asked(tmp_path: Path) -> None:
    """What the default profile may afford: after the claims on the drop and on SCR, all answers are in the store."""
    trial = make_trial(Options(profile="smoke", store=tmp_path / "store"), ROOT / "specs")
    for claim in ("rq1-drop-single-to-seq", "scr-dominates-avg"):
        judge_case(trial, Case(trial.library.claims[claim], MODEL, "ROME", DATA))
    before = _answers(trial)
    assert before
    free = [("rq1-far-from-perfect", "ROME"), ("rq1-confidence-split", "ROME"), ("scr-dominates-cells", "ROME")]
    # Forced targets are no answers, and are kept apart from them.
    free += [("fail-first-token-success", "ROME"), ("proto-teacher-forcing-optimistic", "ROME")]
    for claim, method in [*free, ("scr-locality-vs-preedit", "SCR"), ("proto-locality-definition", None)]:
        row = judge_case(trial, Case(trial.library.claims[claim], MODEL, method, DATA)).row
        assert row.descriptive["scores"], row.reason
    assert _answers(trial) == before


def test_reasoning_is_read_of_a_toy_that_parts_its_thinking(trial: Trial) -> None:
    """What a reasoning model's case takes: its own protocol, answers parted by marks, modes counted, a row."""
    tokenizer = trial.model(MODEL).tokenizer
    case = Case(trial.library.claims["fail-modes"], MODEL, "ROME", DATA)
    assert judge_case(trial, case).row.reason.startswith("NOT_RUN: needs a reasoning model: protocol 'completion-4'")
    record = trial.chains(DATA)[0][0]
    said = next(row["tokens"] for row in unedited(trial, MODEL, [record]).rows if len(row["tokens"]) > 1)
    mark = next(text for token in said[1:] if (text := tokenizer.decode([token])).strip() and "\n" not in text)
    spec = AnswerProtocol(id="thinks-4", max_new_tokens=4, stop=(), thinking=Thinking(open="\u00a7", close=mark))
    profile = trial.profile.model_copy(update={"protocols": {MODEL: spec}})
    judged = judge_case(dataclasses.replace(trial, profile=profile, _memo={}), case)
    row = judged.row
    assert row.verdict == "invalid" and "headroom-opening" in row.reason, row.reason
    assert {c.name for c in row.controls} == {c.name for c in case.claim.controls}
    rates = row.descriptive["failures"]["edited"]
    assert sum(one["count"] for name, one in rates.items() if name.startswith("mode:")) == 6
    assert row.hashes["protocol"] != trial.protocol(MODEL).id and judged.pictures


def test_a_row_says_when_edits_and_questions_differ_in_form(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a chat template a method is asked about something that it was not shown; a text stands in the prompt."""
    template = "<{{ messages[0]['content'] }}>"
    monkeypatch.setattr(trial.model(MODEL).tokenizer, "chat_template", template)
    spec = AnswerProtocol(id="chat-4", prompt_form="chat", max_new_tokens=4, stop=())
    profile = trial.profile.model_copy(update={"protocols": {MODEL: spec}})
    chat = dataclasses.replace(trial, profile=profile, _memo={})
    said = "edited on the bare prompt, asked in the chat template"
    for claim, method, apart in (("rq1-far-from-perfect", "ROME", True), ("scr-locality-vs-preedit", "SCR", False)):
        case = Case(trial.library.claims[claim], MODEL, method, DATA)
        row, usual = judge_case(chat, case).row, judge_case(trial, case).row
        assert row.descriptive["forms"] == {"edited": "bare prompt" if apart else "text", "asked": "chat template"}
        assert "protocol chat-4" in row.stands_on and "protocol chat-4" not in usual.stands_on
        assert row.stands_on.endswith(f", {said}") == apart and (said in row.stands_on) == apart
        assert usual.descriptive["forms"]["asked"] == "bare prompt" and "asked in" not in usual.stands_on
    spec = trial.library.claims["comb-retrieval-helps"]  # of a combination the weights are edited, on the bare prompt
    assert apart_of(forms_of(chat, Case(spec, MODEL, "ROME+SCR", DATA))) == said
    assert apart_of(forms_of(chat, Case(spec, MODEL, "SCR", DATA))) == ""


def apart_of(found: dict[str, str]) -> str:
    return told_apart({FORMS_KEY: found})


def _answers(trial: Trial) -> set[str]:
    return {folder.name for folder in trial.store.root.glob("answers/*/*")}


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        ("rq1-alphaedit-stable", "plans no case"),
        ("rq1-timing-varies", "needs T ≥ 20; the chains of profile 'laptop' have 10 edits"),
        ("rq1-long-run-decline", "needs T ≥ 20"),
        ("scr-single-vs-seq", "needs T ≥ 20"),
        ("rq1-scale", "plans no case"),
        ("comb-scr-beats-combined", "plans no case"),
        ("alpha-impl-consistent", "plans no case"),
    ],
)
def test_the_default_profile_does_not_run_what_it_has_no_time_for(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, claim: str, reason: str
) -> None:
    laptop = make_trial(Options(profile="laptop", store=tmp_path_factory.mktemp("laptop")), ROOT / "specs")
    spec = laptop.library.claims[claim]
    found = cases_of(laptop.library, laptop.profile, spec)
    if reason == "plans no case":
        assert found == []
        return
    from editverdict.pipeline import measurement

    for case in found:
        with pytest.raises(Exception, match=reason):
            measurement.measures()[spec.quantity](laptop, case)


def test_every_claim_is_planned_somewhere() -> None:
    """In the profile of the paper's models all of them; overnight all that the default model can decide."""
    library = load_library([ROOT / "specs"])
    mine = {claim for claim, _ in CASES} | {"rq1-scale", "alpha-impl-consistent"}
    planned = {
        name: {claim for claim in mine if cases_of(library, library.profiles[name], library.claims[claim])}
        for name in ("overnight", "paper-editing")
    }
    assert planned["paper-editing"] == mine and mine <= set(library.profiles["paper-editing"].claims)
    assert planned["overnight"] == mine - {"rq1-scale", "alpha-model-dependent"}
