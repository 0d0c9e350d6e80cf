"""The memory of SCR on disk: index and texts together, and what happens when they do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from editverdict.editors.scr import INDEX, TEXTS, Memory, MemoryFileError
from suites.selftest.editors.test_scr import Words

STORED = ["the cat sat on a mat", "a dog ran far", "the cat ran", "Möwen fliegen übers Meer", "seven ships sailed"]
QUERIES = ["the cat sat", "ships", "a dog", "Meer und Möwen", "nothing of this"]


def test_a_saved_memory_answers_alike(tmp_path: Path) -> None:
    memory = Memory(STORED, Words())
    memory.save(tmp_path, "words")
    encoder = Words()
    loaded = Memory.load(tmp_path, encoder, "words")
    assert encoder.calls == []  # nothing is embedded again
    assert loaded.texts == STORED
    for k in (1, 3, 9):
        assert loaded.nearest(QUERIES, k) == memory.nearest(QUERIES, k)


def test_a_loaded_memory_grows(tmp_path: Path) -> None:
    Memory(STORED[:3], Words()).save(tmp_path, "words")
    loaded = Memory.load(tmp_path, Words(), "words")
    loaded.add(STORED[3:])
    assert loaded.nearest(QUERIES, 5) == Memory(STORED, Words()).nearest(QUERIES, 5)


def test_a_copy_is_independent() -> None:
    encoder = Words()
    memory = Memory(STORED[:2], encoder)
    calls = len(encoder.calls)
    own = memory.copy()
    assert len(encoder.calls) == calls
    own.add(["seven ships"])
    assert own.nearest(["seven ships"], 1) == [["seven ships"]]
    assert memory.texts == STORED[:2] and memory.nearest(["seven ships"], 9)[0] != own.nearest(["seven ships"], 9)[0]


def test_an_empty_memory_is_saved_and_loaded(tmp_path: Path) -> None:
    Memory([], Words()).save(tmp_path, "words")
    assert not (tmp_path / INDEX).exists()
    assert Memory.load(tmp_path, Words(), "words").nearest(QUERIES, 3) == [[]] * len(QUERIES)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(MemoryFileError, match=rf"{TEXTS}: no such file"):
        Memory.load(tmp_path, Words(), "words")
    Memory(STORED, Words()).save(tmp_path, "words")
    with pytest.raises(MemoryFileError, match="embedded by encoder words, expected others"):
        Memory.load(tmp_path, Words(), "others")
    said = json.loads((tmp_path / TEXTS).read_text())
    (tmp_path / TEXTS).write_text(json.dumps({**said, "texts": STORED[:2]}))
    with pytest.raises(MemoryFileError, match="5 embeddings, expected one for each of the 2 texts"):
        Memory.load(tmp_path, Words(), "words")
    (tmp_path / INDEX).write_bytes(b"no index")
    with pytest.raises(MemoryFileError, match=f"{INDEX}: no index that faiss can read"):
        Memory.load(tmp_path, Words(), "words")
    (tmp_path / INDEX).unlink()
    with pytest.raises(MemoryFileError, match=f"{INDEX}: no such file beside 2 texts"):
        Memory.load(tmp_path, Words(), "words")
    for wrong in ("no json", "[]", '{"encoder": "words", "texts": [1]}', '{"texts": []}'):
        (tmp_path / TEXTS).write_text(wrong)
        with pytest.raises(MemoryFileError, match="expected"):
            Memory.load(tmp_path, Words(), "words")
