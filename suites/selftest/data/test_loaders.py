"""Loading a user's edits: every shape, every way to be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from editverdict.data import PROBE_KINDS, DataError, EditRecord, Fact, Probe, load_dataset, load_edits, save_edits
from editverdict.data.loaders import Format
from editverdict.schema.library import SpecLibrary
from editverdict.schema.sources import FolderSource
from editverdict.schema.specs import DatasetSpec

ROOT = Path(__file__).resolve().parents[3]
GENERIC: dict[str, Any] = {
    "prompt": "The capital of Freedonia is",
    "subject": "Freedonia",
    "target_new": "Quux",
    "target_old": ["Foo", "Foo City"],
    "rephrases": ["Freedonia is governed from"],
    "locality": [{"prompt": "The capital of Sylvania is", "answers": ["Bar"], "kind": "same-relation"}],
    "portability": [{"prompt": "Quux is the capital of", "ground_truth": "Freedonia", "kind": "inverse"}],
}
KNOWEDIT: dict[str, Any] = {
    "subject": "Ada Zorn",
    "prompt": "The trade of Ada Zorn is",
    "target_new": "baker",
    "ground_truth": [["smith", "blacksmith"], ["farrier"]],
    "portability": {
        "Subject_Aliasing": [{"prompt": "The trade of A. Z. Zorn is", "ground_truth": "baker"}],
        "Reasoning": [{"prompt": "Ada Zorn works with", "ground_truth": ["flour"]}],
        "Logical_Generalization": [{"prompt": "Who bakes?", "ground_truth": [["Ada Zorn", "Ada"]]}],
    },
    "locality": {
        "Relation_Specificity": [{"prompt": "The town of Ada Zorn is", "ground_truth": [["Ulm", "Ulm (city)"]]}],
        "Forgetfulness": [{"prompt": "The trade of Ada Zorn, not baker, is", "ground_truth": "smith"}],
    },
}
COUNTERFACT: dict[str, Any] = {
    "case_id": 7,
    "prompt": "Gizmo was made by",
    "subject": "Gizmo",
    "target_new": "Acme",
    "ground_truth": "Zeta",
    "rephrase_prompt": "The maker of Gizmo is",
    "locality_prompt": "Gadget was made by",
    "locality_ground_truth": "Zeta",
}
ORIGINAL: dict[str, Any] = {
    "case_id": 9,
    "requested_rewrite": {
        "prompt": "{} speaks",
        "subject": "Bo Lund",
        "target_new": {"str": "Finnish"},
        "target_true": {"str": "Danish"},
        "relation_id": "P103",
    },
    "paraphrase_prompts": ["At home Bo Lund uses"],
    "neighborhood_prompts": ["Per Holm speaks", "Ib Dam speaks"],
}


def write(path: Path, *items: object) -> Path:
    path.write_text("\n".join(json.dumps(item) for item in items) + "\n", encoding="utf-8")
    return path


def test_each_shape_is_recognised_line_by_line(tmp_path: Path) -> None:
    loaded = load_edits(write(tmp_path / "mixed.jsonl", GENERIC, KNOWEDIT, COUNTERFACT, ORIGINAL))
    assert loaded.problems == () and loaded.skipped == 0
    generic, knowedit, counterfact, original = loaded.records
    assert (generic.id, generic.target_old, generic.target_old_aliases) == ("mixed-00000", "Foo", ("Foo City",))
    assert generic.locality[0].answers == ("Bar",) and generic.portability[0].answers == ("Freedonia",)
    assert generic.source == "mixed.jsonl, line 1"

    assert knowedit.target_old_aliases == ("blacksmith", "farrier")
    assert [p.kind for p in knowedit.portability] == ["alias", "two-hop", "logical-generalization"]
    assert [p.kind for p in knowedit.locality] == ["other-relation", "forgetfulness"]
    assert knowedit.locality[0].answers == ("Ulm", "Ulm (city)")

    assert (counterfact.id, counterfact.rephrases) == ("7", ("The maker of Gizmo is",))
    assert counterfact.locality[0].kind == "same-relation" and counterfact.target_old == "Zeta"

    assert (original.prompt, original.target_new, original.relation) == ("Bo Lund speaks", "Finnish", "P103")
    assert [p.answers for p in original.locality] == [("Danish",), ("Danish",)]


def test_an_array_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text(json.dumps([GENERIC, KNOWEDIT], indent=1), encoding="utf-8")
    assert [r.source for r in load_edits(path).records] == ["all.json, index 0", "all.json, index 1"]


def test_an_alias_stands_in_for_a_missing_rephrase_and_lacks_says_so(tmp_path: Path) -> None:
    (record,) = load_edits(write(tmp_path / "k.jsonl", KNOWEDIT)).records
    assert record.rephrases == ("The trade of A. Z. Zorn is",) and "rephrase" in record.lacks
    (record,) = load_edits(write(tmp_path / "k.jsonl", KNOWEDIT | {"rephrase_prompt": "Ada Zorn is a"})).records
    assert record.rephrases == ("Ada Zorn is a",) and "rephrase" not in record.lacks


def test_a_subject_in_other_letters_is_spelt_as_in_the_prompt(tmp_path: Path) -> None:
    (record,) = load_edits(write(tmp_path / "g.jsonl", GENERIC | {"subject": "freedonia"})).records
    assert record.subject == "Freedonia"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"subject": "Ruritania"}, "the prompt does not contain the subject 'Ruritania'"),
        ({"prompt": ""}, "field 'prompt': expected a text, found ''"),
        ({"target_new": None}, "field 'target_new': expected a text or a list of texts, found NoneType"),
        ({"target_new": []}, "field 'target_new' is empty"),
        ({"locality": [{"prompt": "x"}]}, "field 'locality': a probe has no 'answers'"),
        ({"locality": "x"}, "field 'locality': expected a list of objects, found str"),
        ({"rephrases": {"a": 1}}, "field 'rephrases': expected a text or a list of texts, found dict"),
        ({"relation": 5}, "field 'relation'"),
        ({"split": "train"}, "field 'split': expected 'tune' or 'test', found 'train'"),
        ({"id": "first"}, "the id 'first' is that of g.jsonl, line 1 too"),
    ],
)
def test_a_bad_record_is_named_and_counted(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "g.jsonl", GENERIC | {"id": "first"}, GENERIC | {"id": "second"} | change)
    loaded = load_edits(path)
    assert [r.id for r in loaded.records] == ["first"] and loaded.skipped == 1
    (problem,) = loaded.problems
    assert problem.startswith(f"{path}, line 2: left out: ") and said in problem


def test_a_missing_field_lists_what_was_found(tmp_path: Path) -> None:
    bad = {"prompt": "A is", "subject": "A", "target": "B"}
    loaded = load_edits(write(tmp_path / "g.jsonl", GENERIC, bad, ["not", "an", "object"]))
    assert "field 'target_new' is missing (found: prompt, subject, target)" in loaded.problems[0]
    assert "found list" in loaded.problems[1] and loaded.skipped == 2


def test_an_unknown_field_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    loaded = load_edits(write(tmp_path / "g.jsonl", GENERIC | {"rephrase": ["x"]}))
    assert len(loaded.records) == 1 and loaded.skipped == 0
    assert "unknown field 'rephrase' is ignored; did you mean 'rephrases'?" in loaded.problems[0]


def test_all_lines_that_are_not_json_are_named_together(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join([json.dumps(GENERIC), "{'a': 1}", "", "oops", *["x"] * 30]), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_edits(path)
    message = str(caught.value)
    assert f"{path}: 32 line(s) are not JSON" in message
    assert "line 2: " in message and "line 4: " in message and "found 'oops'" in message
    assert message.count("\n  line ") == 20 and "and 12 more" in message and "Expected one object per line" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("[]", "holds no record"),
        ("[{}, ", "line 1: not JSON"),
        ('{"a": 1}', "none of 1 records can be used"),
    ],
)
def test_a_file_without_records(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        load_edits(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path / "edits.jsonl", GENERIC)
    with pytest.raises(DataError, match=r"edit.jsonl: no such file; did you mean 'edits.jsonl'\?"):
        load_edits(tmp_path / "edit.jsonl")
    with pytest.raises(DataError, match="is a folder"):
        load_edits(tmp_path)
    (tmp_path / "latin.jsonl").write_bytes('{"a": "é"}'.encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        load_edits(tmp_path / "latin.jsonl")


def test_a_line_separator_inside_a_text_is_no_line_end(tmp_path: Path) -> None:
    path = tmp_path / "u.jsonl"
    path.write_text(json.dumps(GENERIC | {"source": "a\u2028b"}, ensure_ascii=False), encoding="utf-8")
    assert load_edits(path).records[0].source == "a\u2028b"


def test_a_dataset_spec_names_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "g.jsonl", GENERIC)
    spec = DatasetSpec(id="mine", format="jsonl", source=FolderSource(path=str(path)))
    loaded = load_dataset(spec)
    assert len(loaded.records) == 1
    assert any("cannot be proved" in warning for warning in loaded.warnings)
    with pytest.raises(DataError, match="'size' asks for 5 records, found 1"):
        load_dataset(spec.model_copy(update={"size": 5}))
    with pytest.raises(DataError, match=r"dataset 'none' \(knowedit\) has no 'source'.*--edits FILE"):
        load_dataset(DatasetSpec(id="none", format="knowedit"))
    assert len(load_dataset(DatasetSpec(id="none", format="jsonl"), path).records) == 1


def test_another_name_of_the_object_under_an_alias_is_accepted(tmp_path: Path) -> None:
    aliases = [
        {"prompt": "The trade of A. Z. Zorn is", "ground_truth": [["bread baker", "baker"]]},
        {"prompt": "The trade of Zorn is", "ground_truth": "pastry cook"},
        {"prompt": KNOWEDIT["prompt"], "ground_truth": "baker"},
    ]
    (record,) = load_edits(
        write(tmp_path / "k.jsonl", KNOWEDIT | {"portability": {"Subject_Aliasing": aliases}})
    ).records
    assert record.rephrases == ("The trade of A. Z. Zorn is", "The trade of Zorn is") and record.alias_rephrases
    assert record.target_new_aliases == ("bread baker", "pastry cook")


def test_records_come_back_from_a_file_as_they_were(tmp_path: Path) -> None:
    full = EditRecord(
        id="full",
        prompt="The capital of Freedonia is",
        subject="Freedonia",
        target_new="Quux",
        target_new_aliases=("Quux City",),
        target_old="Foo",
        target_old_aliases=("Foo\u2028Town",),
        relation="capital",
        rephrases=("Freedonia is governed from",),
        locality=(
            Probe(
                prompt="S is in", answers=("B", "Bé"), kind="same-relation", facts=(Fact(subject="S", relation="in"),)
            ),
            Probe(prompt="The motto of Freedonia is", answers=("Hail",), kind="other-relation"),
        ),
        portability=(Probe(prompt="Quux is the capital of", answers=("Freedonia",), kind="inverse"),),
        lacks=("portability/alias", "portability/two-hop"),
        split="tune",
        source="somewhere",
        part_of="event-1",
    )
    read = load_edits(write(tmp_path / "all.jsonl", GENERIC, KNOWEDIT, COUNTERFACT, ORIGINAL)).records
    records = (full, *read)
    save_edits(records, tmp_path / "deep" / "copy.jsonl")
    again = load_edits(tmp_path / "deep" / "copy.jsonl")
    assert again.records == records and again.problems == ()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["copy.jsonl"]


def test_what_a_record_says_it_lacks_must_be_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "g.jsonl", GENERIC, GENERIC | {"lacks": ["rephrase"]})
    loaded = load_edits(path)
    assert loaded.skipped == 1 and "line 2: left out: field 'lacks' says ['rephrase'], but what" in loaded.problems[0]
    missing = ["locality/other-relation", "portability/alias", "portability/two-hop"]
    (record,) = load_edits(write(tmp_path / "g.jsonl", GENERIC | {"lacks": ["rephrase", *missing]})).records
    assert record.lacks == ("rephrase", *missing) and record.alias_rephrases


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", GENERIC | {"id": "two"}, GENERIC | {"id": "one"})
    write(tmp_path / "a.json", GENERIC | {"id": "one"})
    (tmp_path / "README").write_text("not data", encoding="utf-8")
    loaded = load_dataset(DatasetSpec(id="mine", format="jsonl", source=FolderSource(path=str(tmp_path))))
    assert [(r.id, r.source) for r in loaded.records] == [("one", "a.json, line 1"), ("two", "b.jsonl, line 1")]
    assert loaded.skipped == 1 and "the id 'one' is that of a.json, line 1 too" in loaded.problems[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match=r"empty: no file that ends with .json or .jsonl in this folder \(found: nothing\)"
    ):
        load_dataset(DatasetSpec(id="mine", format="jsonl"), tmp_path / "empty")
    with pytest.raises(DataError, match=r"c.jsonl: no such file or folder; did you mean 'b.jsonl'\?"):
        load_dataset(DatasetSpec(id="mine", format="jsonl"), tmp_path / "c.jsonl")


@pytest.mark.parametrize(
    ("dataset", "folder", "lacking", "stand_ins"),
    [
        ("zsre", "zsre_knowedit", {"rephrase": 0, "locality/other-relation": 0}, 0),
        ("wikidata-counterfact", "wikidata_counterfact_knowedit", {"rephrase": 100, "portability/alias": 0}, 100),
        ("elken", "elken", {"rephrase": 100, "portability/two-hop": 100, "locality/other-relation": 0}, 0),
        ("counterfact", "counterfact", {"rephrase": 0, "locality/same-relation": 0, "portability/alias": 100}, 0),
    ],
)
def test_a_hundred_records_of_each_dataset_of_the_paper_load_from_a_folder(
    shared: Callable[..., Path], dataset: str, folder: str, lacking: dict[str, int], stand_ins: int
) -> None:
    """The specs that ship, with the source overlaid as a user without a hub would."""
    spec = SpecLibrary.load(ROOT / "specs").datasets[dataset]
    here = spec.model_copy(update={"source": FolderSource(path=str(shared("data", folder))), "size": 100})
    loaded = load_dataset(here)
    assert len(loaded.records) == 100 and loaded.skipped == 0 and loaded.problems == ()
    assert set(loaded.lacking) == set(PROBE_KINDS)
    assert {kind: loaded.lacking[kind] for kind in lacking} == lacking
    # The counts are those of the records, found from their probes.
    for kind, number in loaded.lacking.items():
        where, _, name = kind.partition("/")
        holders = [r for r in loaded.records if any(p.kind == name for p in getattr(r, where, ()))]
        assert kind == "rephrase" or number == 100 - len(holders)
    assert sum(record.alias_rephrases for record in loaded.records) == stand_ins


@pytest.mark.parametrize(
    ("file", "format", "number", "kinds"),
    [
        ("zsre_knowedit/ZsRE-test-200.json", "knowedit", 200, {"other-relation", "two-hop", "alias"}),
        ("wikidata_counterfact_knowedit/train_cf-200.json", "knowedit", 200, {"other-relation", "alias"}),
        ("wikidata_recent_knowedit/recent_train-100.json", "knowedit", 100, {"other-relation", "two-hop"}),
        ("counterfact/counterfact-edit-200.json", "counterfact", 200, {"same-relation"}),
    ],
)
def test_real_samples(shared: Callable[..., Path], file: str, format: Format, number: int, kinds: set[str]) -> None:
    path = shared("data", *file.split("/"))
    loaded = load_edits(path, format)
    assert len(loaded.records) == number and loaded.problems == ()
    assert loaded.records == load_edits(path).records  # the shape is recognised without being named
    assert kinds <= {p.kind for r in loaded.records for p in (*r.locality, *r.portability)}
    raw = json.loads(path.read_text(encoding="utf-8"))
    for item, record in zip(raw, loaded.records, strict=True):
        assert (record.prompt, record.target_new) == (item["prompt"].strip(), item["target_new"].strip())
        groups = item.get("portability") or {}
        assert len(record.portability) == sum(map(len, groups.values()))
    if "rephrase_prompt" not in raw[0]:
        assert all("rephrase" in record.lacks for record in loaded.records)
