"""A run's methods against each other by another judge, out of stored answers, without any model.

What a case has kept of its facts names the stored answers that they were judged from (`comparing.facts_kept`). All of
them are judged anew by one judge, or the state is left out by name: verdicts of two judges never stand in one table,
and every table says whose it is, in the id that protocol and judge make together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.evaluation.judging import Item
from editverdict.inference.contests import Contest, words
from editverdict.inference.rows import Row
from editverdict.pipeline.comparing import facts_kept, question_name
from editverdict.pipeline.contests import FOLDER, VERSION, facts_key, read_facts, tables_of, write_whole
from editverdict.pipeline.judging import judge_of, judged
from editverdict.pipeline.rejudging import Key, accepted_answers, answers_at
from editverdict.pipeline.trial import Trial

AnswerRow = dict[str, Any]


@dataclass(frozen=True)
class _Stored:
    """A state that a case has kept, with its answers as they lie in the store."""

    kept: Mapping[str, Any]
    chains: list[list[EditRecord]]
    rows: list[list[AnswerRow]]
    """Chain by chain, without a verdict."""


class _LeftOut(Exception):
    """The state cannot be judged again; the message says why."""


@dataclass(frozen=True)
class RejudgedContests:
    """The tables by another judge, and what is missing in them."""

    tables: list[Contest]
    left_out: list[str]
    """States that could not be judged again, each with its reason; they stand below every table, too."""
    facts: str
    """Key of the facts that they were made of."""


def contests_by(
    trial: Trial, run_dir: Path, rows: Sequence[Row], judge_id: str, methods: Sequence[str] = ()
) -> RejudgedContests:
    """The tables of a run folder as they are by another judge.

    Parameters
    ----------
    trial
        Library, store and datasets of the run.
    run_dir
        Its folder.
    rows
        Its rows.
    judge_id
        Id of a judge spec.
    methods
        The methods of the run, in their order; those without facts are named with the reason.
    """
    files = sorted((run_dir / FOLDER).glob("*.json"))
    cases, left_out = read_facts(files, rows)
    reader = _Reader(trial)
    found: list[tuple[Mapping[str, Any], list[_Stored]]] = []
    for case in cases:
        states = []
        for kept in case["states"]:
            try:
                states.append(reader.state(str(case["dataset"]), kept))
            except _LeftOut as why:
                left_out.append(f"{kept['method']}, {words(kept['schedule'])} ({case['case']}): {why}")
        found.append((case, states))
    again = _judged(trial, found, judge_id)
    return RejudgedContests(tables_of(again, rows, methods, left_out), left_out, facts_key(files))


def write_contests_by(trial: Trial, made: RejudgedContests, judge_id: str, path: Path) -> None:
    """Write the tables as ``comparisons.json`` has them, with the judge's name and id and what was left out."""
    record = {
        "version": VERSION,
        "judge": {"name": judge_id, "id": judge_of(trial, judge_id).id},
        "facts": made.facts,
        "tables": [one.model_dump(mode="json") for one in made.tables],
        "left_out": made.left_out,
    }
    write_whole(path, json.dumps(record, indent=1))


class _Reader:
    """Reads states out of the store, each artifact and each dataset once."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._answers: dict[str, tuple[list[AnswerRow], str] | None] = {}
        self._data: dict[str, tuple[dict[str, EditRecord], dict[Key, tuple[str, ...]]]] = {}

    def state(self, dataset: str, kept: Mapping[str, Any]) -> _Stored:
        """A kept state with its answers.

        Raises
        ------
        _LeftOut
            Some of them cannot be found, or are not those that the facts were made of.
        """
        where = kept.get("answers")
        if not where:
            raise _LeftOut("its facts name no stored answers; verify the run again into the same store")
        records, accepted = self._of_data(dataset)
        rows: dict[int, list[AnswerRow]] = {}
        for chain, key in where:
            rows.setdefault(int(chain), []).extend(self._member(str(key), str(kept["score_id"]), accepted))
        ordered = [rows.get(number, []) for number in range(max(rows) + 1)]
        asked = {question_name(row) for own in ordered for row in own}
        if not all(asked.issuperset(named) for named in kept["questions"].values()):
            raise _LeftOut("its stored answers are to other questions than its facts")
        chains = [[records[edit] for edit in dict.fromkeys(row["edit_id"] for row in own)] for own in ordered]
        return _Stored(kept, chains, ordered)

    def _of_data(self, dataset: str) -> tuple[dict[str, EditRecord], dict[Key, tuple[str, ...]]]:
        if dataset not in self._data:
            accepted = accepted_answers(self._trial, [dataset])
            self._data[dataset] = {record.id: record for record in self._trial.records(dataset)}, accepted
        return self._data[dataset]

    def _member(self, key: str, score_id: str, accepted: Mapping[Key, tuple[str, ...]]) -> list[AnswerRow]:
        artifact, _, member = key.partition(":")
        if artifact not in self._answers:
            found = answers_at(self._trial, artifact)
            self._answers[artifact] = None if found is None else (found[0].table().to_pylist(), found[1])
        stored = self._answers[artifact]
        if stored is None:
            raise _LeftOut(f"the store {self._trial.store.root} does not have its answers {artifact[:12]}")
        table, protocol = stored
        if protocol != score_id.partition("/")[0]:
            raise _LeftOut(f"its stored answers were given under protocol {protocol}, and its facts say {score_id}")
        own = [row for row in table if str(row["member"]) == member]
        if not own or any(_key(row) not in accepted for row in own):
            raise _LeftOut(f"its dataset does not have the questions of the answers {artifact[:12]}")
        return [{**row, "accepted": accepted[_key(row)], "protocol": protocol} for row in own]


def _key(row: Mapping[str, Any]) -> Key:
    return row["edit_id"], row["dimension"], row["kind"], row["prompt"]


def _judged(
    trial: Trial, found: Sequence[tuple[Mapping[str, Any], list[_Stored]]], judge_id: str
) -> list[dict[str, Any]]:
    """What the cases would have kept by this judge; all answers are handed to it at once."""
    judge = judge_of(trial, judge_id)
    every = [row for _, states in found for state in states for own in state.rows for row in own]
    items = [Item(row["prompt"], row["accepted"], row["answer"]) for row in every]
    said = judged(trial, items, judge, label="comparisons")
    verdict = {id(row): one.correct for row, one in zip(every, said, strict=True)}

    def again(state: _Stored) -> dict[str, Any]:
        rows = [[{**row, "correct": verdict[id(row)], "judge": judge.id} for row in own] for own in state.rows]
        return facts_kept(state.kept["method"], state.kept["schedule"], state.chains, rows)

    return [{**case, "states": [again(state) for state in states]} for case, states in found]
