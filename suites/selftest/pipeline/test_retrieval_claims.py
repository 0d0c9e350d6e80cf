"""Claims on retrieval, on edited models with a memory and on AlphaEdit's L2, judged on planted answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from editverdict.pipeline.cases import Ruling, rule
from editverdict.pipeline.measurement import Case, Measurement, measures
from editverdict.pipeline.measures import alphaedit, retrieval
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.protocols import AnswerProtocol
from suites.selftest.pipeline.planted_answers import (
    GOLD,
    NOTHING,
    PERFECT,
    UNEDITED,
    PlantedChains,
    Right,
    answered,
    chains,
    scored,
)
from suites.selftest.pipeline.sessions import ROOT

MODEL, OTHER, DATA = "rehearsal-llama", "rehearsal-mistral", "worldfacts"
SCR = scored(rel=0.9, gen=0.8, loc=0.6, port=0.4)
WEAK = scored(rel=0.3, gen=0.3, loc=0.1, port=0.1)
USUAL = {"no-op": UNEDITED, "gold": GOLD, "unedited": UNEDITED, "SCR": SCR, "irrelevant": UNEDITED}


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    made = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("planted")), ROOT / "specs")
    sizes = made.profile.sizes.model_copy(update={"chain_length": 20, "random_seeds": 20})
    methods = ("ROME", "AlphaEdit", "AlphaEdit-L2-1", "SCR", "ROME+SCR", "MEND+SCR")
    update = {"sizes": sizes, "methods": methods, "models": (MODEL, OTHER)}
    made.profile = made.profile.model_copy(update=update)
    yield made


Judge = Callable[..., tuple[Measurement, Ruling]]


@pytest.fixture
def judged(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Measure a claim on planted answers and judge it as the pipeline would."""

    def run(claim: str, method: str = "ROME", **states: Right) -> tuple[Measurement, Ruling]:
        spec = trial.library.claims[claim]
        named = dict(USUAL)
        for name, right in states.items():
            kind, _, who = name.partition("_")
            named[f"{kind} {who.replace('_', '-')}" if who else kind] = right

        def begin(one: Trial, of: Case, length: int | None = None) -> PlantedChains:
            own = named if of.model == MODEL else {k: named.get(f"{k} elsewhere", v) for k, v in named.items()}
            return PlantedChains(one, of, 10, chains(6, 10), {}, states=own)

        def combined(asked: PlantedChains, name: str) -> list:
            return asked._given("combined")

        def ten_fold(asked: PlantedChains, name: str) -> list:
            return asked._given("gross")

        for module in (retrieval, alphaedit):
            monkeypatch.setattr(module, "begin", begin)
        monkeypatch.setattr(retrieval, "combined", combined)
        monkeypatch.setattr(retrieval, "_ten_fold_with_gold", ten_fold)
        monkeypatch.setattr(retrieval, "steps", lambda *_: ())
        wrong = named.get("other", UNEDITED)
        monkeypatch.setattr(retrieval, "ask", lambda *_, **__: [answered(c, r, wrong) for c, r in enumerate(chains())])
        made = measures()[spec.quantity](trial, Case(spec, MODEL, method, DATA))
        return made, rule(spec, made)

    return run


def in_order(found: Ruling) -> bool:
    return {c.outcome for c in found.controls} <= {"ok", "shown"}


# --------------------------------------------------------------------------- SCR
@pytest.mark.parametrize(
    ("method", "verdict"),
    [
        (WEAK, "supported"),
        (scored(rel=0.3, gen=0.3, loc=0.8, port=0.1), "refuted"),  # one cell is enough
        (scored(rel=0.3, gen=0.3, loc=0.6, port=0.1), "inconclusive"),  # locality alike
    ],
)
def test_every_dimension(judged: Judge, method: Right, verdict: str) -> None:
    scr = scored(rel=0.9, gen=0.8, loc=0.2, port=0.4) if verdict == "refuted" else SCR
    made, found = judged("scr-dominates-cells", after_ROME=method, SCR=scr)
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason
    assert made.descriptive["advantage"]["rel"] == pytest.approx(0.6, abs=0.05)


def test_an_irrelevant_memory_that_wins_makes_the_case_invalid(judged: Judge) -> None:
    _, found = judged("scr-dominates-cells", after_ROME=NOTHING, irrelevant=SCR)
    assert found.decision.verdict == "invalid" and "irrelevant-memory" in found.decision.reason


@pytest.mark.parametrize(
    ("loc", "verdict"), [(0.6, "supported"), (0.9, "supported"), (0.2, "refuted"), (0.55, "inconclusive")]
)
def test_locality_of_scr(judged: Judge, loc: float, verdict: str) -> None:
    _, found = judged("scr-locality-vs-preedit", "SCR", SCR=scored(rel=0.9, gen=0.8, loc=loc, port=0.4))
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason


def test_exchanged_answers_are_never_a_questions_own(trial: Trial) -> None:
    right = [answered(0, chains(1, 3)[0], PERFECT)]
    for seed in range(20):
        (turned,) = retrieval.exchanged(trial, right, seed)
        for name in ("rel", "loc"):  # rephrases of one edit have the same answer
            assert not any(row["correct"] for row in turned.rows if row["dimension"] == name)
            said = [sorted(r["answer"] for r in one.rows if r["dimension"] == name) for one in (right[0], turned)]
            assert said[0] == said[1]


@pytest.mark.parametrize(
    ("alone", "verdict"),
    [
        (SCR, "supported"),
        (PERFECT, "refuted"),
        (WEAK, "refuted"),
        (scored(rel=1.0, gen=0.9, loc=0.6, port=0.4), "inconclusive"),
    ],
)
def test_memory_of_one_and_of_many(judged: Judge, alone: Right, verdict: str) -> None:
    _, found = judged("scr-single-vs-seq", "SCR", single_SCR=alone)
    if alone is WEAK:  # with so little to lose, the irrelevant memory is nearly as good: the case says so
        assert found.decision.verdict in ("invalid", "inconclusive"), found.decision.reason
    else:
        assert found.decision.verdict == verdict and in_order(found), found.decision.reason


# --------------------------------------------------------------------------- edited models with a memory
@pytest.mark.parametrize(
    ("both", "verdict"), [(scored(rel=0.6, gen=0.5, loc=0.3, port=0.2), "supported"), (NOTHING, "supported")]
)
def test_the_unedited_model_makes_more_of_a_memory(judged: Judge, both: Right, verdict: str) -> None:
    plain = NOTHING if both is NOTHING else WEAK
    _, found = judged("comb-scr-beats-combined", "ROME+SCR", combined=both, after_ROME=plain)
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason


def test_a_combination_that_does_better_refutes(judged: Judge) -> None:
    better = scored(rel=1.0, gen=0.9, loc=0.7, port=0.6)
    _, found = judged("comb-scr-beats-combined", "ROME+SCR", combined=better, after_ROME=WEAK, gold=PERFECT)
    assert found.decision.verdict == "refuted" and in_order(found), found.decision.reason


def test_a_memory_that_makes_an_edited_model_worse_is_seen(judged: Judge) -> None:
    _, found = judged(
        "comb-scr-beats-combined", "ROME+SCR", combined=WEAK, after_ROME=scored(rel=0.9, gen=0.8, loc=0.4)
    )
    assert found.decision.verdict == "invalid" and "method-alone" in found.decision.reason


@pytest.mark.parametrize(
    ("both", "other", "verdict"),
    [
        (scored(rel=0.9, gen=0.8, loc=0.1, port=0.3), WEAK, "supported"),
        (WEAK, WEAK, "refuted"),
        (scored(rel=0.4, gen=0.4, loc=0.1, port=0.1), WEAK, "inconclusive"),
        (PERFECT, PERFECT, "invalid"),  # a memory of other facts helps as much
    ],
)
def test_gain_by_a_memory(judged: Judge, both: Right, other: Right, verdict: str) -> None:
    _, found = judged("comb-retrieval-helps", "ROME+SCR", combined=both, after_ROME=WEAK, other=other)
    assert found.decision.verdict == verdict, found.decision.reason


@pytest.mark.parametrize(
    ("both", "plain", "verdict"),
    [
        (NOTHING, NOTHING, "supported"),
        (WEAK, NOTHING, "refuted"),
        (NOTHING, WEAK, "invalid"),  # the method has not collapsed: nothing to rescue
    ],
)
def test_collapsed_models(judged: Judge, both: Right, plain: Right, verdict: str) -> None:
    _, found = judged("comb-collapsed-unrecoverable", "ROME+SCR", combined=both, after_ROME=plain, gross=NOTHING)
    assert found.decision.verdict == verdict, found.decision.reason
    if verdict != "invalid":
        assert in_order(found)


def test_methods_that_are_no_combination_have_no_case(trial: Trial) -> None:
    with pytest.raises(NotHere, match="ROME is none"):
        retrieval.edited_by(trial, "ROME")
    assert retrieval.edited_by(trial, "ROME+SCR") == "ROME"


# --------------------------------------------------------------------------- AlphaEdit
KEPT, LOST = scored(rel=0.8, gen=0.7, loc=0.3, port=0.3), scored(rel=0.3, gen=0.3, loc=0.1, port=0.1)


@pytest.mark.parametrize(
    ("strong", "weak", "verdict"), [(KEPT, LOST, "supported"), (LOST, KEPT, "refuted"), (LOST, LOST, "refuted")]
)
def test_l2(judged: Judge, strong: Right, weak: Right, verdict: str) -> None:
    planted = {"after_AlphaEdit": strong, "after_AlphaEdit_L2_1": weak, "single_AlphaEdit": PERFECT}
    _, found = judged("alpha-l2-sensitive", "AlphaEdit", **planted)
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason


def test_without_room_above_l2_1_nothing_is_told(judged: Judge) -> None:
    planted = {"after_AlphaEdit": PERFECT, "after_AlphaEdit_L2_1": PERFECT, "single_AlphaEdit": PERFECT}
    _, found = judged("alpha-l2-sensitive", "AlphaEdit", **planted)
    assert found.decision.verdict in ("invalid", "inconclusive") and "gold-context" in found.decision.reason


@pytest.mark.parametrize(
    ("strong", "weak", "strong_alone", "verdict"),
    [
        (KEPT, LOST, scored(rel=0.3), "supported"),
        (KEPT, LOST, PERFECT, "refuted"),  # better in single edits, too: no trade-off
        (NOTHING, scored(rel=0.6), scored(rel=0.3), "refuted"),
    ],
)
def test_tradeoff(judged: Judge, strong: Right, weak: Right, strong_alone: Right, verdict: str) -> None:
    planted = {"after_AlphaEdit": strong, "after_AlphaEdit_L2_1": weak}
    planted |= {"single_AlphaEdit": strong_alone, "single_AlphaEdit_L2_1": scored(rel=0.7)}
    _, found = judged("alpha-single-vs-seq-tradeoff", "AlphaEdit", **planted)
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason


@pytest.mark.parametrize(("own", "theirs", "verdict"), [(KEPT, LOST, "supported"), (LOST, KEPT, "refuted")])
def test_models(judged: Judge, own: Right, theirs: Right, verdict: str) -> None:
    spec_states = {"after_AlphaEdit": own, "single_AlphaEdit": PERFECT, "after_AlphaEdit elsewhere": theirs}
    made, found = judged("alpha-model-dependent", "AlphaEdit", **spec_states)
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason
    assert set(made.descriptive["reliability"]) == {MODEL, OTHER}


def test_a_model_of_another_protocol_is_not_set_beside(
    judged: Judge, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {"after_AlphaEdit": KEPT, "single_AlphaEdit": PERFECT, "after_AlphaEdit elsewhere": LOST}
    longer = trial.profile.protocol.model_copy(update={"id": "longer", "max_new_tokens": 99})
    monkeypatch.setattr(trial, "profile", trial.profile.model_copy(update={"protocols": {OTHER: longer}}))
    with pytest.raises(NotHere, match="by 'longer': max_new_tokens 4 and 99"):
        judged("alpha-model-dependent", "AlphaEdit", **states)


@pytest.mark.parametrize(
    ("theirs", "verdict"), [(KEPT, "supported"), (LOST, "refuted"), (scored(rel=0.85, gen=0.7), "inconclusive")]
)
def test_implementations(judged: Judge, monkeypatch: pytest.MonkeyPatch, theirs: Right, verdict: str) -> None:
    monkeypatch.setattr(alphaedit, "editor_of", lambda *_: None)
    monkeypatch.setattr(alphaedit, "OUTSIDE", "easyedit:ROME")
    planted = {"after_AlphaEdit_L2_1": KEPT, "single_AlphaEdit_L2_1": PERFECT, "after_easyedit:ROME": theirs}
    _, found = judged("alpha-impl-consistent", "AlphaEdit-L2-1", **planted)
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason


def test_implementations_on_bare_prompts_mark_what_they_keep(
    judged: Judge, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the profile edits within the template, so that no table sets them beside the other cases' states."""
    monkeypatch.setattr(alphaedit, "editor_of", lambda *_: None)
    monkeypatch.setattr(alphaedit, "OUTSIDE", "easyedit:ROME")
    planted = {"after_AlphaEdit_L2_1": KEPT, "single_AlphaEdit_L2_1": PERFECT, "after_easyedit:ROME": KEPT}
    plain = PlantedChains.finished

    def finished(asked: PlantedChains, made: Measurement, *given: Any) -> Measurement:
        made.facts = [{"method": "AlphaEdit-L2-1"}, {}]
        return plain(asked, made, *given)

    monkeypatch.setattr(PlantedChains, "finished", finished)
    made, _ = judged("alpha-impl-consistent", "AlphaEdit-L2-1", **planted)
    assert made.facts == [{"method": "AlphaEdit-L2-1"}, {}]
    chat = AnswerProtocol(id="chat", prompt_form="chat", max_new_tokens=4, stop=())
    changes = {"edit_form": "question", "protocol": chat}
    monkeypatch.setattr(trial, "profile", trial.profile.model_copy(update=changes))
    made, _ = judged("alpha-impl-consistent", "AlphaEdit-L2-1", **planted)
    assert made.facts == [{"method": "AlphaEdit-L2-1", "edited": "bare prompt"}]


def test_easyedit_without_its_python_is_not_run(trial: Trial) -> None:
    spec = trial.library.claims["alpha-impl-consistent"]
    with pytest.raises(NotHere, match="--easyedit-python"):
        measures()[spec.quantity](trial, Case(spec, MODEL, "AlphaEdit-L2-1", DATA))
