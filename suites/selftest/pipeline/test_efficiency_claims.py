"""The claims about time and memory on the toy, from an empty store: every number by the real way, and found again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from editverdict.generation.latency import exactly
from editverdict.inference.results import rejudge, same_rows
from editverdict.inference.rows import Row
from editverdict.pipeline import latency, scr_grid
from editverdict.pipeline.cases import Judged, judge_case
from editverdict.pipeline.matrix import matrix
from editverdict.pipeline.measures import efficiency
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.reporting.evidence import Evidence
from editverdict.store import Store
from suites.selftest.pipeline.sessions import ROOT

PROFILE = """
profiles:
  - id: timed
    describes: timed queries of everything, few of each, on the toy
    models: [rehearsal-llama]
    methods: [ROME, AlphaEdit, GRACE, SCR]
    datasets: [worldfacts]
    corpus: wordnet-glosses
    encoder: minilm
    judge: lexical
    protocol: {id: completion-4, max_new_tokens: 4}
    claims: [rq4-edit-time-order, rq4-param-no-inference-overhead, rq4-no-method-wins-both, rq4-scr-edit-free,
             comb-tradeoff, sens-vram-flat, sens-latency-moderate, sens-performance-robust]
    sizes: {single_edits: 6, chains: 6, chain_length: 2, long_chain: 2, base_texts: 120, base_tokens: 1200,
            norm_tokens: 300, angle_tokens: 480, text_blocks: 4, random_seeds: 3,
            timed_prompts: 6, timed_repeats: 1, timed_edits: 6, memory_sizes: [16, 32]}
methods:
  - id: GRACE
    editor: grace
    kind: external-memory
    family: external-memory
    reference: a few of its hundred steps, which learn nothing in the toy
    hyperparameters: {steps: 12, initial: random}
    hyperparameters_source: this test
"""


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Trial]:
    """A trial on the one store of this module; nothing is kept in memory from one to the next."""
    folder = tmp_path_factory.mktemp("timed")
    (folder / "profile.yaml").write_text(PROFILE)
    options = Options(profile="timed", specs=(folder / "profile.yaml",), store=folder / "store")
    return lambda: make_trial(options, ROOT / "specs")


TOKENS = 16
"""Length of a timed answer here: a third of the 50 tokens of the claims, by the same way."""
TOP_K = (1, 3)
"""Numbers of retrieved texts here; every one is a confirmation per question."""


@pytest.fixture(scope="module", autouse=True)
def short_answers() -> Iterator[None]:
    """Short answers, timed by a clock that stands still while other processes have the core: no test of speed."""
    own = SimpleNamespace(perf_counter=time.process_time, process_time=time.process_time)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("editverdict.generation.latency.time", own)
        patch.setattr("editverdict.pipeline.edit_times.time", own)
        patch.setattr(latency, "exactly", lambda protocol: exactly(protocol, TOKENS))
        patch.setattr(efficiency, "EXACTLY", TOKENS)
        patch.setattr(scr_grid, "TOP_K", TOP_K)
        yield


@pytest.fixture(scope="module")
def judged(make: Callable[[], Trial]) -> dict[str, Judged]:
    trial = make()
    found = {case.id: judge_case(trial, case) for case in matrix(trial.library, trial.profile)}
    trial.check_purity()
    return found


def row_of(judged: dict[str, Judged], claim: str, method: str = "") -> Row:
    (row,) = [one.row for one in judged.values() if one.row.claim == claim and method in (one.row.method or "")]
    return row


def control(row: Row, name: str) -> float:
    (found,) = [one for one in row.controls if one.name == name]
    assert found.estimate is not None, row.reason
    return found.estimate


def test_every_case_is_judged(judged: dict[str, Judged]) -> None:
    rows = [one.row for one in judged.values()]
    assert [(r.case, r.reason, r.traceback) for r in rows if r.verdict in ("broken", "not_run")] == []
    assert len(judged) == 2 + 2 + 1 + 1 + 1 + 1 + 1 + 1
    for one in judged.values():
        row = one.row
        assert row.scope == "rehearsal" and row.model in row.stands_on
        known = {"processor-to-itself", "tokens-exact", "headroom-gold", "answers-complete", "retrieval-in-force"}
        assert {c.name for c in row.checks} <= known
        # Of the toy's memory a text is found, or is not; either way the prompts were looked at.
        asked = [c.detail for c in row.checks if c.name == "retrieval-in-force"]
        assert all(" own prompts, at least 20% needed" in detail for detail in asked), asked
        assert [c.detail for c in row.checks if c.name == "tokens-exact" and not c.ok] == []
        assert Evidence.model_validate({"pictures": one.pictures}).pictures
        if row.timed:
            assert row.descriptive["machine"]["load_1_min_after"] >= 0 and row.descriptive["machine"]["processor"]
        assert same_rows([row], [rejudge(row)]) == []


def test_base_against_base_is_one_and_planted_work_is_seen(judged: dict[str, Judged]) -> None:
    row = row_of(judged, "rq4-param-no-inference-overhead", "ROME")
    again, planted = control(row, "no-op"), control(row, "planted-slowdown")
    assert 0.85 < again < 1.15
    assert planted > 1.1 and planted > again + 0.08
    assert row.n_units == 6 and row.unit == "prompt"


def test_retrieval_costs_and_is_told_apart(judged: dict[str, Judged]) -> None:
    row = row_of(judged, "rq4-param-no-inference-overhead", "ROME")
    assert control(row, "SCR") > 1.1
    apart = row.descriptive["seconds_of_retrieval"]
    assert 0 < apart["ROME"] < 0.05 * row.descriptive["seconds_per_query"]["ROME"]


def test_edit_times_are_of_edits_made_alone(judged: dict[str, Judged]) -> None:
    row = row_of(judged, "rq4-edit-time-order", "ROME")
    seconds = row.descriptive["seconds_per_edit"]
    assert 0 < seconds["text alone"] < seconds["SCR"] < seconds["GRACE"]
    assert abs(control(row, "twice") - 0.301) < 0.1
    assert control(row, "same-again") < 0.0414


def test_front_of_all_methods(judged: dict[str, Judged]) -> None:
    (one,) = [one for one in judged.values() if one.row.claim == "rq4-no-method-wins-both"]
    (picture,) = [picture for picture in one.pictures if picture["kind"] == "pareto"]
    assert {point["name"] for point in picture["points"]} == {"ROME", "AlphaEdit", "GRACE", "SCR"}
    assert "SCR" in one.row.descriptive["front"]  # nothing is edited faster
    assert control(one.row, "free-lunch") < control(one.row, "planted-slowdown")


def test_planted_memory_is_seen(judged: dict[str, Judged]) -> None:
    row = row_of(judged, "sens-vram-flat")
    assert control(row, "planted-memory") > 1.06 > control(row, "same-again") >= 1.0


def test_scores_of_every_configuration(judged: dict[str, Judged]) -> None:
    row = row_of(judged, "sens-performance-robust")
    names = {f"{size} texts, top-{k}" for size in (16, 32) for k in TOP_K}
    assert set(row.descriptive["scores"]) == names | {"irrelevant"}
    assert row.n_units == 6


def test_a_second_run_times_nothing(make: Callable[[], Trial], judged: dict[str, Judged]) -> None:
    trial = make()
    rows = [judge_case(trial, case).row for case in matrix(trial.library, trial.profile)]
    assert same_rows([one.row for one in judged.values()], rows) == []
    assert trial.store.ledger.stages()[""].built == 0


def test_grid_answers_as_the_editor_does(make: Callable[[], Trial], judged: dict[str, Judged]) -> None:
    """Scored once for the largest k, a configuration is given what SCR with that memory and k gives."""
    trial = make()
    chains = [chain[:2] for chain in trial.chains("worldfacts")]
    asked = [record for chain in chains for record in chain]
    found = scr_grid.grid(trial, "rehearsal-llama", "worldfacts", asked)
    memory = scr_grid.memory_of(trial, scr_grid.texts_in(trial, "worldfacts", asked, 32))
    settings = scr_grid.scr_settings(trial, "rehearsal-llama").model_copy(update={"top_k": 3})
    answering = scr_grid.Confirmed(trial.model("rehearsal-llama"), memory, settings)
    prompts = answering.prompts([question.prompt for question in found.questions])
    share = sum(a != q.prompt for a, q in zip(prompts, found.questions, strict=True)) / len(prompts)
    assert found.in_context["32 texts, top-3"] == pytest.approx(share, abs=0.02)


def test_recipes_hold_what_a_time_depends_on(make: Callable[[], Trial], judged: dict[str, Judged]) -> None:
    trial = make()
    fields = [artifact.meta["recipe"]["fields"] for artifact in _artifacts(trial.store, "latency")]
    assert len(fields) == 5  # controls and four methods
    for one in fields:
        assert one["threads"] == 1 and one["device"] == "cpu" and one["model"]["device"] == "cpu"
        assert one["protocol"] == latency.timing_protocol(trial, "rehearsal-llama").id
        assert one["protocol"] != trial.protocol("rehearsal-llama").id


def _artifacts(store: Store, kind: str) -> Iterator[Any]:
    import json

    for file in sorted((store.root / kind).glob("*/*/meta.json")):
        yield SimpleNamespace(meta=json.loads(file.read_text()))
