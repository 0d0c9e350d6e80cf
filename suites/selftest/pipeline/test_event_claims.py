"""Claims on events and on methods with a memory, judged on planted answers; and which data a claim has cases on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from editverdict.data.records import EditRecord, Probe
from editverdict.pipeline.cases import Ruling, judge_case, rule
from editverdict.pipeline.matrix import cases_of
from editverdict.pipeline.measurement import Case, Measurement, measures
from editverdict.pipeline.measures import events
from editverdict.pipeline.setup import OWN_EDITS, Options, make_trial
from editverdict.pipeline.trial import NotHere, Trial
from suites.selftest.pipeline.planted_answers import (
    GOLD,
    NOTHING,
    PERFECT,
    UNEDITED,
    PlantedChains,
    Right,
    chains,
    scored,
)
from suites.selftest.pipeline.sessions import ROOT

MODEL = "rehearsal-llama"
USUAL = {"no-op": UNEDITED, "gold": GOLD, "unedited": UNEDITED, "irrelevant": UNEDITED, "ten-fold ROME": NOTHING}
SCR = scored(rel=0.9, gen=0.9, loc=0.6, port=0.6)


def event(chain: int, edit: int) -> EditRecord:
    """An event with two questions of locality and two of portability."""
    name = f"E{chain}-{edit}"
    return EditRecord(
        id=name,
        subject=name,
        event=f"{name} opened a mill.",
        locality=tuple(Probe(prompt=f"River {k} of {name}:", answers=(f"river{k}{name}",), kind="k") for k in (0, 1)),
        portability=tuple(Probe(prompt=f"Mill {k} of {name}:", answers=(f"mill{k}{name}",), kind="k") for k in (0, 1)),
    )


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    made = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("planted")), ROOT / "specs")
    sizes = made.profile.sizes.model_copy(update={"chain_length": 10, "long_chain": 50})
    update = {"sizes": sizes, "methods": ("ROME", "GRACE", "SCR"), "datasets": ("zsre", "elken")}
    made.profile = made.profile.model_copy(update=update)
    yield made


Judge = Callable[..., tuple[Measurement, Ruling]]


@pytest.fixture
def judged(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Measure a claim on planted answers and judge it; ``facts`` are the states of the data of facts, if others."""

    def run(
        claim: str, method: str = "ROME", data: str = "elken", facts: dict[str, Right] | None = None, **states: Right
    ) -> tuple[Measurement, Ruling]:
        spec = trial.library.claims[claim]
        named = USUAL | {name.replace("_", " ").replace("tenfold", "ten-fold"): one for name, one in states.items()}

        def begin(one: Trial, of: Case, length: int | None = None) -> PlantedChains:
            own = chains(6, 10) if of.dataset == "zsre" else tuple([event(c, e) for e in range(10)] for c in range(6))
            right = named | (facts or {}) if of.dataset == "zsre" else named
            return PlantedChains(one, of, 10, own, {}, states=right)

        monkeypatch.setattr(events, "begin", begin)
        made = measures()[spec.quantity](trial, Case(spec, MODEL, method, data))
        return made, rule(spec, made)

    return run


def in_order(found: Ruling) -> bool:
    return {c.outcome for c in found.controls} <= {"ok", "shown"}


# --------------------------------------------------------------------------- single events
@pytest.mark.parametrize(
    ("alone", "verdict"),
    [
        (scored(loc=0.2, port=0.0), "supported"),
        (scored(loc=0.2, port=0.9), "refuted"),  # portability gained outweighs locality lost
        (scored(loc=0.6, port=0.0), "inconclusive"),  # nothing changed
    ],
)
def test_single_events(judged: Judge, alone: Right, verdict: str) -> None:
    made, found = judged("rq3-single-unsatisfactory", single_ROME=alone)
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason
    assert found.primary.n_units == 60 and made.edits == 1  # an event each
    assert set(made.comparators) == {"gold-context"}


def test_single_events_need_locality_that_can_be_lost(judged: Judge) -> None:
    _, found = judged("rq3-single-unsatisfactory", single_ROME=NOTHING, unedited=NOTHING, **{"no-op": NOTHING})
    assert found.decision.verdict == "invalid" and "headroom-loc" in found.decision.reason


# --------------------------------------------------------------------------- sequences of events
@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (scored(loc=0.1, port=0.0), "supported"),
        (scored(loc=0.5, port=0.2), "refuted"),
        (scored(loc=0.3, port=0.1), "inconclusive"),  # half of what single edits have
    ],
)
def test_sequences_of_events(judged: Judge, after: Right, verdict: str) -> None:
    made, found = judged("rq3-sequential-breakdown", single_ROME=scored(loc=0.6, port=0.2), after_ROME=after)
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason
    assert set(made.definitions) == {"average", "locality", "portability"}


def test_sequences_shorter_than_the_horizon_are_not_run(judged: Judge, trial: Trial) -> None:
    whole = trial.profile
    trial.profile = whole.model_copy(update={"sizes": whole.sizes.model_copy(update={"long_chain": 10})})
    try:
        with pytest.raises(NotHere, match=r"needs T ≥ 50 \(Table 37"):
            judged("rq3-sequential-breakdown", single_ROME=PERFECT, after_ROME=NOTHING)
    finally:
        trial.profile = whole


# --------------------------------------------------------------------------- facts beside events
@pytest.mark.parametrize(
    ("on_facts", "on_events", "verdict"),
    [(0.5, 0.1, "supported"), (0.1, 0.5, "refuted"), (0.3, 0.3, "inconclusive")],
)
def test_facts_beside_events(judged: Judge, on_facts: float, on_events: float, verdict: str) -> None:
    made, found = judged(
        "rq3-fact-to-event-drop",
        data="zsre",
        facts={"after ROME": scored(rel=0.9, gen=0.9, loc=0.1, port=on_facts)},
        after_ROME=scored(loc=0.1, port=on_events),
    )
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason
    assert found.primary.value == pytest.approx(on_facts - on_events, abs=0.1)
    assert made.stands_on == "; beside elken" and made.checks["answers-complete"].ok


def test_an_editor_that_changes_nothing_has_no_verdict_from_easier_questions(judged: Judge) -> None:
    """Portability itself would say that facts do worse: the events' questions are easier for the unedited model."""
    hard, easy = scored(loc=0.6, port=0.1), scored(loc=0.6, port=0.4)
    _, found = judged(
        "rq3-fact-to-event-drop",
        data="zsre",
        facts={"after ROME": hard, "unedited": hard, "no-op": hard},
        after_ROME=easy,
        **{"unedited": easy, "no-op": easy},
    )
    assert found.decision.verdict == "inconclusive" and in_order(found), found.decision.reason
    assert found.primary.value == pytest.approx(0.0)


def test_what_the_unedited_model_knew_is_taken_out(judged: Judge) -> None:
    """Of the facts' portability editing only takes some away; on events it adds a little."""
    before = scored(loc=0.6, port=0.9)
    _, found = judged(
        "rq3-fact-to-event-drop",
        data="zsre",
        facts={"after ROME": scored(loc=0.6, port=0.5), "unedited": before, "no-op": before, "gold": PERFECT},
        after_ROME=scored(loc=0.6, port=0.2),
    )
    assert found.primary.value is not None and found.primary.value < -0.2
    assert found.decision.verdict != "supported"


def test_questions_that_no_context_answers_tell_nothing_of_editing(judged: Judge) -> None:
    _, found = judged("rq3-fact-to-event-drop", data="zsre", facts={"after ROME": PERFECT}, after_ROME=NOTHING,
                      gold=scored(loc=0.6, port=0.1))  # fmt: skip
    assert found.decision.verdict == "invalid" and "headroom-gold-port" in found.decision.reason


def test_facts_alone_are_no_comparison(trial: Trial) -> None:
    whole = trial.profile
    trial.profile = whole.model_copy(update={"datasets": ("zsre", "worldfacts")})
    try:
        with pytest.raises(NotHere, match=r"has no data of events \(zsre, worldfacts\)"):
            events.data_of_events(trial)
    finally:
        trial.profile = whole


# --------------------------------------------------------------------------- SCR
@pytest.mark.parametrize("method", ["ROME", "GRACE"])
@pytest.mark.parametrize(
    ("scr", "after", "unedited", "verdict"),
    [
        (SCR, scored(loc=0.75, port=0.25), UNEDITED, "supported"),  # locality alone is no part of it
        (scored(loc=0.6, port=0.2), scored(loc=0.1, port=0.6), UNEDITED, "refuted"),
        (scored(loc=0.6, port=0.2), NOTHING, scored(loc=0.6, port=0.6), "refuted"),  # the unedited model is a row, too
        (SCR, scored(loc=0.1, port=0.6), UNEDITED, "inconclusive"),
    ],
)
def test_scr_on_events(judged: Judge, method: str, scr: Right, after: Right, unedited: Right, verdict: str) -> None:
    states = {f"after_{method}": after, "SCR": scr, "unedited": unedited}
    made, found = judged("rq3-scr-best", method, **states)
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason
    assert f"loc over {method}" in made.descriptive["advantage"]


def test_a_method_that_answers_as_before_is_no_rival(judged: Judge) -> None:
    _, found = judged("rq3-scr-best", "GRACE", after_GRACE=UNEDITED, SCR=SCR, unedited=UNEDITED)
    assert found.decision.verdict == "invalid" and "GRACE: 0 of 120" in found.decision.reason


# --------------------------------------------------------------------------- methods with a memory
@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (scored(rel=0.9, gen=0.9, loc=0.6, port=0.6), "supported"),
        (scored(rel=0.3, gen=0.3, loc=0.6, port=0.3), "refuted"),
        (scored(rel=0.75, gen=0.75, loc=0.6, port=0.5), "inconclusive"),
    ],
)
def test_memories(judged: Judge, after: Right, verdict: str) -> None:
    _, found = judged("scr-single-vs-seq-memories", "GRACE", "zsre", single_GRACE=SCR, after_GRACE=after)
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason


def test_a_memory_that_never_held_anything_has_nothing_to_keep(judged: Judge) -> None:
    base = scored(loc=0.9)
    _, found = judged("scr-single-vs-seq-memories", "GRACE", single_GRACE=base, after_GRACE=base, unedited=base)
    assert found.decision.verdict == "invalid" and "forgotten" in found.decision.reason


# --------------------------------------------------------------------------- which data
def test_claims_have_cases_on_the_data_that_they_are_about(trial: Trial) -> None:
    profile = trial.profile.model_copy(update={"left_out": ()})

    def data(claim: str) -> set[Any]:
        return {(case.method, case.dataset) for case in cases_of(trial.library, profile, library[claim])}

    library = trial.library.claims
    assert data("rq3-scr-best") == {("ROME", "elken"), ("GRACE", "elken")}
    assert data("rq3-fact-to-event-drop") == {("ROME", "zsre")}
    assert data("rq1-far-from-perfect") == {("ROME", "zsre")}
    assert data("rq1-drop-single-to-seq") == {("ROME", "zsre"), ("ROME", "elken")}
    assert data("scr-single-vs-seq-memories") == {(m, d) for m in ("GRACE", "SCR") for d in ("zsre", "elken")}


@pytest.mark.parametrize(
    ("lines", "claim", "reason"),
    [
        (["event"], "rq1-far-from-perfect", "is about facts, and dataset 'own-edits' holds events"),
        (["fact"], "rq3-scr-best", "is about events, and dataset 'own-edits' holds facts"),
        (["fact", "event"], "rq3-scr-best", "holds facts and bare events"),
    ],
)
def test_a_users_file_is_told_by_its_records(tmp_path: Path, lines: list[str], claim: str, reason: str) -> None:
    shapes = {
        "event": {"event": "Bo Lund has left Acme.", "subject": "Bo Lund"},
        "fact": {"prompt": "The capital of Freedonia is", "subject": "Freedonia", "target_new": "Quux"},
    }
    file = tmp_path / "edits.jsonl"
    file.write_text("".join(json.dumps(shapes[name] | {"id": name}) + "\n" for name in lines), encoding="utf-8")
    own = make_trial(Options(profile="smoke", store=tmp_path / "store", edits=file), ROOT / "specs")
    own = dataclasses.replace(own, profile=own.profile.model_copy(update={"methods": ("ROME", "SCR")}))
    row = judge_case(own, Case(own.library.claims[claim], MODEL, "ROME", OWN_EDITS)).row
    assert row.verdict == "not_run" and reason in row.reason
