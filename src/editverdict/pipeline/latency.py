"""Artifacts of latency: the same queries to several states of one model, in turns, in one process.

Each query goes to every state once per repeat; from one query to the next the order is reversed, so that a machine that
slows down or is disturbed touches all states alike. What is judged later are ratios within a query.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.editors.base import Answering, State
from editverdict.editors.deltas import installed
from editverdict.generation.latency import LATENCY_VERSION, Query, exactly, interleaved, slowed, timed_query
from editverdict.generation.protocol import Protocol
from editverdict.pipeline.edits import answering_fields, editor_of, resources, state_key, steps
from editverdict.pipeline.timing import alone, questions_to_time, settings
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.store import Artifact, Clock, Draft, Recipe

TIMES_VERSION = 1
BASE, NO_OP, PLANTED = "unedited", "no-op", "planted"
"""The model as it is; the same by the way of an editor; the same with planted work after every pass."""
SLOWDOWN = 0.2
"""Planted work, as a share of a pass: four times what the claims allow, and no more."""

Enter = Callable[[], AbstractContextManager[Answering]]


@dataclass(frozen=True)
class Times:
    """Timed queries of several states."""

    queries: dict[str, list[list[Query]]]
    """State -> question -> repeat."""
    chains: list[int]
    """Number of the chain that each question is about."""
    machine: dict[str, Any]
    key: str

    def ratios(self, name: str, read: Callable[[Query], float] | None = None, base: str = BASE) -> list[float]:
        """Per question: geometric mean over repeats of a state's time over the base's."""
        value = read or (lambda query: query.total)
        return [
            math.exp(statistics.fmean(math.log(value(a) / value(b)) for a, b in zip(own, other, strict=True)))
            for own, other in zip(self.queries[name], self.queries[base], strict=True)
        ]

    def seconds(self, name: str, read: Callable[[Query], float] | None = None) -> float:
        """Median over questions and repeats: shown beside the ratios, never judged."""
        value = read or (lambda query: query.total)
        return statistics.median(value(query) for repeats in self.queries[name] for query in repeats)

    @property
    def spent(self) -> tuple[float, float]:
        """Wall-clock and CPU seconds of all queries."""
        every = [query for questions in self.queries.values() for repeats in questions for query in repeats]
        return math.fsum(query.total for query in every), math.fsum(query.cpu for query in every)

    @property
    def tokens(self) -> set[int]:
        """Lengths of all answers."""
        return {query.tokens for questions in self.queries.values() for one in questions for query in one}


def timing_protocol(trial: Trial, model_id: str) -> Protocol:
    """The profile's protocol with answers of exactly 50 tokens."""
    return exactly(trial.protocol(model_id))


def in_turns(
    ways: dict[str, list[Enter]],
    asked: Sequence[tuple[int, str]],
    repeats: int,
    ask: Callable[[str, Answering, str], Query],
    tick: Callable[[int, int], None],
) -> dict[str, list[list[Query]]]:
    """Put every question to every state, ``repeats`` times, the order reversed from one round to the next.

    Parameters
    ----------
    ways
        State -> for each chain, what puts it in force.
    asked
        (Number of the chain, question).
    repeats
        Rounds per question.
    ask
        (State, how it answers, question) -> what it took.
    tick
        Progress: (done, total).
    """
    rounds = [(at, number) for number in range(repeats) for at in range(len(asked))]
    found: dict[str, list[list[Query]]] = {name: [[] for _ in asked] for name in ways}
    orders = interleaved(list(ways), len(rounds) + repeats)
    # The first query of a process pays for what is set up once; every state gets one that is not counted.
    for name, enter in ways.items():
        with enter[asked[0][0]]() as answering:
            ask(name, answering, asked[0][1])
    for done, (at, number) in enumerate(rounds):
        chain, question = asked[at]
        # Shifted by one per repeat, so that a question meets both orders even where their number is even.
        for name in orders[at + number]:
            with ways[name][chain]() as answering:
                found[name][at].append(ask(name, answering, question))
        tick(done + 1, len(rounds))
    return found


def _way(trial: Trial, model_id: str, method: str, state: State, memory: Sequence[EditRecord]) -> Enter:
    loaded = trial.model(model_id)
    return lambda: editor_of(trial, method, model_id).install(loaded, state, memory, resources(trial, model_id))


def _plain(trial: Trial, model_id: str) -> Enter:
    return lambda: installed(trial.model(model_id).model, ())


@contextmanager
def _slow(trial: Trial, model_id: str) -> Iterator[Answering]:
    with ExitStack() as stack:
        answering = stack.enter_context(installed(trial.model(model_id).model, ()))
        stack.enter_context(slowed(trial.model(model_id).model, SLOWDOWN))
        yield answering


def _ask(trial: Trial, model_id: str) -> Callable[[str, Answering, str], Query]:
    loaded, protocol = trial.model(model_id), timing_protocol(trial, model_id)
    return lambda _name, way, question: timed_query(loaded.model, loaded.tokenizer, way.prompts, question, protocol)


def times_of(trial: Trial, model_id: str, dataset_id: str, method: str, length: int) -> Times:
    """Latency of a method's states after chains of ``length`` edits, and of the unedited model beside them."""
    chains = _heads(trial, dataset_id, length)
    states = [steps(trial, model_id, method, chain) for chain in chains]
    ways = {
        BASE: [_plain(trial, model_id)] * len(chains),
        method: [_way(trial, model_id, method, state, chain) for state, chain in zip(states, chains, strict=True)],
    }
    fields = {
        "way": answering_fields(trial, method, model_id),
        "states": [state_key(state) for state in states],
        "memories": [[record.statement for record in chain] for chain in chains],
        "encoder": trial.encoder_key,
    }
    return _built(trial, model_id, chains, ways, fields)


def control_times(trial: Trial, model_id: str, dataset_id: str, length: int) -> Times:
    """The same of what guards the claims: the unedited model once more, and with planted work."""
    chains = _heads(trial, dataset_id, length)
    ways: dict[str, list[Enter]] = {
        BASE: [_plain(trial, model_id)] * len(chains),
        NO_OP: [_way(trial, model_id, "no-op", (), chain) for chain in chains],
        PLANTED: [lambda: _slow(trial, model_id)] * len(chains),
    }
    return _built(trial, model_id, chains, ways, {"way": "controls", "slowdown": SLOWDOWN})


def _heads(trial: Trial, dataset_id: str, length: int) -> list[list[EditRecord]]:
    heads = [chain[:length] for chain in trial.chains(dataset_id) if len(chain) >= length]
    if not heads:
        raise NotHere(f"needs a chain of {length} edits, and profile '{trial.profile.id}' has none")
    return heads


def _built(
    trial: Trial, model_id: str, chains: list[list[EditRecord]], ways: dict[str, list[Enter]], fields: dict[str, Any]
) -> Times:
    sizes = trial.profile.sizes
    asked = [(chain, q.prompt) for chain, q in questions_to_time(chains, sizes.timed_prompts)]
    recipe = Recipe.of(
        "latency",
        TIMES_VERSION,
        clock=LATENCY_VERSION,
        model=trial.model(model_id).identity.fields(),
        protocol=timing_protocol(trial, model_id).id,
        questions=[list(one) for one in asked],
        repeats=sizes.timed_repeats,
        **settings(trial),
        **fields,
    )

    def produce(draft: Draft) -> None:
        clock = Clock(f"latency of {', '.join(ways)}", "queries", trial.report)
        with alone(trial) as beside:
            found = in_turns(ways, asked, sizes.timed_repeats, _ask(trial, model_id), clock.tick)
        write_queries(draft, found, beside)

    artifact = trial.store.build(recipe, produce)
    return read_queries(artifact, [chain for chain, _ in asked])


def write_queries(draft: Draft, found: dict[str, list[list[Query]]], beside: dict[str, Any]) -> None:
    """Store timed queries, and the machine beside them."""
    draft.write_table(
        [
            {"state": name, "question": at, "repeat": number, **query.record()}
            for name, questions in found.items()
            for at, repeats in enumerate(questions)
            for number, query in enumerate(repeats)
        ]
    )
    draft.write_json({"machine": beside})


def read_queries(artifact: Artifact, chains: list[int]) -> Times:
    """What :func:`write_queries` stored."""
    found: dict[str, list[list[Query]]] = {}
    for row in artifact.table().to_pylist():
        questions = found.setdefault(row["state"], [[] for _ in chains])
        questions[row["question"]].append(Query(**{name: row[name] for name in Query.__dataclass_fields__}))
    return Times(found, chains, artifact.json()["machine"], artifact.key)
