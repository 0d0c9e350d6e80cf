"""One process: reuse, damage, failing producers, the ledger."""

from __future__ import annotations

import logging
import shutil
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from editverdict.store import (
    Counts,
    DamagedEntryWarning,
    Draft,
    Job,
    Ledger,
    Recipe,
    Store,
    default_root,
)


class Counting:
    """A producer that counts its calls."""

    def __init__(self, value: object = 1, seconds: float = 0.0) -> None:
        self.value, self.seconds, self.calls = value, seconds, 0

    def __call__(self, draft: Draft) -> None:
        self.calls += 1
        time.sleep(self.seconds)
        draft.write_json(self.value)
        draft.write_table([{"x": self.calls}])


def recipe(number: int = 0, kind: str = "thing") -> Recipe:
    return Recipe.of(kind, 1, number=number)


def test_built_once_then_found(tmp_path: Path) -> None:
    producer = Counting()
    store = Store(tmp_path)
    assert store.find(recipe()) is None
    made = store.build(recipe(), producer)
    assert made.path == tmp_path / "thing" / made.key[:2] / made.key
    assert store.build(recipe(), producer).json() == Store(tmp_path).build(recipe(), producer).json() == 1
    assert producer.calls == 1
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_default_root_is_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == Store().root == tmp_path / "editverdict" / "store"
    assert not Store().root.exists()  # looking at it creates nothing


def truncate(folder: Path) -> None:
    (folder / "meta.json").write_bytes((folder / "meta.json").read_bytes()[:-40])


def alter_meta(folder: Path) -> None:
    text = (folder / "meta.json").read_text()
    (folder / "meta.json").write_text(text.replace('"seconds": 0', '"seconds": 7', 1))
    assert (folder / "meta.json").read_text() != text


def swap(folder: Path) -> None:
    """A healthy entry, but of another recipe."""
    other = Store(folder.parents[2]).build(recipe(99), Counting()).path
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing file": lambda folder: (folder / "data.json").unlink(),
    "same size, other content": lambda folder: (folder / "data.json").write_text("2"),
    "grown file": lambda folder: (folder / "data.json").write_text("1 "),
    "missing meta": lambda folder: (folder / "meta.json").unlink(),
    "torn meta": truncate,
    "altered meta": alter_meta,
    "meta is a list": lambda folder: (folder / "meta.json").write_text("[]"),
    "empty folder": lambda folder: [file.unlink() for file in folder.iterdir()],
    "other recipe": swap,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_entry_is_set_aside_and_rebuilt(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    producer = Counting()
    made = Store(tmp_path).build(recipe(), producer)
    damage(made.path)
    store = Store(tmp_path)
    with pytest.warns(DamagedEntryWarning, match=made.key[:12]):
        assert store.find(recipe()) is None
    (aside,) = (tmp_path / "damaged").iterdir()
    assert aside.name.startswith(made.key + "-") and not made.path.exists()
    assert store.build(recipe(), producer).json() == 1
    assert producer.calls == 2
    assert store.ledger.snapshot()["thing"].damaged == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Store(tmp_path).find(recipe()) is not None


def test_build_repairs_without_find(tmp_path: Path) -> None:
    producer = Counting()
    made = Store(tmp_path).build(recipe(), producer)
    (made.path / "rows.parquet").write_bytes(b"")
    with pytest.warns(DamagedEntryWarning, match=r"rows\.parquet"):
        Store(tmp_path).build(recipe(), producer)
    assert producer.calls == 2


def test_checksums_are_compared_once_per_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.build(recipe(), Counting())
    (made.path / "data.json").write_text("2")
    assert store.find(recipe()) is not None  # known to this process
    shutil.rmtree(made.path)
    assert store.find(recipe()) is None  # but not believed once it is gone


def test_a_raising_producer_leaves_nothing_but_a_log_entry(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)

    def full(draft: Draft) -> None:
        draft.write_json(1)
        raise OSError(28, "No space left on device")

    with caplog.at_level(logging.ERROR), pytest.raises(OSError, match="No space left"):
        store.build(recipe(), full)
    assert "No space left" in caplog.text and str(recipe()) in caplog.text
    assert list((tmp_path / ".tmp").iterdir()) == [] and not store.path_of(recipe()).exists()
    assert store.ledger.snapshot()["thing"] == Counts(failed=1, seconds=store.ledger.events[0].seconds)
    assert store.build(recipe(), Counting()).json() == 1  # the lock is free again


def test_an_empty_product_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wrote nothing"):
        Store(tmp_path).build(recipe(), lambda draft: None)
    assert Store(tmp_path).find(recipe()) is None


def test_drafts_of_dead_processes_are_removed_and_living_ones_kept(tmp_path: Path) -> None:
    dead = tmp_path / ".tmp" / f"{recipe(5).key}.0"
    dead.mkdir(parents=True)
    (dead / "data.json").write_text("half")
    living: list[bool] = []

    def producer(draft: Draft) -> None:
        Store(tmp_path).build(recipe(1), Counting())  # a store of its own, which sweeps
        living.append(draft.path.exists())
        draft.write_json(1)

    Store(tmp_path).build(recipe(0), producer)
    assert living == [True] and not dead.exists()


def test_producers_may_build_what_they_need_but_not_themselves(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def outer(draft: Draft) -> None:
        draft.write_json(store.build(recipe(1, "inner"), Counting(7, seconds=0.2)).json())

    assert store.build(recipe(0, "outer"), outer).json() == 7
    counts = store.ledger.snapshot()
    assert counts["inner"].seconds >= 0.2 > counts["outer"].seconds  # no second is counted twice
    with pytest.raises(RuntimeError, match="cannot contain itself"):
        store.build(recipe(2), lambda draft: store.build(recipe(2), Counting()))


def test_build_many_keeps_order_and_repeats(tmp_path: Path) -> None:
    store, producer, seen = Store(tmp_path), Counting(), []
    store.build(recipe(1), Counting("old"))
    wanted = [recipe(n) for n in (3, 1, 2, 3)]
    made = store.build_many([Job(r, producer) for r in wanted], progress=lambda done, total: seen.append((done, total)))
    assert [artifact.key for artifact in made] == [r.key for r in wanted]
    assert made[1].json() == "old" and producer.calls == 2
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert store.build_many([]) == []


def test_threads_share_the_work(tmp_path: Path) -> None:
    store, producer = Store(tmp_path), Counting(seconds=0.02)
    jobs = [Job(recipe(n), producer) for n in range(6)]
    threads = [threading.Thread(target=store.build_many, args=(jobs,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert producer.calls == 6 and store.ledger.snapshot()["thing"].built == 6


def test_ledger_by_kind_and_stage_and_over_workers(tmp_path: Path) -> None:
    files = [tmp_path / "events" / f"{n}.jsonl" for n in range(3)]
    old = Store(tmp_path / "store")
    old.build(recipe(0), Counting())
    first = Store(tmp_path / "store", events=files[0])
    with first.stage("edits"):
        first.build(recipe(0), Counting())
        first.build(recipe(1), Counting(seconds=0.05))
    second = Store(tmp_path / "store", events=files[1])
    with second.stage("scores"):
        for _ in range(3):
            second.find(recipe(0))
            second.find(recipe(1))  # built in this run by the other worker: not reused
        second.build(recipe(2, "score"), Counting())
    assert first.ledger.snapshot()["thing"] == Counts(1, 1, 0, 0, first.ledger.events[1].seconds)
    with files[1].open("a") as file:
        file.write('{"torn": ')
    total = Ledger.read(*files)  # the third does not exist
    things = total.snapshot()["thing"]
    assert (things.built, things.reused) == (1, 1) and 0.05 <= things.seconds < 1
    assert {stage: (c.built, c.reused) for stage, c in total.stages().items()} == {"edits": (1, 1), "scores": (1, 0)}
    assert set(total.table()) == {("edits", "thing"), ("scores", "score")}
