"""Artifacts of appendix E: SCR with memories of several sizes and several numbers of retrieved texts.

A memory of N texts holds all edits that are asked about and is filled up with other edits of the same data. Those whose
fact some question rests on are left out: a memory that edits what a locality question asks about would be right to
answer it otherwise. A memory is embedded once and stored, index and texts together; what is proposed for a question is
scored once for the largest k, whose first texts are those of every smaller k.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from editverdict.data.records import EditRecord
from editverdict.editors.base import Answering
from editverdict.editors.scr import Confirmed, Memory, ScrSettings, best_confirmed
from editverdict.evaluation.questions import Question, questions_of_all
from editverdict.generation.decode import greedy_answers
from editverdict.generation.in_context import answer_with_context, confirmation_scores
from editverdict.generation.latency import LATENCY_VERSION, Query, slowed, timed_query
from editverdict.pipeline.confirming import require_selection
from editverdict.pipeline.cost import peak_memory
from editverdict.pipeline.edits import answering_fields, editor_of
from editverdict.pipeline.latency import (
    PLANTED,
    SLOWDOWN,
    Enter,
    Times,
    in_turns,
    read_queries,
    timing_protocol,
    write_queries,
)
from editverdict.pipeline.timing import alone, questions_to_time, settings
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.store import Clock, Draft, Recipe

MEMORY_VERSION = 1
GRID_VERSION = 1
TOP_K = (1, 3, 5, 10)
"""Numbers of retrieved texts of Tables 44-46."""
METHOD = "SCR"
AGAIN, IRRELEVANT = "again", "irrelevant"
"""The first configuration once more; a memory without any of the edits that are asked about."""
PLANTED_MEMORY = 0.1
"""Memory that the planted configuration holds, as a share of what is in use: twice what the claim allows."""
Config = tuple[int, int]
"""Texts in the memory, texts retrieved."""


def name_of(config: Config) -> str:
    """``100 texts, top-3``."""
    return f"{config[0]} texts, top-{config[1]}"


def configurations(trial: Trial) -> list[Config]:
    """All sizes with all k, in the order of the paper's tables."""
    return [(size, k) for size in trial.profile.sizes.memory_sizes for k in TOP_K]


def scr_settings(trial: Trial, model_id: str) -> ScrSettings:
    """SCR's hyperparameters for a model.

    Raises
    ------
    NotHere
        There is no SCR, its threshold was never chosen for this model, or the model's own yes and no select nothing.
    """
    if METHOD not in trial.library.methods:
        raise NotHere(f"needs a method with id '{METHOD}' in specs/methods")
    found: ScrSettings = editor_of(trial, METHOD, model_id).hyperparameters
    if found.threshold is None:
        raise NotHere(
            f"needs SCR's confirmation threshold for this model: methods[{METHOD}].per_model.{model_id}.threshold, "
            "settled on facts that no verdict rests on (generation/in_context.py tells how it was done); of a model "
            "that follows instructions {confirmation: yes-no, threshold: 0.0} in its place"
        )
    require_selection(trial, METHOD, model_id)
    return found


def memory_recipe(trial: Trial, texts: Sequence[str]) -> Recipe:
    """Recipe of a stored memory."""
    return Recipe.of("memory", MEMORY_VERSION, texts=list(texts), encoder=trial.encoder_key)


def memory_of(trial: Trial, texts: Sequence[str]) -> Memory:
    """A memory of these texts, index and texts out of the store."""

    def produce(draft: Draft) -> None:
        trial.report(f"memory: embedding {len(texts)} texts")
        Memory(texts, trial.encoder).save(draft.path, trial.encoder_key)

    artifact = trial.store.build(memory_recipe(trial, texts), produce)
    return Memory.load(artifact.path, trial.encoder, trial.encoder_key)


def others(trial: Trial, dataset_id: str, asked: Sequence[EditRecord]) -> list[EditRecord]:
    """Edits of the same data that bear on no question about ``asked``, in an order that is a function of the seed."""
    taken = {record.id for record in asked}
    prompts = {question.prompt for question in questions_of_all(asked)}
    facts = {(f.subject, f.relation) for r in asked for p in (*r.locality, *r.portability) for f in p.facts}
    facts |= {(record.subject, record.relation) for record in asked if record.relation}
    free = [
        record
        for record in trial.records(dataset_id)
        if record.id not in taken and record.prompt not in prompts and (record.subject, record.relation) not in facts
    ]
    seed = trial.profile.seed
    return sorted(free, key=lambda record: hashlib.sha256(f"{seed}|{record.id}".encode()).hexdigest())


def texts_in(trial: Trial, dataset_id: str, asked: Sequence[EditRecord], size: int) -> list[str]:
    """Statements of a memory of ``size`` texts: all edits that are asked about, then others.

    Raises
    ------
    NotHere
        There are more edits than places, or too few others to fill them.
    """
    own = list(dict.fromkeys(record.statement for record in asked))
    if len(own) > size:
        raise NotHere(
            f"needs a memory of at least {len(own)} texts, all edits that are asked about; this one has {size}"
        )
    return _filled(trial, dataset_id, asked, size, own)


def irrelevant_texts(trial: Trial, dataset_id: str, asked: Sequence[EditRecord], size: int) -> list[str]:
    """Statements of a memory of ``size`` texts that holds none of the edits that are asked about."""
    return _filled(trial, dataset_id, asked, size, [])


def _filled(trial: Trial, dataset_id: str, asked: Sequence[EditRecord], size: int, own: list[str]) -> list[str]:
    more = [record.statement for record in others(trial, dataset_id, asked)]
    found = list(dict.fromkeys([*own, *more]))[:size]
    if len(found) < size:
        raise NotHere(f"needs {size} different texts for a memory, and dataset '{dataset_id}' has {len(found)}")
    return found


# --------------------------------------------------------------------------- what it answers
@dataclass(frozen=True)
class Grid:
    """Answers of every configuration to the same questions."""

    questions: list[Question]
    answers: dict[str, list[str]]
    """Name of the configuration -> answer per question."""
    in_context: dict[str, float]
    """Share of questions that got a text into the context."""
    given: dict[str, list[bool]]
    """Name of the configuration -> per question, whether it got one."""
    key: str


def grid(trial: Trial, model_id: str, dataset_id: str, asked: Sequence[EditRecord]) -> Grid:
    """Answers to all questions about ``asked``, by every configuration and by a memory of other facts."""
    scr = scr_settings(trial, model_id)
    sizes = trial.profile.sizes.memory_sizes
    memories = {size: texts_in(trial, dataset_id, asked, size) for size in sizes}
    strangers = irrelevant_texts(trial, dataset_id, asked, sizes[0])
    questions = questions_of_all(asked)
    recipe = Recipe.of(
        "scr-grid",
        GRID_VERSION,
        model=trial.model(model_id).identity.fields(),
        protocol=trial.protocol(model_id).id,
        editor=answering_fields(trial, METHOD, model_id),
        memories=[memory_recipe(trial, texts) for texts in (*memories.values(), strangers)],
        top_k=list(TOP_K),
        questions=[[q.edit_id, q.dimension, q.kind, q.prompt] for q in questions],
    )

    def produce(draft: Draft) -> None:
        prompts = [q.prompt for q in questions]
        given: dict[str, list[str]] = {}
        for size, texts in memories.items():
            scored = _scored(trial, model_id, memory_of(trial, texts), prompts, scr)
            given |= {name_of((size, k)): _composed(prompts, scored, k, scr.limit) for k in TOP_K}
        scored = _scored(trial, model_id, memory_of(trial, strangers), prompts, scr)
        given[IRRELEVANT] = _composed(prompts, scored, scr.top_k, scr.limit)
        draft.write_table(_answered(trial, model_id, prompts, given))

    artifact = trial.store.build(recipe, produce)
    answers: dict[str, list[str]] = {}
    helped: dict[str, list[bool]] = {}
    for row in artifact.table().to_pylist():
        answers.setdefault(row["configuration"], []).append(row["answer"])
        helped.setdefault(row["configuration"], []).append(row["given"] is not None)
    shares = {name: sum(own) / len(own) for name, own in helped.items()}
    return Grid(questions, answers, shares, helped, artifact.key)


Scored = list[list[tuple[float, str]]]


def _scored(trial: Trial, model_id: str, memory: Memory, prompts: Sequence[str], scr: ScrSettings) -> Scored:
    """Per question the texts that are proposed, nearest first, each with the model's confirmation."""
    loaded, rule = trial.model(model_id), scr.confirmation
    clock = Clock("SCR: confirming", "questions", trial.report)
    proposed = memory.nearest(prompts, max(TOP_K))
    found: Scored = []
    # A few questions at a time: enough rows for a batch, and a line of progress now and then.
    for start in range(0, len(prompts), 8):
        some = list(zip(prompts[start : start + 8], proposed[start : start + 8], strict=True))
        pairs = [(text, prompt) for prompt, texts in some for text in texts]
        scores = iter(confirmation_scores(loaded.model, loaded.tokenizer, pairs, rule=rule).tolist())  # type: ignore[arg-type]
        found += [[(next(scores), text) for text in texts] for _, texts in some]
        clock.tick(len(found), len(prompts))
    return found


def _composed(prompts: Sequence[str], scored: Scored, k: int, limit: float) -> list[str]:
    """The prompts that the model is given where the k nearest texts are proposed."""
    return [
        answer_with_context(best_confirmed(own[:k], limit), prompt) for prompt, own in zip(prompts, scored, strict=True)
    ]


def _answered(trial: Trial, model_id: str, prompts: Sequence[str], given: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Rows of all configurations; what several of them are given is answered once."""
    loaded = trial.model(model_id)
    wanted = list(dict.fromkeys(text for own in given.values() for text in own))
    clock, done = Clock("SCR: answering", "prompts", trial.report), 0

    def progress(more: int) -> None:
        nonlocal done
        done += more
        clock.tick(done, len(wanted))

    answers = greedy_answers(loaded.model, loaded.tokenizer, wanted, trial.protocol(model_id), progress=progress)
    said = {text: answer.text for text, answer in zip(wanted, answers, strict=True)}
    return [
        {"configuration": name, "prompt": prompt, "given": None if text == prompt else text, "answer": said[text]}
        for name, own in given.items()
        for prompt, text in zip(prompts, own, strict=True)
    ]


# --------------------------------------------------------------------------- what it takes
def grid_times(trial: Trial, model_id: str, dataset_id: str, chains: Sequence[Sequence[EditRecord]]) -> Times:
    """Latency and peak memory of every configuration, query by query and in turns."""
    scr, loaded = scr_settings(trial, model_id), trial.model(model_id)
    asked_records = [record for chain in chains for record in chain]
    texts = {size: texts_in(trial, dataset_id, asked_records, size) for size in trial.profile.sizes.memory_sizes}
    asked = [(0, q.prompt) for _, q in questions_to_time(chains, trial.profile.sizes.timed_prompts)]
    recipe = Recipe.of(
        "scr-latency",
        GRID_VERSION,
        clock=LATENCY_VERSION,
        model=loaded.identity.fields(),
        protocol=timing_protocol(trial, model_id).id,
        editor=answering_fields(trial, METHOD, model_id),
        memories=[memory_recipe(trial, own) for own in texts.values()],
        top_k=list(TOP_K),
        questions=[prompt for _, prompt in asked],
        repeats=trial.profile.sizes.timed_repeats,
        planted=[SLOWDOWN, PLANTED_MEMORY],
        **settings(trial),
    )

    def produce(draft: Draft) -> None:
        held = {size: memory_of(trial, own) for size, own in texts.items()}
        ways: dict[str, list[Enter]] = {}
        for size, k in configurations(trial):
            answering = Confirmed(loaded, held[size], scr.model_copy(update={"top_k": k}))
            ways[name_of((size, k))] = [_entered(answering)]
        first = ways[name_of(configurations(trial)[0])][0]
        ways |= {AGAIN: [first], PLANTED: [_burdened(trial, model_id, first)]}
        clock = Clock("latency of SCR", "queries", trial.report)
        with alone(trial) as beside:
            found = in_turns(ways, asked, trial.profile.sizes.timed_repeats, _watched(trial, model_id), clock.tick)
        write_queries(draft, found, beside)

    return read_queries(trial.store.build(recipe, produce), [0] * len(asked))


def _entered(answering: Answering) -> Enter:
    @contextmanager
    def enter() -> Iterator[Answering]:
        yield answering

    return enter


def _burdened(trial: Trial, model_id: str, first: Enter) -> Enter:
    """A configuration with planted work after every pass, and memory held that nobody needs."""
    device = trial.device

    @contextmanager
    def enter() -> Iterator[Answering]:
        used = torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss
        burden = torch.ones(int(PLANTED_MEMORY * used), dtype=torch.uint8, device=device)
        with ExitStack() as stack:
            answering = stack.enter_context(first())
            stack.enter_context(slowed(trial.model(model_id).model, SLOWDOWN))
            yield answering
        del burden

    return enter


def _watched(trial: Trial, model_id: str) -> Any:
    loaded, protocol = trial.model(model_id), timing_protocol(trial, model_id)

    def ask(_name: str, way: Answering, question: str) -> Query:
        with peak_memory(trial.device) as peak:
            query = timed_query(loaded.model, loaded.tokenizer, way.prompts, question, protocol)
        return dataclasses.replace(query, peak_mib=peak.mib)

    return ask
