"""Answers in sentences, and answers that never came: what claims about first tokens and forced tokens make of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from editverdict.data.records import EditRecord
from editverdict.evaluation.lexical import LexicalJudge
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.cases import Ruling, rule
from editverdict.pipeline.measurement import Case, Measurement, measures
from editverdict.pipeline.measures import failure_modes, forcing
from editverdict.pipeline.measures.failure_modes import Beginnings
from editverdict.pipeline.measures.forcing import ended, sentences
from editverdict.pipeline.setup import Options, load_library, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.schema.protocols import AnswerProtocol, Thinking
from suites.selftest.pipeline.planted_answers import chains
from suites.selftest.pipeline.sessions import ROOT
from suites.selftest.pipeline.test_failure_claims import PIECES, Kind, Said, forced_rows, share

MODEL, DATA = "rehearsal-llama", "worldfacts"
FIRST, FORCING = "fail-first-token-success", "proto-teacher-forcing-optimistic"
BOTH = pytest.mark.parametrize("claim", [FIRST, FORCING])
SAID = {
    "sentence": ("{t} it is.", "The male parent of that one was {t}.", True, "eos"),
    "named": ("", "{t} it is.", True, "eos"),
    "lost": ("{t} it is.", "It is {o}.", True, "eos"),
    "unaware": ("I remember {o}.", "It is {o}.", True, "eos"),
    "endless": ("{t} it is. Wait, or", "", False, "limit"),
    "cut-off": ("{t} it is. Wait, or", "", True, "limit"),
}
"""Kind -> thinking, answer, whether the thinking ended, what ended the answer."""
CHAT = AnswerProtocol(id="chat", prompt_form="chat", max_new_tokens=40)
THINKS = CHAT.model_copy(update={"id": "thinks", "thinking": Thinking()})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    made = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("sentences")), ROOT / "specs")
    sizes = made.profile.sizes.model_copy(update={"chain_length": 10, "random_seeds": 20})
    made.profile = made.profile.model_copy(update={"sizes": sizes})
    yield made


def asked_by(whole: Trial, protocol: AnswerProtocol, judge: str = "lexical") -> Trial:
    profile = whole.profile.model_copy(update={"protocols": {MODEL: protocol}, "judge": judge})
    return dataclasses.replace(whole, profile=profile, _memo={})


class Speaks(Said):
    """Answers of the kinds of SAID, judged by the trial's own judge of words; no thoughts where none are parted."""

    def _said(self, one: Answered, chain: int, kind: Kind) -> Answered:
        judge = LexicalJudge.of(self.trial.library.judges[self.trial.profile.judge])
        thinks = self.trial.profile.protocol_of(self.case.model).thinking is not None
        rows = []
        for row in one.rows:
            edit = int(row["edit_id"].split("-")[1])
            think, answer, closed, stopped = SAID[kind(chain, edit, row["dimension"])]
            words = {"t": row["accepted"][0], "o": f"old{row['edit_id']}"}
            said = {"thinking": think.format(**words), "thinking_closed": closed} if thinks else {}
            text = answer.format(**words)
            said |= {"answer": text, "correct": judge.judge(text, row["accepted"]), "stopped_by": stopped}
            rows.append({**row, **said, "tokens": PIECES.encode(think.format(**words) if thinks else text)})
        return Answered(rows, one.probability, one.key)


def named_plainly() -> tuple[list[EditRecord], ...]:
    """Chains whose targets are one word without a hyphen: the first word of what is thought is then the target."""
    return tuple(
        [one.model_copy(update={"target_new": one.target_new.replace("-", "x")}) for one in chain]
        for chain in chains(6, 10)
    )


Judge = Callable[..., tuple[Measurement, Ruling]]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Measure a claim on planted answers by a trial's protocol and judge."""

    def run(trial: Trial, claim: str, single: Kind) -> Any:
        spec = trial.library.claims[claim]
        kinds = {"single ROME": single, "unedited": share(1.0, "unaware"), "gold": share(0.0, "", "sentence")}

        def begin(one: Trial, of: Case, length: int | None = None) -> Speaks:
            return Speaks(one, of, 10, named_plainly(), {}, kinds=kinds)

        for module in (failure_modes, forcing):
            monkeypatch.setattr(module, "begin", begin)
            monkeypatch.setattr(module, "single_forced", lambda asked, _: forced_rows(asked.single("ROME"), False))
        monkeypatch.setattr(forcing, "unedited_forced", lambda asked: forced_rows(asked.unedited(), False))
        monkeypatch.setattr(failure_modes, "beginnings_of", lambda *_: Beginnings(PIECES.encode, PIECES.decode))
        made = measures()[spec.quantity](trial, Case(spec, MODEL, "ROME", DATA))
        return made, rule(spec, made)

    return run


def mixed(**shares: float) -> Kind:
    """Kinds for shares of the edits in their order, ``sentence`` for the rest."""

    def kind(chain: int, edit: int, _: str) -> str:
        place, end = (edit * 7 + chain) % 20, 0
        for name, own in shares.items():
            end += round(20 * own)
            if place < end:
                return name
        return "sentence"

    return kind


# --------------------------------------------------------------------------- sentences
@BOTH
def test_right_answers_in_sentences_are_no_failures(whole: Trial, judged: Judge, claim: str) -> None:
    """Seven of ten edits succeed, and say so in a sentence behind their thoughts: nothing falls short of anything."""
    single = share(0.3, "unaware", "sentence")
    made, found = judged(asked_by(whole, THINKS), claim, single)
    assert made.definitions[found.decision.definitions[0].name].value == pytest.approx(0.7, abs=0.06)
    assert found.decision.verdict == "invalid" and "in-a-sentence shows the effect" in found.decision.reason
    made, found = judged(asked_by(whole, THINKS, "lexical-contains"), claim, single)
    assert found.decision.verdict == "refuted", found.decision.reason
    assert made.controls["in-a-sentence"].value == 0.0 and found.primary.value == 0.0


@BOTH
def test_a_judge_that_looks_into_the_answer_sees_what_is_lost(whole: Trial, judged: Judge, claim: str) -> None:
    _, found = judged(asked_by(whole, THINKS, "lexical-contains"), claim, share(0.5, "lost", "sentence"))
    assert found.decision.verdict == "supported", found.decision.reason
    assert {c.name for c in found.controls if c.outcome == "ok"} >= {"right-answers", "in-a-sentence"}


@BOTH
def test_chat_without_thoughts_invites_sentences_too(whole: Trial, judged: Judge, claim: str) -> None:
    _, found = judged(asked_by(whole, CHAT), claim, share(0.5, "unaware", "named"))
    assert found.decision.verdict == "invalid" and "in-a-sentence shows the effect" in found.decision.reason


def test_the_sentence_is_the_one_that_the_protocol_invites(whole: Trial) -> None:
    row = {"prompt": "The capital of X is", "accepted": ["Y"]}
    goes_on = sentences(whole, MODEL)
    assert LexicalJudge().judge(goes_on(row), ["Y"]) and goes_on(row) != "Y"
    for own in (
        goes_on({**row, "prompt": "What is the capital of X?"}),
        sentences(asked_by(whole, CHAT), MODEL)(row),
        sentences(asked_by(whole, whole.profile.protocol.model_copy(update={"thinking": Thinking()})), MODEL)(row),
    ):
        assert not LexicalJudge().judge(own, ["Y"]) and LexicalJudge("contains").judge(own, ["Y"])


# --------------------------------------------------------------------------- answers that never came
@BOTH
@pytest.mark.parametrize("kind", ["endless", "cut-off"])
def test_thoughts_without_an_end_are_no_wrong_answers(whole: Trial, judged: Judge, claim: str, kind: str) -> None:
    single = mixed(**{kind: 0.15, "unaware": 0.35})
    made, found = judged(asked_by(whole, THINKS, "lexical-contains"), claim, single)
    # Some fifty edits without any gap still leave a tenth of them open.
    verdict = "inconclusive" if claim == FIRST else "refuted"
    assert found.decision.verdict == verdict and found.primary.value == 0.0, found.decision.reason
    left_out = 60 - found.primary.n_units
    assert left_out == sum(single(c, e, "rel") == kind for c in range(6) for e in range(10)) > 0
    (check,) = [check for check in found.checks if check.name == "answers-finished"]
    questions = 1 if claim == FIRST else 5
    assert check.ok and check.detail.startswith(f"{questions * (60 - left_out)} of {questions * 60} answers ended")
    counted = made.descriptive["unfinished"]["own prompts"] if claim == FIRST else made.descriptive["questions"]
    assert (counted if claim == FIRST else counted["unfinished"]) == questions * left_out


@BOTH
@pytest.mark.parametrize("of_all", [0.3, 1.0])
def test_where_few_answers_come_to_an_end_nothing_is_told(
    whole: Trial, judged: Judge, claim: str, of_all: float
) -> None:
    _, found = judged(asked_by(whole, THINKS, "lexical-contains"), claim, mixed(endless=of_all))
    assert found.decision.verdict == "invalid" and "answers-finished" in found.decision.reason


def test_an_answer_ends_where_something_is_said() -> None:
    row = {"answer": " ", "stopped_by": "limit"}
    assert ended(row), "without a thinking part what is said is the answer"
    assert not ended({**row, "thinking": "t", "thinking_closed": True})
    assert not ended({**row, "thinking": "t", "thinking_closed": False, "stopped_by": "eos"})
    assert ended({**row, "thinking": "t", "thinking_closed": True, "stopped_by": "eos"})
    assert ended({**row, "thinking": "t", "thinking_closed": True, "answer": "It"})


def test_profiles_of_reasoning_models_have_a_judge_that_sees_sentences() -> None:
    library = load_library([ROOT / "specs"])
    thinking = [p for p in library.profiles.values() if any(one.thinking for one in p.protocols.values())]
    assert {profile.id for profile in thinking} >= {"paper", "paper-editing"}
    for profile in thinking:
        judge = library.judges[profile.judge]
        if judge.format == "lexical":
            assert LexicalJudge.of(judge).judge("It is Rome.", ["Rome"]), profile.id
