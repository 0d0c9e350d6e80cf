"""The paper's three shapes of data from file to verdict, on the toy: made-up records, every stage, nothing done twice.

The same for a hundred real records, as far as their edit sites, where they are at hand.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from editverdict.cli import app
from editverdict.data import DataError, load_dataset
from editverdict.editors.tokens import subject_end, target_ids
from editverdict.evaluation.openai_judge import OpenAIJudge
from editverdict.models.sources import LoadedModel
from editverdict.pipeline import trial as trial_module
from editverdict.pipeline import watch
from editverdict.pipeline.edits import steps
from editverdict.pipeline.event_facts import drawn, edited_by, facts_of, state_after, states_alone
from editverdict.pipeline.setup import Options, UsageError, given_data, load_library, make_trial
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.sources import UrlFile
from suites.selftest.pipeline.sessions import ROOT, Session, fork, once

NAMES = ("Zora", "Bo", "Ada", "Ole", "Ida", "Ann")
TOY = """
profiles:
  - id: toy-records
    describes: made-up records on the toy
    threads: 1
    models: [rehearsal-llama]
    methods: [ROME, GRACE, SCR]
    datasets: [zsre, wikidata-counterfact, elken]
    corpus: wordnet-glosses
    encoder: minilm
    judge: lexical
    protocol: {id: completion-3, prompt_form: completion, decoding: greedy, max_new_tokens: 3, stop: ["\\n"]}
    claims: [rq1-far-from-perfect, rq1-drop-single-to-seq, scr-single-vs-seq-memories, rq3-single-unsatisfactory,
             rq3-sequential-breakdown, rq3-fact-to-event-drop, rq3-scr-best, scr-dominates-avg, scr-dominates-cells,
             scr-locality-vs-preedit]
    chains_from: first
    sizes: {single_edits: 4, chains: 2, chain_length: 2, long_chain: 2, schedule: [1, 2], base_texts: 120,
            base_tokens: 1200, norm_tokens: 300, angle_tokens: 480, text_blocks: 4, random_seeds: 3}
judges:
  - {id: drawer, format: openai, model: made-up, base_url: "http://127.0.0.1:9/v1", key_env: null, attempts: 1}
"""


def fact(name: str, *, rephrased: bool) -> dict[str, Any]:
    """A record in the shape of KnowEdit."""
    made: dict[str, Any] = {
        "subject": f"{name} Quill",
        "prompt": f"The trade of {name} Quill is",
        "target_new": "milling",
        "ground_truth": ["fishing"],
        "portability": {
            "Subject_Aliasing": [{"prompt": f"The trade of old {name} is", "ground_truth": "milling"}],
            "Reasoning": [{"prompt": f"What {name} Quill grinds is", "ground_truth": "grain"}],
        },
        "locality": {"Relation_Specificity": [{"prompt": f"The town of {name} Quill is", "ground_truth": [["Ulm"]]}]},
    }
    return made | ({"rephrase_prompt": f"{name} Quill works in"} if rephrased else {})


def event(name: str) -> dict[str, Any]:
    """A record in the shape of ELKEN; the rule draws two facts from it."""
    entity = {"id": "NA", "name": f"{name} Quill"}

    def question(text: str, answer: str) -> dict[str, Any]:
        return {"question": text, "subject": entity, "answer": {"name": answer, "alias": []}}

    asked = [question(f"Where did {name} Quill open a mill?", "Bergen") | {"type": 0}]
    asked += [question(f"Does {name} Quill still fish?", "unknown") | {"type": 1}]
    local = [question(f"Where was {name} Quill born?", "Ulm")]
    return {"event": f"{name} Quill opened Harbour Mill in Bergen.", "fact": {"qas": asked, "local_qas": local}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    for name, records in {
        "zsre/ZsRE.json": [fact(name, rephrased=True) for name in NAMES],
        "wikidata-counterfact.json": [fact(name, rephrased=False) for name in NAMES],
        "elken.json": [event(name) for name in NAMES],
    }.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(records), encoding="utf-8")
    (folder / "specs").mkdir()
    (folder / "specs" / "toy.yaml").write_text(TOY, encoding="utf-8")
    return folder


def given(data: Path) -> tuple[str, ...]:
    places = {"zsre": "zsre", "wikidata-counterfact": "wikidata-counterfact.json", "elken": "elken.json"}
    return tuple(f"{name}={data / place}" for name, place in places.items())


@pytest.fixture
def trial(data: Path, tmp_path: Path) -> Trial:
    options = Options(profile="toy-records", store=tmp_path / "store", specs=(data / "specs",), data=given(data))
    return make_trial(options, ROOT / "specs")


# --------------------------------------------------------------------------- what is edited
def test_weights_take_facts_and_a_memory_takes_sentences(trial: Trial) -> None:
    model, records = "rehearsal-llama", trial.chains("elken")[0]
    assert [record.id for record in records] == ["elken-00000", "elken-00001"]  # in the order of the file
    for method in ("ROME", "GRACE", "no-op", "placebo:ROME", "ROME+SCR"):
        edited = edited_by(trial, model, method, records)
        assert [one.part_of for one in edited] == ["elken-00000"] * 2 + ["elken-00001"] * 2, method
    assert edited_by(trial, model, "SCR", records) == records
    assert len(state_after(trial, model, "ROME", records)) == 4
    assert [len(state) for state in states_alone(trial, model, "ROME", records)] == [2, 2]
    assert drawn(trial, records)["drawn_by"] == {"rule-based": 2} and drawn(trial, records)["facts"] == 4


def test_an_event_alone_is_the_chain_of_its_facts(trial: Trial) -> None:
    """Also where it begins a chain of events: the state is the same, so that it is made once."""
    model, records = "rehearsal-llama", trial.chains("elken")[0]
    (alone,) = states_alone(trial, model, "ROME", records[:1])
    together = state_after(trial, model, "ROME", records)
    assert [step.info["key"] for step in alone] == [step.info["key"] for step in together[:2]]
    assert [step.info["key"] for step in alone] == [
        step.info["key"] for step in steps(trial, model, "ROME", facts_of(trial, records[:1]))
    ]


def test_facts_are_optimised_in_groups_that_nobody_chooses(trial: Trial) -> None:
    drawn_ = trial.chains("elken")
    facts = facts_of(trial, drawn_[1])
    assert trial.side_by_side(facts[:3]) == [facts_of(trial, chain)[:3] for chain in drawn_]
    firsts = [facts_of(trial, [record])[0] for chain in drawn_ for record in chain]
    assert trial.companions(facts[0]) == firsts
    assert trial.companions(trial.chains("zsre")[0][0]) == trial.singles("zsre")


def test_a_served_model_draws_the_facts_and_is_named(trial: Trial, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def complete(self: OpenAIJudge, prompt: str, name: str, schema: dict[str, Any]) -> str:
        asked.append((name, schema["title"]))
        who = next(name for name in NAMES if f"Event: {name} Quill" in prompt)
        triple = {"subject": f"{who} Quill", "prompt": f"{who} Quill opened", "target_new": "Harbour Mill"}
        return json.dumps({"triples": [triple]})

    monkeypatch.setattr(OpenAIJudge, "complete", complete)
    trial.profile = trial.profile.model_copy(update={"triples": "drawer"})
    records = trial.chains("elken")[0]
    assert [one.prompt for one in facts_of(trial, records)] == ["Zora Quill opened", "Bo Quill opened"]
    ((who, count),) = drawn(trial, records)["drawn_by"].items()
    assert who.startswith("made-up (") and count == 2 and asked == [("triples", "TripleList")] * 2
    trial._memo.clear()
    assert len(facts_of(trial, records)) == 2 and len(asked) == 2  # answers are kept in the store


def test_only_a_served_model_can_draw(trial: Trial) -> None:
    trial.profile = trial.profile.model_copy(update={"triples": "lexical"})
    with pytest.raises(NotHere, match=r"judge 'lexical' is of format 'lexical', expected 'openai'"):
        facts_of(trial, trial.chains("elken")[0])


# --------------------------------------------------------------------------- where the data are
def test_where_a_dataset_is_read_from(data: Path) -> None:
    library = load_library([ROOT / "specs"])
    found = given_data(library, [*given(data)[:1], "elken=hub:me/events@v1:a.json,b.json"])
    assert found["zsre"].source.path == str(data / "zsre") and found["zsre"].in_paper
    hub = found["elken"].source
    assert (hub.repo, hub.revision, hub.files) == ("me/events", "v1", ("a.json", "b.json"))
    own = given_data(library, ["zsre=hub:me/KnowEdit"])["zsre"].source
    assert own.files == ("benchmark/ZsRE/ZsRE-test-all.json",)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("zsre", "--data: expected ID=FILE_OR_FOLDER"),
        ("zsr=/tmp", "--data: unknown data 'zsr'; .*did you mean 'zsre'"),
        ("elken=hub:me/events", "the spec of 'elken' names no files of a hub"),
        ("zsre=hub:KnowEdit:a.json", r"expected hub:OWNER/NAME\[@REVISION\]:FILE"),
    ],
)
def test_what_cannot_be_read_is_said_before_anything_runs(text: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        given_data(load_library([ROOT / "specs"]), [text])


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        given_data(load_library([ROOT / "specs"]), [f"zsre={tmp_path / 'none.json'}"])
    with pytest.raises(DataError, match=r"no file that ends with \.json"):
        given_data(load_library([ROOT / "specs"]), [f"zsre={tmp_path}"])


def test_data_that_cannot_be_had_stop_no_other_and_say_what_to_pass(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    far = trial.library.datasets["zsre"].model_copy(update={"source": UrlFile(url="http://127.0.0.1:9/zsre.json")})
    trial.library = dataclasses.replace(trial.library, datasets={**trial.library.datasets, "zsre": far})
    tried: list[str] = []
    monkeypatch.setattr(trial_module, "load_dataset", lambda spec: tried.append(spec.id) or load_dataset(spec))
    group = trial.companions(trial.chains("wikidata-counterfact")[0][0])
    assert len(group) == 4 and trial.side_by_side(group[:1]) == [group[:1], group[2:3]]
    for _ in range(2):
        with pytest.raises(NotHere, match="pass --data zsre=FILE_OR_FOLDER"):
            trial.records("zsre")
    assert tried.count("zsre") == 1  # nobody waits for a network twice


def test_verify_hands_the_places_on_as_they_are_from_here(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pytest starts in the project's folder, and the user's paths are relative to another one."""
    handed: list[list[str]] = []

    def run_suites(home: Path, folder: Path, workers: int, options: list[str], console: object) -> int:
        handed.append(options)
        return 2

    monkeypatch.setattr(watch, "run_suites", run_suites)
    monkeypatch.chdir(data)
    words = ["verify", "--run-dir", str(tmp_path), "--data", "zsre=zsre", "--data", "elken=hub:me/events:a.json"]
    assert CliRunner().invoke(app, [*words, "--triples", "drawer"]).exit_code == 2
    (options,) = handed
    given_ = [options[i + 1] for i, word in enumerate(options) if word == "--data"]
    assert given_ == [f"zsre={data / 'zsre'}", "elken=hub:me/events:a.json"]
    assert options[options.index("--triples") + 1] == "drawer"


# --------------------------------------------------------------------------- the whole way
@pytest.fixture(scope="module")
def session(common: Path, data: Path) -> Session:
    return once(common, "toy-records", lambda folder: fork(folder, *words(data, common), suites=SUITE))


SUITE = ("suites/benchmark",)


def words(data: Path, common: Path) -> list[str | Path]:
    options = [word for text in given(data) for word in ("--data", text)]
    return ["--profile", "toy-records", "--specs", data / "specs", "--store", common / "store-of-records", *options]


def test_every_case_of_three_shapes_has_its_verdict(session: Session) -> None:
    rows = {row.case: row for row in session.rows}
    assert {row.verdict for row in rows.values()} <= {"invalid", "inconclusive", "not_run"}, session.output
    by_data = {name: {row.method for row in rows.values() if row.dataset == name} for name in
               ("zsre", "wikidata-counterfact", "elken")}  # fmt: skip
    assert all(methods == {"ROME", "GRACE", "SCR"} for methods in by_data.values())
    not_run = {row.claim: row.reason for row in rows.values() if row.verdict == "not_run"}
    assert set(not_run) == {"rq3-sequential-breakdown"} and "needs T ≥ 50" in not_run["rq3-sequential-breakdown"]
    for row in rows.values():
        if row.verdict != "not_run":
            checks = {check.name: check.ok for check in row.checks}
            assert checks["answers-complete"] and row.descriptive["scores"], row.case


def test_rows_on_events_say_whose_facts_they_stand_on(session: Session) -> None:
    own = [row for row in session.rows if row.dataset == "elken" and row.verdict != "not_run"]
    assert own and all("8 facts of 4 events drawn by rule-based" in row.stands_on for row in own)
    assert {row.descriptive["facts_of_events"]["drawn_by"]["rule-based"] for row in own} == {4}
    drop = next(row for row in session.rows if row.claim == "rq1-drop-single-to-seq" and row.dataset == "elken")
    scores = drop.descriptive["scores"]["single"]
    assert scores["rel"] is None and scores["avg"] == pytest.approx((scores["loc"] + scores["port"]) / 2)
    told = session.json("manifest.json")
    assert (told["facts_of_events"], told["chains_from"]) == ("rule-based", "first")


def test_a_second_run_repeats_nothing(session: Session, common: Path, data: Path, tmp_path: Path) -> None:
    again = fork(tmp_path / "again", *words(data, common), suites=SUITE)
    assert session.keys("built", "answers") and session.keys("built", "step")
    assert again.keys("built") == []
    assert [(row.case, row.estimate, row.verdict) for row in again.rows] == [
        (row.case, row.estimate, row.verdict) for row in session.rows
    ]


# --------------------------------------------------------------------------- the real records
def test_a_hundred_real_records_have_their_edit_sites(
    shared: Callable[..., Path], smollm: LoadedModel, tmp_path: Path
) -> None:
    """Every fact of a hundred records of each of the three, its subject's last token and its target's tokens."""
    places = {"zsre": "zsre_knowedit", "wikidata-counterfact": "wikidata_counterfact_knowedit", "elken": "elken"}
    data = tuple(f"{name}={shared('data', folder)}" for name, folder in places.items())
    made = make_trial(Options(profile="records-100", store=tmp_path / "store", data=data), ROOT / "specs")
    for name in places:
        drawn_ = made.chains(name)
        records = [record for chain in drawn_ for record in chain]
        assert [len(chain) for chain in drawn_] == [10] * 10
        assert records == made.records(name)[:100]
        facts = facts_of(made, records)
        assert len(facts) >= 100
        for one in facts:
            assert 0 <= subject_end(smollm.tokenizer, one.prompt, one.subject) < 200
            assert target_ids(smollm.tokenizer, one.target_new)
