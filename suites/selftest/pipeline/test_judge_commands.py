"""`judge-card` and `judge --answers`, as a user meets them, with a judge behind a real endpoint."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from editverdict.inference.results import append_row
from editverdict.pipeline import answers as answers_module
from editverdict.pipeline import judging
from editverdict.pipeline import trial as trial_module
from editverdict.pipeline.answers import Answered, Asked, ask, questions_asked
from editverdict.pipeline.contests import refresh_contests, write_facts
from editverdict.pipeline.measures.answering import kept
from editverdict.pipeline.trial import Trial
from editverdict.store import Draft
from suites.selftest.conftest import Done
from suites.selftest.evaluation.endpoint import KEY, VARIABLE, Endpoint, serving
from suites.selftest.pipeline.judged import MODEL, trial_with
from suites.selftest.pipeline.test_judging import files_with
from suites.selftest.test_cli_runs import row_of

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


def with_judges(folder: Path, endpoint: Endpoint, **models: str) -> list[str | Path]:
    """A folder of specs with judges of these names and models; the options that name it and a store."""
    for name, model in models.items():
        file = folder / "specs" / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(JUDGE.format(name=name, model=model, url=endpoint.url, variable=VARIABLE))
    return ["--specs", folder / "specs", "--store", folder / "store"]


WORDS = (
    "alfa", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima", "mike",
    "november", "oscar", "papa", "quebec",
)  # fmt: skip
"""None holds another, so that an answer to one question is none to another, however it is looked for."""


def labelled(folder: Path, count: int) -> list[str | Path]:
    """So many questions with a right and a wrong answer each, and the option that names them.

    The shipped set is the lexical card's matter; what is shown of an endpoint needs no more than this, and a judgement
    is an entry of the store, which takes longer to write than to make.
    """
    lines = [
        {
            "id": f"q{number}",
            "question": f"What is word {number}?",
            "accepted": [word],
            "answers": [
                {"text": f"{word}, I think", "label": "yes", "kind": "verbose"},
                {"text": f"Ag {number}", "label": "no", "kind": "other-entity"},
            ],
        }
        for number, word in enumerate(WORDS[:count])
    ]
    file = folder / "labelled.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return ["--labelled", file]


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
    # As many as it takes to tell a judge without a fault from one that accepts a tenth: 51 answers dealt.
    options = [*with_judges(tmp_path, endpoint, served="poison:Ag 0:500:2"), *labelled(tmp_path, len(WORDS))]
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
    assert card["agreement"]["accuracy"]["value"] == 1.0 and card["shuffled"]["outcome"] == "ok"
    dealt = card["shuffled"]["accepted"]
    assert (dealt["count"], dealt["total"]) == (0, 51) and dealt["interval"] == pytest.approx([0, 0.0987], abs=1e-4)
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
    options = [*with_judges(tmp_path, endpoint, served=model), *labelled(tmp_path, 4)]
    done = cli("judge-card", "served", "--profile", "smoke", *options)
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


# --------------------------------------------------------------------------- methods against each other
SENTENCES, BARE = 1.0, 2.0
"""Scales of the planted states: one answers rightly in a sentence, where only a judge that reads on finds it; one says
nothing but the answer."""


def planted(_trial: Trial, _model: str, group: Sequence[Asked], draft: Draft) -> None:
    """Stored answers as `answers._produce` would write them, by nobody."""
    asked = [(number, one, q) for number, one in enumerate(group) for q in questions_asked(one)]
    rows = [
        {
            "member": number,
            **{name: getattr(q, name) for name in ("edit_id", "dimension", "kind", "prompt")},
            "given": None,
            "answer": q.accepted[0] if one.scale == BARE else f"I should say: {q.accepted[0]}",
            "stopped_by": "limit",
            "tokens": [0],
        }
        for number, one, q in asked
    ]
    draft.write_table(rows)


@pytest.fixture
def contest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, list[str]]]:
    """A run folder with facts of two methods, made singly and in chains, and the keys of each method's chains."""
    monkeypatch.setattr(answers_module, "_produce", planted)
    own = trial_with(tmp_path / "store")
    chains = own.chains("worldfacts")
    hashes = {"model": own.model(MODEL).identity.weights, "protocol": own.protocol(MODEL).id}
    fields = {"model": MODEL, "dataset": "worldfacts", "profile": "smoke"}
    row = row_of("one[m]", **fields, hashes=hashes)
    states, keys = [], {}
    for method, scale in (("ROME", SENTENCES), ("SCR", BARE)):
        alone = iter(ask(own, MODEL, [Asked("single", (record,), scale=scale) for c in chains for record in c]))
        parts = [[next(alone) for _ in chain] for chain in chains]
        single = [
            Answered([r for one in many for r in one.rows], [], many[0].key, parts=tuple(one.key for one in many))
            for many in parts
        ]
        after = ask(own, MODEL, [Asked("chain", tuple(chain), scale=scale) for chain in chains])
        keys[method] = [one.key.partition(":")[0] for one in after]
        states += [kept(method, chains, single, None), kept(method, chains, after, 3)]
    append_row(tmp_path / "run" / "results.jsonl", row)
    write_facts(tmp_path / "run", "one__m", row, states)
    (before,) = refresh_contests(tmp_path / "run", [row], own.profile.all_methods)
    assert {(line.score_first, line.score_second) for line in before.lines} == {(0.0, 1.0)}, "words alone"
    for place in (judging, trial_module):
        monkeypatch.setattr(place, "load_model", lambda *_: pytest.fail("a model was loaded"))
    return tmp_path / "run", keys


def test_methods_are_compared_by_another_judge_beside_the_runs_own(
    cli: Callable[..., Done], tmp_path: Path, endpoint: Endpoint, contest_run: tuple[Path, dict[str, list[str]]]
) -> None:
    run, _ = contest_run
    own = (run / "comparisons.json").read_bytes()
    options = with_judges(tmp_path, endpoint, served="honest")
    done = cli("judge", run, "--answers", "--judge", "served", *options)
    assert done.code == 0 and "comparisons by served" in done.out, done.err
    made = json.loads((run / "comparisons-by-served.json").read_text())
    (table,) = made["tables"]
    # Nothing of the words' verdicts is in it: read on, the sentences are right, too.
    assert {(line["score_first"], line["score_second"]) for line in table["lines"]} == {(1.0, 1.0)}
    assert {line["schedule"] for line in table["lines"]} == {"single", "after 3"}
    protocol, _, judge = table["score_id"].partition("/")
    by_words = json.loads(own)["tables"][0]["score_id"].partition("/")
    assert (protocol, judge) == (by_words[0], made["judge"]["id"]) and judge != by_words[2]
    with (run / "comparisons-by-served.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == len(table["lines"]) and {line["score_id"] for line in lines} == {table["score_id"]}
    assert (run / "comparisons.json").read_bytes() == own, "the run's own table is its own judge's"
    assert made["facts"] == json.loads(own)["facts"]
    judged = [json.loads(line) for line in (run / "judged-by-served.jsonl").read_text().splitlines()]
    distinct = {(one["prompt"], tuple(one["accepted"]), one["answer"]) for one in judged}
    assert endpoint.stats()["requests"] == len(distinct), "the comparisons ask nothing again"


def test_by_the_runs_own_judge_the_tables_are_the_runs(
    cli: Callable[..., Done], tmp_path: Path, contest_run: tuple[Path, dict[str, list[str]]]
) -> None:
    run, _ = contest_run
    done = cli("judge", run, "--answers", "--judge", "lexical", "--store", tmp_path / "store")
    assert done.code == 0, done.err
    made = json.loads((run / "comparisons-by-lexical.json").read_text())
    assert made["tables"] == json.loads((run / "comparisons.json").read_text())["tables"] and made["left_out"] == []


def test_the_runs_own_judge_is_the_one_that_it_had(
    cli: Callable[..., Done], tmp_path: Path, contest_run: tuple[Path, dict[str, list[str]]]
) -> None:
    run, _ = contest_run
    judge = ("judge", run, "--answers", "--judge", "lexical", "--store", tmp_path / "store")
    (run / "manifest.json").write_text(json.dumps({"judge": "lexical-contains"}))
    done = cli(*judge)
    assert done.code == 0 and "the same verdict as lexical-contains: " in done.out, done.err
    (run / "manifest.json").write_text(json.dumps({"judge": "somebody"}))
    done = cli(*judge)
    assert done.code == 2 and "the run's own judge 'somebody' is none of specs/judges" in done.err


def test_what_cannot_be_judged_again_is_left_out_by_name(
    cli: Callable[..., Done], tmp_path: Path, contest_run: tuple[Path, dict[str, list[str]]]
) -> None:
    """A state with a missing answer keeps nothing of its old verdicts: it is in no line."""
    run, keys = contest_run
    judge = ("judge", run, "--answers", "--judge", "lexical-contains", "--store", tmp_path / "store")
    gone = keys["ROME"][0]
    shutil.rmtree(tmp_path / "store" / "answers" / gone[:2] / gone)
    done = cli(*judge)
    assert done.code == 0 and f"does not have its answers {gone[:12]}" in done.out, done.err
    (table,) = json.loads((run / "comparisons-by-lexical-contains.json").read_text())["tables"]
    assert {line["schedule"] for line in table["lines"]} == {"single"}
    assert any(why.startswith("ROME, after 3 edits (one[m]): the store") for why in table["left_out"])
    (file,) = (run / "facts").glob("*.json")
    facts = json.loads(file.read_text())
    for state in facts["states"]:  # questions that the stored answers are not to
        state["questions"] = {"rel": {"nobody|0": 1.0}}
    file.write_text(json.dumps(facts))
    done = cli(*judge)
    assert "are to other questions than its facts" in done.out and "no comparisons of methods" in done.out
    for state in facts["states"]:  # as older versions kept them
        del state["answers"]
    file.write_text(json.dumps(facts))
    done = cli(*judge)
    assert done.code == 0 and "name no stored answers; verify the run again" in done.out
    assert not list(run.glob("comparisons-by-*")), "what another judge once said of other facts is not left lying"
