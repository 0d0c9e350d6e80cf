"""The same numbers whatever the number of processes, and whatever was there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from editverdict.inference.results import same_rows
from suites.selftest.pipeline.conftest import SMOKE
from suites.selftest.pipeline.sessions import Session, fork, once


@pytest.fixture(scope="module")
def two_workers(common: Path) -> Session:
    """The smoke profile on two workers that share an empty store."""
    return once(common, "two", lambda folder: fork(folder, *SMOKE, "--store", common / "store-of-two", "-n", "2"))


@pytest.fixture(scope="module")
def second(common: Path, smoke: Session, smoke_store: Path) -> Session:
    """The smoke profile once more, on the store of the first run."""
    return once(common, "second", lambda folder: fork(folder, *SMOKE, "--store", smoke_store))


def test_two_workers_give_the_rows_of_one(smoke: Session, two_workers: Session) -> None:
    assert [str(difference) for difference in same_rows(smoke.rows, two_workers.rows, two_stores=True)] == []
    assert smoke.code == two_workers.code == 1
    # A timing on a machine that is busy with something else is invalid, and so an error in place of a skip.
    timed = {row.case for row in smoke.rows if row.timed}
    one, two = (
        {name: word for name, (word, _) in session.outcomes.items() if not any(case in name for case in timed)}
        for session in (smoke, two_workers)
    )
    assert one == two and len(one) == len(smoke.rows) - len(timed)


def test_both_workers_worked(two_workers: Session) -> None:
    assert len({event["pid"] for event in two_workers.events if event["event"] == "built"}) == 2
    assert {row.worker for row in two_workers.rows} == {"0", "1"}


def test_two_workers_build_each_state_once(smoke: Session, two_workers: Session) -> None:
    built = two_workers.keys("built")
    assert len(built) == len(set(built))
    assert set(built) == set(smoke.keys("built"))
    assert len(two_workers.keys("built", "step")) > 0


def test_two_workers_give_the_same_claim_verdicts(smoke: Session, two_workers: Session) -> None:
    timed = {row.claim for row in smoke.rows if row.timed}
    one, two = (
        [claim for claim in session.json("claims.json") if claim["claim"] not in timed]
        for session in (smoke, two_workers)
    )
    assert one == two


def test_a_second_run_gives_the_same_rows(smoke: Session, second: Session) -> None:
    assert [str(difference) for difference in same_rows(smoke.rows, second.rows)] == []


def test_a_second_run_builds_nothing(smoke: Session, second: Session) -> None:
    assert second.keys("built") == []
    stages = second.json("manifest.json")["stages"]
    assert all(stage["built"] == 0 and stage["reused"] > 0 for stage in stages), stages
    assert set(second.keys("reused")) <= set(smoke.keys("built"))
