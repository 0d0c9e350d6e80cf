"""Round trips of every file format, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from editverdict.store import Artifact, Draft, Recipe, Store


@pytest.fixture
def build(tmp_path: Path) -> Callable[[Callable[[Draft], None]], Artifact]:
    """Build one artifact and read it back with a fresh store, so that nothing comes from memory."""

    def run(producer: Callable[[Draft], None]) -> Artifact:
        recipe = Recipe.of("thing", 1, seed=0)
        Store(tmp_path / "store", provenance={"commit": "abc"}).build(recipe, producer)
        found = Store(tmp_path / "store").find(recipe)
        assert found is not None
        return found

    return run


def test_json_round_trip(build: Callable[..., Artifact]) -> None:
    value = {"a": [1, 2.5, None, True, "é\n"], "deep": {"x": {"y": []}}, "tiny": 5e-324, "t": (1, 2)}
    assert build(lambda draft: draft.write_json(value)).json() == {**value, "t": [1, 2]}


def test_non_finite_numbers_survive_and_stay_valid_json(build: Callable[..., Artifact]) -> None:
    made = build(lambda draft: draft.write_json({"a": [math.nan, math.inf, -math.inf], "n": np.float32("nan")}))
    a = made.json()["a"]
    assert math.isnan(a[0]) and a[1:] == [math.inf, -math.inf] and math.isnan(made.json()["n"])
    # A strict reader (one that knows no NaN literal) sees the documented encoding.
    strict = json.loads((made.path / "data.json").read_text(), parse_constant=lambda text: pytest.fail(text))
    assert strict["a"] == [{"$float": "nan"}, {"$float": "inf"}, {"$float": "-inf"}]


def test_numpy_numbers_become_plain(build: Callable[..., Artifact]) -> None:
    made = build(lambda draft: draft.write_json([np.int64(3), np.float64(0.1), np.bool_(True), np.float32(0.5)]))
    assert made.json() == [3, 0.1, True, 0.5]
    assert [type(value) for value in made.json()] == [int, float, bool, float]


@pytest.mark.parametrize(
    ("value", "error", "where"),
    [
        ({"a": [0, {1}]}, TypeError, r"data\.a\[1\]"),
        ({"a": torch.zeros(2)}, TypeError, r"data\.a"),
        ({"a": {1: 2}}, TypeError, r"data\.a"),
        ({"a": {"$float": "nan"}}, ValueError, r"data\.a"),
    ],
)
def test_json_refusals_say_where(tmp_path: Path, value: object, error: type[Exception], where: str) -> None:
    with pytest.raises(error, match=where):
        Draft(tmp_path).write_json(value)


def test_tensors_round_trip_bit_for_bit(build: Callable[..., Artifact]) -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    shared = torch.arange(12.0)
    tensors = {
        "transposed": base.T,
        "strided": base[::2, 1:],
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
        "half": base.to(torch.bfloat16),
        "nan": torch.tensor([math.nan, math.inf]),
        "grad": torch.ones(2, requires_grad=True),
        "whole": shared,
        "again": shared,
        "view": shared[3:5],
    }
    loaded = build(lambda draft: draft.write_tensors(tensors)).tensors()
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype and loaded[name].is_contiguous()
        assert torch.equal(torch.nan_to_num(loaded[name]), torch.nan_to_num(tensor.detach())), name
    assert math.isnan(loaded["nan"][0])


@pytest.mark.parametrize("value", [np.zeros(2), torch.zeros(2).to_sparse(), None])
def test_only_dense_tensors(tmp_path: Path, value: object) -> None:
    with pytest.raises(TypeError, match="'a'"):
        Draft(tmp_path).write_tensors({"a": value})  # type: ignore[dict-item]


def test_tables_keep_nan_and_null_apart_and_all_columns(build: Callable[..., Artifact]) -> None:
    rows = [{"layer": 1, "r": math.nan}, {"layer": 2, "r": None}, {"layer": 3, "late": "x", "r": 0.5}]
    table = build(lambda draft: draft.write_table(rows)).table()
    assert table.column_names == ["layer", "r", "late"]
    r = table["r"]
    assert r.null_count == 1 and math.isnan(r[0].as_py()) and r[1].as_py() is None
    assert table["late"].to_pylist() == [None, None, "x"]


def test_arrow_and_empty_tables(build: Callable[..., Artifact]) -> None:
    table = pa.table({"a": pa.array([1, 2], pa.int32()), "v": [[1.0], []]})

    def producer(draft: Draft) -> None:
        draft.write_table(table, "some")
        draft.write_table(table.slice(0, 0), "none")
        draft.write_table([], "bare")

    made = build(producer)
    assert made.table("some").equals(table)
    assert made.table("none").schema.equals(table.schema) and made.table("none").num_rows == 0
    assert made.table("bare").num_rows == 0


def test_meta_says_what_is_inside(build: Callable[..., Artifact]) -> None:
    def producer(draft: Draft) -> None:
        draft.write_json(1)
        (draft.path / "sub").mkdir()
        (draft.path / "sub" / "plot.svg").write_text("<svg/>")

    made = build(producer)
    meta = made.meta
    assert set(meta["files"]) == {"data.json", "sub/plot.svg"} and meta["files"]["sub/plot.svg"]["size"] == 6
    assert meta["recipe"] == Recipe.of("thing", 1, seed=0).to_json() and meta["recipe"]["key"] == made.key
    assert meta["provenance"] == {"commit": "abc"} and "torch" in meta["libraries"]
    assert meta["created"].endswith("+00:00")
    with pytest.raises(KeyError, match=r"no file 'other\.json'"):
        made.json("other")
    with pytest.raises(TypeError):
        made.meta["files"] = {}  # type: ignore[index]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "meta"])
def test_names_are_file_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a file"):
        Draft(tmp_path).write_json(1, name)


def test_nothing_is_written_twice(tmp_path: Path) -> None:
    draft = Draft(tmp_path)
    draft.write_json(1)
    with pytest.raises(ValueError, match="already written"):
        draft.write_json(2)
