"""A session of the suites under a judge behind an endpoint: `--judge NAME`, from answers to rows and reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from suites.selftest.evaluation.endpoint import KEY, VARIABLE, Endpoint, serving
from suites.selftest.pipeline.sessions import Session, fork
from suites.selftest.pipeline.test_judge_commands import with_judges
from suites.selftest.pipeline.test_judging import files_with

CLAIM = "rq1-drop-single-to-seq"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judged")


def session(folder: Path, endpoint: Endpoint, name: str, judge: str, key: str, **models: str) -> Session:
    options = with_judges(folder, endpoint, **models)
    words = ["--profile", "smoke", "--methods", "ROME", "--claims", CLAIM, "--judge", judge, *options]
    return fork(folder / name, *words, suites=("suites/benchmark",), env={VARIABLE: key})


@pytest.fixture(scope="module")
def without_key(folder: Path, endpoint: Endpoint) -> Session:
    return session(folder, endpoint, "without", "served", "", served="honest")


def test_without_its_key_a_case_is_not_run(without_key: Session, endpoint: Endpoint) -> None:
    (row,) = without_key.rows
    assert row.verdict == "not_run" and f"environment variable {VARIABLE}" in row.reason
    assert endpoint.stats()["requests"] == 0


def test_rows_under_an_endpoint(without_key: Session, folder: Path, endpoint: Endpoint) -> None:
    """The same answers under two judges: the second session builds none, and its row says who judged."""
    served = session(folder, endpoint, "served", "served", KEY, served="honest")
    words = session(folder, endpoint, "words", "lexical", KEY, served="honest")
    asked = endpoint.stats()["requests"]
    again = session(folder, endpoint, "again", "served", KEY, served="honest")
    (one,), (other,), (same,) = served.rows, words.rows, again.rows
    assert one.verdict not in ("not_run", "broken"), one.reason
    assert one.hashes["judge"] != other.hashes["judge"] and one.hashes["protocol"] == other.hashes["protocol"]
    assert "judge served" in one.stands_on and served.json("manifest.json")["judge"] == "served"
    assert not words.keys("built", "answers") and not words.keys("built", "judgement")
    assert asked == len(served.keys("built", "judgement")) > 0
    assert endpoint.stats()["requests"] == asked, "the third session asks nobody"
    assert (same.units, same.verdict, same.descriptive) == (one.units, one.verdict, one.descriptive)
    assert not files_with(folder, KEY)


def test_an_endpoint_that_is_down_breaks_the_case_and_is_no_verdict(
    without_key: Session, folder: Path, endpoint: Endpoint
) -> None:
    down = session(folder, endpoint, "down", "down", KEY, down="status:99:503")
    (row,) = down.rows
    assert row.verdict == "broken" and "status 503, 2 times in a row" in row.reason + str(row.traceback)
    assert not down.keys("built", "judgement") and not files_with(folder, KEY)


def test_an_unknown_judge_is_told(folder: Path, endpoint: Endpoint) -> None:
    found = session(folder, endpoint, "unknown", "lexcal", KEY, served="honest")
    assert found.code == 2 and "unknown judge 'lexcal'" in found.output and "did you mean 'lexical'" in found.output
