"""Trajectories: which states at which T, nothing before it is asked for, and refusals told from the first state."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from editverdict.pipeline import trajectories
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.trajectories import trajectory, trajectory_of
from editverdict.pipeline.trial import NotHere

CHAINS = [[f"{chain}{i}" for i in range(1, 13 if chain == "a" else 6)] for chain in "abc"]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What was made: states (as tuples of edits), changes of them, and answers."""
    made: dict[str, list[Any]] = {"steps": [], "changes": [], "asked": []}

    def steps(_trial: Any, _model: str, method: str, records: list[str]) -> tuple[str, ...]:
        made["steps"].append(tuple(records))
        return (method, *records)

    def changes(_trial: Any, _model: str, states: list[tuple[str, ...]], what: str = "") -> list[str]:
        if any(state[0] == "WISE" for state in states):
            raise NotHere("no weight deltas")
        made["changes"] += states
        return ["-".join(state) for state in states]

    def in_state(_t: Any, _m: str, _method: str, _label: str, asked: Any, state: Any, **options: Any) -> Any:
        assert tuple(asked) == tuple(state[1:]) or state == ("alone",)
        return (tuple(asked), options)

    def ask(_trial: Any, _model: str, many: list[Any], *, before: Any) -> list[Any]:
        assert before == {"asked about": sum(map(len, (c[:5] for c in CHAINS)))}
        made["asked"] += many
        return many

    for name, function in {"steps": steps, "changes": changes, "in_state": in_state, "ask": ask}.items():
        monkeypatch.setattr(trajectories, name, function)
    monkeypatch.setattr(trajectories, "answers_before", lambda _t, _m, records: {"asked about": len(records)})
    return made


@pytest.fixture
def trial() -> Any:
    sizes = SimpleNamespace(schedule=(5, 1, 2, 10, 20, 2), chain_length=5)
    return SimpleNamespace(profile=SimpleNamespace(id="own", sizes=sizes), chains=lambda _d: CHAINS, _memo={})


def way(trial: Any, method: str = "ROME") -> Any:
    return trajectory_of(trial, "m", method, "d")


def test_the_schedule_goes_as_far_as_chains_do(trial: Any) -> None:
    found = way(trial)
    assert (found.schedule, found.long_schedule) == ((1, 2, 5), (1, 2, 5, 10))
    assert found is way(trial) and found is not way(trial, "placebo:ROME")
    assert len(found.records()) == 15 and found.records(1) == ["a1", "b1", "c1"]


def test_changes_cost_no_answers_and_one_t_no_other(trial: Any, log: dict[str, list[Any]]) -> None:
    found = way(trial)
    assert found.changes(2) == {2: ["ROME-a1-a2", "ROME-b1-b2", "ROME-c1-c2"]}
    assert {len(records) for records in log["steps"]} == {2} and log["asked"] == []
    every = found.changes()
    assert list(every) == [1, 2, 5] and every[5][2] == "ROME-c1-c2-c3-c4-c5"
    before = len(log["changes"])
    assert found.changes() == every and found.changes(2, 1)[1] == every[1]
    assert len(log["changes"]) == before


def test_beyond_the_chains_there_is_the_long_one_alone(trial: Any, log: dict[str, list[Any]]) -> None:
    assert way(trial).changes(10) == {10: ["ROME-" + "-".join(CHAINS[0][:10])]}
    with pytest.raises(ValueError, match=r"T = 7 is not on the schedule of profile 'own': \[1, 2, 5, 10\]"):
        way(trial).changes(7)


def test_a_method_that_cannot_be_measured_is_told_from_one_state(trial: Any, log: dict[str, list[Any]]) -> None:
    with pytest.raises(NotHere, match="no weight deltas"):
        way(trial, "WISE").changes()
    assert log["steps"] == [("a1",)]


def test_answers_are_about_the_edits_made_so_far(trial: Any, log: dict[str, list[Any]]) -> None:
    found = way(trial)
    asked = found.answers(1, 2)
    assert [records for records, _ in asked[2]] == [("a1", "a2"), ("b1", "b2"), ("c1", "c2")]
    assert all(options == {"probabilities": True} for _, options in log["asked"])
    assert log["changes"] == [] and len(log["asked"]) == 6
    assert found.answers(2) == {2: asked[2]} and len(log["asked"]) == 6


def test_a_case_without_a_method_is_refused(trial: Any) -> None:
    claim: Any = SimpleNamespace(id="own", subject=("model",))
    with pytest.raises(ValueError, match="about a method on a dataset"):
        trajectory(trial, Case(claim, "m"))
    assert trajectory(trial, Case(claim, "m", "ROME", "d"), "placebo:ROME").method == "placebo:ROME"
