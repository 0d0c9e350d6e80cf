"""From what each case kept of its facts to a run's table of methods against each other.

A case writes ``facts/<case>.json`` beside its evidence. At the end of a run, and by ``editverdict report``, all those
files become ``comparisons.json``; it names the files that it was made of, and is made again if they have changed. This
module loads no model and nothing that could.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from editverdict.inference.contests import Contest, Fact, MethodState, contest
from editverdict.inference.forms import OTHERWISE, apart, apart_in, methods_apart
from editverdict.inference.rows import Row

FOLDER, FILE = "facts", "comparisons.json"
VERSION = 2
ROUNDING = 0.05
"""Share of facts about which two cases may disagree: a state that is asked in another batch answers the same but for
rounding."""


# --------------------------------------------------------------------------- one case's facts
def write_facts(run_dir: Path, slug: str, row: Row, states: Sequence[Mapping[str, Any]]) -> None:
    """Keep what a case's states came to, fact by fact; a case without any leaves no file, not even an older one."""
    path = run_dir / FOLDER / f"{slug}.json"
    if not states:
        path.unlink(missing_ok=True)
        return
    kept = {"version": VERSION, "case": row.case, "model": row.model, "dataset": row.dataset, "states": list(states)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(kept, allow_nan=False))


def write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever reads half of it."""
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


# --------------------------------------------------------------------------- the table
def refresh_contests(run_dir: Path, rows: Sequence[Row], methods: Iterable[str] = ()) -> list[Contest]:
    """The tables of a run folder, made again if the facts have changed; without facts there is no file.

    Parameters
    ----------
    run_dir
        The run folder.
    rows
        Its rows: facts of a case that has none are not used, and a row says why a method has no facts.
    methods
        The methods of the profile; those without facts are named with the reason.
    """
    files = sorted((run_dir / FOLDER).glob("*.json"))
    key = _key(files, rows, methods)
    target = run_dir / FILE
    if (kept := _kept(target, key)) is not None:
        return kept
    if not files:
        target.unlink(missing_ok=True)
        return []
    made = contests_of(files, rows, tuple(methods))
    tables = [one.model_dump(mode="json") for one in made]
    write_whole(
        target, json.dumps({"version": VERSION, "of": key, "facts": facts_key(files), "tables": tables}, indent=1)
    )
    return made


def facts_key(files: Sequence[Path]) -> str:
    """What cases have kept of their facts, as a hash: tables by another judge belong to the same facts or are stale."""
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def _key(files: Sequence[Path], rows: Sequence[Row], methods: Iterable[str]) -> str:
    state = hashlib.sha256(f"{VERSION} {sorted(methods)} {[(r.case, r.verdict) for r in rows]}".encode())
    for file in files:
        state.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return state.hexdigest()


def _kept(path: Path, key: str) -> list[Contest] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [Contest.model_validate(one) for one in found["tables"]] if found["of"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def contests_of(files: Sequence[Path], rows: Sequence[Row], methods: Sequence[str] = ()) -> list[Contest]:
    """One table per model, dataset, protocol and judge, of what the files hold."""
    kept, notes = read_facts(files, rows)
    return tables_of(kept, rows, methods, notes)


def read_facts(files: Sequence[Path], rows: Sequence[Row]) -> tuple[list[dict[str, Any]], list[str]]:
    """What cases that have a row have kept, and a note for every file that cannot be read.

    States whose edits were made in another form than the profile's are left out, with a note each: a difference of
    methods would be one of forms.
    """
    cases = {row.case for row in rows}
    kept: list[dict[str, Any]] = []
    notes: list[str] = []
    for file in files:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if found["case"] in cases:
                states = _states(found)
                notes += [_otherwise(found["case"], state) for state in states if OTHERWISE in state]
                own = [state for state in states if OTHERWISE not in state]
                kept.append({name: found[name] for name in ("case", "model", "dataset")} | {"states": own})
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(f"{file.name} cannot be read ({type(error).__name__}: {error}); its facts are left out")
    return kept, notes


def _otherwise(case: str, state: Mapping[str, Any]) -> str:
    said = f"{state['method']}, {state['schedule']}: {case} edited on the {state[OTHERWISE]}"
    return f"{said}, in another form than this run's other edits; left out"


def _states(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A file's states, all of their parts there."""
    states = [{**state} for state in found["states"]]
    for state in states:
        for name in ("method", "schedule", "score_id"):
            if not isinstance(state[name], str):
                raise TypeError(f"{name} is no text")
        for _fact, _subject, _chain, scores in state["facts"]:
            scores.items()
        for asked in state["questions"].values():
            asked.items()
    return states


def tables_of(
    kept: Sequence[Mapping[str, Any]], rows: Sequence[Row], methods: Sequence[str] = (), notes: Sequence[str] = ()
) -> list[Contest]:
    """One table per model, dataset, protocol and judge, of what cases have kept; ``notes`` stand below each."""
    merged: dict[tuple[str, str, str], dict[tuple[str, str], _Merged]] = {}
    silent = {found["case"] for found in kept if not found["states"]}  # what such a row says is about no table
    rows = [row for row in rows if row.case not in silent]
    for found in kept:
        for state in found["states"]:
            table = merged.setdefault((found["model"], found["dataset"], state["score_id"]), {})
            own = table.setdefault((state["schedule"], state["method"]), _Merged())
            own.add(found["case"], state)
    return [_table(names, states, merged, rows, methods, notes) for names, states in merged.items()]


class _Merged:
    """One method under one schedule, put together from all cases that asked it."""

    def __init__(self) -> None:
        self.facts: dict[str, tuple[str, int, dict[str, float]]] = {}
        self.questions: dict[str, dict[str, float]] = {}
        self.cases: list[str] = []
        self.disagree: set[str] = set()

    def add(self, case: str, state: Mapping[str, Any]) -> None:
        """Take what a case holds; where cases disagree the first one counts, and the fact is noted."""
        self.cases.append(case)
        for name, subject, chain, scores in state["facts"]:
            _, _, known = self.facts.setdefault(name, (subject, chain, {}))
            if any(known.get(dimension, value) != value for dimension, value in scores.items()):
                self.disagree.add(name)
            self.facts[name] = (subject, chain, {**scores, **known})
        for dimension, asked in state["questions"].items():
            self.questions[dimension] = {**asked, **self.questions.get(dimension, {})}


def _table(
    names: tuple[str, str, str],
    states: Mapping[tuple[str, str], _Merged],
    merged: Mapping[tuple[str, str, str], Mapping[tuple[str, str], _Merged]],
    rows: Sequence[Row],
    methods: Sequence[str],
    notes: Sequence[str],
) -> Contest:
    model, dataset, score_id = names
    order = {method: place for place, method in enumerate(methods)}
    left_out = list(notes)
    usable = []
    for (schedule, method), own in sorted(states.items(), key=lambda s: (order.get(s[0][1], len(order)), s[0])):
        if own.disagree:
            said = f"{method}, {schedule}: cases disagree about {len(own.disagree)} of {len(own.facts)} facts"
            many = len(own.disagree) > ROUNDING * len(own.facts)
            left_out.append(f"{said}; {'left out: measure them again into one store' if many else 'the first counts'}")
            if many:
                continue
        facts = {name: Fact(subject, chain, scores) for name, (subject, chain, scores) in own.facts.items()}
        usable.append(MethodState(method, schedule, score_id, facts, own.questions))
    for other, theirs in merged.items():
        if other[:2] == names[:2] and other[2] != score_id:
            there = ", ".join(sorted({method for _, method in theirs}))
            left_out.append(f"{there}: asked under {other[2]}, and this table is of {score_id}")
    left_out += _absent(model, {method for _, method in states}, rows, methods)
    remarks = _remarks(model, dataset, {one.method for one in usable}, rows)
    return contest(model, dataset, score_id, usable, left_out=left_out, remarks=remarks)


def _remarks(model: str, dataset: str, there: set[str], rows: Sequence[Row]) -> list[str]:
    """Which methods were asked in another form than they edit in; those that keep texts are not."""
    own = [row for row in rows if (row.model, row.dataset) == (model, dataset) and row.method in there]
    names = methods_apart(own)
    if not names:
        return []
    told = apart_in([row for row in own if row.method in names and apart(row.descriptive)])
    return [f"{', '.join(names)}: {told}; a text in the context is in the form that is asked"]


def _absent(model: str, there: set[str], rows: Sequence[Row], methods: Sequence[str]) -> list[str]:
    """Methods of the profile that no case asked, with the reason that a row gives."""
    found = []
    for method in methods:
        if method in there:
            continue
        about = [r for r in rows if r.method == method and r.model == model and r.verdict in ("not_run", "broken")]
        why = f"{about[0].case}: {about[0].reason}" if about else "no case of this run asked it about facts"
        found.append(f"{method}: {why}")
    return found
