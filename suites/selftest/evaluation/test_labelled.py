"""The labelled set: what is in ours, and what is wrong with a bad one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from editverdict.data.errors import DataError
from editverdict.evaluation.labelled import labelled_hash, read_labelled, shuffled
from editverdict.evaluation.lexical import LexicalJudge
from suites.selftest.conftest import ROOT

OURS = ROOT / "specs" / "judges" / "labelled.jsonl"
GOOD = {
    "id": "a",
    "question": "What?",
    "accepted": ["x"],
    "answers": [{"text": "x", "label": "yes", "kind": "exact"}, {"text": "y", "label": "no", "kind": "other-entity"}],
}


def file(folder: Path, *lines: Any) -> Path:
    path = folder / "set.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_ours_is_large_mixed_and_hard_for_words() -> None:
    found = read_labelled(OURS)
    kinds, labels = Counter(one.kind for one in found), Counter(one.label for one in found)
    assert len(found) >= 90 and len({one.question_id for one in found}) >= 20
    assert min(labels.values()) >= len(found) / 3
    for kind, least in {
        "alias": 6,
        "negation": 4,
        "hedge": 3,
        "hard-negative": 10,
        "retraction": 4,
        "broader": 5,
    }.items():
        assert kinds[kind] >= least, kind
    # A judge of words must not be able to pass: else the set would tell nothing about reading.
    for rule in ("starts-with", "contains"):
        said = LexicalJudge(rule).judge_many([one.item for one in found])  # type: ignore[arg-type]
        right = sum(a.verdict == one.label for a, one in zip(said, found, strict=True))
        assert 0.5 < right / len(found) < 0.9


def test_shuffled_answers_are_wrong_where_they_are_dealt() -> None:
    found = read_labelled(OURS)
    dealt = shuffled(found)
    accepted = {one.item.question: one.item.accepted for one in found}
    right = {(one.item.question, one.item.answer) for one in found if one.label == "yes"}
    assert len(dealt) >= 100 and len(set(dealt)) == len(dealt)
    for item in dealt:
        assert item.accepted == accepted[item.question] and (item.question, item.answer) not in right
        assert not LexicalJudge("contains").judge(item.answer, item.accepted)
    assert shuffled(found) == dealt != shuffled(found, seed=1)


def test_one_question_alone_has_nothing_to_deal(tmp_path: Path) -> None:
    assert shuffled(read_labelled(file(tmp_path, GOOD))) == []


def test_the_hash_is_of_what_is_judged(tmp_path: Path) -> None:
    first = labelled_hash(read_labelled(file(tmp_path, GOOD)))
    assert labelled_hash(read_labelled(file(tmp_path, "", {**GOOD, "id": "b"}))) == first
    assert labelled_hash(read_labelled(file(tmp_path, {**GOOD, "question": "Who?"}))) != first


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "no labelled answer in it"),
        (["{"], r":1: expected one JSON object per line"),
        ([GOOD, "[]"], r":2: the line: .*found \[\]"),
        ([GOOD, GOOD], r":2: id: 'a' stands in line 1 already"),
        ([{**GOOD, "accepted": []}], r":1: accepted: .*at least 1"),
        ([{**GOOD, "accepted": ["x", " "]}], r":1: accepted: found an empty text"),
        ([{**GOOD, "label": "yes"}], r":1: label: "),
        ([{k: v for k, v in GOOD.items() if k != "question"}], r":1: question: Field required"),
        ([{**GOOD, "answers": [{"text": "x", "label": "Yes", "kind": "k"}]}], r":1: answers.0.label: .*found 'Yes'"),
        ([{**GOOD, "answers": [GOOD["answers"][0]] * 2}], r":1: answers: found the same text twice"),
    ],
)
def test_a_bad_file_names_line_and_field(tmp_path: Path, lines: list[Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        read_labelled(file(tmp_path, *lines))
    assert "set.jsonl" in str(error.value) and "expected" in str(error.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_labelled(tmp_path / "nowhere.jsonl")
