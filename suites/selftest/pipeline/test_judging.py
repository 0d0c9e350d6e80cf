"""Judgements are kept one by one: whatever ends a judging, nothing that was judged is asked again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from editverdict.evaluation.dimensions import scores_of, undecided
from editverdict.evaluation.judging import Item, JudgeError, cost_of
from editverdict.evaluation.lexical import LexicalJudge
from editverdict.evaluation.local_judge import LocalJudge
from editverdict.pipeline import judging
from editverdict.pipeline.answers import Asked, ask, known_edits
from editverdict.pipeline.judging import judge_of, judged, judgement_recipe
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.judges import LocalJudgeSpec
from suites.selftest.evaluation.endpoint import KEY, RIGHT, VARIABLE, WRONG, Endpoint, serving
from suites.selftest.pipeline.judged import MODEL, trial_with
from suites.selftest.pipeline.sessions import ROOT


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv(VARIABLE, KEY)
    with serving() as found:
        yield found


@pytest.fixture
def served(endpoint: Endpoint, tmp_path: Path) -> Callable[..., Trial]:
    """A trial judged by the endpoint; always on the same store."""
    return lambda behaviour, **settings: trial_with(tmp_path / "store", endpoint.spec(behaviour, **settings))


def items(n: int) -> list[Item]:
    return [Item(f"Question {i}?", ("Paris",), f"{'Paris' if i % 2 else 'Rome'} {i}") for i in range(n)]


def files_with(folder: Path, text: str) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and text.encode() in file.read_bytes()]


# --------------------------------------------------------------------------- kept
def test_what_was_judged_is_never_asked_again(endpoint: Endpoint, served: Callable[..., Trial], tmp_path: Path) -> None:
    first = judged(served("honest"), [RIGHT, WRONG, RIGHT])
    assert [one.verdict for one in first] == ["yes", "no", "yes"] and endpoint.stats()["requests"] == 2
    again = judged(served("honest", concurrency=1, attempts=1), [WRONG, RIGHT])
    assert again == [first[1], first[0]] and endpoint.stats()["requests"] == 2
    for other in (
        lambda: judged(served("honest"), [RIGHT], time=1),
        lambda: judged(served("honest"), [Item(RIGHT.question, RIGHT.accepted, RIGHT.answer, "turned")]),
        lambda: judged(served("honest"), [Item(RIGHT.question, ("Paris", "Lutetia"), RIGHT.answer)]),
        lambda: judged(served("honest", max_tokens=99), [RIGHT]),
        lambda: judged(served("yes"), [RIGHT]),
    ):
        before = endpoint.stats()["requests"]
        other()
        assert endpoint.stats()["requests"] == before + 1
    assert files_with(tmp_path, RIGHT.answer) and not files_with(tmp_path, KEY)


def test_a_judgement_that_is_undecided_is_kept_and_counted(endpoint: Endpoint, served: Callable[..., Trial]) -> None:
    for _ in range(2):
        said = judged(served("prose:99"), [RIGHT])
        assert said[0].verdict == "undecided" and cost_of(said).undecided == 1
    assert endpoint.stats()["requests"] == 3


def test_a_failure_half_way_keeps_what_was_judged(endpoint: Endpoint, served: Callable[..., Trial]) -> None:
    """The fourth of ten fails twice; run again, only what is missing is asked."""
    trial = served("poison:Paris 3:500:2", attempts=2, concurrency=1)
    with pytest.raises(JudgeError, match=r"status 500, 2 times in a row.* 3 of 10 answers were judged, and are kept"):
        judged(trial, items(10))
    assert endpoint.stats()["requests"] == 3 + 2
    said = judged(served("poison:Paris 3:500:2", attempts=2, concurrency=4), items(10))
    assert [one.verdict for one in said] == ["yes" if i % 2 else "no" for i in range(10)]
    assert endpoint.stats()["requests"] == 3 + 2 + 7


def test_a_process_that_is_killed_repeats_nothing_it_had_finished(endpoint: Endpoint, tmp_path: Path) -> None:
    spec = endpoint.spec("slow:0.15", concurrency=2)
    told = [spec.model_dump_json(), json.dumps([[i.question, list(i.accepted), i.answer] for i in items(12)])]
    process = subprocess.Popen(
        [sys.executable, "-m", "suites.selftest.pipeline.judge_in_process", tmp_path / "store", *told],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
    )
    try:
        limit = time.monotonic() + 120
        while endpoint.stats()["requests"] < 6 and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    begun = endpoint.stats()["requests"]
    assert 6 <= begun < 12, "killed in the middle"
    trial = trial_with(tmp_path / "store", spec)
    kept = sum(trial.store.find(judgement_recipe(judge_of(trial), item)) is not None for item in items(12))
    assert kept >= begun - 2, "all but the two that were under way"
    said = judged(trial, items(12))
    assert [one.verdict for one in said] == ["yes" if i % 2 else "no" for i in range(12)]
    assert endpoint.stats()["requests"] == begun + 12 - kept


def test_of_several_that_want_the_same_one_asks(endpoint: Endpoint, served: Callable[..., Trial]) -> None:
    """Each with a store object of its own, as processes have."""
    trials = [served("slow:0.05"), served("slow:0.05")]
    found: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n, t=t: found.update({n: judged(t, items(8))})) for n, t in enumerate(trials)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found[0] == found[1] and endpoint.stats()["requests"] == 8


def test_a_missing_key_is_no_failure_of_the_case(served: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(NotHere, match=f"environment variable {VARIABLE}"):
        judged(served("honest"), [RIGHT])


def test_rules_over_words_are_not_kept(tmp_path: Path) -> None:
    said = judged(trial_with(tmp_path / "store"), [RIGHT, WRONG])
    assert [one.verdict for one in said] == ["yes", "no"] and "Paris" in said[0].reason
    assert not (tmp_path / "store").exists()


# --------------------------------------------------------------------------- as part of answering
def test_the_profiles_judge_decides_about_answers(
    endpoint: Endpoint, served: Callable[..., Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One set of answers under three judges: answered once, judged thrice; what is undecided is in no score."""
    lexical = trial_with(tmp_path / "store")
    records = lexical.chains("worldfacts")[0][:2]
    asked = [Asked("unedited", (record,)) for record in records]
    by_words = [row for one in ask(lexical, MODEL, asked) for row in one.rows]
    built = lexical.store.ledger.snapshot()["answers"].built
    assert built >= 1 and not any("reason" in row for row in by_words)

    yes = served("yes")
    rows = [row for one in ask(yes, MODEL, asked) for row in one.rows]
    assert "answers" not in {k for k, v in yes.store.ledger.snapshot().items() if v.built}
    assert [row["answer"] for row in rows] == [row["answer"] for row in by_words]
    assert all(row["correct"] is True and row["reason"] == "always" for row in rows)
    assert scores_of(rows).rel == 1.0 and undecided(rows) == 0
    found = ask(yes, MODEL, [Asked("unedited", tuple(records))])[0]
    assert known_edits(yes, found, records) == [record.id for record in records if record.target_old]

    open_ = [row for one in ask(served("prose:99"), MODEL, asked) for row in one.rows]
    assert undecided(open_) == len(open_) > 0 and {row["correct"] for row in open_} == {None}
    assert scores_of(open_).rel is None, "missing, and not zero"
    ids = [judge_of(trial).id for trial in (lexical, yes, served("prose:99"))]
    assert len(set(ids)) == 3 and ids[0] == LexicalJudge().id
    assert lexical.protocol(MODEL).id == yes.protocol(MODEL).id, "the judge is no part of what makes an answer"


def test_a_local_judge_is_a_copy_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is loaded once, beside the model on trial, and its verdicts are kept: the second time it says nothing."""
    spec = LocalJudgeSpec(id="toy", format="local", model=MODEL, reply="choice", prompt_form="completion", batch_size=3)
    trial = trial_with(tmp_path / "store", spec)
    judge = judge_of(trial)
    assert isinstance(judge, LocalJudge) and judge_of(trial) is judge
    assert judge.loaded.model is not trial.model(MODEL).model
    said = judged(trial, items(5))
    assert {one.verdict for one in said} <= {"yes", "no"} and all("log P(yes)" in one.reason for one in said)
    monkeypatch.setattr(LocalJudge, "_choose", lambda *_: pytest.fail("asked again"))
    assert judged(trial, items(5)) == said
    assert judging.judgement_recipe(judge, RIGHT) == judgement_recipe(judge_of(trial_with(tmp_path, spec)), RIGHT)
