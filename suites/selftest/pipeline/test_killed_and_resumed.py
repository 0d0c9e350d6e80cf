"""Killed with SIGKILL again and again and started again on the same store: the same rows, and nothing is done twice."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from editverdict.inference.results import same_rows
from suites.selftest.pipeline.sessions import Session, fork, once

PROFILE = """
profiles:
  - id: short
    describes: one method, two claims, chains of three edits, on the toy
    models: [rehearsal-llama]
    methods: [ROME]
    datasets: [worldfacts]
    corpus: wordnet-glosses
    encoder: minilm
    judge: lexical
    protocol: {id: completion-4, max_new_tokens: 4}
    claims: [pc-dominant-stable-early, rq1-drop-single-to-seq]
    sizes: {single_edits: 3, chains: 2, chain_length: 3, long_chain: 3, base_texts: 120, base_tokens: 1200,
            norm_tokens: 300, angle_tokens: 480, text_blocks: 4, random_seeds: 3}
"""
# A plugin that kills its own process, the only one of the session, in the middle of a stage. It wraps functions from
# outside: what is killed does not know that it will be.
KILLER = """
import functools, os, signal

STAGE, NUMBER = os.environ["KILL_IN"].split(":")
calls = 0

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def last():
    global calls
    calls += 1
    return calls == int(NUMBER)

def wrap(owner, name, wrapper):
    setattr(owner, name, functools.wraps(getattr(owner, name))(wrapper(getattr(owner, name))))

def pytest_collection_finish():
    from editverdict.editors.rome import Rome
    from editverdict.pipeline import answers, base, changes

    def editing(edit):
        def edit_and_die(self, loaded, state, records, resources):
            made = edit(self, loaded, state, records, resources)
            if len(records) > 1 and last():
                die()  # the value is optimised and stored, the step is not
            return made
        return edit_and_die

    def base_pass(full_pass):
        def die_after_a_batch(loaded, batches, visit, **options):
            def visit_and_die(batch, seen):
                visit(batch, seen)
                if last():
                    die()
            return full_pass(loaded, batches, visit_and_die, **options)
        return die_after_a_batch

    def with_progress(function):  # called after a batch (a prompt), before the result is there
        def die_in_between(*args, **options):
            return function(*args, **(options | {"progress": die} if last() else options))
        return die_in_between

    {
        "base pass": lambda: wrap(base, "full_pass", base_pass),
        "chain": lambda: wrap(Rome, "edit", editing),
        "edited pass": lambda: wrap(changes, "tail_pass", with_progress),
        "answering": lambda: wrap(answers, "greedy_answers", with_progress),
    }[STAGE]()
"""
KILLS = {"base pass": 3, "chain": 2, "edited pass": 3, "answering": 3}
"""Where each run is killed, and at which call, in the order in which a run comes by."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile and the plugin."""
    made = tmp_path_factory.mktemp("killed")
    (made / "specs" / "profiles").mkdir(parents=True)
    (made / "specs" / "profiles" / "short.yaml").write_text(PROFILE)
    (made / "killer.py").write_text(KILLER)
    return made


def start(files: Path, common: Path, name: str, store: str, kill: str | None = None) -> Session:
    """A session, killed somewhere or not."""
    options = ["--profile", "short", "--specs", files / "specs", "--store", common / store]
    killer = ["-p", "killer"] if kill else []
    env = {"KILL_IN": kill} if kill else {}
    return once(common, name, lambda folder: fork(folder, *options, *killer, path=[files], env=env))


@pytest.fixture(scope="module")
def undisturbed(files: Path, common: Path) -> Session:
    return start(files, common, "undisturbed", "undisturbed-store")


@pytest.fixture(scope="module")
def killed(files: Path, common: Path) -> dict[str, Session]:
    """One killed run after the other, each on the store that its predecessors left."""
    return {
        stage: start(files, common, f"killed in {stage}", "killed-store", f"{stage}:{number}")
        for stage, number in KILLS.items()
    }


@pytest.fixture(scope="module")
def resumed(files: Path, common: Path, killed: dict[str, Session]) -> Session:
    return start(files, common, "resumed", "killed-store")


def test_the_runs_were_killed(killed: dict[str, Session]) -> None:
    assert {stage: run.code for stage, run in killed.items()} == dict.fromkeys(KILLS, -signal.SIGKILL)
    assert [stage for stage, run in killed.items() if (run.run_dir / "manifest.json").exists()] == []


def test_each_was_killed_in_the_middle_of_its_stage(killed: dict[str, Session]) -> None:
    # What the first case asks for before the base pass is there, and nothing else.
    assert [event["kind"] for event in killed["base pass"].events] == ["subset", "lower-inputs", "no-op-again"]
    chain = Counter(event["kind"] for event in killed["chain"].events)
    # The first edits of both chains and the second one of the first are there; of the other chain's second edit, which
    # the first one's third waits for, the value alone, optimised together with its neighbour's.
    assert (chain["step"], chain["value"], chain["base-pass"]) == (3, 2, 1)
    edited = killed["edited pass"]
    assert len(edited.keys("built", "change")) < len(edited.keys("built", "step"))
    assert edited.keys("built", "answers") == []
    assert len(killed["answering"].keys("built", "answers")) == 2


def test_the_next_run_ends_with_the_same_rows(undisturbed: Session, resumed: Session) -> None:
    assert {row.claim for row in resumed.rows} == {
        "pc-dominant-stable-early",
        "rq1-drop-single-to-seq",
        "smallpert-paired",
    }
    assert [str(difference) for difference in same_rows(undisturbed.rows, resumed.rows)] == []
    assert resumed.json("claims.json") == undisturbed.json("claims.json")
    assert resumed.code == undisturbed.code


def test_rows_written_before_the_kill_are_those_of_an_undisturbed_run(
    undisturbed: Session, killed: dict[str, Session]
) -> None:
    finished = killed["answering"].rows
    assert [row.claim for row in finished] == ["smallpert-paired", "pc-dominant-stable-early"]
    own = [row for row in undisturbed.rows if row.case in {one.case for one in finished}]
    assert [str(difference) for difference in same_rows(own, finished)] == []


def test_what_was_finished_is_not_done_again(
    undisturbed: Session, killed: dict[str, Session], resumed: Session
) -> None:
    runs = [*killed.values(), resumed]
    built = [key for run in runs for key in run.keys("built")]
    assert len(built) == len(set(built))
    assert set(built) == set(undisturbed.keys("built"))
    assert all(run.keys("damaged") == run.keys("failed") == [] for run in runs)


def test_the_manifest_says_what_was_reused(undisturbed: Session, killed: dict[str, Session], resumed: Session) -> None:
    before = {event["key"]: event["kind"] for run in killed.values() for event in run.events}
    stages = {stage["name"]: stage for stage in resumed.json("manifest.json")["stages"]}
    plain = {stage["name"]: stage for stage in undisturbed.json("manifest.json")["stages"]}
    assert set(resumed.keys("reused")) <= set(before)
    assert stages["edits"]["reused"] == plain["edits"]["built"] - stages["edits"]["built"] > 0
    for name in ("hidden states and spectra of the unedited model", "paired subset"):
        assert (stages[name]["built"], stages[name]["reused"]) == (0, 1)
    for name in ("hidden states after edits", "answers"):
        assert stages[name]["reused"] > 0
    assert stages["answers"]["built"] > 0
    assert sum(stage["built"] for stage in stages.values()) == len(resumed.keys("built"))


def test_facts_and_the_table_of_methods_are_those_of_an_undisturbed_run(
    undisturbed: Session, killed: dict[str, Session], resumed: Session
) -> None:
    facts = [{f.name: f.read_bytes() for f in run.run_dir.glob("facts/*")} for run in (undisturbed, resumed)]
    assert facts[0] == facts[1] and [name.partition("__")[0] for name in facts[0]] == ["rq1-drop-single-to-seq"]
    assert resumed.json("comparisons.json") == undisturbed.json("comparisons.json")
    assert not list(killed["answering"].run_dir.glob("facts/*"))


def test_no_draft_of_a_dead_process_is_left(common: Path, resumed: Session) -> None:
    assert list((common / "killed-store" / ".tmp").iterdir()) == []
