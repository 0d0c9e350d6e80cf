"""SCR that retrieves nothing (no text in its memory, or a threshold that none passes) decides no claim about SCR."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from editverdict.editors import scr as scr_editor
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.cases import Ruling, judge_case, rule
from editverdict.pipeline.measurement import Case, Measurement, measures
from editverdict.pipeline.measures import events, retrieval, token_locality
from editverdict.pipeline.measures.in_force import CHECK, in_force, retrieval_in_force, texts_given
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.store import Store
from suites.selftest.pipeline.planted_answers import (
    GOLD,
    NOTHING,
    UNEDITED,
    PlantedChains,
    Right,
    answered,
    chains,
    retrieved,
    scored,
)
from suites.selftest.pipeline.sessions import ROOT
from suites.selftest.pipeline.test_event_claims import event

MODEL, DATA = "rehearsal-llama", "worldfacts"
SCR, WEAK = scored(rel=0.9, gen=0.8, loc=0.6, port=0.4), scored(rel=0.3, gen=0.3, loc=0.1, port=0.1)
METHODS = ("ROME", "RECT", "AlphaEdit", "FT-L", "MEND", "WISE", "GRACE", "SCR")
ORDER = {f"after {name}": scored(loc=0.2 + 0.1 * i) for i, name in enumerate(METHODS)}
ORDER |= {f"single {name}": scored(loc=0.2 + 0.1 * i) for i, name in enumerate(METHODS)}
STATES = {"no-op": UNEDITED, "gold": GOLD, "unedited": UNEDITED, "irrelevant": UNEDITED, "combined": WEAK}
STATES |= ORDER | {"after ROME": NOTHING, "single SCR": SCR, "SCR": SCR, "gross": NOTHING}
Judge = Callable[..., tuple[Measurement, Ruling]]


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    made = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("planted")), ROOT / "specs")
    sizes = made.profile.sizes.model_copy(update={"chain_length": 20, "random_seeds": 20})
    methods = (*METHODS, "ROME+SCR")
    made.profile = made.profile.model_copy(update={"sizes": sizes, "methods": methods})
    yield made


@pytest.fixture
def judged(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Measure a claim on planted answers; ``retrieves``: the share of edits for which SCR finds a text."""

    def run(claim: str, method: str | None, data: str, retrieves: float, **states: Right) -> tuple[Measurement, Ruling]:
        spec = trial.library.claims[claim]
        named = STATES | {name.replace("_", " "): right for name, right in states.items()}
        facts = tuple(chains(6, 10))
        own = facts if data == DATA else tuple([event(c, e) for e in range(10)] for c in range(6))

        def begin(one: Trial, of: Case, length: int | None = None) -> PlantedChains:
            return PlantedChains(one, of, 10, own, {}, states=named, retrieves=retrieves)

        for module in (retrieval, events, token_locality):
            monkeypatch.setattr(module, "begin", begin)
        monkeypatch.setattr(retrieval, "combined", lambda asked, _: asked._given("combined"))
        monkeypatch.setattr(retrieval, "_ten_fold_with_gold", lambda asked, _: asked._given("gross"))
        monkeypatch.setattr(retrieval, "steps", lambda *_: ())
        other = [answered(c, r, named["after ROME"]) for c, r in enumerate(own)]
        monkeypatch.setattr(retrieval, "ask", lambda *_, **__: other)
        made = measures()[spec.quantity](trial, Case(spec, MODEL, method, data))
        return made, rule(spec, made)

    return run


ON_SCR = [
    ("scr-dominates-cells", "ROME", DATA),
    ("scr-dominates-cells", "ROME", "elken"),
    ("scr-locality-vs-preedit", "SCR", DATA),
    ("scr-locality-vs-preedit", "SCR", "elken"),
    ("scr-single-vs-seq", "SCR", DATA),
    ("scr-single-vs-seq-memories", "SCR", DATA),
    ("rq3-scr-best", "ROME", "elken"),
    ("comb-scr-beats-combined", "ROME+SCR", DATA),
    ("comb-retrieval-helps", "ROME+SCR", DATA),
    ("comb-collapsed-unrecoverable", "ROME+SCR", DATA),
    ("tok-confirms-semantic", None, DATA),
]


# --------------------------------------------------------------------------- every claim about SCR
@pytest.mark.parametrize(("claim", "method", "data"), ON_SCR)
def test_without_texts_a_claim_on_scr_is_invalid(judged: Judge, claim: str, method: str | None, data: str) -> None:
    """The very same answers: what differs is that no text stood before any question."""
    _, honest = judged(claim, method, data, 1.0)
    assert {check.name: check.ok for check in honest.checks}[CHECK]
    _, idle = judged(claim, method, data, 0.0)
    assert idle.decision.verdict == "invalid" and CHECK in idle.decision.reason, idle.decision.reason
    _, few = judged(claim, method, data, 0.1)
    assert few.decision.verdict == "invalid" and CHECK in few.decision.reason


@pytest.mark.parametrize(
    ("claim", "method", "states"),
    [
        ("scr-locality-vs-preedit", "SCR", {}),
        ("comb-scr-beats-combined", "ROME+SCR", {"combined": NOTHING}),
        ("comb-collapsed-unrecoverable", "ROME+SCR", {"combined": NOTHING}),
    ],
)
def test_the_unedited_model_in_the_place_of_scr_would_have_been_believed(
    judged: Judge, trial: Trial, claim: str, method: str, states: dict[str, Right]
) -> None:
    """Controls alone do not see it: without the check these claims would be supported by an SCR that does nothing."""
    idle = scored(loc=0.9, port=0.1)
    same = {"SCR": idle, "unedited": idle, "no-op": idle}
    made, found = judged(claim, method, DATA, 0.0, **(same | states))
    assert found.decision.verdict == "invalid" and CHECK in found.decision.reason
    spec = trial.library.claims[claim]
    blind = spec.model_copy(update={"checks": tuple(name for name in spec.checks if name != CHECK)})
    assert rule(blind, made).decision.verdict == "supported"


def test_every_claim_on_scr_asks_whether_it_retrieves(trial: Trial) -> None:
    library = trial.library.claims.values()
    families = {claim.id for claim in library if claim.family in ("scr", "comb", "sens")}
    named = {"rq3-scr-best", "rq1-scale", "tok-scr-competitive", "tok-confirms-semantic"}
    assert {claim.id for claim in library if CHECK in claim.checks} == families | named


# --------------------------------------------------------------------------- which questions are looked at
def test_the_own_prompts_are_looked_at_and_not_the_locality_questions() -> None:
    one = answered(0, chains(1, 10)[0], SCR)
    elsewhere = [{**row, "given": f"A text. {row['prompt']}"} if row["dimension"] == "loc" else row for row in one.rows]
    assert not retrieval_in_force([Answered(elsewhere, [], "k")])[CHECK].ok
    assert retrieval_in_force([retrieved(one, 0.2)])[CHECK].ok
    assert not retrieval_in_force([retrieved(one, 0.1)])[CHECK].ok
    assert texts_given(SCR=[retrieved(one, 0.3)], other=[one]) == {"SCR": pytest.approx(0.3), "other": 0.0}


def test_of_events_what_they_leave_open_is_not_looked_at() -> None:
    one = answered(0, [event(0, e) for e in range(10)], SCR)
    unknown = [{**row, "kind": "event-unknown"} for row in retrieved(one, 1.0).rows]
    none = retrieval_in_force([Answered(unknown, [], "k")])[CHECK]
    assert not none.ok and "0 of 0" in none.detail  # nothing says that texts are found
    assert retrieval_in_force([retrieved(one, 1.0)])[CHECK].ok
    mixed = retrieval_in_force([Answered(one.rows + unknown, [], "k")])[CHECK]
    assert mixed.detail.startswith("a text before 0 of 20 questions about the events")


def test_a_fifth_is_enough_and_nothing_is_not() -> None:
    assert in_force([True, False, False, False, False], "prompts")[CHECK].ok
    assert not in_force([True, *[False] * 5], "prompts")[CHECK].ok
    assert not in_force([], "prompts")[CHECK].ok


# --------------------------------------------------------------------------- corrupted in the real pipeline
def on_the_toy(trial: Trial, folder: Path, threshold: float) -> Trial:
    """Two chains of one edit; on the toy's random weights the threshold alone decides what is confirmed."""
    own = trial.library.methods["SCR"].model_copy(update={"per_model": {MODEL: {"threshold": threshold}}})
    library = dataclasses.replace(trial.library, methods={**trial.library.methods, "SCR": own})
    sizes = trial.profile.sizes.model_copy(update={"chain_length": 1, "long_chain": 1})
    alone = {"store": Store(folder), "worker": 0, "n_workers": 1, "_memo": {}}
    made = dataclasses.replace(
        trial, library=library, profile=trial.profile.model_copy(update={"sizes": sizes}), **alone
    )
    made.__dict__["encoder"] = Anywhere()  # loading the real one takes seconds
    return made


class Anywhere:
    """An encoder to which all texts are alike: whatever is in the memory is proposed."""

    def encode(self, texts: list[str], **_: Any) -> np.ndarray:
        return np.ones((len(texts), 2), dtype=np.float32)


def check_of(trial: Trial, claim: str, method: str) -> tuple[str, bool, str]:
    row = judge_case(trial, Case(trial.library.claims[claim], MODEL, method, DATA)).row
    found = {check.name: check for check in row.checks}
    return row.verdict, found[CHECK].ok, row.reason


LOCALITY = ("scr-locality-vs-preedit", "SCR")


def test_a_threshold_that_lets_nothing_through(trial: Trial, tmp_path: Path) -> None:
    open_, shut = (on_the_toy(trial, tmp_path / "store", limit) for limit in (-1e9, 1e9))
    assert check_of(open_, *LOCALITY)[1]
    for claim, method in (LOCALITY, ("scr-dominates-avg", "no-op")):
        verdict, ok, reason = check_of(shut, claim, method)
        assert verdict == "invalid" and not ok and CHECK in reason


def test_an_empty_memory(trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scr_editor.Memory, "add", lambda *_: None)
    verdict, ok, reason = check_of(on_the_toy(trial, tmp_path / "store", -1e9), *LOCALITY)
    assert verdict == "invalid" and not ok and CHECK in reason
