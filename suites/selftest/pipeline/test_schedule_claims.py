"""Claims on single and sequential editing, judged on planted answers: what they find, refuse, and cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from editverdict.ledger.tables import read_ledger
from editverdict.pipeline.cases import Ruling, rule
from editverdict.pipeline.measurement import Case, Measurement, Unmeasurable, measures
from editverdict.pipeline.measures import algorithms, confidence, schedules
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import NotHere, Trial
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

MODEL, DATA = "rehearsal-llama", "worldfacts"
GOOD = scored(rel=0.9, gen=0.8, loc=0.5, port=0.4)
USUAL = {"no-op": UNEDITED, "gold": GOLD, "unedited": UNEDITED, "SCR": GOLD, "irrelevant": UNEDITED}


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    made = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("planted")), ROOT / "specs")
    sizes = made.profile.sizes.model_copy(update={"chain_length": 20, "schedule": (1, 5, 10, 20), "random_seeds": 20})
    methods = ("ROME", "MEMIT", "AlphaEdit", "MEND", "SCR")
    made.profile = made.profile.model_copy(update={"sizes": sizes, "methods": methods})
    yield made


Judge = Callable[..., tuple[Measurement, Ruling]]


@pytest.fixture
def judged(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Measure a claim on planted answers and judge it as the pipeline would."""

    def run(claim: str, method: str | None = "ROME", count: int = 6, **states: Right) -> tuple[Measurement, Ruling]:
        spec = trial.library.claims[claim]
        case = Case(spec, MODEL, method, DATA)
        named = USUAL | {name.replace("_", " ").replace("tenfold", "ten-fold"): right for name, right in states.items()}

        def begin(one: Trial, of: Case, length: int | None = None) -> PlantedChains:
            wanted = int(of.claim.edits) if length is None else length
            return PlantedChains(one, of, wanted, chains(count, wanted), {}, states=named)

        def chain_answers(one: Trial, of: Case, name: str, cut: list, *_: object, **__: object) -> list:
            return [answered(c, records, named[f"after {name}"]) for c, records in enumerate(cut)]

        for module in (schedules, algorithms, confidence):
            monkeypatch.setattr(module, "begin", begin)
        monkeypatch.setattr(schedules, "chain_answers", chain_answers)
        made = measures()[spec.quantity](trial, case)
        return made, rule(spec, made)

    return run


# --------------------------------------------------------------------------- far from perfect
@pytest.mark.parametrize(
    ("right", "verdict"),
    [(scored(rel=0.6, gen=0.5), "supported"), (PERFECT, "refuted"), (scored(rel=0.95, gen=0.95), "inconclusive")],
)
def test_far_from_perfect(judged: Judge, right: Right, verdict: str) -> None:
    made, found = judged("rq1-far-from-perfect", single_ROME=right)
    assert found.decision.verdict == verdict, found.decision.reason
    assert found.primary.n_units == 60 and {c.outcome for c in found.controls} == {"ok", "shown"}
    assert made.controls["right-answers"].value == 1.0 and made.controls["no-op"].value == 0.0


def test_a_method_that_does_nothing_says_nothing_of_editing(judged: Judge) -> None:
    _, found = judged("rq1-far-from-perfect", single_ROME=scored(loc=0.6))
    assert (
        found.decision.verdict == "invalid"
        and "edits-in-force: own prompts answered otherwise" in found.decision.reason
    )


def test_a_shortfall_that_a_perfect_context_has_too_is_not_editings_own(judged: Judge) -> None:
    _, found = judged("rq1-far-from-perfect", single_ROME=scored(rel=0.6, gen=0.5), gold=scored(rel=0.6, gen=0.5))
    assert found.decision.verdict == "supported" and found.decision.specific != "yes"
    _, found = judged("rq1-far-from-perfect", single_ROME=scored(rel=0.6, gen=0.5), gold=PERFECT)
    assert found.decision.specific == "yes"


# --------------------------------------------------------------------------- AlphaEdit
@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (scored(rel=0.9, gen=0.8, loc=0.1), "supported"),
        (scored(rel=0.1, gen=0.1, loc=0.1), "refuted"),
        (scored(rel=0.9, gen=0.8, loc=0.9), "refuted"),
        (scored(rel=0.9, gen=0.8, loc=0.6), "inconclusive"),
    ],
)
def test_kept_edits_and_lost_locality(judged: Judge, after: Right, verdict: str) -> None:
    _, found = judged(
        "rq1-alphaedit-stable",
        "AlphaEdit",
        single_AlphaEdit=GOOD,
        after_AlphaEdit=after,
        tenfold_AlphaEdit=NOTHING,
    )
    assert found.decision.verdict == verdict, found.decision.reason
    assert {c.outcome for c in found.controls} == {"ok"}


def test_without_locality_there_is_none_to_lose(judged: Judge) -> None:
    planted = {"single_AlphaEdit": GOOD, "after_AlphaEdit": GOOD, "tenfold_AlphaEdit": NOTHING}
    _, found = judged("rq1-alphaedit-stable", "AlphaEdit", unedited=scored(loc=0.05), **planted)
    assert found.decision.verdict == "invalid" and "headroom-loc" in found.decision.reason


# --------------------------------------------------------------------------- who loses first
def losing(monkeypatch: pytest.MonkeyPatch, from_t: dict[str, int | None]) -> None:
    """Each method's chains lose everything at some T (None: never)."""

    def chain_answers(one: Trial, of: Case, name: str, cut: list, *_: object, **__: object) -> list:
        at = from_t[name]
        right = NOTHING if at is not None and len(cut[0]) >= at else GOOD
        return [answered(c, records, right) for c, records in enumerate(cut)]

    monkeypatch.setattr(schedules, "chain_answers", chain_answers)


SINGLE = {f"single_{name}": GOOD for name in ("ROME", "MEMIT", "AlphaEdit", "MEND")}


def test_a_later_method_that_loses_first_refutes_though_the_earlier_one_never_does(
    judged: Judge, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "FIRST_TO_LAST", ("MEND", "ROME"))
    judged("rq1-timing-varies", None, **SINGLE, after_MEND=GOOD, after_ROME=GOOD)
    losing(monkeypatch, {"MEND": None, "ROME": 10})
    spec = trial.library.claims["rq1-timing-varies"]
    found = rule(spec, schedules.order_of_loss(trial, Case(spec, MODEL, None, DATA)))
    assert found.decision.verdict == "refuted", found.decision.reason


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [
        ({"MEND": 5, "ROME": 10, "MEMIT": 20, "AlphaEdit": None}, "supported"),
        ({"MEND": None, "ROME": 20, "MEMIT": 10, "AlphaEdit": 5}, "refuted"),
        ({"MEND": 20, "ROME": 20, "MEMIT": 10, "AlphaEdit": 5}, "refuted"),
        ({"MEND": 10, "ROME": 10, "MEMIT": 10, "AlphaEdit": 10}, "inconclusive"),
        ({"MEND": None, "ROME": None, "MEMIT": None, "AlphaEdit": None}, "invalid"),
    ],
)
def test_order_of_loss(
    judged: Judge, trial: Trial, monkeypatch: pytest.MonkeyPatch, lost: dict[str, int | None], verdict: str
) -> None:
    spec = trial.library.claims["rq1-timing-varies"]
    judged(
        "rq1-timing-varies", None, **SINGLE, **{f"after_{name}": GOOD for name in lost}
    )  # installs the planted chains
    losing(monkeypatch, lost)
    found = rule(spec, made := schedules.order_of_loss(trial, Case(spec, MODEL, None, DATA)))
    assert found.decision.verdict == verdict, found.decision.reason
    assert {c.outcome for c in found.controls} == {"ok"}
    assert made.descriptive["lost_half_at"]["ROME"] == [lost["ROME"]] * 6


def test_an_order_of_some_methods_is_not_the_order_of_all(
    judged: Judge, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing that MEMIT does alone is right, so that it has nothing to lose.
    lost = {"MEND": 5, "ROME": 10, "MEMIT": 20, "AlphaEdit": None}
    planted = SINGLE | {"single_MEMIT": NOTHING} | {f"after_{name}": GOOD for name in lost}
    judged("rq1-timing-varies", None, **planted)
    losing(monkeypatch, lost)
    spec = trial.library.claims["rq1-timing-varies"]
    found = rule(spec, made := schedules.order_of_loss(trial, Case(spec, MODEL, None, DATA)))
    assert found.primary.value == 1.0 and found.decision.verdict == "inconclusive", found.decision.reason
    assert "not compared up to T = " in found.decision.reason and "ROME before MEMIT" in found.decision.reason
    assert made.descriptive["pairs"] == ["MEND before ROME", "MEND before AlphaEdit", "ROME before AlphaEdit"]
    losing(monkeypatch, lost | {"MEND": None, "AlphaEdit": 5})
    found = rule(spec, schedules.order_of_loss(trial, Case(spec, MODEL, None, DATA)))
    assert found.decision.verdict == "refuted", found.decision.reason


def test_pairs_count_from_the_horizon_of_the_earlier_one(trial: Trial) -> None:
    spec = trial.library.claims["rq1-timing-varies"]
    real = Case(spec, "smollm2-135m", None, DATA)
    assert schedules._pairs(trial, real, 20) == [("MEND", "ROME"), ("MEND", "MEMIT"), ("MEND", "AlphaEdit")]
    assert ("ROME", "AlphaEdit") in schedules._pairs(trial, real, 50)
    with pytest.raises(NotHere, match="has reached its horizon by T = 5"):
        schedules._pairs(trial, real, 5)


# --------------------------------------------------------------------------- everything declines
@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (scored(rel=0.2, gen=0.2, loc=0.1, port=0.1), "supported"),
        (scored(rel=0.2, gen=0.2, loc=0.8, port=0.1), "refuted"),
        (GOOD, "inconclusive"),
    ],
)
def test_every_dimension_declines(judged: Judge, after: Right, verdict: str) -> None:
    planted = {"single_ROME": GOOD, "after_ROME": after, "tenfold_ROME": NOTHING}
    made, found = judged("rq1-long-run-decline", **planted)
    assert found.decision.verdict == verdict, found.decision.reason
    assert {c.outcome for c in found.controls} == {"ok"}
    assert set(made.descriptive["falls"]) == {"rel", "gen", "loc", "port"}


def test_a_dimension_without_headroom_is_left_out_and_named(judged: Judge) -> None:
    low = scored(rel=0.9, gen=0.8, loc=0.5, port=0.1)
    after = scored(rel=0.2, gen=0.2, loc=0.1, port=0.1)
    made, found = judged("rq1-long-run-decline", single_ROME=low, after_ROME=after, tenfold_ROME=NOTHING)
    assert found.decision.verdict == "supported" and "left out: port" in made.checks["headroom-single-scores"].detail
    _, found = judged("rq1-long-run-decline", single_ROME=UNEDITED, after_ROME=after, tenfold_ROME=NOTHING)
    assert found.decision.verdict == "invalid"


def test_declines_begin_where_table_37_prints_them() -> None:
    table = read_ledger(ROOT / "specs" / "paper").tables[37]
    values: dict[str, dict[str, dict[str, float]]] = {}
    for line in table.lines:
        keys = {name: str(value) for name, value in line.keys.items()}
        cell = line.cells["value"].number
        assert cell is not None
        values.setdefault(keys["method"], {}).setdefault(keys["n_edits"], {})[keys["metric"]] = float(
            line.cells["value"].text
        )
    for method, by_n in values.items():
        below = [n for n in by_n if n != "1" and all(by_n[n][m] < by_n["1"][m] for m in by_n["1"])]
        expected = 1301 if not below else int(below[0].replace("all", "1301"))
        assert schedules.declines_from(method) == expected, method
    assert schedules.declines_from("AlphaEdit-L2-1") == 1301
    with pytest.raises(NotHere, match="does not have FT-L"):
        schedules.declines_from("FT-L")


# --------------------------------------------------------------------------- confident facts and others
def kept_where(keep: Callable[[int, int], bool]) -> Right:
    return lambda chain, edit, dimension, _: keep(chain, edit) if dimension in ("rel", "gen") else False


@pytest.mark.parametrize(
    ("keep", "verdict"),
    [
        (lambda chain, edit: edit % 2 == 0 if edit < 5 else edit % 2 == 1, "inconclusive"),  # 3 of 5 against 3 of 5
        (lambda _, edit: edit not in (3, 4, 8, 9), "supported"),  # two of five lost in either half
        (lambda _, edit: edit >= 5, "refuted"),  # the surest half lost
        (lambda _, edit: edit < 5, "refuted"),  # the other half lost
    ],
)
def test_confident_facts_and_others(judged: Judge, keep: Callable[[int, int], bool], verdict: str) -> None:
    everything = kept_where(lambda *_: True)
    made, found = judged("rq1-confidence-split", single_ROME=everything, after_ROME=kept_where(keep))
    wanted = "supported" if verdict == "inconclusive" else verdict
    assert found.decision.verdict == wanted, found.decision.reason
    assert {c.outcome for c in found.controls} == {"ok"}
    groups = made.descriptive["by_group"]
    losses = {name: one["single"] - one["sequential"] for name, one in groups.items()}
    assert found.primary.value == pytest.approx(losses["high_logp"] - losses["low_logp"])


def test_halves_that_lose_less_than_the_margin_cannot_lose_unlike_by_it(judged: Judge) -> None:
    everything, fifth = kept_where(lambda *_: True), kept_where(lambda _, edit: edit not in (4, 9))
    for after in (everything, fifth):
        made, found = judged("rq1-confidence-split", single_ROME=everything, after_ROME=after)
        assert made.definitions["rel-and-gen"].value == pytest.approx(0.0)
        assert found.decision.verdict == "invalid" and "enough-lost" in found.decision.reason
        assert "at least 0.25" in made.checks["enough-lost"].detail


def test_a_judge_that_decides_nothing_makes_the_case_invalid(judged: Judge) -> None:
    undecided: Right = lambda *_: None  # type: ignore[assignment, return-value]  # noqa: E731
    with pytest.raises(Unmeasurable, match="single: the judge left 420 of 420 answers undecided"):
        judged("rq1-confidence-split", single_ROME=undecided, after_ROME=undecided)


def test_noisy_halves_decide_nothing(judged: Judge) -> None:
    noisy = kept_where(lambda chain, edit: bool(np.random.default_rng([chain, edit]).integers(2)))
    _, found = judged("rq1-confidence-split", single_ROME=kept_where(lambda *_: True), after_ROME=noisy)
    assert found.decision.verdict == "inconclusive", found.decision.reason


def test_facts_of_equal_confidence_have_no_halves(trial: Trial) -> None:
    chain = trial.records(DATA)[:3]
    a, b, c = (record.id for record in chain)
    with pytest.raises(NotHere, match="different probability"):
        confidence.halves(chain, {a: -1.0, b: -1.0})
    assert confidence.halves(chain, {a: -1.0, b: -2.0, c: -3.0}) == ({a}, {c})  # the one in the middle is in neither


# --------------------------------------------------------------------------- the algorithm's share
def table(method: float, chain: float, noise: float, seed: int = 0, m: int = 5, n: int = 6) -> algorithms.Table:
    rng = np.random.default_rng(seed)
    return np.asarray(
        method * rng.normal(size=(m, 1)) + chain * rng.normal(size=(1, n)) + noise * rng.normal(size=(m, n))
    )


def test_share_of_method_on_planted_tables() -> None:
    assert algorithms.share_of_method(table(1.0, 0.0, 0.0)) == pytest.approx(1.0)
    assert algorithms.share_of_method(np.zeros((3, 6))) is None
    none = [algorithms.share_of_method(table(0.0, 0.3, 1.0, seed)) for seed in range(400)]
    assert abs(float(np.mean([one for one in none if one is not None]))) < 0.02
    half = [algorithms.share_of_method(table(1.0, 0.0, 1.0, seed, m=40, n=40)) for seed in range(10)]
    assert float(np.mean([one for one in half if one is not None])) == pytest.approx(0.5, abs=0.08)


def test_controls_of_the_share_do_their_part_whatever_is_found() -> None:
    for seed, (method, chain, noise) in enumerate([(0.3, 0.0, 0.05), (0.0, 0.1, 0.05), (0.1, 0.1, 0.1)]):
        drops = table(method, chain, noise, seed)
        apart = algorithms.share_interval(algorithms.set_apart(drops))
        assert apart.interval is not None and apart.interval[0] > 0.5
        dealt = algorithms._over_seeds([algorithms.share_of_method(algorithms.relabelled(drops, s)) for s in range(20)])
        assert dealt.interval is not None and dealt.interval[1] <= 0.5


METHODS = ("ROME", "MEMIT", "AlphaEdit", "MEND")


@pytest.mark.parametrize(
    ("kept", "verdict"),
    [((0.0, 0.3, 0.6, 0.9), "refuted"), ((0.3, 0.3, 0.3, 0.3), "supported")],
)
def test_share_of_the_algorithm(judged: Judge, kept: tuple[float, ...], verdict: str) -> None:
    after = {f"after_{m}": scored(rel=k, gen=k, loc=k, port=k) for m, k in zip(METHODS, kept, strict=True)}
    if verdict == "supported":  # chains differ, methods do not

        def same(chain: int, edit: int, *_: object) -> bool:
            return (edit + chain) % 10 < 2 + chain

        noise = {m: i for i, m in enumerate(METHODS)}
        after = {
            f"after_{m}": (lambda c, e, d, n, i=i: same(c, e) or (e == 9 and (c + i) % 3 == 0))
            for m, i in noise.items()
        }
    _, found = judged("rq1-method-independent", None, **SINGLE, **after)
    assert found.decision.verdict == verdict, found.decision.reason
    assert {c.outcome for c in found.controls} == {"ok"}


def test_two_variants_of_one_algorithm_are_no_comparison(trial: Trial) -> None:
    whole = trial.profile
    trial.profile = whole.model_copy(update={"methods": ("ROME", "ROME-identity", "SCR")})
    try:
        with pytest.raises(NotHere, match="has 1 that change weights: rome"):
            algorithms._methods(trial, Case(trial.library.claims["rq1-method-independent"], MODEL, None, DATA))
    finally:
        trial.profile = whole
