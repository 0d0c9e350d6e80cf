"""Events: ELKEN's shape, what an event record is, and every way its fields can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from editverdict.data import PROBE_KINDS, DataError, EditRecord, load_edits, save_edits, validate_edits
from editverdict.editors.base import EditError, new_edits
from editverdict.evaluation.probability import comparisons_of
from editverdict.evaluation.questions import questions_of

NOBODY = {"id": "NA", "name": "unknown", "alias": ["unknown"]}
EVENT: dict[str, Any] = {
    "event_type": "start-org",
    "event": "Zora Quill founded Harbour Books in Ulm.",
    "tendency": {"qas": [{"question": "Will it last?"}, {"question": "Will it grow?"}], "local_qas": [{}]},
    "fact": {
        "qas": [
            {
                "question": "Who founded Harbour Books?",
                "subject": {"id": "NA", "name": "Harbour Books"},
                "answer": {"id": "Q1", "name": "Zora Quill", "alias": ["Quill", "Zora Quill"]},
                "type": 0,
            },
            {
                "question": "In which country is Harbour Books?",
                "subject": {"id": "NA", "ent2name": "Harbour Books"},
                "answer": {"id": "Q2", "name": "Germany", "alias": []},
                "type": 1,
                "alias": ["HB"],
            },
            {
                "question": "Who is the CEO of Harbour Books?",
                "subject": {"id": "NA", "name": "Harbour Books"},
                "answer": NOBODY,
                "type": 0,
            },
        ],
        "local_qas": [
            {
                "question": "Where was Zora Quill born?",
                "subject": {"id": "Q1", "name": "Zora Quill"},
                "answer": {"id": "Q3", "name": "Bergen", "alias": ["Bjørgvin"]},
            }
        ],
    },
}


def changed(*path: str | int, to: object) -> dict[str, Any]:
    """The event with one field replaced; ``...`` takes it away."""
    item = json.loads(json.dumps(EVENT))
    place = item
    for step in path[:-1]:
        place = place[step]
    if to is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return dict(item)


def write(path: Path, *items: object) -> Path:
    path.write_text(json.dumps(list(items)), encoding="utf-8")
    return path


def test_an_event_becomes_a_record(tmp_path: Path) -> None:
    loaded = load_edits(write(tmp_path / "events.json", EVENT))
    assert loaded.problems == () and loaded.notes == ("3 questions about tendencies are left out",)
    (record,) = loaded.records
    assert (record.prompt, record.target_new, record.subject) == ("", "", "Harbour Books")
    assert record.bare_event and record.statement == record.event == EVENT["event"]
    assert [(p.kind, p.answers) for p in record.portability] == [
        ("event-stated", ("Zora Quill", "Quill")),
        ("event-inferred", ("Germany",)),
        ("event-unknown", ("unknown",)),
    ]
    assert [(p.kind, p.answers) for p in record.locality] == [("other-relation", ("Bergen", "Bjørgvin"))]
    assert set(record.lacks) == set(PROBE_KINDS) - {"locality/other-relation"}
    assert load_edits(tmp_path / "events.json", "elken").records == loaded.records


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (changed("fact", "qas", to=[]), "field 'fact.qas' is empty: an event without a factual question"),
        (changed("fact", "qas", to=...), "field 'fact.qas' is empty"),
        (changed("fact", "qas", to="Who?"), "field 'fact.qas': expected a list of objects, found 'Who?'"),
        (changed("fact", "local_qas", to=["Who?"]), "field 'fact.local_qas': expected a list of objects"),
        (changed("event", to="  "), "field 'event': expected a text, found '  '"),
        (changed("event", to=3), "field 'event': expected a text, found '3' (int)"),
        (changed("fact", "qas", 1, "question", to=...), "in 'fact.qas.1': field 'question' is missing"),
        (
            changed("fact", "qas", 1, "answer", to="Germany"),
            "field 'fact.qas.1.answer': expected an object with 'name'",
        ),
        (changed("fact", "qas", 1, "answer", "name", to=" "), "field 'fact.qas.1.answer' is empty"),
        (changed("fact", "qas", 1, "answer", "alias", to=[None]), "expected a text or a list of texts, found NoneType"),
        (changed("fact", "qas", 0, "subject", to={"id": "Q"}), "field 'fact.qas.0.subject': expected an object"),
        (changed("fact", "local_qas", 0, "subject", to=...), "field 'fact.local_qas.0.subject'"),
        (
            changed("fact", "qas", 2, "type", to=2),
            "field 'fact.qas.2.type': expected 0 (stated) or 1 (inferred), found 2",
        ),
        (changed("fact", "qas", 2, "type", to=True), "found True"),
        (changed("fact", "qas", 2, "type", to=[0]), "found [0]"),
    ],
)
def test_a_bad_event_is_named_and_counted(tmp_path: Path, bad: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "events.json", EVENT, bad)
    loaded = load_edits(path)
    assert len(loaded.records) == loaded.skipped == 1
    (problem,) = loaded.problems
    assert problem.startswith(f"{path}, index 1: left out: ") and said in problem


def test_an_event_without_facts_is_no_elken_event(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="field 'fact': expected an object with 'qas' and 'local_qas', found str"):
        load_edits(write(tmp_path / "events.json", changed("fact", to="none")), "elken")


def test_an_event_asks_for_no_reliability_and_no_comparison(tmp_path: Path) -> None:
    (record,) = load_edits(write(tmp_path / "events.json", EVENT)).records
    assert [q.dimension for q in questions_of(record)] == ["loc", "port", "port", "port"]
    assert comparisons_of(record, specificity_kinds=("other-relation",)) == []


def test_methods_that_change_weights_refuse_a_bare_event(tmp_path: Path) -> None:
    (record,) = load_edits(write(tmp_path / "events.json", EVENT)).records
    assert new_edits((), [record], events=True) == [record]
    with pytest.raises(EditError, match=r"record 'events-00000' is an event without prompt.*fact_edits"):
        new_edits((), [record])


def test_a_record_is_a_fact_or_an_event() -> None:
    with pytest.raises(ValueError, match="'prompt', 'subject', 'target_new' must not be empty"):
        EditRecord(id="e")
    with pytest.raises(ValueError, match="'target_new' must not be empty"):
        EditRecord(id="e", prompt="A is", subject="A", event="A became B.")
    with pytest.raises(ValueError, match="'event' is empty"):
        EditRecord(id="e", event=" ")
    both = EditRecord(id="e", prompt="A is", subject="A", target_new="B", event="A became B.")
    assert not both.bare_event and both.statement == "A became B."


def test_the_json_of_a_plain_fact_knows_nothing_of_events() -> None:
    """It is hashed into rows: the same fact has the same hash as before there were events."""
    fact = EditRecord(id="e", prompt="A is", subject="A", target_new="B")
    assert not {"event", "part_of"} & set(json.loads(fact.model_dump_json()))
    assert '"event":"A became B."' in fact.model_copy(update={"event": "A became B."}).model_dump_json()


def test_a_plain_file_may_hold_events(tmp_path: Path) -> None:
    bare = {"event": "A left B.", "portability": [{"prompt": "Who left B?", "answers": ["A"]}]}
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(bare) + "\n" + json.dumps(bare | {"subject": "A"}) + "\n", encoding="utf-8")
    first, second = load_edits(path).records
    assert first.bare_event and (first.subject, second.subject) == ("", "A")
    path.write_text(json.dumps(bare | {"prompt": "A left"}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="field 'target_new' is missing"):
        load_edits(path)


def test_events_of_one_entity_are_warned_of(tmp_path: Path) -> None:
    records = load_edits(write(tmp_path / "events.json", EVENT, changed("event", to="Harbour Books closed."))).records
    assert any("the subject 'Harbour Books' is edited by events-00000 too" in text for text in validate_edits(records))


def test_the_real_events(shared: Callable[..., Path], tmp_path: Path) -> None:
    path = shared("data", "elken", "test-fact-100.json")
    raw = json.loads(path.read_text(encoding="utf-8"))
    loaded = load_edits(path, "elken")
    assert len(loaded.records) == 100 and loaded.skipped == 0 and loaded.problems == ()
    assert loaded.records == load_edits(path).records
    assert [r.event for r in loaded.records] == [item["event"].strip() for item in raw]
    for record, item in zip(loaded.records, raw, strict=True):
        assert len(record.portability) == len(item["fact"]["qas"])
        assert len(record.locality) == len(item["fact"]["local_qas"])
    kinds = [p.kind for r in loaded.records for p in r.portability]
    unknown = sum(q["answer"]["name"] == "unknown" for item in raw for q in item["fact"]["qas"])
    assert kinds.count("event-unknown") == unknown > 0 and kinds.count("event-inferred") > 0
    # What events lack: everything that is asked of a fact, but other relations.
    assert loaded.lacking == {kind: 0 if kind == "locality/other-relation" else 100 for kind in PROBE_KINDS}
    save_edits(loaded.records, tmp_path / "copy.jsonl")
    assert load_edits(tmp_path / "copy.jsonl").records == loaded.records
