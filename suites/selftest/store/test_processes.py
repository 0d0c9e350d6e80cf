"""Several real processes: killed ones leave nothing half done, living ones share the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import editverdict
from editverdict.store import Draft, Job, Ledger, Recipe, Store

SOURCE = str(Path(editverdict.__file__).parents[1])

PRELUDE = """
import os, signal, sys, time
from pathlib import Path
from editverdict.store import Job, Recipe, Store
from editverdict.store import artifact, store as room
root = Path(sys.argv[1])
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
def produce(draft):
    draft.write_json({"by": os.getpid()})
"""


def start(code: str, *args: object) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": SOURCE}
    return subprocess.Popen([sys.executable, "-c", PRELUDE + code, *map(str, args)], env=env, stdin=subprocess.PIPE)


def recipe(number: int = 0) -> Recipe:
    return Recipe.of("slow", 1, number=number)


def wait_for(path: Path, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


KILLS = {
    "before writing": "produce = die",
    "after a file": "def produce(draft): draft.write_json(1); die()",
    "in the middle of a file": (
        "def produce(draft):\n"
        "    with (draft.path / 'data.json').open('w') as file: file.write('[1, 2'); file.flush(); die()"
    ),
    "while syncing": "artifact._sync = die",
    "before meta.json is whole": "artifact._checksum = die",
    "before the rename": "os.rename = die",
}


@pytest.mark.parametrize("code", KILLS.values(), ids=KILLS.keys())
def test_a_killed_producer_leaves_no_half_entry(tmp_path: Path, code: str) -> None:
    process = start(code + "\nStore(root).build(Recipe.of('slow', 1, number=0), produce)", tmp_path)
    assert process.wait(60) == -signal.SIGKILL
    assert not Store(tmp_path).path_of(recipe()).exists()
    assert len(list((tmp_path / ".tmp").iterdir())) == 1  # it was killed in the middle
    store = Store(tmp_path)
    assert store.find(recipe()) is None
    assert store.build(recipe(), lambda draft: draft.write_json("mine")).json() == "mine"
    assert list((tmp_path / ".tmp").iterdir()) == []
    assert not (tmp_path / "damaged").exists()


def test_killed_after_the_rename_is_finished(tmp_path: Path) -> None:
    code = "room.entries.sync_folder = die\nStore(root).build(Recipe.of('slow', 1, number=0), produce)"
    process = start(code, tmp_path)
    assert process.wait(60) == -signal.SIGKILL
    found = Store(tmp_path).find(recipe())
    assert found is not None and found.json() == {"by": process.pid}


def test_a_file_size_limit_leaves_nothing(tmp_path: Path) -> None:
    # A real write error from the operating system, in the middle of a file.
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
def produce(draft): draft.write_json(["x" * 100] * 1000)
try:
    Store(root).build(Recipe.of('slow', 1, number=0), produce)
except OSError:
    sys.exit(7)
"""
    assert start(code, tmp_path).wait(60) == 7
    assert list((tmp_path / ".tmp").iterdir()) == [] and Store(tmp_path).find(recipe()) is None


@pytest.mark.parametrize("workers", [2, 3])
def test_processes_share_the_same_jobs(tmp_path: Path, workers: int) -> None:
    code = """
def produce(draft):
    time.sleep(0.05)
    draft.write_json({"by": os.getpid()})
store = Store(root / "store", events=root / f"{os.getpid()}.jsonl")
(root / f"ready-{os.getpid()}").touch()
sys.stdin.read()
made = store.build_many([Job(Recipe.of('slow', 1, number=n), produce) for n in range(12)])
(root / f"order-{os.getpid()}").write_text(" ".join(a.key for a in made))
"""
    processes = [start(code, tmp_path) for _ in range(workers)]
    for process in processes:
        wait_for(tmp_path / f"ready-{process.pid}")
    for process in processes:  # a closed pipe is the starting shot
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0] * workers
    expected = " ".join(recipe(n).key for n in range(12))
    assert {(tmp_path / f"order-{p.pid}").read_text() for p in processes} == {expected}
    built = [e for p in processes for e in Ledger.read(tmp_path / f"{p.pid}.jsonl").events if e.event == "built"]
    assert sorted(event.key for event in built) == sorted(recipe(n).key for n in range(12))  # each exactly once
    assert set(Counter(event.pid for event in built)) == {p.pid for p in processes}  # and all did some
    assert not (tmp_path / "store" / "damaged").exists()


def test_the_job_of_a_holder_that_dies_is_taken_over(tmp_path: Path) -> None:
    code = """
def produce(draft):
    draft.write_json("half")
    (root / "holding").touch()
    time.sleep(600)
Store(root / "store").build(Recipe.of('slow', 1, number=1), produce)
"""
    holder = start(code, tmp_path)
    wait_for(tmp_path / "holding")
    store = Store(tmp_path / "store")
    order: list[int] = []
    killed = []

    def producer(number: int, draft: Draft) -> None:
        order.append(number)
        draft.write_json(number)

    def progress(done: int, total: int) -> None:
        if done == 2:  # only the held one is left: nothing but the death of its holder frees it
            assert order == [0, 2]
            holder.kill()
            killed.append(done)

    jobs = [Job(recipe(n), lambda draft, n=n: producer(n, draft)) for n in range(3)]
    start_time = time.monotonic()
    made = store.build_many(jobs, progress=progress)
    holder.wait(60)
    assert killed and order == [0, 2, 1] and [artifact.json() for artifact in made] == [0, 1, 2]
    assert time.monotonic() - start_time < 30


def test_build_waits_for_another_process_and_uses_its_result(tmp_path: Path) -> None:
    code = """
def produce(draft):
    (root / "holding").touch()
    time.sleep(0.5)
    draft.write_json("theirs")
Store(root / "store").build(Recipe.of('slow', 1, number=0), produce)
"""
    other = start(code, tmp_path)
    wait_for(tmp_path / "holding")
    made = Store(tmp_path / "store").build(recipe(), lambda draft: draft.write_json("mine"))
    assert made.json() == "theirs" and other.wait(60) == 0


def test_two_processes_repair_a_damaged_entry_once(tmp_path: Path) -> None:
    made = Store(tmp_path / "store").build(recipe(), lambda draft: draft.write_json("x"))
    (made.path / "data.json").write_text("torn")
    code = """
(root / f"ready-{os.getpid()}").touch()
sys.stdin.read()
store = Store(root / "store", events=root / "events.jsonl")
store.build(Recipe.of('slow', 1, number=0), produce)
"""
    processes = [start(code, tmp_path) for _ in range(3)]
    for process in processes:
        wait_for(tmp_path / f"ready-{process.pid}")
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    counts = Ledger.read(tmp_path / "events.jsonl").snapshot()["slow"]
    assert (counts.built, counts.damaged) == (1, 1)
    assert len(list((tmp_path / "store" / "damaged").iterdir())) == 1
