"""Reasoning models and AlphaEdit's trade-off, judged on planted answers and planted shares of reasoning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from editverdict.inference.intervals import Estimate, t_interval
from editverdict.inference.standard_errors import Shared
from editverdict.pipeline.cases import Ruling, rule
from editverdict.pipeline.matrix import cases_of, planned_claims
from editverdict.pipeline.measurement import Case, Measurement, Unmeasurable, measures, passed
from editverdict.pipeline.measures import reasoning
from editverdict.pipeline.setup import Options, load_library, make_trial
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.protocols import AnswerProtocol
from suites.selftest.pipeline.planted_answers import GOLD, NOTHING, UNEDITED, PlantedChains, Right, chains, scored
from suites.selftest.pipeline.sessions import ROOT

MODEL, STANDARD, DATA = "rehearsal-llama", "rehearsal-mistral", "worldfacts"
WORSE, TRADEOFF = "rq2-reasoning-worse", "rq2-alphaedit-tradeoff"
STRONG, FAIR = scored(rel=0.8, gen=0.7, loc=0.5, port=0.3), scored(rel=0.5, gen=0.4, loc=0.3, port=0.2)
KEPT = scored(rel=0.8, gen=0.7, loc=0.1, port=0.3)
THINKING = AnswerProtocol.model_validate(
    {"id": "thinks", "prompt_form": "chat", "max_new_tokens": 64, "thinking": {"open": "<think>", "close": "</think>"}}
)
CHAT = AnswerProtocol.model_validate({"id": "chat", "prompt_form": "chat", "max_new_tokens": 16})


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    made = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("planted")), ROOT / "specs")
    protocols = {MODEL: THINKING, STANDARD: CHAT}
    update = {"models": (MODEL, STANDARD), "methods": ("AlphaEdit",), "protocols": protocols}
    made.profile = made.profile.model_copy(update=update)
    yield made


def planted(case: Case, states: Mapping[str, Right], trial: Trial, count: int = 6) -> PlantedChains:
    return PlantedChains(trial, case, 10, chains(count, 10), {}, states=states)


# --------------------------------------------------------------------------- a reasoning model beside a standard one
@pytest.fixture
def beside(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Measurement, Ruling]]:
    """Judge the claim on what the reasoning model and the standard one answer."""

    def run(own: Right, theirs: Right, count: int = 6, **states: Right) -> tuple[Measurement, Ruling]:
        usual = {"gold": GOLD, "no-op": UNEDITED, "single AlphaEdit": STRONG, "after AlphaEdit": own} | states
        others = {"single AlphaEdit": states.get("single elsewhere", STRONG), "after AlphaEdit": theirs}

        def begin(one: Trial, of: Case, length: int | None = None) -> PlantedChains:
            return planted(of, usual if of.model == MODEL else others, one, count)

        monkeypatch.setattr(reasoning, "STANDARD", STANDARD)
        monkeypatch.setattr(reasoning, "begin", begin)
        spec = trial.library.claims[WORSE]
        made = measures()[spec.quantity](trial, Case(spec, MODEL, "AlphaEdit", DATA))
        return made, rule(spec, made)

    return run


@pytest.mark.parametrize(
    ("own", "theirs", "verdict"),
    [(FAIR, STRONG, "supported"), (STRONG, FAIR, "refuted"), (FAIR, FAIR, "refuted")],
)
def test_a_reasoning_model_is_worse_or_is_not(
    beside: Callable[..., tuple[Measurement, Ruling]], own: Right, theirs: Right, verdict: str
) -> None:
    made, found = beside(own, theirs)
    if own is theirs:  # equal answers: zero, which is no less than zero, up to the step of a score
        verdict = found.decision.verdict
        assert verdict in ("refuted", "inconclusive")
    assert found.decision.verdict == verdict, found.decision.reason
    assert {c.outcome for c in found.controls} <= {"ok", "shown"} and found.primary.n_units == 6
    assert made.descriptive["average"][STANDARD] >= 0.2


def test_a_collapsed_standard_model_leaves_nothing_to_be_worse_than(
    beside: Callable[..., tuple[Measurement, Ruling]],
) -> None:
    _, found = beside(NOTHING, NOTHING)
    assert found.decision.verdict == "invalid" and "headroom-standard" in found.decision.reason


def test_a_protocol_that_lets_no_answer_through_is_no_verdict(
    beside: Callable[..., tuple[Measurement, Ruling]],
) -> None:
    """Thoughts cut off: the reasoning model scores nothing even with the right fact before it."""
    _, found = beside(NOTHING, STRONG, gold=NOTHING)
    assert found.decision.verdict == "invalid" and "gold-context" in found.decision.reason


def test_a_model_that_is_worse_in_single_edits_too_is_not_worse_by_the_sequence(
    beside: Callable[..., tuple[Measurement, Ruling]],
) -> None:
    _, found = beside(FAIR, STRONG, **{"single AlphaEdit": FAIR})
    assert found.decision.verdict == "supported" and found.decision.specific != "yes"
    _, found = beside(FAIR, STRONG)
    assert found.decision.specific == "yes"


def test_five_chains_decide_nothing(beside: Callable[..., tuple[Measurement, Ruling]]) -> None:
    _, found = beside(FAIR, STRONG, count=5)
    assert found.decision.verdict == "inconclusive" and "5 of 6 chains" in found.decision.reason


def test_what_is_needed_is_said(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(trial.library.claims[WORSE], MODEL, "AlphaEdit", DATA)
    with pytest.raises(NotHere, match=r"with llama-3\.1-8b-instruct at equal N; profile 'smoke' has rehearsal-llama"):
        reasoning.standard_beside(trial, case)
    monkeypatch.setattr(reasoning, "STANDARD", MODEL)
    with pytest.raises(NotHere, match=r"protocols\.rehearsal-mistral\.thinking"):
        reasoning.standard_beside(trial, Case(case.claim, STANDARD, "AlphaEdit", DATA))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"prompt_form": "completion"}, r"'thinks' and \S+ by 'chat': prompt_form chat and completion \(profiles\["),
        ({"stop": ()}, r"stop \['\\n'\] and \[\]"),
        ({"max_new_tokens": 7}, None),
    ],
)
def test_two_prompt_forms_are_not_compared(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], reason: str | None
) -> None:
    """A standard model that is asked in another form may be better by the form alone."""
    protocols = {MODEL: THINKING, STANDARD: CHAT.model_copy(update=changed)}
    monkeypatch.setattr(trial, "profile", trial.profile.model_copy(update={"protocols": protocols}))
    monkeypatch.setattr(reasoning, "STANDARD", STANDARD)
    case = Case(trial.library.claims[WORSE], MODEL, "AlphaEdit", DATA)
    if reason is None:
        assert reasoning.standard_beside(trial, case) == STANDARD
        return
    with pytest.raises(NotHere, match=reason):
        measures()[case.claim.quantity](trial, case)


def test_answers_without_an_end_are_counted(trial: Trial) -> None:
    """Thoughts that did not end, or behind which the limit left nothing to be said; not what was said in time."""
    (one, *_) = planted(Case(trial.library.claims[WORSE], MODEL), {"gold": GOLD}, trial).gold()
    closed = {"thinking": "Let me see.", "thinking_closed": True, "stopped_by": "limit"}
    one.rows[0] |= {**closed, "thinking_closed": False, "answer": ""}
    one.rows[1] |= {**closed, "answer": " \n"}
    one.rows[2] |= {**closed, "answer": "It is so"}
    one.rows[3] |= {**closed, "stopped_by": "eos", "answer": ""}
    assert reasoning.unfinished([one]) == {"unfinished": 2, "answers": len(one.rows)}


def test_cases_exist_where_a_profile_has_the_reasoning_model() -> None:
    library = load_library([ROOT / "specs"])
    editing = library.profiles["paper-editing"]
    found = {claim.id: cases_of(library, editing, claim) for claim in planned_claims(library, editing)}
    assert {case.model for case in found[WORSE]} == {"deepseek-r1-distill-llama-8b"}
    assert "AlphaEdit" in {case.method for case in found[WORSE]}
    assert {case.method for case in found[TRADEOFF]} == {"AlphaEdit", "AlphaEdit-L2-1"}
    assert editing.protocol_of("deepseek-r1-distill-llama-8b").thinking is not None
    forms = {editing.protocol_of(model).prompt_form for model in ("deepseek-r1-distill-llama-8b", reasoning.STANDARD)}
    assert forms == {"chat"}
    assert cases_of(library, library.profiles["laptop"], library.claims[WORSE]) == []


# --------------------------------------------------------------------------- AlphaEdit's trade-off
def shares(mean: float, spread: float = 0.01, count: int = 6) -> Estimate:
    units = [mean + spread * (i - (count - 1) / 2) for i in range(count)]
    return t_interval(units, shared=Shared(spread / 2, 19))


LEFT = {"after": shares(0.97), "destroyed": shares(0.02), "again": t_interval([1.0, 1.0])}


@pytest.fixture
def traded(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Measurement, Ruling]]:
    """Judge the joint claim on planted answers and planted shares of reasoning."""

    def run(after: Right, count: int = 6, left: Mapping[str, Estimate] = LEFT, **states: Right) -> Any:
        usual = {"single AlphaEdit": STRONG, "after AlphaEdit": after, "gold": GOLD, "no-op": UNEDITED}
        usual |= {"unedited": UNEDITED} | states

        def reasoning_left(_: Trial, __: Case, ___: Sequence[Any], made: Measurement) -> Mapping[str, Estimate]:
            made.checks |= passed("headroom-capability", True, "planted") | passed("items-complete", True, "planted")
            return left

        monkeypatch.setattr(reasoning, "begin", lambda one, of, length=None: planted(of, usual, one, count))
        monkeypatch.setattr(reasoning, "_reasoning_left", reasoning_left)
        spec = trial.library.claims[TRADEOFF]
        made = measures()[spec.quantity](trial, Case(spec, MODEL, "AlphaEdit", DATA))
        return made, rule(spec, made)

    return run


Traded = Callable[..., tuple[Measurement, Ruling]]


@pytest.mark.parametrize(
    ("after", "share", "weakest", "verdict"),
    [
        (KEPT, shares(0.97), None, "supported"),
        (KEPT, shares(0.5), "reasoning", "refuted"),
        (KEPT, shares(0.9), "reasoning", "inconclusive"),
        (KEPT, shares(0.93, 0.05), "reasoning", "inconclusive"),
        (scored(rel=0.1, gen=0.1, loc=0.1), shares(0.97), "edits", "refuted"),
        (scored(rel=0.8, gen=0.7, loc=0.9), shares(0.97), "locality", "refuted"),
        (scored(rel=0.1, gen=0.1, loc=0.9), shares(0.1), None, "refuted"),
    ],
)
def test_all_three_parts_must_hold(
    traded: Traded, after: Right, share: Estimate, weakest: str | None, verdict: str
) -> None:
    made, found = traded(after, left=LEFT | {"after": share})
    assert found.decision.verdict == verdict, found.decision.reason
    assert {c.outcome for c in found.controls} == {"ok"}, found.controls
    assert weakest is None or found.primary.note == f"weakest: {weakest}"
    assert set(made.descriptive["parts"]) == {"reasoning", "edits", "locality"}


def test_each_negative_control_breaks_one_part_alone(traded: Traded) -> None:
    made, _ = traded(KEPT)
    notes = {name: made.controls[name].note for name in ("reasoning-lost", "edits-lost", "locality-kept")}
    assert notes == {
        "reasoning-lost": "weakest: reasoning",
        "edits-lost": "weakest: edits",
        "locality-kept": "weakest: locality",
    }


def test_margins_are_shares_of_the_room_that_they_have(traded: Traded) -> None:
    made, _ = traded(scored(rel=0.8, gen=0.7, loc=0.0), left=LEFT | {"after": shares(0.95)})
    assert made.descriptive["parts"] == pytest.approx({"reasoning": 0.5, "edits": 1.0, "locality": 1.0}, abs=0.02)


def test_planted_updates_that_leave_reasoning_alone_make_it_invalid(traded: Traded) -> None:
    _, found = traded(KEPT, left=LEFT | {"destroyed": shares(0.99)})
    assert found.decision.verdict == "invalid" and "reasoning-lost" in found.decision.reason


def test_without_locality_or_edits_there_is_none_to_speak_of(traded: Traded) -> None:
    _, found = traded(KEPT, unedited=scored(loc=0.05))
    assert found.decision.verdict == "invalid" and "headroom-loc" in found.decision.reason
    _, found = traded(KEPT, **{"single AlphaEdit": NOTHING})
    assert found.decision.verdict == "invalid" and "headroom-single-rel" in found.decision.reason


def test_few_chains_decide_nothing(traded: Traded) -> None:
    _, found = traded(KEPT, count=5, left=LEFT | {"after": shares(0.97, count=5)})
    assert found.decision.verdict == "inconclusive"


def test_a_model_that_cannot_reason_is_not_edited(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_headroom(_: Trial, __: Case, ___: Any, made: Measurement) -> Mapping[str, Estimate]:
        made.checks |= passed("headroom-capability", False, "scores 0.01")
        raise Unmeasurable(made)

    monkeypatch.setattr(reasoning, "begin", lambda one, of, length=None: planted(of, {}, one))
    monkeypatch.setattr(reasoning, "_reasoning_left", no_headroom)
    with pytest.raises(Unmeasurable, match=r"scores 0\.01"):
        spec = trial.library.claims[TRADEOFF]
        measures()[spec.quantity](trial, Case(spec, MODEL, "AlphaEdit", DATA))
