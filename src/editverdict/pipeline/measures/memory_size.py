"""How SCR depends on the size of its memory and the number of retrieved texts (appendix E, Tables 44-46)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.evaluation.dimensions import Scores, items_of, rows_of, scores_of
from editverdict.evaluation.questions import DIMENSIONS
from editverdict.generation.latency import Query
from editverdict.inference.intervals import Estimate, jackknife_interval, missing, t_interval
from editverdict.pipeline.answers import Asked, answers_before, ask
from editverdict.pipeline.judging import judged
from editverdict.pipeline.latency import PLANTED, Times, timing_protocol
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.answering import HEADROOM
from editverdict.pipeline.measures.efficiency import described, exact_tokens, how_asked
from editverdict.pipeline.measures.in_force import in_force
from editverdict.pipeline.measures.perturbation import units_picture
from editverdict.pipeline.scr_grid import AGAIN, IRRELEVANT, METHOD, Grid, configurations, grid, grid_times, name_of
from editverdict.pipeline.timing import questions_to_time
from editverdict.pipeline.trial import Trial

Rows = list[dict[str, Any]]


def _heads(trial: Trial, case: Case) -> list[list[EditRecord]]:
    length = chain_length(trial, case)
    return [chain[:length] for chain in trial.chains(str(case.dataset)) if len(chain) >= length]


def _table(times: Times, trial: Trial, read: Callable[[Query], float]) -> dict[str, float]:
    return {name_of(one): times.seconds(name_of(one), read) for one in configurations(trial)}


def texts_timed(trial: Trial, case: Case, times: Times) -> list[bool]:
    """Whether each own prompt that was timed got a text from the first configuration: it is longer then."""
    asked = [q for _, q in questions_to_time(_heads(trial, case), trial.profile.sizes.timed_prompts)]
    bare = timing_protocol(trial, case.model).encode([q.prompt for q in asked])
    first = times.queries[name_of(configurations(trial)[0])]
    return [
        repeats[0].prompt_tokens > len(tokens)
        for q, tokens, repeats in zip(asked, bare, first, strict=True)
        if q.dimension == "rel"
    ]


def _timed(trial: Trial, case: Case, made: Measurement, times: Times) -> None:
    made.edits = chain_length(trial, case)
    described(trial, case, made, f"{METHOD}, {len(times.chains)} queries, {how_asked(trial, case.model)}", times)
    made.checks |= exact_tokens(times) | in_force(texts_timed(trial, case, times), "timed own prompts")
    made.descriptive["seconds_per_query"] = _table(times, trial, lambda query: query.total)
    made.descriptive["seconds_of_retrieval"] = _table(times, trial, lambda query: query.retrieval)
    made.descriptive["peak_mib"] = _table(times, trial, lambda query: query.peak_mib)
    made.descriptive["tokens_per_prompt"] = _table(times, trial, lambda query: float(query.prompt_tokens))


# --------------------------------------------------------------------------- latency
@measure("retrieval_latency_ratio")
def retrieval_latency_ratio(trial: Trial, case: Case) -> Measurement:
    """Latency of the largest memory and most texts over that of the smallest and fewest, per query."""
    times, order = grid_times(trial, case.model, str(case.dataset), _heads(trial, case)), configurations(trial)
    first, last = name_of(order[0]), name_of(order[-1])
    made = Measurement({"wall-clock": t_interval(times.ratios(last, base=first))})
    cpu = trial.device.type == "cpu"
    made.definitions["cpu-time"] = (
        t_interval(times.ratios(last, lambda query: query.cpu, first)) if cpu else missing(note="not on a CPU")
    )
    made.definitions["memory-alone"] = t_interval(times.ratios(name_of((order[-1][0], order[0][1])), base=first))
    made.definitions["texts-alone"] = t_interval(times.ratios(name_of((order[0][0], order[-1][1])), base=first))
    made.controls["same-again"] = t_interval(times.ratios(AGAIN, base=first))
    made.controls["planted-slowdown"] = t_interval(times.ratios(PLANTED, base=first))
    _timed(trial, case, made, times)
    made.descriptive["ratios_to_the_first"] = {
        name_of(one): t_interval(times.ratios(name_of(one), base=first)).value for one in order
    }
    made.pictures.append(
        units_picture(
            case,
            f"Latency of {METHOD}: {last} over {first}",
            {
                METHOD: made.definitions["wall-clock"].units,
                "same-again (negative)": made.controls["same-again"].units,
                "planted-slowdown (positive)": made.controls["planted-slowdown"].units,
            },
        )
    )
    return made


# --------------------------------------------------------------------------- memory
def _spread(times: Times, names: Sequence[str]) -> list[float]:
    """Per query, the largest over the smallest peak of several configurations, each averaged over repeats."""
    peaks = {name: [_mean([q.peak_mib for q in own]) for own in times.queries[name]] for name in names}
    return [max(values) / min(values) for values in zip(*peaks.values(), strict=True)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


@measure("retrieval_memory_ratio")
def retrieval_memory_ratio(trial: Trial, case: Case) -> Measurement:
    """Largest over smallest peak memory among all configurations, per query."""
    times = grid_times(trial, case.model, str(case.dataset), _heads(trial, case))
    names = [name_of(one) for one in configurations(trial)]
    made = Measurement({"peak": t_interval(_spread(times, names))})
    made.controls["same-again"] = t_interval(_spread(times, (names[0], AGAIN)))
    made.controls["planted-memory"] = t_interval(_spread(times, (names[0], PLANTED)))
    _timed(trial, case, made, times)
    on_cuda = trial.device.type == "cuda"
    made.descriptive["memory"] = "allocated on the CUDA device" if on_cuda else "resident size, not video memory"
    made.pictures.append(
        units_picture(
            case,
            f"Memory of {METHOD}: largest over smallest peak of {len(names)} configurations",
            {
                METHOD: made.definitions["peak"].units,
                "same-again (negative)": made.controls["same-again"].units,
                "planted-memory (positive)": made.controls["planted-memory"].units,
            },
        )
    )
    return made


# --------------------------------------------------------------------------- performance
def _judged(trial: Trial, found: Grid, before: Mapping[str, str]) -> dict[str, Rows]:
    return {
        name: rows_of(found.questions, answers, judged(trial, items_of(found.questions, answers)), before)
        for name, answers in found.answers.items()
    }


def score_range(configured: Mapping[str, Rows], dimensions: Sequence[str] = DIMENSIONS) -> float:
    """Largest over dimensions of the range (highest minus lowest score) over configurations.

    Raises
    ------
    ValueError
        No dimension was asked about.
    """
    scores = [scores_of(rows) for rows in configured.values()]
    ranges = [range_ for name in dimensions if (range_ := _range(scores, name)) is not None]
    if not ranges:
        raise ValueError(f"no question of the dimensions {', '.join(dimensions)}, so there is no range of scores")
    return max(ranges)


def _range(scores: Sequence[Scores], dimension: str) -> float | None:
    values = [getattr(one, dimension) for one in scores]
    return None if None in values else max(values) - min(values)


def _over_chains(
    configured: Mapping[str, Rows], chains: Sequence[Sequence[EditRecord]], dimensions: Sequence[str] = DIMENSIONS
) -> Estimate:
    """The range with a jackknife over chains: it is that of all edits, and no mean of ranges of ten."""
    full = score_range(configured, dimensions)
    without = []
    for chain in chains:
        left_out = {record.id for record in chain}
        kept = {name: [row for row in rows if row["edit_id"] not in left_out] for name, rows in configured.items()}
        without.append(score_range(kept, dimensions))
    edits = len({row["edit_id"] for rows in configured.values() for row in rows})
    return jackknife_interval(full, without, resolution=len(chains) / edits).within((0.0, 1.0))


@measure("retrieval_score_range")
def retrieval_score_range(trial: Trial, case: Case) -> Measurement:
    """Range of the scores over all configurations, largest over the four dimensions, over chains (Table 46)."""
    chains = _heads(trial, case)
    everything = [record for chain in chains for record in chain]
    found = grid(trial, case.model, str(case.dataset), everything)
    before = answers_before(trial, case.model, everything)
    (gold,) = ask(trial, case.model, [Asked("gold context", tuple(everything), gold=True)], before=before)
    rows = _judged(trial, found, before)
    own = {name: rows[name] for name in map(name_of, configurations(trial))}
    made = Measurement({"all-dimensions": _over_chains(own, chains)})
    made.definitions["rel-and-gen"] = _over_chains(own, chains, ("rel", "gen"))
    for part in DIMENSIONS:
        made.definitions[part] = _over_chains(own, chains, (part,))
    first = name_of(configurations(trial)[0])
    made.controls["irrelevant-memory"] = _over_chains({first: rows[first], IRRELEVANT: rows[IRRELEVANT]}, chains)
    rel = float(scores_of(gold.rows).rel or 0.0)
    made.checks |= passed(
        "headroom-gold", rel >= HEADROOM, f"reliability with the gold context = {rel:.3f}, at least {HEADROOM} needed"
    )
    first_given = zip(found.questions, found.given[first], strict=True)
    made.checks |= in_force([put for question, put in first_given if question.dimension == "rel"], "own prompts")
    wanted = len(found.questions) * (len(own) + 1)
    there = sum(len(answers) for answers in found.answers.values())
    made.checks |= passed("answers-complete", there == wanted, f"{there} answers to {wanted} questions")
    length = chain_length(trial, case)
    made.edits, made.recipes = length, [found.key, gold.key]
    made.stands_on = (
        f"{case.subject}, {METHOD}, {len(chains)} chains of {length} edits in one memory, "
        f"protocol {trial.profile.protocol_of(case.model).id}, judge {trial.profile.judge}"
    )
    made.descriptive["scores"] = {name: dict(vars(scores_of(own_rows))) for name, own_rows in rows.items()}
    made.descriptive["text_in_context"] = found.in_context
    made.pictures += [
        units_picture(
            case,
            f"Range of {METHOD}'s scores over {len(own)} configurations (jackknife pseudo-values, per chain)",
            {
                METHOD: made.definitions["all-dimensions"].units,
                "irrelevant-memory (positive)": made.controls["irrelevant-memory"].units,
            },
        ),
        _scores_picture(trial.profile.protocol_of(case.model).id, rows),
    ]
    return made


def _scores_picture(protocol: str, rows: Mapping[str, Rows]) -> dict[str, Any]:
    """Table 46 in our form."""
    scores = {name: scores_of(own) for name, own in rows.items()}
    return {
        "kind": "answers",
        "title": f"Scores of {METHOD} by memory and number of retrieved texts, answers of {protocol}",
        "columns": ["configuration", *DIMENSIONS],
        "rows": [
            [name, *(None if getattr(one, part) is None else round(getattr(one, part), 3) for part in DIMENSIONS)]
            for name, one in scores.items()
        ],
    }
