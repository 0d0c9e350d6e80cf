"""Artifacts of answering: what a state answers to the questions of its edits, raw, judged afterwards.

A stored answer depends on the state and on the protocol, never on the judge: judging again costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.editors.base import Answering, Plain, State
from editverdict.editors.by_row import RowStates, installed_by_row, is_low_rank
from editverdict.editors.deltas import installed
from editverdict.evaluation.dimensions import items_of, rows_of
from editverdict.evaluation.judging import Item, Judgement
from editverdict.evaluation.probability import Comparison, comparisons_of, pairs_of, probability_rows
from editverdict.evaluation.questions import Question, questions_of
from editverdict.generation.decode import Answer, greedy_answers
from editverdict.generation.in_context import IN_CONTEXT_VERSION, answer_with_context
from editverdict.generation.protocol import Protocol
from editverdict.generation.scoring import target_logprobs, targets_are_argmax
from editverdict.pipeline.edits import answering_fields, editor_of, resources, state_key
from editverdict.pipeline.frames import frame_of
from editverdict.pipeline.judging import judge_of, judged
from editverdict.pipeline.trial import Trial
from editverdict.store import Artifact, Clock, Draft, Job, Recipe

ANSWERS_VERSION = 3
TOGETHER = 12
"""States of single edits that are asked in one batch."""


@dataclass(frozen=True)
class Asked:
    """A state and the records whose questions it is asked."""

    label: str
    """For progress lines."""
    asked: tuple[EditRecord, ...]
    """Records whose questions are put."""
    state: State = ()
    """Weight state in force."""
    scale: float = 1.0
    removed: State = ()
    """A state that is installed and removed again before the questions: nothing of it may be left."""
    method: str | None = None
    """A method with its own way of answering (SCR, GRACE), which then installs ``state`` itself and gets ``memory``;
    None: the state is made of weight deltas."""
    memory: tuple[EditRecord, ...] = ()
    """Edits that the method has made."""
    gold: bool = False
    """Put the right statement before every question (an upper bound for any retrieval)."""
    dimensions: tuple[str, ...] = ("rel", "gen", "loc", "port")
    probabilities: bool = False
    """Also score P(new) and P(old) by teacher forcing."""
    success: bool = False
    """Also find whether the new object is the most probable one token by token (the methods' own success)."""


def questions_asked(asked: Asked) -> list[Question]:
    """The questions of the records, of the dimensions that are asked about."""
    return [q for record in asked.asked for q in questions_of(record) if q.dimension in asked.dimensions]


PART_OF = {"efficacy": "rel", "paraphrase": "gen", "specificity": "loc"}
"""Part of the probability-based scores -> dimension of the free answers that it goes with."""


def _comparisons(asked: Asked) -> list[Comparison]:
    """Comparisons of the dimensions that are asked about."""
    if not asked.probabilities:
        return []
    return [c for r in asked.asked for c in comparisons_of(r) if PART_OF[c.part] in asked.dimensions]


def fields_of(trial: Trial, model_id: str, asked: Asked) -> dict[str, Any]:
    """Recipe fields of one member of a group."""
    editor = None
    if asked.method is not None:
        editor = {
            **answering_fields(trial, asked.method, model_id),
            "encoder": trial.encoder_key,
            "memory": [record.statement for record in asked.memory],
        }
    return {
        "state": state_key(asked.state),
        "scale": asked.scale,
        "editor": editor,
        "gold": [IN_CONTEXT_VERSION, *(r.statement for r in asked.asked)] if asked.gold else None,
        "questions": [[q.edit_id, q.dimension, q.kind, q.prompt] for q in questions_asked(asked)],
        "targets": [vars(c) for c in _comparisons(asked)] if asked.probabilities else None,
        "success": [[r.prompt, r.target_new] for r in asked.asked] if asked.success else None,
        "removed": state_key(asked.removed),
    }


def _recipe(trial: Trial, model_id: str, group: Sequence[Asked]) -> Recipe:
    return Recipe.of(
        "answers",
        ANSWERS_VERSION,
        model=trial.model(model_id).identity.fields(),
        protocol=trial.protocol(model_id).id,
        members=[fields_of(trial, model_id, asked) for asked in group],
        **_form(trial, model_id, group),
    )


def _form(trial: Trial, model_id: str, group: Sequence[Asked]) -> dict[str, Any]:
    """What stands around prompts whose objects are scored by probability; of free answers the protocol says it."""
    frame = frame_of(trial, model_id)
    # Named only where there is one, so that the keys of scores of bare prompts are what they were.
    scored = frame and any(asked.probabilities or asked.success for asked in group)
    return {"scored_in": [frame.before, frame.after]} if scored else {}


def _shares(one: Asked, other: Asked) -> bool:
    """Whether two states can be asked in one batch: low-rank deltas, each asked about a single edit."""
    return (
        all(len(a.asked) == 1 and a.method is None and not a.gold and is_low_rank(a.state) for a in (one, other))
        and one.removed == other.removed
    )


def grouped(many: Sequence[Asked]) -> list[list[int]]:
    """Neighbours that are asked together: reading the weights once for many states is what makes single edits cheap."""
    groups: list[list[int]] = []
    for number, asked in enumerate(many):
        if groups and len(groups[-1]) < TOGETHER and _shares(many[groups[-1][0]], asked):
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def enter(
    trial: Trial, model_id: str, group: Sequence[Asked], stack: ExitStack
) -> tuple[list[Answering], RowStates | None]:
    """Put a group's states in force: one by its editor or as installed weights, several row by row."""
    loaded, first = trial.model(model_id), group[0]
    with installed(loaded.model, first.removed):
        pass
    if len(group) > 1:
        states, scales = [asked.state for asked in group], [asked.scale for asked in group]
        return [Plain() for _ in group], stack.enter_context(installed_by_row(loaded.model, states, scales))
    if first.method is None:
        return [stack.enter_context(installed(loaded.model, first.state, first.scale))], None
    editor = editor_of(trial, first.method, model_id)
    way = editor.install(loaded, first.state, first.memory, resources(trial, model_id))
    return [stack.enter_context(way)], None


def prompts_of(asked: Asked, answering: Answering) -> list[str]:
    """The prompts that the model is given, one per question."""
    questions = questions_asked(asked)
    if not asked.gold:
        return answering.prompts([q.prompt for q in questions])
    # The perfect retriever: the statement where the edit is meant, nothing where it is not.
    statements = {record.id: record.statement for record in asked.asked}
    return [answer_with_context("" if q.dimension == "loc" else statements[q.edit_id], q.prompt) for q in questions]


def _produce(trial: Trial, model_id: str, group: Sequence[Asked], draft: Draft) -> None:
    loaded = trial.model(model_id)
    with ExitStack() as stack:
        answering, by_row = enter(trial, model_id, group, stack)
        prompts = [prompts_of(asked, way) for asked, way in zip(group, answering, strict=True)]
        owners = [number for number, own in enumerate(prompts) for _ in own]
        answers = greedy_answers(
            loaded.model,
            loaded.tokenizer,
            [prompt for own in prompts for prompt in own],
            trial.protocol(model_id),
            owners=owners,
            by_row=by_row,
        )
        asked_all = [(number, question) for number, asked in enumerate(group) for question in questions_asked(asked)]
        given = [prompt for own in prompts for prompt in own]
        draft.write_table(
            [
                {
                    "member": number,
                    "edit_id": question.edit_id,
                    "dimension": question.dimension,
                    "kind": question.kind,
                    "prompt": question.prompt,
                    "given": prompt if prompt != question.prompt else None,
                    "answer": answer.text,
                    "stopped_by": answer.stopped_by,
                    "tokens": list(answer.tokens),
                    **_thought(answer, trial.protocol(model_id)),
                }
                for (number, question), prompt, answer in zip(asked_all, given, answers, strict=True)
            ]
        )
        if any(asked.probabilities for asked in group):
            draft.write_json(_probabilities(trial, model_id, group, prompts, by_row), "probability")
        if any(asked.success for asked in group):
            draft.write_json(_successes(trial, model_id, group, answering, by_row), "success")


def _thought(answer: Answer, protocol: Protocol) -> dict[str, Any]:
    """Columns of the thinking part, where the protocol parts one."""
    if protocol.spec.thinking is None:
        return {}
    return {"thinking": answer.thinking, "thinking_closed": answer.thinking_closed}


def _probabilities(
    trial: Trial, model_id: str, group: Sequence[Asked], prompts: list[list[str]], by_row: RowStates | None
) -> list[list[dict[str, Any]]]:
    """Per member: log P of the new and the old object after the prompts that the model was given."""
    loaded, around = trial.model(model_id), frame_of(trial, model_id).around
    comparisons = [_comparisons(asked) for asked in group]
    pairs: list[tuple[str, str]] = []
    owners: list[int] = []
    for number, (asked, own) in enumerate(zip(group, prompts, strict=True)):
        given = {q.prompt: prompt for q, prompt in zip(questions_asked(asked), own, strict=True)}
        found = [(around(given.get(prompt, prompt)), target) for prompt, target in pairs_of(comparisons[number])]
        pairs += found
        owners += [number] * len(found)
    scores: list[float] = (
        target_logprobs(loaded.model, loaded.tokenizer, pairs, owners=owners, by_row=by_row).tolist() if pairs else []
    )
    numbers = iter(scores)
    return [probability_rows(own, [next(numbers) for _ in range(2 * len(own))]) for own in comparisons]


def _successes(
    trial: Trial, model_id: str, group: Sequence[Asked], answering: Sequence[Answering], by_row: RowStates | None
) -> list[list[bool]]:
    """Per member and record: whether teacher forcing finds every token of the new object most probable."""
    loaded, around = trial.model(model_id), frame_of(trial, model_id).around
    pairs: list[tuple[str, str]] = []
    owners: list[int] = []
    for number, (asked, way) in enumerate(zip(group, answering, strict=True)):
        own = [around(prompt) for prompt in way.prompts([record.prompt for record in asked.asked])]
        pairs += list(zip(own, (record.target_new for record in asked.asked), strict=True))
        owners += [number] * len(own)
    found = iter(targets_are_argmax(loaded.model, loaded.tokenizer, pairs, owners=owners, by_row=by_row))
    return [[next(found) for _ in asked.asked] for asked in group]


@dataclass(frozen=True)
class Answered:
    """Judged answers of one state."""

    rows: list[dict[str, Any]]
    """As stored (``tokens`` and, with a thinking part, ``thinking`` and ``thinking_closed`` among the columns), joined
    with the judgement and with ``protocol`` and ``judge``, the ids that make the score's."""
    probability: list[dict[str, Any]]
    """Comparisons of objects by probability; empty where none were asked for."""
    key: str
    success: tuple[bool, ...] = ()
    """Per record, where asked for: whether teacher forcing finds every token of the new object most probable."""
    parts: tuple[str, ...] = ()
    """Where rows of several states were put together: the keys of all of them."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Where every row lies in the store: ``artifact:member``, one or more."""
        return self.parts or (self.key,)


def ask(trial: Trial, model_id: str, many: Sequence[Asked], *, before: dict[str, str] | None = None) -> list[Answered]:
    """Answers of several states, judged; several workers share the answering."""
    groups = trial.offset(grouped(many))
    members = [[many[i] for i in group] for group in groups]
    jobs = [
        Job(_recipe(trial, model_id, own), lambda draft, own=own: _produce(trial, model_id, own, draft))  # type: ignore[misc]
        for own in members
    ]
    label = many[0].label if many else "answers"
    made = trial.store.build_many(jobs, progress=Clock(f"answers, {label}", "groups", trial.report).tick)
    stored: dict[int, tuple[Artifact, int, list[dict[str, Any]]]] = {}
    for group, artifact in zip(groups, made, strict=True):
        rows = artifact.table().to_pylist()
        for member, i in enumerate(group):
            own = [{k: v for k, v in row.items() if k != "member"} for row in rows if row["member"] == member]
            stored[i] = artifact, member, own
    # All at once, so that a judge behind an endpoint has as many to do at the same time as it can take.
    items = [items_of(questions_asked(asked), [row["answer"] for row in stored[i][2]]) for i, asked in enumerate(many)]
    verdicts = iter(judged(trial, [item for own in items for item in own], label=label))
    score_id = {"protocol": trial.protocol(model_id).id, "judge": judge_of(trial).id}
    return [
        _judged(asked, *stored[i], [next(verdicts) for _ in items[i]], before, score_id) for i, asked in enumerate(many)
    ]


def _judged(
    asked: Asked,
    artifact: Artifact,
    member: int,
    stored: list[dict[str, Any]],
    verdicts: Sequence[Judgement],
    before: dict[str, str] | None,
    score_id: dict[str, str],
) -> Answered:
    judged_rows = rows_of(questions_asked(asked), [row["answer"] for row in stored], verdicts, before)
    probability = artifact.json("probability")[member] if asked.probabilities else []
    success = tuple(artifact.json("success")[member]) if asked.success else ()
    rows = [{**row, **dict(verdict), **score_id} for row, verdict in zip(stored, judged_rows, strict=True)]
    return Answered(rows, probability, f"{artifact.key}:{member}", success)


def in_state(
    trial: Trial,
    model_id: str,
    method_id: str,
    label: str,
    asked: Sequence[EditRecord],
    state: State,
    *,
    made: Sequence[EditRecord] | None = None,
    **options: Any,
) -> Asked:
    """Questions about ``asked`` in a method's state, put in force the way that the method needs.

    ``made`` are the edits that the state has; they are those that are asked about unless it says otherwise.
    """
    if editor_of(trial, method_id, model_id).answers_itself:
        options |= {"method": method_id, "memory": tuple(asked if made is None else made)}
    return Asked(label, tuple(asked), state, **options)


def answers_before(trial: Trial, model_id: str, records: Sequence[EditRecord]) -> dict[str, str]:
    """Prompt -> answer of the unedited model, for the questions of these records (Eq. 4, headroom)."""
    (found,) = ask(trial, model_id, [Asked("unedited model", tuple(records), probabilities=True)])
    return {row["prompt"]: row["answer"] for row in found.rows}


def unedited(trial: Trial, model_id: str, records: Sequence[EditRecord]) -> Answered:
    """Judged answers of the unedited model to the questions of these records."""
    before = answers_before(trial, model_id, records)
    (found,) = ask(trial, model_id, [Asked("unedited model", tuple(records), probabilities=True)], before=before)
    return found


def known_edits(trial: Trial, answered: Answered, records: Sequence[EditRecord]) -> list[str]:
    """Ids of the edits whose old object the unedited model gives when asked the edit's own prompt."""
    said = {row["edit_id"]: row["answer"] for row in answered.rows if row["dimension"] == "rel"}
    asked = [record for record in records if record.target_old]
    items = [Item(r.prompt, (str(r.target_old), *r.target_old_aliases), said[r.id]) for r in asked]
    return [r.id for r, one in zip(asked, judged(trial, items, label="old objects"), strict=True) if one.correct]
