"""The table of a run's methods against each other: every pair, schedule and dimension, one correction over all.

Subjects are what the main interval and the p value stand on (:mod:`editverdict.inference.comparisons`). Facts of one
chain share a state, so after a chain there are a second interval and a second p value, over chains; the larger p goes
into the correction, and a difference counts only where both see it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from pydantic import BaseModel, ConfigDict

from editverdict.inference.comparisons import DRAWS, Comparison, Outcomes, compare, mcnemar
from editverdict.inference.corrections import holm
from editverdict.inference.intervals import LEVEL, t_interval
from editverdict.inference.pvalues import mean_p
from editverdict.inference.rows import Interval

DIMENSIONS = ("rel", "gen", "loc", "port")
MIN_CHAINS = 6
SINGLE = "single"
"""Schedule of edits that are made alone; others are ``after N``."""


@dataclass(frozen=True)
class Fact:
    """What one fact came to in one method's state."""

    subject: str
    chain: int
    scores: Mapping[str, float]
    """Dimension -> score in [0, 1], of those that were asked."""


@dataclass(frozen=True)
class MethodState:
    """One method on its facts, by one protocol and judge."""

    method: str
    schedule: str
    """``single``, or ``after N`` for the state after a chain of N edits."""
    score_id: str
    """Protocol and judge."""
    facts: Mapping[str, Fact]
    """Id of an edit -> what it came to."""
    questions: Mapping[str, Mapping[str, float]]
    """Dimension -> question -> right (1) or wrong (0)."""


class ContestPart(BaseModel):
    """Base of what reaches disk: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ContestLine(ContestPart):
    """Two methods in one dimension, on the facts that both were asked about."""

    schedule: str
    dimension: str
    first: str
    second: str
    n_facts: int
    n_subjects: int
    n_chains: int
    score_first: float
    score_second: float
    difference: float
    """First minus second, mean over facts."""
    interval: Interval | None
    """Bootstrap over subjects; None: fewer than two."""
    chains_interval: Interval | None
    """Student t over chains; None: single edits, or fewer than two chains."""
    p: float
    """Sign flips over subjects, two-sided."""
    p_chains: float | None
    """Student t over chains, two-sided; None: single edits. The larger of the two goes into Holm's correction."""
    p_holm: float
    only_first: int | None
    """Questions that the first alone has right; None where questions were judged in shares."""
    only_second: int | None
    p_mcnemar: float | None
    """McNemar's exact test, questions taken for independent; decides nothing."""
    p_mcnemar_mid: float | None
    differs: bool
    """Whether p after Holm is below 1 - level and, after chains, six and more of them see the difference, too."""


class Contest(ContestPart):
    """All lines of one model, dataset, protocol and judge."""

    model: str
    dataset: str
    score_id: str
    level: float
    lines: tuple[ContestLine, ...]
    left_out: tuple[str, ...] = ()
    """What is not compared, each with its reason."""
    remarks: tuple[str, ...] = ()
    """What must be known before the lines are read."""


def contest(
    model: str,
    dataset: str,
    score_id: str,
    states: Sequence[MethodState],
    *,
    left_out: Sequence[str] = (),
    remarks: Sequence[str] = (),
    level: float = LEVEL,
    draws: int = DRAWS,
) -> Contest:
    """Compare all pairs of methods under each schedule, in each dimension; Holm over all of it.

    Parameters
    ----------
    model, dataset, score_id
        What all states have in common.
    states
        Every (method, schedule) once.
    left_out
        Reasons that the caller has.
    remarks
        What the caller knows of the methods beside their numbers.

    Raises
    ------
    ValueError
        A state was scored under another id, or a method stands twice under one schedule.
    """
    alien = sorted({one.score_id for one in states} - {score_id})
    if alien:
        raise ValueError(f"a table of {score_id} cannot hold scores under {', '.join(alien)}")
    names = [(one.schedule, one.method) for one in states]
    if len(set(names)) != len(names):
        raise ValueError(f"a method stands twice under one schedule: {names}")
    found = [pair for schedule in _schedules(states) for pair in _pairs(states, schedule, level, draws)]
    adjusted = holm([line.p if line.p_chains is None else max(line.p, line.p_chains) for line, _ in found])
    lines = [
        line.model_copy(update={"p_holm": p, "differs": p < 1.0 - level and seen})
        for (line, seen), p in zip(found, adjusted, strict=True)
    ]
    return Contest(
        model=model,
        dataset=dataset,
        score_id=score_id,
        level=level,
        lines=tuple(lines),
        left_out=(*left_out, *_alone(states, lines)),
        remarks=tuple(remarks),
    )


def _schedules(states: Sequence[MethodState]) -> list[str]:
    """Single edits first, then by the length of the chains."""
    return sorted({one.schedule for one in states}, key=lambda name: (name != SINGLE, _length(name), name))


def _length(schedule: str) -> int:
    last = schedule.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


def _pairs(
    states: Sequence[MethodState], schedule: str, level: float, draws: int
) -> Iterator[tuple[ContestLine, bool]]:
    """Every pair in every dimension with facts in common; with each, whether chains see the difference, too."""
    own = [one for one in states if one.schedule == schedule]
    for dimension in DIMENSIONS:
        for first, second in combinations(own, 2):
            shared = [fact for fact in _asked(first, dimension) if fact in _asked(second, dimension)]
            if shared:
                yield _line(first, second, dimension, shared, level, draws)


def _asked(state: MethodState, dimension: str) -> dict[str, float]:
    return {name: fact.scores[dimension] for name, fact in state.facts.items() if dimension in fact.scores}


def _line(
    first: MethodState, second: MethodState, dimension: str, shared: Sequence[str], level: float, draws: int
) -> tuple[ContestLine, bool]:
    own, other = _outcomes(first, dimension, shared), _outcomes(second, dimension, shared)
    found = compare(own, other, level, draws=draws)
    questions = _mcnemar(first, second, dimension, {*shared})
    by_chain: dict[int, list[float]] = {}
    for fact in shared:
        gap = first.facts[fact].scores[dimension] - second.facts[fact].scores[dimension]
        by_chain.setdefault(first.facts[fact].chain, []).append(gap)
    over_chains, p_chains, seen = None, None, True
    if first.schedule != SINGLE:
        step = 1.0 / min(map(len, by_chain.values()))
        gaps = [math.fsum(g) / len(g) for g in by_chain.values()]
        over_chains, p_chains = t_interval(gaps, level, step).interval, mean_p(gaps, step)
        agrees = over_chains is not None and not over_chains[0] <= 0.0 <= over_chains[1]
        seen = len(by_chain) >= MIN_CHAINS and agrees
    return _filled(first, second, dimension, shared, found, questions, len(by_chain), over_chains, p_chains), seen


def _outcomes(state: MethodState, dimension: str, facts: Sequence[str]) -> Outcomes:
    return Outcomes(
        state.method,
        state.score_id,
        {fact: state.facts[fact].scores[dimension] for fact in facts},
        {fact: state.facts[fact].subject for fact in facts},
    )


def _mcnemar(
    first: MethodState, second: MethodState, dimension: str, facts: set[str]
) -> tuple[int, int, float, float] | None:
    """McNemar's test over the questions of these facts that both answered; None where answers are judged in shares."""
    one, other = (state.questions.get(dimension, {}) for state in (first, second))
    asked = [q for q in one if q in other and q.partition("|")[0] in facts]
    pairs = [(one[q], other[q]) for q in asked]
    if not pairs or any(value not in (0.0, 1.0) for pair in pairs for value in pair):
        return None
    found = mcnemar([a for a, _ in pairs], [b for _, b in pairs])
    return found.only_first, found.only_second, found.p_exact, found.p_mid


def _filled(
    first: MethodState,
    second: MethodState,
    dimension: str,
    shared: Sequence[str],
    found: Comparison,
    questions: tuple[int, int, float, float] | None,
    n_chains: int,
    over_chains: Interval | None,
    p_chains: float | None,
) -> ContestLine:
    only_first, only_second, exact, mid = questions or (None, None, None, None)
    scores = [math.fsum(one.facts[f].scores[dimension] for f in shared) / len(shared) for one in (first, second)]
    return ContestLine(
        schedule=first.schedule,
        dimension=dimension,
        first=first.method,
        second=second.method,
        n_facts=len(shared),
        n_subjects=found.difference.n_clusters,
        n_chains=n_chains,
        score_first=scores[0],
        score_second=scores[1],
        difference=float(found.difference.value or 0.0),
        interval=found.difference.interval,
        chains_interval=over_chains,
        p=found.p,
        p_chains=p_chains,
        p_holm=1.0,
        only_first=only_first,
        only_second=only_second,
        p_mcnemar=exact,
        p_mcnemar_mid=mid,
        differs=False,
    )


def _alone(states: Sequence[MethodState], lines: Sequence[ContestLine]) -> list[str]:
    """States that stand in no line."""
    seen = {(line.schedule, name) for line in lines for name in (line.first, line.second)}
    return [
        f"{one.method}, {words(one.schedule)}: no other method was asked about the same facts"
        for one in states
        if (one.schedule, one.method) not in seen
    ]


def words(schedule: str) -> str:
    """A schedule as a reader would call it."""
    return "single edits" if schedule == SINGLE else f"{schedule} edits"
