"""`judge-card` and `judge --answers`, as a user meets them, with a judge behind a real endpoint."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from editverdict.cli import main
from editverdict.inference.results import append_row
from editverdict.pipeline import judging
from editverdict.pipeline import trial as trial_module
from editverdict.pipeline.answers import Asked, ask
from suites.selftest.evaluation.endpoint import KEY, VARIABLE, Endpoint, serving
from suites.selftest.pipeline.judged import MODEL, trial_with
from suites.selftest.pipeline.test_judging import files_with
from suites.selftest.test_cli import Done, row_of

JUDGE = """\
judges:
  - {{id: {name}, format: openai, model: "{model}", base_url: "{url}", key_env: {variable}, backoff_seconds: 0.02,
      attempts: 2, concurrency: 4}}
"""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv(VARIABLE, KEY)
    with serving() as found:
        yield found


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    def run(*words: str | Path) -> Done:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["editverdict", *map(str, words)])
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        return Done(code, *capsys.readouterr())

    return run


def with_judges(folder: Path, endpoint: Endpoint, **models: str) -> list[str | Path]:
    """A folder of specs with judges of these names and models; the options that name it and a store."""
    for name, model in models.items():
        file = folder / "specs" / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(JUDGE.format(name=name, model=model, url=endpoint.url, variable=VARIABLE))
    return ["--specs", folder / "specs", "--store", folder / "store"]


# --------------------------------------------------------------------------- the card
def test_the_card_of_words(cli: Callable[..., Done], tmp_path: Path) -> None:
    done = cli("judge-card", "lexical", "--profile", "smoke", "--store", tmp_path / "store")
    assert done.code == 0, done.err
    card = json.loads((tmp_path / "reports/out/judge-lexical.json").read_text())
    assert card["shuffled"]["accepted"]["count"] == 0 and card["shuffled"]["outcome"] == "ok"
    assert 0.6 < card["agreement"]["accuracy"]["value"] < 0.9 and card["agreement"]["undecided"] == 0
    assert card["consistency"]["again"]["value"] == card["consistency"]["turned"]["value"] == 1.0
    assert len(card["disagreements"]) == card["labelled"]["items"] - card["agreement"]["accuracy"]["count"]
    assert "Cohen's kappa" in done.out and "negation" in done.out


def test_the_card_of_an_endpoint_goes_on_where_it_was(
    cli: Callable[..., Done], tmp_path: Path, endpoint: Endpoint
) -> None:
    options = with_judges(tmp_path, endpoint, served="poison:Ag:500:2")
    first = cli("judge-card", "served", "--profile", "smoke", *options)
    assert first.code == 2 and "status 500, 2 times in a row" in first.err and "are kept" in first.err
    assert "Traceback" not in first.err
    for _ in range(2):
        done = cli("judge-card", "served", "--profile", "smoke", *options)
        if done.code != 2:
            break
    assert done.code == 0, done.err
    card = json.loads((tmp_path / "reports/out/judge-served.json").read_text())
    asked = sum(endpoint.stats()["items"].values())
    assert asked <= card["cost"]["judged"] + 8, "nothing was asked twice but what had failed"
    # The endpoint finds words anywhere: so does the rule `contains`, whose agreement is known without it.
    assert card["agreement"]["accuracy"]["value"] > 0.5 and card["shuffled"]["outcome"] == "ok"
    assert card["cost"]["tokens_in"] == 100 * card["cost"]["replies"] and card["fields"]["endpoint"] == endpoint.url
    before = endpoint.stats()["requests"]
    assert cli("judge-card", "served", "--profile", "smoke", *options).out == done.out
    assert endpoint.stats()["requests"] == before, "a second card asks nobody"
    assert not files_with(tmp_path, KEY) and KEY not in done.out + done.err + first.err


@pytest.mark.parametrize(("model", "outcome", "share"), [("yes", "failed", 1.0), ("prose:99", "undecided", None)])
def test_a_judge_that_does_not_look_is_found_out(
    cli: Callable[..., Done], tmp_path: Path, endpoint: Endpoint, model: str, outcome: str, share: float | None
) -> None:
    """One that always accepts fails the control, and agrees no more than chance; one that gives no verdict has
    not shown that it can say no, and its silence is no `no`."""
    done = cli("judge-card", "served", "--profile", "smoke", *with_judges(tmp_path, endpoint, served=model))
    card = json.loads((tmp_path / "reports/out/judge-served.json").read_text())
    assert done.code == 1
    assert card["shuffled"]["outcome"] == outcome and card["shuffled"]["accepted"]["value"] == share
    assert card["agreement"]["kappa"]["value"] == pytest.approx(0.0, abs=1e-12)
    if model == "yes":
        assert "nothing that this judge says is evidence" in done.out
    else:
        assert (
            card["agreement"]["undecided"] == card["labelled"]["items"] and card["agreement"]["accuracy"]["count"] == 0
        )
        assert card["agreement"]["accuracy_of_decided"]["value"] is None


def test_what_a_user_may_do_wrong(
    cli: Callable[..., Done], tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = with_judges(tmp_path, endpoint, served="honest")
    done = cli("judge-card", "lexcal", "--profile", "smoke", *options)
    assert done.code == 2 and "unknown judge 'lexcal'" in done.err and "did you mean 'lexical'" in done.err
    (tmp_path / "bad.jsonl").write_text('{"id": "a"}')
    done = cli("judge-card", "served", "--profile", "smoke", "--labelled", tmp_path / "bad.jsonl", *options)
    assert done.code == 2 and "bad.jsonl:1: question" in done.err
    monkeypatch.delenv(VARIABLE)
    done = cli("judge-card", "served", "--profile", "smoke", *options)
    assert done.code == 2 and f"environment variable {VARIABLE}" in done.err
    assert endpoint.stats()["requests"] == 0


# --------------------------------------------------------------------------- stored answers
def test_stored_answers_are_judged_without_any_model(
    cli: Callable[..., Done], tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = trial_with(tmp_path / "store")
    records = own.chains("worldfacts")[0][:2]
    answered = ask(own, MODEL, [Asked("unedited", (record,)) for record in records])
    hashes = {"model": own.model(MODEL).identity.weights, "protocol": own.protocol(MODEL).id}
    fields = {"model": MODEL, "dataset": "worldfacts", "profile": "smoke"}
    append_row(tmp_path / "run" / "results.jsonl", row_of("one[m]", **fields, hashes=hashes))

    for place in (judging, trial_module):
        monkeypatch.setattr(place, "load_model", lambda *_: pytest.fail("a model was loaded"))
    options = with_judges(tmp_path, endpoint, served="honest")
    done = cli("judge", tmp_path / "run", "--answers", "--judge", "served", *options)
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "run/judged-by-served.jsonl").read_text().splitlines()]
    rows = [row for one in answered for row in one.rows]
    assert f"{len(rows)} answers" in done.out and "kappa" in done.out
    assert sorted((one["edit_id"], one["prompt"], one["answer"]) for one in lines) == sorted(
        (row["edit_id"], row["prompt"], row["answer"]) for row in rows
    )
    by_words = {(row["prompt"], row["answer"]): row["correct"] for row in rows}
    for one in lines:
        assert (one["judges"]["lexical"]["verdict"] == "yes") == by_words[one["prompt"], one["answer"]]
        assert one["judges"]["served"]["reason"] == "looked at the words"
    asked = endpoint.stats()["requests"]
    assert asked == len({(one["prompt"], tuple(one["accepted"]), one["answer"]) for one in lines})
    assert cli("judge", tmp_path / "run", "--answers", "--judge", "served", *options).out == done.out
    assert endpoint.stats()["requests"] == asked and not files_with(tmp_path, KEY)


def test_a_run_without_stored_answers_is_told(cli: Callable[..., Done], tmp_path: Path, endpoint: Endpoint) -> None:
    options = with_judges(tmp_path, endpoint, served="honest")
    fields = {"dataset": "worldfacts", "profile": "smoke", "hashes": {"model": "m", "protocol": "p"}}
    append_row(tmp_path / "run" / "results.jsonl", row_of("one[m]", **fields))
    done = cli("judge", tmp_path / "run", "--answers", "--judge", "served", *options)
    assert done.code == 2 and "no stored answer to judge" in done.err and "--store" in done.err
    done = cli("judge", tmp_path / "run", "--answers", *options)
    assert done.code == 2 and "--judge NAME" in done.err
