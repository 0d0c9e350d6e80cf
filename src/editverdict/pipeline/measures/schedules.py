"""Single and sequential editing (RQ1, §5.2): how far from perfect, what is lost when, and by which method.

Everything is read off the stored answers of single edits and chains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from editverdict.evaluation.dimensions import Scores, per_edit_scores
from editverdict.evaluation.questions import DIMENSIONS
from editverdict.inference.intervals import Estimate, missing, t_interval
from editverdict.inference.smallest import smallest_mean
from editverdict.inference.verdicts import PART_KEY
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.lengths import chain_length, length_from
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.answering import (
    HEADROOM,
    SHARED,
    AskedChains,
    begin,
    chain_answers,
    headroom,
)
from editverdict.pipeline.measures.in_force import edits_in_force
from editverdict.pipeline.measures.perturbation import method_of
from editverdict.pipeline.measures.scores import less, mean, right_answers, scores_in
from editverdict.pipeline.trial import NotHere, Trial

HALF = 0.5


def about_the_edit(scores: Scores) -> float | None:
    """Mean of reliability and generalization; reliability alone where an edit has no rephrases.

    None where the judge gave no verdict about the edit's own prompt: no score is not a score of zero.
    """
    if scores.rel is None or scores.gen is None:
        return scores.rel
    return (scores.rel + scores.gen) / 2


def by_edit(answered: Sequence[Answered]) -> dict[str, Scores]:
    """Edit -> its scores, over all chains."""
    return {edit: scores for one in answered for edit, scores in per_edit_scores(one.rows).items()}


def _known(values: Iterable[float | None]) -> list[float]:
    return [float(value) for value in values if value is not None]


# --------------------------------------------------------------------------- far from perfect
@measure("single_edit_success")
def single_edit_success(trial: Trial, case: Case) -> Measurement:
    """Mean of reliability and generalization of edits made singly, per edit (Tables 29-31)."""
    method = method_of(case)
    asked = begin(trial, case, min(SHARED, trial.profile.sizes.chain_length))
    alone, gold, idle = asked.single(method), asked.gold(), asked.no_op_single()
    per_edit = by_edit(alone)
    questions = sum(row["dimension"] in ("rel", "gen") for one in alone for row in one.rows) / len(per_edit)
    step = 1 / questions

    def success(answered: Sequence[Answered]) -> list[float]:
        return _known(about_the_edit(scores) for scores in by_edit(answered).values())

    made = Measurement({"rel-and-gen": t_interval(success(alone), resolution=step)})
    made.definitions["rel"] = t_interval(_known(s.rel for s in per_edit.values()), resolution=1.0)
    rephrased = _known(s.gen for s in per_edit.values())
    per_rephrase = 1 / max(1.0, questions - 1)
    made.definitions["gen"] = t_interval(rephrased, resolution=per_rephrase) if rephrased else missing()
    made.controls["right-answers"] = t_interval(success(right_answers(trial, alone)))
    made.controls["no-op"] = t_interval(success(idle), resolution=step)
    made.comparators["gold-context"] = success(gold)
    units = {
        method: made.definitions["rel-and-gen"].units,
        "right-answers (negative)": made.controls["right-answers"].units,
        "no-op (positive)": made.controls["no-op"].units,
        "gold-context (comparator)": made.comparators["gold-context"],
    }
    made = asked.finished(
        made, {"single": alone, "no op": idle, "gold": gold}, f"Rel and Gen of single {method} edits, per edit", units
    )
    # A method that does nothing is far from perfect, too, and says nothing of editing.
    made.checks |= edits_in_force({method: alone}, asked.unedited())
    made.edits, made.resolution = 1, step
    how = f"protocol {trial.profile.protocol_of(case.model).id}, judge {trial.profile.judge}"
    made.stands_on = f"{case.subject}, {len(per_edit)} single edits, {how}"
    return made


# --------------------------------------------------------------------------- AlphaEdit: edits stay, locality does not
@measure("kept_while_locality_lost")
def kept_while_locality_lost(trial: Trial, case: Case) -> Measurement:
    """The smaller of: the share of Rel and Gen that the chain keeps, minus a half; the locality that it loses."""
    method, asked = method_of(case), begin(trial, case)
    alone, after, gross = asked.single(method), asked.after(method), asked.ten_fold(method)
    base, gold = asked.unedited(), asked.gold()
    step = 1 / asked.length
    single, loc = scores_in(alone, "rel", "gen"), scores_in(base, "loc")
    usable = min(single) > 0

    def both(kept: Sequence[float], locality: Sequence[float], resolution: float = step) -> Estimate:
        parts = {
            "retention": [a / b - HALF for a, b in zip(kept, single, strict=True)],
            "locality": less(loc, locality),
        }
        return smallest_mean(parts, resolution=resolution)

    none = missing(note="single edits score 0")
    made = Measurement({"rel-gen-and-loc": none, "locality-eq4": none})
    if usable:
        kept = scores_in(after, "rel", "gen")
        made.definitions["rel-gen-and-loc"] = both(kept, scores_in(after, "loc"))
        changed = [1.0 - one for one in scores_in(after, "loc_eq4")]
        parts = {"retention": [a / b - HALF for a, b in zip(kept, single, strict=True)], "locality": changed}
        made.definitions["locality-eq4"] = smallest_mean(parts, resolution=step)
        made.controls["ten-fold"] = both(scores_in(gross, "rel", "gen"), scores_in(gross, "loc"), 0.0)
        made.controls["planted"] = both(scores_in(gold, "rel", "gen"), [0.0] * len(loc))
    made.notes["planted"] = "about the edit as with the gold context, and every locality answer wrong"
    made.checks |= headroom("headroom-single-rel", mean(scores_in(alone, "rel")), "reliability of single edits")
    made.checks |= headroom("headroom-loc", mean(loc), "locality of the unedited model")
    units = {method: made.definitions["rel-gen-and-loc"].units} | {
        f"{name} (control)": c.units for name, c in made.controls.items()
    }
    scores = {"single": alone, "sequential": after, "ten fold": gross, "unedited": base}
    return asked.finished(made, scores, f"Kept edits and lost locality after {asked.length} {method} edits", units)


# --------------------------------------------------------------------------- which method loses its edits first
FIRST_TO_LAST = ("MEND", "ROME", "MEMIT", "AlphaEdit")
"""Methods of Table 37 in the order in which their reliability falls to half of that after one edit."""


def _pairs(trial: Trial, case: Case, reached: int) -> list[tuple[str, str]]:
    """(earlier, later) of the profile's methods, where the earlier one's horizon is reached by our chains."""
    there = [name for name in FIRST_TO_LAST if name in trial.profile.methods_of(case.claim.id)]
    toy = trial.library.models[case.model].weights == "random"
    horizons = {name: trial.library.methods[name].horizon for name in there}
    known = [name for name in there if horizons[name] is not None and (toy or int(horizons[name] or 0) <= reached)]
    pairs = [(a, b) for i, a in enumerate(there) for b in there[i + 1 :] if a in known]
    if not pairs:
        needed = ", ".join(f"{name} {trial.library.methods[name].horizon or 'none'}" for name in there) or "none"
        raise NotHere(
            f"compares methods of which the earlier one has reached its horizon by T = {reached}; the profile has of "
            f"{', '.join(FIRST_TO_LAST)}, with horizons: {needed}"
        )
    return pairs


def lost_at(ratios: Mapping[int, float]) -> float:
    """First T at which the share of single edits' reliability is below a half; infinite if at none."""
    return min((float(t) for t, ratio in ratios.items() if ratio < HALF), default=float("inf"))


def concordance(pairs: Sequence[tuple[str, str]], lost: Mapping[str, float]) -> float:
    """Share of pairs in which the earlier method loses first, minus that in which it loses last; ties count 0."""
    return mean([float(lost[a] < lost[b]) - float(lost[a] > lost[b]) for a, b in pairs])


@measure("order_of_loss")
def order_of_loss(trial: Trial, case: Case) -> Measurement:
    """Concordance of the order in which methods lose half of their edits with that of Table 37, per chain."""
    chain_length(trial, case)  # the claim's own T at least; the order shows the further the longer chains are
    length = trial.profile.sizes.chain_length
    pairs = _pairs(trial, case, length)
    asked = begin(trial, case, length)
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    at = sorted({t for t in trial.profile.sizes.schedule if t <= length} | {length})
    alone = {name: asked.single(name) for name in names}
    usable = [name for name in names if mean(scores_in(alone[name], "rel")) >= HEADROOM]
    pairs = [(a, b) for a, b in pairs if a in usable and b in usable]
    along = {name: _shares(trial, case, name, alone[name], asked, at) for name in usable}
    count = len(asked.chains)
    lost = [{name: lost_at(along[name][i]) for name in usable} for i in range(count)]
    fallen = sum(any(min(one[a], one[b]) <= length for a, b in pairs) for one in lost)
    made = Measurement({"half-of-reliability": missing(note="no pair of methods to compare")})
    if pairs:
        units = [concordance(pairs, lost[i]) for i in range(count)]
        made.definitions["half-of-reliability"] = t_interval(units, resolution=1 / len(pairs))
        first = {name: float(i) for i, name in enumerate(FIRST_TO_LAST)}
        late = {name: -place for name, place in first.items()}
        made.controls["order-planted"] = t_interval([concordance(pairs, first)] * count)
        made.controls["order-reversed"] = t_interval([concordance(pairs, late)] * count)
    made.checks |= passed(
        "headroom-single-rel",
        bool(pairs),
        f"reliability of single edits at least {HEADROOM} for {', '.join(usable) or 'no method'} of {', '.join(names)}",
    )
    made.checks |= passed(
        "half-lost",
        2 * fallen >= count,
        f"in {fallen} of {count} chains some method has lost half by T = {length}: otherwise there is no order to see",
    )
    made.descriptive["pairs"] = [f"{a} before {b}" for a, b in pairs]
    if lacking := [f"{a} before {b}" for a, b in pairwise(FIRST_TO_LAST) if (a, b) not in pairs]:
        made.descriptive[PART_KEY] = f"not compared up to T = {length}: {', '.join(lacking)}"
    made.descriptive["lost_half_at"] = {
        name: [None if one[name] == float("inf") else one[name] for one in lost] for name in usable
    }
    made.descriptive["share_of_single_reliability"] = {
        name: {str(t): mean([one[t] for one in along[name]]) for t in at} for name in usable
    }
    units_shown = {"methods": made.definitions["half-of-reliability"].units}
    scores = {f"single {name}": alone[name] for name in names}
    return asked.finished(made, scores, f"Order in which methods lose half, up to T = {length}", units_shown)


def _shares(
    trial: Trial, case: Case, method: str, alone: Sequence[Answered], asked: AskedChains, at: Sequence[int]
) -> list[dict[int, float]]:
    """Per chain: T -> reliability after T edits over that of the same edits made singly."""
    found: list[dict[int, float]] = [{} for _ in asked.chains]
    for t in at:
        chains = [chain[:t] for chain in asked.chains]
        after = chain_answers(trial, case, method, chains, asked.before, probabilities=True)
        for i, (one, chain) in enumerate(zip(after, asked.chains, strict=True)):
            ids = {record.id for record in chain[:t]}
            known = _known(s.rel for e, s in per_edit_scores(alone[i].rows).items() if e in ids)
            single = mean(known) if known else 0.0
            # Where no single edit worked there is nothing that could be lost.
            if single > 0:
                found[i][t] = scores_in([one], "rel")[0] / single
            else:
                found[i][t] = 1.0
    return found


# --------------------------------------------------------------------------- everything declines
DECLINES_FROM = {"ROME": 20, "ROME-identity": 20, "MEND": 10, "MEMIT": 1000, "AlphaEdit": 1301, "WISE": 1301}
"""First T at which Table 37 prints every score of a method below its score after one edit; 1,301 (all edits) where it
prints none."""


def declines_from(method: str) -> int:
    """T that the claim needs of a method, of its variants alike."""
    plain = next((name for name in DECLINES_FROM if method == name or method.startswith(f"{name}-")), None)
    if plain is None:
        raise NotHere(f"Table 37 does not have {method}")
    return DECLINES_FROM[method] if method in DECLINES_FROM else DECLINES_FROM[plain]


@measure("decline_everywhere")
def decline_everywhere(trial: Trial, case: Case) -> Measurement:
    """Smallest fall of a dimension from single edits to the end of the chain, same facts (Table 37)."""
    method = method_of(case)
    why = f"from where Table 37 has every score of {method} lower"
    length = length_from(trial, case, declines_from(method), why)
    asked = begin(trial, case, length)
    alone, after, gross = asked.single(method), asked.after(method), asked.ten_fold(method)
    idle, idle_alone = asked.no_op(), asked.no_op_single()
    high = [name for name in DIMENSIONS if mean(scores_in(alone, name)) >= HEADROOM]
    step = 1 / length

    def falls(top: Sequence[Answered], bottom: Sequence[Answered], resolution: float) -> Estimate:
        parts: dict[str, list[float]] = {name: less(scores_in(top, name), scores_in(bottom, name)) for name in high}
        return smallest_mean(parts, resolution=resolution) if parts else missing(note="nothing to lose")

    made = Measurement({"dimensions-with-headroom": falls(alone, after, step)})
    made.definitions["average"] = t_interval(
        less(scores_in(alone, *DIMENSIONS), scores_in(after, *DIMENSIONS)), resolution=1 / (4 * length)
    )
    made.controls["no-op"] = falls(idle_alone, idle, 0.0)
    made.controls["ten-fold"] = falls(alone, gross, 0.0)
    made.notes["no-op"] = made.notes["ten-fold"] = f"in {', '.join(high) or 'no dimension'}"
    low = [name for name in DIMENSIONS if name not in high]
    made.checks |= passed(
        "headroom-single-scores",
        "rel" in high,
        f"single edits reach {HEADROOM} in {', '.join(high) or 'no dimension'}; left out: {', '.join(low) or 'none'}",
    )
    made.descriptive["falls"] = {n: mean(less(scores_in(alone, n), scores_in(after, n))) for n in DIMENSIONS}
    units = {
        method: made.definitions["dimensions-with-headroom"].units,
        "no-op (negative)": made.controls["no-op"].units,
        "ten-fold (positive)": made.controls["ten-fold"].units,
    }
    scores = {"single": alone, "sequential": after, "ten fold": gross}
    return asked.finished(made, scores, f"Smallest fall of a dimension over {length} {method} edits", units)
