"""Text corpora."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from editverdict.data import DataError, corpus_hash, load_corpus
from editverdict.data.corpus import split_gloss
from editverdict.schema.sources import FolderSource
from editverdict.schema.specs import CorpusSpec

LICENCE = "  1 This software and database is | provided by somebody for nothing at all\n"


def spec(format: str, min_words: int = 3) -> CorpusSpec:
    return CorpusSpec(id="c", format=format, source=FolderSource(path="."), min_words=min_words)  # type: ignore[arg-type]


def line(gloss: str) -> str:
    return f"00001740 00 a 01 word 0 000 | {gloss}  \n"


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    contents = {
        "data.adj": LICENCE + line('able to do a thing; "he can do it"; "she is able to"'),
        "data.adv": line("in a quick manner"),
        "data.noun1": LICENCE + line("a thing that is there").rstrip("\n"),  # no newline at the end, as in the original
        "data.noun2": line('the second half of nouns; "half of them all"'),
        "data.verb": line("in a quick manner") + line("be"),
    }
    for name, text in contents.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_glosses_and_examples_are_distinct_long_enough_and_without_the_licence(wordnet: Path) -> None:
    texts = load_corpus(spec("wordnet"), wordnet)
    assert sorted(texts) == sorted(
        [
            "able to do a thing",
            "he can do it",
            "she is able to",
            "in a quick manner",
            "a thing that is there",
            "the second half of nouns",
            "half of them all",
        ]
    )


def test_the_order_depends_on_the_texts_alone(wordnet: Path) -> None:
    by_member = {f"pkg/dict/{p.name}": p for p in wordnet.iterdir()}
    names = list(by_member)
    random.Random(0).shuffle(names)
    assert load_corpus(spec("wordnet"), {n: by_member[n] for n in names}) == load_corpus(spec("wordnet"), wordnet)
    longer = load_corpus(spec("wordnet", 4), wordnet)
    assert longer == [t for t in load_corpus(spec("wordnet"), wordnet) if len(t.split()) >= 4]


def test_the_order_is_no_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n".join(f"text number {i:04d}" for i in range(1000)), encoding="utf-8")
    texts = load_corpus(spec("lines"), tmp_path / "t.txt")
    first_half = sum(int(t[-4:]) < 500 for t in texts[:200])
    assert len(texts) == 1000 and 70 <= first_half <= 130  # a fair sample: 100 expected, standard deviation 6.3


@pytest.mark.parametrize(
    ("gloss", "texts"),
    [
        ('a, b; c; "d e"; "f"', ["a, b; c", "d e", "f"]),
        ('"only an example"', ["only an example"]),
        ('unclosed; "an example', ["unclosed"]),
        ("plain", ["plain"]),
    ],
)
def test_split_gloss(gloss: str, texts: list[str]) -> None:
    assert split_gloss(gloss) == texts


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "one two three"}\n\n{"text": "one two three"}\n{"text": "x"}\n', encoding="utf-8")
    assert load_corpus(spec("jsonl"), path) == ["one two three"]
    path.write_text('{"text": "one two three"}\n{"txt": "a"}\nnope\n{"text": 3}\n', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_corpus(spec("jsonl"), path)
    message = str(caught.value)
    assert "3 line(s)" in message and "line 2: expected an object with a string 'text', found fields ['txt']" in message
    assert "line 3: not JSON" in message and "format 'lines'" in message


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.txt: no such file"):
        load_corpus(spec("lines"), tmp_path / "none.txt")
    with pytest.raises(DataError, match=r"not found: .*data.adj"):
        load_corpus(spec("wordnet"), tmp_path)
    (tmp_path / "short.txt").write_text("too short\n", encoding="utf-8")
    with pytest.raises(DataError, match="no text of at least 3 words"):
        load_corpus(spec("lines"), tmp_path / "short.txt")


def test_the_hash_knows_order_and_boundaries() -> None:
    assert corpus_hash(["ab", "c"]) != corpus_hash(["a", "bc"])
    assert corpus_hash(["a", "b"]) != corpus_hash(["b", "a"])
    assert corpus_hash(["a", "b"]) == corpus_hash(iter(["a", "b"]))
