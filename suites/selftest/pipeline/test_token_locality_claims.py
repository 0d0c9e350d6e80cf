"""Claims on token-level locality, judged on planted answers: what they find, refuse, and cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from editverdict.pipeline.cases import Ruling, rule
from editverdict.pipeline.measurement import Case, Measurement, measures
from editverdict.pipeline.measures import answering, token_locality
from editverdict.pipeline.measures.token_locality import Kept, complete, exchanged, same_tokens_same_verdict
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import NotHere, Trial
from suites.selftest.pipeline.planted_answers import (
    NOTHING,
    PlantedChains,
    Right,
    answered,
    chains,
    scored,
)
from suites.selftest.pipeline.sessions import ROOT

MODEL, DATA = "rehearsal-llama", "worldfacts"
METHODS = ("ROME", "RECT", "AlphaEdit", "FT-L", "MEND", "WISE", "GRACE", "SCR")
ALL, MOST, SOME, FEW = (scored(loc=share) for share in (1.0, 0.9, 0.5, 0.1))
USUAL = {"unedited": ALL, "no-op": ALL, "SCR": MOST, "single SCR": ALL, "ten-fold ROME": NOTHING}
Judge = Callable[..., tuple[Measurement, Ruling]]


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    made = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("planted")), ROOT / "specs")
    sizes = made.profile.sizes.model_copy(update={"chain_length": 10, "random_seeds": 20})
    made.profile = made.profile.model_copy(update={"sizes": sizes, "methods": METHODS})
    yield made


@pytest.fixture
def judged(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Measure a claim on planted answers and judge it as the pipeline would."""

    def run(
        claim: str,
        method: str | None,
        states: Mapping[str, Right],
        kept: Mapping[str, Right] | None = None,
        retrieves: float = 1.0,
        edits: float = 1.0,
    ) -> tuple[Measurement, Ruling]:
        spec = trial.library.claims[claim]

        def begin(one: Trial, of: Case, length: int | None = None) -> PlantedChains:
            said = USUAL | dict(states)
            more = {"kept": kept or {}, "retrieves": retrieves, "edits": edits}
            return PlantedChains(one, of, 10, chains(6, 10), {}, states=said, **more)

        monkeypatch.setattr(token_locality, "begin", begin)
        made = measures()[spec.quantity](trial, Case(spec, MODEL, method, DATA))
        return made, rule(spec, made)

    return run


def in_order(found: Ruling) -> bool:
    return {c.outcome for c in found.controls} == {"ok"} and all(check.ok for check in found.checks)


def of(method: str, single: Right, sequence: Right) -> dict[str, Right]:
    return {f"single {method}": single, f"after {method}": sequence}


# --------------------------------------------------------------------------- the identity, and GRACE
def test_the_unedited_model_is_itself(judged: Judge) -> None:
    made, found = judged("tok-preedit-100", None, {})
    assert found.decision.verdict == "supported" and in_order(found), found.decision.reason
    assert made.descriptive["changed"]["sequence"] == {"changed": 0, "answers": 120}


@pytest.mark.parametrize(("idle", "verdict"), [(MOST, "inconclusive"), (SOME, "refuted")])
def test_an_identity_that_does_not_hold_is_never_supported(judged: Judge, idle: Right, verdict: str) -> None:
    _, found = judged("tok-preedit-100", None, {"no-op": idle})
    assert found.decision.verdict in ("refuted", verdict), found.decision.reason


@pytest.mark.parametrize("claim", ["tok-preedit-100", "tok-grace-100", "tok-wise-strong", "tok-param-low"])
def test_answers_that_are_all_the_same_tell_nothing(judged: Judge, claim: str) -> None:
    """Whatever is exchanged then agrees: keeping such answers is no locality."""
    method = {"tok-grace-100": "GRACE", "tok-wise-strong": "WISE", "tok-param-low": "ROME"}.get(claim)
    states = {"unedited": NOTHING, "no-op": NOTHING} | of(str(method), NOTHING, NOTHING)
    _, found = judged(claim, method, states)
    assert found.decision.verdict == "invalid" and "answers-exchanged" in found.decision.reason


@pytest.mark.parametrize(
    ("single", "sequence", "verdict", "where"),
    [
        (ALL, ALL, "supported", "single"),
        (ALL, SOME, "refuted", "sequence"),
        (SOME, ALL, "refuted", "single"),
        (ALL, scored(loc=0.95), "inconclusive", "sequence"),
    ],
)
def test_grace(judged: Judge, single: Right, sequence: Right, verdict: str, where: str) -> None:
    made, found = judged("tok-grace-100", "GRACE", of("GRACE", single, sequence))
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason
    assert made.definitions["both-exact"].note == f"smallest in {where}"
    lost = made.definitions["both-exact"].value
    after = made.definitions["loc-as-before"].value
    assert lost is not None and after is not None and after >= lost - 1e-12  # Loc moves by no more than what changed


@pytest.mark.parametrize(
    ("claim", "method"), [("tok-grace-100", "GRACE"), ("tok-wise-strong", "WISE"), ("tok-param-low", "ROME")]
)
@pytest.mark.parametrize(("edits", "idle"), [(0.0, True), (0.1, True), (0.3, False)])
def test_a_method_that_does_nothing_keeps_every_token(
    judged: Judge, claim: str, method: str, edits: float, idle: bool
) -> None:
    _, found = judged(claim, method, of(method, ALL, ALL), edits=edits)
    assert (found.decision.verdict == "invalid") == idle, found.decision.reason
    (check,) = [check for check in found.checks if check.name == "edits-in-force"]
    assert check.ok != idle and f"{method}: " in check.detail and " of 60, at least 20% needed" in check.detail


def test_an_idle_method_stands_at_the_top_of_both_orders(judged: Judge) -> None:
    _, found = judged("tok-confirms-semantic", None, ordered(), edits=0.0)
    assert found.decision.verdict == "invalid" and "check edits-in-force" in found.decision.reason
    assert "ROME: 0 of 60" in found.decision.reason and "GRACE: 0 of 60" in found.decision.reason


def test_kept_tokens_that_are_judged_otherwise_are_no_measurement(judged: Judge) -> None:
    """Loc of GRACE must be that of the unedited model: where it is not, something else is wrong."""
    _, found = judged("tok-grace-100", "GRACE", of("GRACE", ALL, MOST), {"after GRACE": ALL})
    assert found.decision.verdict == "invalid" and "same-tokens-same-verdict: " in found.decision.reason


# --------------------------------------------------------------------------- parameter methods, and WISE
@pytest.mark.parametrize(
    ("single", "verdict"),
    [
        (FEW, "supported"),
        (scored(loc=0.15), "supported"),  # .32 at most .42: above what Table 40 prints of AlphaEdit, below the line
        (MOST, "refuted"),
        (scored(loc=0.4), "inconclusive"),
    ],
)
def test_parameter_methods(judged: Judge, single: Right, verdict: str) -> None:
    made, found = judged("tok-param-low", "ROME", of("ROME", single, FEW))
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason
    assert made.edits == 1 and found.primary.n_units == 60
    assert found.decision.depends_on_definition == (verdict != "supported")  # the sequence keeps few tokens


def test_the_ratio_counts_tokens_and_not_answers(judged: Judge) -> None:
    """Of a lost answer the end is kept, one token of six."""
    made, _ = judged("tok-param-low", "ROME", of("ROME", NOTHING, NOTHING))
    values = {name: made.definitions[f"single-{name}"].value for name in ("ratio", "beginning", "exact")}
    assert values == {"ratio": pytest.approx(1 / 6, abs=0.01), "beginning": pytest.approx(0, abs=0.01), "exact": 0.0}


def test_ten_fold_edits_that_change_nothing_make_the_case_invalid(judged: Judge) -> None:
    _, found = judged("tok-param-low", "ROME", of("ROME", FEW, FEW) | {"ten-fold ROME": ALL})
    assert found.decision.verdict == "invalid" and "ten-fold" in found.decision.reason


@pytest.mark.parametrize(
    ("sequence", "verdict"), [(MOST, "supported"), (FEW, "refuted"), (scored(loc=0.6), "inconclusive")]
)
def test_wise(judged: Judge, sequence: Right, verdict: str) -> None:
    _, found = judged("tok-wise-strong", "WISE", of("WISE", ALL, sequence))
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason


# --------------------------------------------------------------------------- retrieval
@pytest.mark.parametrize(
    ("scr", "method", "verdict"),
    [
        (MOST, SOME, "supported"),
        (FEW, SOME, "refuted"),
        (SOME, SOME, "refuted"),
        (scored(loc=0.6), SOME, "inconclusive"),
    ],
)
def test_retrieval_beside_a_method(judged: Judge, scr: Right, method: Right, verdict: str) -> None:
    made, found = judged("tok-scr-competitive", "ROME", of("ROME", SOME, method) | {"SCR": scr})
    assert found.decision.verdict == verdict and in_order(found), found.decision.reason
    assert made.descriptive["ROME"]["tokens"]["sequence"]["exact"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("retrieves", "verdict"), [(0.0, "invalid"), (0.1, "invalid"), (0.3, "supported")])
def test_retrieval_that_finds_nothing_is_the_unedited_model(judged: Judge, retrieves: float, verdict: str) -> None:
    """It keeps every token, and would be above any method by never answering from a text."""
    states = of("ROME", SOME, SOME) | {"SCR": ALL}
    _, found = judged("tok-scr-competitive", "ROME", states, retrieves=retrieves)
    assert found.decision.verdict == verdict, found.decision.reason
    checks = {check.name: check for check in found.checks}
    assert checks["retrieval-in-force"].detail.startswith(f"a text before {round(60 * retrieves)} of 60 own prompts")
    assert (verdict == "invalid") == ("retrieval-in-force" in found.decision.reason)


def test_without_room_above_the_method_nothing_is_told(judged: Judge) -> None:
    _, found = judged("tok-scr-competitive", "ROME", of("ROME", ALL, ALL) | {"SCR": ALL})
    assert found.decision.verdict == "invalid" and "no-op-instead" in found.decision.reason


# --------------------------------------------------------------------------- methods in order
def ordered(reverse: bool = False) -> dict[str, Right]:
    """Eight methods a tenth apart, the later in METHODS the more is kept."""
    shares = [0.2 + 0.1 * i for i in range(len(METHODS))]
    named = dict(zip(METHODS, reversed(shares) if reverse else shares, strict=True))
    states = {f"{kind} {m}": scored(loc=share) for m, share in named.items() for kind in ("single", "after")}
    return states | {"SCR": scored(loc=named["SCR"])}


def test_the_same_order(judged: Judge) -> None:
    made, found = judged("tok-confirms-semantic", None, ordered())
    assert found.decision.verdict == "supported" and in_order(found), found.decision.reason
    assert set(made.descriptive["methods"]) == set(METHODS)


def test_the_reversed_order(judged: Judge) -> None:
    _, found = judged("tok-confirms-semantic", None, ordered(), ordered(reverse=True))
    assert found.decision.verdict == "refuted" and in_order(found), found.decision.reason
    assert found.primary.value == pytest.approx(-1.0)


def test_methods_that_keep_alike_have_no_order(judged: Judge) -> None:
    states = dict.fromkeys(ordered(), SOME)
    _, found = judged("tok-confirms-semantic", None, states)
    assert found.decision.verdict in ("inconclusive", "invalid")


def test_too_few_methods_are_not_compared(trial: Trial, judged: Judge) -> None:
    few = ("ROME", "ROME-identity", "GRACE", "SCR", "MEMIT")
    whole = trial.profile
    trial.profile = whole.model_copy(update={"methods": few})
    try:
        with pytest.raises(NotHere, match=r"needs >= 7 methods .* has 5: ROME, ROME-identity, GRACE, SCR, MEMIT"):
            judged("tok-confirms-semantic", None, {})
    finally:
        trial.profile = whole


# --------------------------------------------------------------------------- what is asked
def test_questions_that_others_ask_are_asked_as_they_ask_them(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other options would be other answers in the store, and so paid twice."""
    said: list[tuple[str, str, dict[str, object]]] = []

    def note(kind: str) -> Callable[..., list[object]]:
        return lambda trial, case, method, *_, **options: said.append((kind, method, options)) or []

    monkeypatch.setattr(answering, "single_answers", note("single"))
    monkeypatch.setattr(answering, "chain_answers", note("after"))
    monkeypatch.setattr(answering, "scr_answers", lambda *_: said.append(("scr", "SCR", {})) or [])
    case = Case(trial.library.claims["tok-grace-100"], MODEL, "GRACE", DATA)
    asked = answering.AskedChains(trial, case, 10, chains(6, 10), {})
    for method in ("ROME", "WISE", "GRACE", "SCR"):
        asked.single_locality(method)
        asked.after_locality(method)
    alone = {"dimensions": ("loc",)}
    assert [one for one in said if one[0] == "single"] == [
        ("single", "ROME", {}), ("single", "WISE", {}), ("single", "GRACE", alone), ("single", "SCR", alone)
    ]  # fmt: skip
    both = {"probabilities": True}
    assert [one for one in said if one[0] != "single"] == [
        ("after", "ROME", both), ("after", "WISE", both), ("after", "GRACE", alone), ("scr", "SCR", {})
    ]  # fmt: skip
    said.clear()
    for method in ("ROME", "GRACE"):
        asked.own_prompts(method)
        asked.own_prompts(method, single=True)
    own = {"dimensions": ("rel",)}
    assert said == [("after", "ROME", both), ("single", "ROME", {}), ("after", "GRACE", own), ("single", "GRACE", own)]
    said.clear()
    asked.single("ROME")
    asked.after("ROME")
    assert said == [("single", "ROME", {}), ("after", "ROME", both)]


# --------------------------------------------------------------------------- parts
def test_exchanged_answers_are_never_a_questions_own() -> None:
    before = token_locality.only_locality([answered(0, chains(1, 3)[0], ALL)])
    for seed in range(20):
        (turned,) = exchanged(before, seed)
        own = {row["prompt"]: row["tokens"] for row in before[0].rows}
        assert len(turned.rows) == 6 and all(row["tokens"] != own[row["prompt"]] for row in turned.rows)
    doubled = [type(before[0])([before[0].rows[0], {**before[0].rows[0], "edit_id": "other"}], [], "k")]
    assert exchanged(doubled, 0)[0].rows == []


def test_checks_see_what_is_missing_and_what_is_judged_twice() -> None:
    before = token_locality.only_locality([answered(0, chains(1, 3)[0], ALL)])
    shorter = [type(before[0])(before[0].rows[:-1], [], "k")]
    assert complete([Kept(before, before, before)])["answers-complete"].ok
    assert not complete([Kept(before, before, shorter)])["answers-complete"].ok
    other = [type(before[0])([{**row, "correct": False} for row in before[0].rows], [], "k")]
    assert not same_tokens_same_verdict(Kept(before, before, other))["same-tokens-same-verdict"].ok
    assert same_tokens_same_verdict(Kept(before, before, before))["same-tokens-same-verdict"].ok
