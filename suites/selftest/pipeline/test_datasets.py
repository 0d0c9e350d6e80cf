"""Datasets in a run: what is left out is said and counted; what cannot be had is ``not_run``, not an error."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from editverdict.data import convert_events, in_sequence
from editverdict.editors.base import EditError
from editverdict.pipeline.answers import Asked, ask, in_state
from editverdict.pipeline.edits import steps
from editverdict.pipeline.runs import manifest
from editverdict.pipeline.setup import OWN_EDITS, Options, make_trial
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.library import SpecLibrary
from editverdict.schema.sources import FolderSource, UrlFile
from editverdict.schema.specs import DatasetSpec
from editverdict.store import Store

ROOT = Path(__file__).resolve().parents[3]
EDIT: dict[str, Any] = {"prompt": "The capital of Freedonia is", "subject": "Freedonia", "target_new": "Quux"}
KNOWEDIT = EDIT | {
    "locality": {"Relation_Specificity": [{"prompt": "The motto of Freedonia is", "ground_truth": [["Hail"]]}]},
    "portability": {"Subject_Aliasing": [{"prompt": "The capital of the Land of the Free is", "ground_truth": "Quux"}]},
}


def trial(tmp_path: Path, *specs: DatasetSpec) -> tuple[Trial, list[str]]:
    library = SpecLibrary.load(ROOT / "specs")
    library = dataclasses.replace(library, datasets={**library.datasets, **{spec.id: spec for spec in specs}})
    profile = library.profiles["smoke"].model_copy(update={"datasets": tuple(spec.id for spec in specs)})
    lines: list[str] = []
    made = Trial(library, profile, Store(tmp_path / "store"), torch.device("cpu"), report=lines.append)
    return made, lines


def test_what_is_left_out_is_said_and_stands_in_the_manifest(tmp_path: Path) -> None:
    file = tmp_path / "edits.json"
    file.write_text(json.dumps([KNOWEDIT, EDIT | {"subject": "Ruritania"}]), encoding="utf-8")
    spec = DatasetSpec(id="mine", format="auto", source=FolderSource(path=str(file)))
    made, lines = trial(tmp_path, spec)
    assert len(made.records("mine")) == 1
    (line,) = lines
    assert line.startswith(f"dataset mine: 1 records left out, such as: {file}, index 1: left out: ")
    told = manifest(made, ROOT, None, [])["data"]["mine"]
    assert (told["records"], told["left_out"], told["rephrases_from_aliases"]) == (1, 1, 1)
    assert told["lacking"]["rephrase"] == 1 and "index 1" in told["problems"][0]
    json.dumps(told)


def test_data_that_cannot_be_had_leaves_its_cases_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    far = DatasetSpec(id="far", format="auto", source=UrlFile(url="http://127.0.0.1:9/edits.json"))
    made, _ = trial(tmp_path, far)
    with pytest.raises(NotHere, match=r"dataset 'far': http://127\.0\.0\.1:9/edits\.json cannot be fetched"):
        made.records("far")
    assert "cannot be fetched" in manifest(made, ROOT, None, [])["data"]["far"]["error"]


def test_a_users_file_may_have_any_shape(tmp_path: Path) -> None:
    """``--edits FILE``: each record's shape is found by itself, as the documents say."""
    file = tmp_path / "edits.jsonl"
    file.write_text(json.dumps(KNOWEDIT) + "\n" + json.dumps(EDIT | {"id": "plain"}) + "\n", encoding="utf-8")
    made = make_trial(Options(profile="smoke", store=tmp_path / "store", edits=file), ROOT / "specs")
    loaded = made.loaded(OWN_EDITS)
    assert loaded.problems == () and [len(r.locality) for r in loaded.records] == [1, 0]


def elken(text: str, subject: str, target: str) -> dict[str, Any]:
    entity = {"id": "NA", "name": subject}
    question = {"question": f"What of {subject}?", "subject": entity, "answer": {"name": target, "alias": []}}
    local = {"question": f"Where is {subject}?", "subject": entity, "answer": {"name": "Ulm", "alias": []}}
    return {"event": text, "fact": {"qas": [question | {"type": 0}], "local_qas": [local]}}


def test_events_are_edited_as_facts_or_kept_as_texts_and_asked_as_events(tmp_path: Path) -> None:
    """On the toy: weights take the facts, a memory takes the sentences, and the questions are the events' own."""
    file = tmp_path / "events.json"
    file.write_text(
        json.dumps(
            [
                elken("Zora Quill founded Harbour Books in Bergen.", "Harbour Books", "Zora Quill"),
                elken("Bo Lund has left Acme.", "Bo Lund", "Acme"),
                elken("Ada Zorn moved to Ulm.", "Ada Zorn", "Ulm"),  # the profile's chains are three long
            ]
        ),
        encoding="utf-8",
    )
    made, _ = trial(tmp_path, DatasetSpec(id="events", format="elken", source=FolderSource(path=str(file))))
    model, events = "rehearsal-llama", made.records("events")[:2]
    facts = in_sequence(events, convert_events(events))
    assert [fact.part_of for fact in facts] == ["events-00000", "events-00000", "events-00001"]
    with pytest.raises(EditError, match="record 'events-00000' is an event without prompt"):
        steps(made, model, "ROME", events)
    written = steps(made, model, "ROME", facts)
    kept = steps(made, model, "SCR", events)
    assert len(written) == 3 and [step.info["statements"] for step in kept] == [[event.event] for event in events]
    one, two = ask(
        made,
        model,
        [Asked("ROME", tuple(events), written), in_state(made, model, "SCR", "SCR", events, kept)],
    )
    for answered in (one, two):
        assert [(row["edit_id"], row["dimension"], row["kind"]) for row in answered.rows] == [
            ("events-00000", "loc", "other-relation"),
            ("events-00000", "port", "event-stated"),
            ("events-00001", "loc", "other-relation"),
            ("events-00001", "port", "event-stated"),
        ]
    assert one.key != two.key and {row["given"] for row in one.rows} == {None}
