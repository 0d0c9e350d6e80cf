"""Teacher-forced scores of edited states: artifacts of their own, under the id of a protocol of their own.

The same states, put in force in the same way, are asked the same questions; only the answers are forced. So the gap
between the two protocols can be measured fact by fact (`editverdict.inference.comparisons.protocol_gap`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.evaluation.forced import Key, forced_pairs, forced_rows
from editverdict.generation.forced import Forced, forced_targets
from editverdict.pipeline.answers import Answered, Asked, enter, fields_of, grouped, prompts_of, questions_asked
from editverdict.pipeline.trial import Trial
from editverdict.store import Clock, Draft, Job, Recipe

FORCED_VERSION = 1


def _recipe(trial: Trial, model_id: str, group: Sequence[Asked]) -> Recipe:
    group = [replace(asked, probabilities=False, success=False) for asked in group]
    return Recipe.of(
        "forced-targets",
        FORCED_VERSION,
        model=trial.model(model_id).identity.fields(),
        protocol=trial.forced_protocol(model_id).id,
        members=[
            {
                **fields_of(trial, model_id, asked),
                "forced": [list(pair) for pair in forced_pairs(questions_asked(asked))],
            }
            for asked in group
        ],
    )


def _produce(trial: Trial, model_id: str, group: Sequence[Asked], draft: Draft) -> None:
    loaded = trial.model(model_id)
    with ExitStack() as stack:
        answering, by_row = enter(trial, model_id, group, stack)
        pairs: list[tuple[str, str]] = []
        members: list[int] = []
        for number, (asked, way) in enumerate(zip(group, answering, strict=True)):
            targets = [target for _, target in forced_pairs(questions_asked(asked))]
            pairs += list(zip(prompts_of(asked, way), targets, strict=True))
            members += [number] * len(targets)
        forced = forced_targets(
            loaded.model, loaded.tokenizer, pairs, trial.forced_protocol(model_id), owners=members, by_row=by_row
        )
        draft.write_table(
            [
                {
                    "member": member,
                    "given": prompt,
                    "target": target,
                    "target_tokens": list(found.target),
                    "tokens": list(found.best),
                    "text": found.text,
                }
                for member, (prompt, target), found in zip(members, pairs, forced, strict=True)
            ]
        )


def ask_forced(
    trial: Trial, model_id: str, many: Sequence[Asked], *, before: Mapping[Key, Sequence[int]] | None = None
) -> list[Answered]:
    """Teacher-forced scores of several states; several workers share the work.

    Parameters
    ----------
    trial, model_id
        As `editverdict.pipeline.answers.ask`.
    many : sequence of Asked
        States and questions; ``probabilities`` and ``success`` are not looked at.
    before : mapping, optional
        From `forced_before`, for locality as the field measures it under teacher forcing.

    Returns
    -------
    list of Answered
        Rows of `editverdict.evaluation.forced.forced_rows`.
    """
    groups = trial.offset(grouped(many))
    members = [[many[i] for i in group] for group in groups]
    jobs = [
        Job(_recipe(trial, model_id, own), lambda draft, own=own: _produce(trial, model_id, own, draft))  # type: ignore[misc]
        for own in members
    ]
    label = many[0].label if many else "targets"
    made = trial.store.build_many(jobs, progress=Clock(f"forced targets, {label}", "groups", trial.report).tick)
    protocol = trial.forced_protocol(model_id).id
    found: dict[int, Answered] = {}
    for group, artifact in zip(groups, made, strict=True):
        stored = artifact.table().to_pylist()
        for member, i in enumerate(group):
            forced = [_forced(row) for row in stored if row["member"] == member]
            rows = forced_rows(questions_asked(many[i]), forced, protocol, before)
            found[i] = Answered(rows, [], f"{artifact.key}:{member}")
    return [found[i] for i in range(len(many))]


def _forced(row: Mapping[str, Any]) -> Forced:
    return Forced(tuple(row["target_tokens"]), tuple(row["tokens"]), row["text"])


def forced_before(trial: Trial, model_id: str, records: Sequence[EditRecord]) -> dict[Key, list[int]]:
    """(prompt, target) -> the unedited model's most probable tokens, for the questions of these records."""
    (found,) = ask_forced(trial, model_id, [Asked("unedited model", tuple(records))])
    return {(row["prompt"], row["accepted"][0]): row["tokens"] for row in found.rows}
