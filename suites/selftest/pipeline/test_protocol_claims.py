"""Claims on judges, locality and groups of edits where the truth is known; and surveys, which are not judged."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from editverdict.data.schedules import paper_schedules
from editverdict.evaluation.judging import Item, Judgement
from editverdict.evaluation.labelled import Labelled, read_labelled
from editverdict.evaluation.lexical import LexicalJudge
from editverdict.ledger.tables import read_ledger
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.cases import Ruling, rule
from editverdict.pipeline.matrix import planned_claims
from editverdict.pipeline.measurement import Case, Measurement, measures
from editverdict.pipeline.measures import protocols
from editverdict.pipeline.measures.protocols import agreement_exchanged, as_in_c1
from editverdict.pipeline.setup import Options, labelled_answers, make_trial
from editverdict.pipeline.surveys import surveys
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.judges import OpenAIJudgeSpec
from suites.selftest.pipeline.planted_answers import PlantedChains, Right, answered, chains, record, scored
from suites.selftest.pipeline.sessions import ROOT

MODEL, DATA = "rehearsal-llama", "worldfacts"
AGREEMENT = "proto-judge-agreement"
RECORDS = [record(0, number) for number in range(230)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("protocols")), ROOT / "specs")


@pytest.fixture
def trial(whole: Trial, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    sizes = whole.profile.sizes.model_copy(update={"chain_length": 10, "long_chain": 10, "random_seeds": 20})
    made = dataclasses.replace(whole, profile=whole.profile.model_copy(update={"sizes": sizes}), _memo={})
    monkeypatch.setattr(Trial, "records", lambda *_: RECORDS)
    monkeypatch.setattr(Trial, "chains", lambda *_: list(chains(2, 10)))
    yield made


def ruled(trial: Trial, claim: str, dataset: str | None = DATA) -> tuple[Measurement, Ruling]:
    spec = trial.library.claims[claim]
    made = measures()[spec.quantity](trial, Case(spec, MODEL, None, dataset))
    return made, rule(spec, made)


def outcomes(found: Ruling) -> set[str]:
    return {control.outcome for control in found.controls}


# --------------------------------------------------------------------------- judges
LABELS: list[Labelled] = read_labelled(ROOT / "specs" / "judges" / "labelled.jsonl")
KNOWN = {one.item: one.label for one in LABELS}


def knowing(items: Sequence[Item], wrong: int = 0, undecided: int = 0) -> list[Judgement]:
    """A judge that knows all labels, and errs or stays undecided on the first ones of them."""
    said: list[Judgement] = []
    for item in items:
        label, place = KNOWN.get(item, "no"), list(KNOWN).index(item) if item in KNOWN else len(KNOWN)
        turned = "no" if label == "yes" else "yes"
        said.append(Judgement("undecided" if place < undecided else turned if place < wrong else label))  # type: ignore[arg-type]
    return said


@pytest.mark.parametrize(
    ("wrong", "verdict"), [(0, "supported"), (1, "inconclusive"), (7, "inconclusive"), (30, "refuted")]
)
def test_agreement_with_labels(trial: Trial, monkeypatch: pytest.MonkeyPatch, wrong: int, verdict: str) -> None:
    monkeypatch.setattr(protocols, "judged", lambda _, items, *__, **___: knowing(items, wrong))
    made, found = ruled(trial, AGREEMENT, None)
    assert found.decision.verdict == verdict, found.decision.reason
    assert found.primary.n_units == len(LABELS) and found.primary.value == pytest.approx(1 - wrong / len(LABELS))
    assert outcomes(found) == {"ok"} and "answers" in found.decision.reason
    assert made.definitions["by-question"].n_units == len({one.question_id for one in LABELS})
    assert made.pictures[1]["title"].startswith(f"Where the judge and the labels disagree ({wrong} of")


def test_what_is_undecided_agrees_with_no_label(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "judged", lambda _, items, *__, **___: knowing(items, undecided=10))
    made, found = ruled(trial, AGREEMENT, None)
    assert found.decision.verdict == "inconclusive" and found.decision.depends_on_definition
    assert found.primary.value == pytest.approx(1 - 10 / len(LABELS))
    assert made.definitions["decided"].value == 1.0 and made.definitions["decided"].n_units == len(LABELS) - 10


def test_a_judge_that_says_yes_to_everything_is_invalid(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "judged", lambda _, items, *__, **___: [Judgement("yes") for _ in items])
    _, found = ruled(trial, AGREEMENT, None)
    assert found.decision.verdict == "invalid" and "judge-looks" in found.decision.reason
    dealt = next(control for control in found.controls if control.name == "dealt")
    assert dealt.outcome == "ok" or dealt.estimate == 1.0


def test_a_lenient_judge_is_invalid_though_it_agrees(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """All labels known, and every third answer to another question accepted: no evidence, whatever it agrees with."""

    def lenient(_: Any, items: Sequence[Item], *__: Any, **___: Any) -> list[Judgement]:
        strange = (Judgement("yes" if number % 3 == 0 else "no") for number in range(len(items)))
        return [Judgement(KNOWN[item]) if item in KNOWN else next(strange) for item in items]

    monkeypatch.setattr(protocols, "judged", lenient)
    _, found = ruled(trial, AGREEMENT, None)
    assert found.decision.verdict == "invalid" and "judge-looks" in found.decision.reason


def test_words_miss_what_readers_see(trial: Trial) -> None:
    made, found = ruled(trial, AGREEMENT, None)
    right = sum(LexicalJudge().judge(o.item.answer, o.item.accepted) == (o.label == "yes") for o in LABELS)
    assert found.primary.units.count(1.0) == right and made.descriptive["agreement"]["accuracy"]["count"] == right
    assert outcomes(found) == {"ok"}


def test_too_few_labels_cannot_show_it(trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (ROOT / "specs" / "judges" / "labelled.jsonl").read_text().splitlines()
    (tmp_path / "judges").mkdir()
    (tmp_path / "judges" / "labelled.jsonl").write_text("\n".join(lines[:12]))
    few = labelled_answers([ROOT / "specs", tmp_path])
    assert few == tmp_path / "judges" / "labelled.jsonl" and labelled_answers([tmp_path / "nowhere"]) is None
    monkeypatch.setattr(protocols, "judged", lambda _, items, *__, **___: knowing(items))
    trial.labelled = few
    _, found = ruled(trial, AGREEMENT, None)
    assert found.decision.verdict == "inconclusive" and "control labels" in found.decision.reason
    trial.labelled = None
    with pytest.raises(NotHere, match="needs labelled answers"):
        ruled(trial, AGREEMENT, None)


def test_a_judge_without_its_key_is_not_run(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDITVERDICT_TEST_KEY", raising=False)
    spec = OpenAIJudgeSpec(id="served", format="openai", model="m", key_env="EDITVERDICT_TEST_KEY")
    library = dataclasses.replace(trial.library, judges={**trial.library.judges, "served": spec})
    profile = trial.profile.model_copy(update={"judge": "served"})
    with pytest.raises(NotHere, match="EDITVERDICT_TEST_KEY"):
        ruled(dataclasses.replace(trial, library=library, profile=profile), AGREEMENT, None)


# --------------------------------------------------------------------------- locality
KNOWS = scored(loc=0.4)


@pytest.fixture
def before_editing(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Callable[[Right], tuple[Measurement, Ruling]]:
    """Locality where the unedited model knows .4 of the references and answers each question in its own words."""

    def run(same: Right) -> tuple[Measurement, Ruling]:
        class Own(PlantedChains):
            def _given(self, name: str) -> list[Answered]:
                made = []
                for c, records in enumerate(self.chains):
                    kept = answered(c, records, same if name == "no-op" else KNOWS).rows
                    know = answered(c, records, KNOWS).rows
                    rows = [
                        {**k, "answer": f"{k['prompt']} it is", "same_as_before": o["same_as_before"]}
                        for k, o in zip(know, kept, strict=True)
                    ]
                    made.append(Answered(rows, [], "k"))
                return made

        monkeypatch.setattr(protocols, "begin", lambda t, c, n=None: Own(t, c, 10, chains(6, 10), {}, states={}))
        return ruled(trial, "proto-locality-definition")

    return run


@pytest.mark.parametrize(
    ("same", "verdict"),
    [(scored(loc=1.0), "supported"), (scored(loc=0.5), "refuted"), (scored(loc=0.95), "inconclusive")],
)
def test_locality_before_any_edit(
    before_editing: Callable[[Right], tuple[Measurement, Ruling]], same: Right, verdict: str
) -> None:
    made, found = before_editing(same)
    assert found.decision.verdict == verdict, found.decision.reason
    assert outcomes(found) == {"ok"} and made.controls["answers-exchanged"].value == 0.0
    accuracy, difference = made.definitions["accuracy"].value, made.definitions["difference"].value
    assert accuracy == pytest.approx(0.4, abs=0.06)
    assert difference == pytest.approx(made.definitions["eq4"].value - accuracy)
    assert found.decision.depends_on_definition == (verdict != "refuted")


def test_exchanged_answers_are_never_compared_with_themselves() -> None:
    rows = [{"dimension": "loc", "answer": text} for text in ("a b", "c", "d")] + [{"dimension": "rel", "answer": "x"}]
    assert [agreement_exchanged(Answered(rows, [], "k"), seed) for seed in range(6)] == [0.0] * 6
    twins = [{"dimension": "loc", "answer": text} for text in ("The sea.", "sea")]
    assert agreement_exchanged(Answered(twins, [], "k"), 5) == 1.0
    assert agreement_exchanged(Answered(rows[:1], [], "k"), 0) == 0.0


# --------------------------------------------------------------------------- groups
def test_our_schedules_are_those_of_the_paper(trial: Trial) -> None:
    made, found = ruled(trial, "proto-n-protocol")
    assert found.decision.verdict == "supported" and found.primary.units == (1.0,) * 100
    assert outcomes(found) == {"ok"}
    assert made.controls["dealt-in-turn"].value == pytest.approx(2 / 3)
    assert made.descriptive["schedules"] == {
        "sequential-1": [100, 1],
        "sequential-10": [10, 10],
        "sequential-100": [1, 100],
    }


@pytest.mark.parametrize("wrong", ["turned", "short", "shifted", "lacking"])
def test_other_groups_are_noticed(trial: Trial, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(given: Sequence[Any]) -> tuple[Any, ...]:
        right = paper_schedules(given)
        (ten,) = [one for one in right if one.size == 10]
        groups = {
            "turned": tuple(tuple(reversed(group)) for group in ten.groups),
            "short": ten.groups[:-1],
            "shifted": ten.groups[1:] + ten.groups[:1],
            "lacking": ten.groups,
        }[wrong]
        changed = dataclasses.replace(ten, groups=groups)
        return tuple(one for one in right if one.size != 10) + (() if wrong == "lacking" else (changed,))

    assert set(as_in_c1(RECORDS, other(RECORDS))) == {2 / 3}
    monkeypatch.setattr(protocols, "paper_schedules", other)
    _, found = ruled(trial, "proto-n-protocol")
    assert found.decision.verdict == "refuted"


def test_a_small_dataset_has_no_first_hundred(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trial, "records", lambda *_: RECORDS[:150])
    with pytest.raises(NotHere, match="needs 200 records"):
        ruled(trial, "proto-n-protocol")


# --------------------------------------------------------------------------- surveys
def test_a_survey_is_never_planned_and_always_named(whole: Trial) -> None:
    profile = whole.profile.model_copy(update={"claims": ("proto-survey", AGREEMENT)})
    assert [claim.id for claim in planned_claims(whole.library, profile)] == [AGREEMENT]
    assert "proto-survey" not in {claim.id for claim in planned_claims(whole.library, whole.profile)}
    (found,) = surveys(whole.library, whole.paper)
    assert found["claim"] == "proto-survey" and json.loads(json.dumps(found)) == found
    (table,) = found["tables"]
    assert (table["table"], table["rows"], table["file"]) == (4, 14, "specs/paper/tables/table_04.csv")
    assert (ROOT / table["file"]).is_file()
    assert table["ticked"]["inference_autoregressive"] == 2 and table["ticked"]["llm_reasoning"] == 0
    with pytest.raises(NotHere, match=r"data that no run can test: A\.2, Table 4"):
        ruled(whole, "proto-survey")


def test_what_the_survey_says_is_what_is_ticked(whole: Trial) -> None:
    lines = read_ledger(ROOT / "specs" / "paper")[4].lines
    ticks = [line.cells["inference_autoregressive"].text for line in lines]
    spec = whole.library.claims["proto-survey"]
    assert set(ticks) == {"true", "false"} and spec.min_units == len(ticks)
    assert f"{ticks.count('true')} of {len(ticks)} methods" in str(spec.expect.ref)
    assert surveys(whole.library, None)[0]["tables"] == []
