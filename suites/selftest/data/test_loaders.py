"""Loading a user's edits: every shape, every way to be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from editverdict.data import DataError, load_dataset, load_edits
from editverdict.data.loaders import Format
from editverdict.schema.specs import DatasetSpec, FolderSource, HubSource

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
        ({"id": "first"}, "the id 'first' is that of line 1 too"),
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
    with pytest.raises(DataError, match=r"hub repository 'a/b'.*--edits FILE.jsonl"):
        load_dataset(DatasetSpec(id="hub", format="knowedit", source=HubSource(repo="a/b")))
    assert len(load_dataset(DatasetSpec(id="hub", format="jsonl"), path).records) == 1


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
