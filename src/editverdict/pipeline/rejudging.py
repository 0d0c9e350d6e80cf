"""The stored answers of a run, judged by another judge. No edited model is loaded: an answer is there as it was said.

Which stored answers are a run's is told by the hashes of its rows: same model weights, same answer protocol. What
counts as right is read from the run's datasets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editverdict.evaluation.judging import Item, Judgement, cost_of
from editverdict.evaluation.questions import questions_of_all
from editverdict.inference.rows import Row
from editverdict.pipeline.judge_cards import agreement_of
from editverdict.pipeline.judging import judge_of, judged
from editverdict.pipeline.setup import UsageError
from editverdict.pipeline.trial import Trial
from editverdict.store import Artifact, Recipe

Key = tuple[str, str, str, str]
"""Edit, dimension, kind, prompt."""


@dataclass(frozen=True)
class StoredAnswer:
    """An answer as it lies in the store."""

    artifact: str
    member: int
    edit_id: str
    dimension: str
    kind: str
    item: Item


def stored_answers(trial: Trial, rows: Sequence[Row]) -> list[StoredAnswer]:
    """Every answer in the store that was given under the model weights and protocol of these rows.

    Raises
    ------
    UsageError
        There is none, or the datasets do not have the questions of any.
    """
    settings = {(row.hashes["model"], row.hashes["protocol"]) for row in rows if "protocol" in row.hashes}
    datasets = sorted({row.dataset for row in rows if row.dataset})
    accepted = accepted_answers(trial, datasets)
    found: list[StoredAnswer] = []
    foreign = 0
    for artifact in _artifacts(trial, settings):
        for row in artifact.table().to_pylist():
            key = (row["edit_id"], row["dimension"], row["kind"], row["prompt"])
            if key not in accepted:
                foreign += 1
                continue
            item = Item(row["prompt"], accepted[key], row["answer"])
            found.append(StoredAnswer(artifact.key, row["member"], *key[:3], item))
    if not found:
        raise UsageError(
            f"no stored answer to judge: the store {trial.store.root} has none of this model and protocol to questions "
            f"of the run's datasets ({', '.join(datasets) or 'none'}), and {foreign} to others; expected the store "
            "and the specs of the run (--store, --specs)"
        )
    return found


def accepted_answers(trial: Trial, datasets: Sequence[str]) -> dict[Key, tuple[str, ...]]:
    """What counts as right, by question, in some datasets.

    Raises
    ------
    UsageError
        No spec defines one of them.
    """
    for name in datasets:
        if name not in trial.library.datasets:
            raise UsageError(
                f"the run has dataset '{name}', which no spec defines; expected one of "
                f"{', '.join(trial.library.datasets)} (a run with --edits cannot be judged again this way)"
            )
    questions = [q for name in datasets for q in questions_of_all(trial.records(name))]
    return {(q.edit_id, q.dimension, q.kind, q.prompt): q.accepted for q in questions}


def _artifacts(trial: Trial, settings: set[tuple[str, str]]) -> Iterator[Artifact]:
    for meta in sorted((trial.store.root / "answers").glob("*/*/meta.json")):
        recipe = _recipe(meta)
        if recipe is not None and _setting(recipe) in settings:
            found = trial.store.find(recipe)
            if found is not None:
                yield found


def _recipe(meta: Path) -> Recipe | None:
    """The recipe of an entry of answers; None where its file tells none."""
    try:
        recipe = json.loads(meta.read_text(encoding="utf-8"))["recipe"]
        found = Recipe(recipe["kind"], recipe["version"], recipe["fields"])
        _setting(found)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the store will find and say it when somebody asks for this very entry
    return found


def _setting(recipe: Recipe) -> tuple[str, str]:
    """Weights and protocol."""
    return str(recipe.fields["model"]["weights"]), str(recipe.fields["protocol"])


def answers_at(trial: Trial, key: str) -> tuple[Artifact, str] | None:
    """The stored answers of a key with the protocol that they were given by; None where they are not (any more)."""
    recipe = _recipe(trial.store.root / "answers" / key[:2] / key / "meta.json")
    if recipe is None or recipe.key != key or (found := trial.store.find(recipe)) is None:
        return None
    return found, _setting(recipe)[1]


def rejudge_answers(trial: Trial, rows: Sequence[Row], before: str, after: str, out: Path) -> dict[str, Any]:
    """Judge the stored answers of a run by another judge, write them down beside the run's own verdicts, and compare.

    Parameters
    ----------
    trial
        Library, store and datasets.
    rows
        Rows of the run.
    before, after
        Ids of the run's judge and of the other one.
    out
        JSONL file: one answer per line.

    Returns
    -------
    dict
        ``answers``, ``distinct`` (by question and answer), ``agreement``, ``cost`` (of the other judge, each distinct
        answer once) and ``undecided``.
    """
    answers = stored_answers(trial, rows)
    judges = [judge_of(trial, name) for name in (before, after)]
    items = [answer.item for answer in answers]
    one, other = (judged(trial, items, judge, label="stored answers") for judge in judges)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_suffix(".tmp")
    with draft.open("w", encoding="utf-8", newline="\n") as file:
        for answer, a, b in zip(answers, one, other, strict=True):
            file.write(json.dumps(_line(answer, before, a, after, b), ensure_ascii=False) + "\n")
    draft.replace(out)
    distinct = dict(zip(items, other, strict=True))
    return {
        "answers": len(answers),
        "distinct": len(distinct),
        "judges": {name: judge.id for name, judge in zip((before, after), judges, strict=True)},
        "agreement": agreement_of(items, one, other),
        "undecided": sum(judgement.verdict == "undecided" for judgement in other),
        "cost": str(cost_of(list(distinct.values()))),
    }


def _line(answer: StoredAnswer, before: str, one: Judgement, after: str, other: Judgement) -> dict[str, Any]:
    item = answer.item
    return {
        "artifact": answer.artifact,
        "member": answer.member,
        "edit_id": answer.edit_id,
        "dimension": answer.dimension,
        "kind": answer.kind,
        "prompt": item.question,
        "accepted": list(item.accepted),
        "answer": item.answer,
        "judges": {before: _said(one), after: _said(other)},
    }


def _said(judgement: Judgement) -> dict[str, str]:
    return {"verdict": judgement.verdict, "reason": judgement.reason}
