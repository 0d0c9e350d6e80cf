"""Timing without a model: turns, dealing, preparation taken off, and the pure parts of what is judged."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from editverdict.data.records import EditRecord, Fact, Probe
from editverdict.editors.base import Answering, Plain
from editverdict.editors.scr import Memory
from editverdict.generation.latency import Query
from editverdict.inference.intervals import LEVEL
from editverdict.pipeline import measures
from editverdict.pipeline.cost import peak_memory
from editverdict.pipeline.edit_times import EditTimes, Stopwatch, edits_in_turns, keeping, stopwatch
from editverdict.pipeline.latency import BASE, Times, in_turns
from editverdict.pipeline.measures.efficiency import how_asked
from editverdict.pipeline.measures.memory_size import score_range
from editverdict.pipeline.measures.tradeoff import over_text, regret, weakest
from editverdict.pipeline.scr_grid import irrelevant_texts, others, texts_in
from editverdict.pipeline.timing import had_processor, questions_to_time
from editverdict.pipeline.trial import NotHere
from suites.selftest.editors.test_scr import Words


def record(name: str, **changes: Any) -> EditRecord:
    made: dict[str, Any] = {
        "id": name,
        "prompt": f"The capital of {name} is",
        "subject": name,
        "relation": "capital",
        "target_new": f"New{name}",
        "rephrases": (f"{name}'s capital:",),
        "locality": (
            Probe(
                prompt=f"Near {name} lies",
                answers=("x",),
                kind="k",
                facts=(Fact(subject=f"{name}2", relation="capital"),),
            ),
        ),
        "portability": (Probe(prompt=f"In {name}'s capital one speaks", answers=("y",), kind="k"),),
    }
    return EditRecord(**(made | changes))


def trial(**changes: Any) -> Any:
    return SimpleNamespace(**({"device": torch.device("cpu"), "profile": SimpleNamespace(seed=0)} | changes))


# --------------------------------------------------------------------------- turns
def run(drift: float, costs: dict[str, float], repeats: int = 2, questions: int = 4) -> tuple[Times, list[str]]:
    """Queries of states with known costs on a machine whose clock grows slower from query to query."""
    turns: list[str] = []
    entered: list[str] = []

    def enter(name: str) -> Any:
        @contextmanager
        def way() -> Iterator[Answering]:
            entered.append(name)
            yield Plain()

        return way

    def ask(name: str, _way: Answering, _question: str) -> Query:
        assert entered[-1] == name
        turns.append(name)
        return Query(0.0, costs[name] + drift * len(turns), costs[name], 50, 5)

    asked = [(0, f"q{i}") for i in range(questions)]
    found = in_turns({name: [enter(name)] for name in costs}, asked, repeats, ask, lambda *_: None)
    return Times(found, [0] * questions, {}, "key"), turns


def test_states_take_turns_and_the_first_round_does_not_count() -> None:
    times, turns = run(0.0, {BASE: 1.0, "m": 1.5})
    assert turns[:2] == [BASE, "m"]
    assert turns[2:10] == [BASE, "m", "m", BASE, BASE, "m", "m", BASE]
    assert turns[10:] == ["m", BASE, BASE, "m", "m", BASE, BASE, "m"]  # each question meets both orders
    assert times.ratios("m") == pytest.approx([1.5] * 4)
    assert {len(own) for own in times.queries["m"]} == {2} and times.tokens == {50}


def test_a_machine_that_slows_down_favours_nobody() -> None:
    times, _ = run(0.01, {BASE: 1.0, "m": 1.0})
    one_way = [
        own[0].total / other[0].total for own, other in zip(times.queries["m"], times.queries[BASE], strict=True)
    ]
    assert max(abs(ratio - 1) for ratio in one_way) > 0.008
    assert max(abs(ratio - 1) for ratio in times.ratios("m")) < 2e-3


def test_a_planted_cost_is_seen_through_the_drift() -> None:
    times, _ = run(0.01, {BASE: 1.0, "m": 1.2})
    assert all(1.15 < ratio < 1.25 for ratio in times.ratios("m"))
    assert times.ratios("m", lambda query: query.cpu) == pytest.approx([1.2] * 4)


def test_questions_are_dealt_over_chains_and_dimensions() -> None:
    chains = [[record("A"), record("B")], [record("C"), record("D")]]
    dealt = questions_to_time(chains, 8)
    assert len({question.prompt for _, question in dealt}) == 8
    assert [sum(chain == number for chain, _ in dealt) for number in (0, 1)] == [4, 4]
    counts = [sum(question.dimension == name for _, question in dealt) for name in ("rel", "gen", "loc", "port")]
    assert counts == [2, 2, 2, 2]
    assert dealt == questions_to_time(chains, 8)
    assert len(questions_to_time(chains, 99)) == 16  # as many as there are, none twice


# --------------------------------------------------------------------------- edits
def test_preparation_is_taken_off_once() -> None:
    def prepare() -> None:
        time.sleep(0.2)

    with stopwatch(trial()) as watch:
        inner = watch.once(prepare)
        watch.once(lambda: inner())()
        time.sleep(0.1)
    assert 0.1 <= watch.wall < 0.18


def test_edits_take_turns() -> None:
    calls: list[str] = []

    def way(name: str, seconds: float) -> Any:
        def make(one: EditRecord) -> Stopwatch:
            calls.append(f"{name}{one.id}")
            return Stopwatch(seconds, seconds / 2)

        return make

    found = edits_in_turns({"a": way("a", 1.0), "b": way("b", 2.0)}, [record("X"), record("Y")], lambda *_: None)
    assert calls == ["aX", "bX", "aX", "bX", "bY", "aY"]
    assert found["b"] == [{"wall": 2.0, "cpu": 1.0}] * 2


def test_a_kept_text_leaves_the_memory_as_it_was() -> None:
    encoder = Words()
    memory = Memory(["a b", "c d"], encoder)
    keeping(trial(), memory, embed=False)(record("X"))
    assert len(encoder.calls) == 1
    keeping(trial(), memory, embed=True)(record("X"))
    assert len(encoder.calls) == 2 and memory.texts == ["a b", "c d"]


def test_memory_is_watched_in_all() -> None:
    with peak_memory(torch.device("cpu")) as small:
        time.sleep(0.03)
    with peak_memory(torch.device("cpu")) as large:
        held = torch.ones(100 * 2**20, dtype=torch.uint8)
        time.sleep(0.03)
        del held
    assert 80 < large.mib - small.mib < 130


# --------------------------------------------------------------------------- the machine
def test_a_process_without_its_core_is_noticed() -> None:
    (good,) = had_processor(trial(), 10.0, 9.0, {"load_1_min": 1.0, "load_1_min_after": 1.1}).values()
    (bad,) = had_processor(trial(), 10.0, 7.0, {"load_1_min": 4.0}).values()
    assert good.ok and not bad.ok and "0.70, at least 0.8" in bad.detail and "load average 4.0" in bad.detail
    (cuda,) = had_processor(trial(device=torch.device("cuda")), 10.0, 1.0, {}).values()
    assert cuda.ok


# --------------------------------------------------------------------------- memories
def test_memories_hold_what_is_asked_and_nothing_that_answers_it_otherwise() -> None:
    asked = [record("A"), record("B")]
    bearing = [record("A2"), record("B2")]  # the facts that locality rests on
    free = [record(f"F{i}") for i in range(6)]
    world = trial(records=lambda _dataset: [*asked, *bearing, *free])
    assert {one.id for one in others(world, "d", asked)} == {one.id for one in free}
    texts = texts_in(world, "d", asked, 6)
    assert texts[:2] == [one.statement for one in asked] and len(set(texts)) == 6
    assert not {one.statement for one in bearing} & set(texts)
    assert not {one.statement for one in asked} & set(irrelevant_texts(world, "d", asked, 6))
    with pytest.raises(NotHere, match="needs 9 different texts for a memory, and dataset 'd' has 8"):
        texts_in(world, "d", asked, 9)
    with pytest.raises(NotHere, match="at least 2 texts"):
        texts_in(world, "d", asked, 1)


# --------------------------------------------------------------------------- what is judged
def test_regret_is_zero_only_for_a_method_that_is_best_on_both() -> None:
    apart = regret(
        {"slow edit": [1.0, 1.0], "slow query": [1.5, 1.25]}, {"slow edit": [10.0, 1.0], "slow query": [0.1, 0.9]}
    )
    assert apart[0] == pytest.approx([math.log10(1.5), math.log10(1 / 0.9)])
    assert apart[1] == ["slow query", "slow edit"]
    both = regret({"best": [1.0], "other": [2.0]}, {"best": [0.1], "other": [1.0]})
    assert both == ([0.0], ["best"])


def test_edit_times_of_two_processes_are_compared_over_what_both_timed() -> None:
    """The machine was three times as slow while A was timed. In truth A's edits take half the time of B's."""
    slow = EditTimes({"A": [3.0, 3.3], "SCR": [0.03, 0.033]}, {}, {}, "of A")
    quick = EditTimes({"B": [2.0, 2.2], "SCR": [0.01, 0.011]}, {}, {}, "of B")
    of_scr = EditTimes({"SCR": [0.02, 0.05]}, {}, {}, "of SCR")
    over = over_text({"A": slow, "B": quick, "SCR": of_scr}, 2)
    assert over["A"] == pytest.approx([100.0, 100.0]) and over["B"] == pytest.approx([200.0, 200.0])
    assert over["SCR"] == [1.0, 1.0] and over_text({"A": slow}, 1)["A"] == pytest.approx([100.0])
    same = {"A": [1.0, 1.0], "B": [1.0, 1.0]}
    assert regret(same, {name: over[name] for name in same}) == ([0.0, 0.0], ["A", "A"])
    assert regret(same, {"A": slow.wall["A"], "B": quick.wall["B"]})[1] == ["B", "B"]  # what seconds would say


def test_timed_queries_are_put_in_the_form_of_the_model() -> None:
    forms = {"talks": SimpleNamespace(prompt_form="chat"), "goes on": SimpleNamespace(prompt_form="completion")}
    profile = SimpleNamespace(protocol=forms["goes on"], protocol_of=forms.__getitem__)
    assert how_asked(trial(profile=profile), "talks").endswith("chat form")
    assert how_asked(trial(profile=profile), "goes on").endswith("completion form")


def test_no_measure_names_the_profiles_protocol_for_a_model_that_may_have_its_own() -> None:
    for file in Path(measures.__file__).parent.glob("*.py"):
        assert "profile.protocol." not in file.read_text(encoding="utf-8"), file.name


def test_the_weakest_part_decides_for_all() -> None:
    strong, weak, negative = [1.0, 1.1, 0.9], [0.1, 0.12, 0.08], [-0.1, -0.11, -0.09]
    name, found = weakest({"a": strong, "b": weak})
    assert name == "b" and found.interval is not None and found.level == 1 - (1 - LEVEL) / 2
    assert weakest({"a": strong, "b": weak, "c": negative})[0] == "c"
    assert weakest({"a": strong, "b": [0.0, 0.0, 0.0]})[0] == "b"
    assert weakest({"a": strong, "b": [-1.0, -1.0, -1.0]})[0] == "b"
    # Small and sure beats large and unsure: what counts is whether it stands above zero.
    assert weakest({"sure": [0.01, 0.011, 0.009], "unsure": [3.0, -1.0, 1.0]})[0] == "unsure"


def test_range_of_scores_is_that_of_the_worst_dimension() -> None:
    def rows(rel: list[bool], gen: list[bool]) -> list[dict[str, Any]]:
        return [
            {"edit_id": str(i), "dimension": name, "kind": "k", "correct": ok}
            for name, own in (("rel", rel), ("gen", gen))
            for i, ok in enumerate(own)
        ]

    configured = {"a": rows([True, True], [True, False]), "b": rows([True, True], [False, False])}
    assert score_range(configured) == 0.5
    assert score_range(configured, ("rel",)) == 0.0
    with pytest.raises(ValueError, match="no question of the dimensions port"):
        score_range(configured, ("port",))
