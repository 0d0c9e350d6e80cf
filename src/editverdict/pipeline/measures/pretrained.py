"""Whether a low effective rank comes from training: the model against random twins of its architecture."""

from __future__ import annotations

import math

from editverdict.geometry.collapse import planted_leading
from editverdict.inference.intervals import seeds_interval, t_interval
from editverdict.pipeline import validity
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.perturbation import units_picture
from editverdict.pipeline.measures.ranks import RANKS, inner_rank
from editverdict.pipeline.measures.twins import TEXT_ERROR, against_twins, twins_of
from editverdict.pipeline.randoms import Side
from editverdict.pipeline.trial import Trial

KEPT = 0.125
"""Share of the directions that the positive control keeps."""
SMALL_N = (
    "a random model's states are nearly a function of the token, so a small sample makes its spectrum look thinner by "
    "more than it does the trained model's; the interval is hulled over what the contrast loses up to the larger "
    "sample and over what it may lose beyond"
)


@measure("rank_below_random")
def rank_below_random(trial: Trial, case: Case) -> Measurement:
    """r_eff / d of the model minus that of a random twin on the same texts, per seed (median over inner layers)."""
    both = twins_of(trial, case.model)
    own, twins = both.own, both.few
    made = _start(case, own, twins)
    made.checks |= validity.results(validity.of_base(trial, case.model))
    made.recipes += [both.more.key, *(twin.key for twin in both.more_twins)]
    for definition in case.claim.definitions:
        made.definitions[definition.name] = against_twins(both, RANKS[definition.name])
    primary = RANKS[case.claim.primary.name]
    ranks = [both.rank(twin, primary) for twin in twins]
    # Disjoint pairs: every twin once, so that the differences are independent and need not add up to zero.
    pairs = [a - b for a, b in zip(ranks[::2], ranks[1::2], strict=False)]
    made.controls["twin-against-twin"] = t_interval(pairs)
    few = inner_rank(both.inner, primary)({n: planted_leading(s, KEPT) for n, s in own.sigmas.items()}, own.n)
    made.controls["planted-eighth"] = seeds_interval([few - rank for rank in ranks])
    error = both.text_error(primary)
    made.descriptive |= {
        "text_error": TEXT_ERROR,
        "small_n": SMALL_N,
        "contrast": [
            [n, c] for n, c in zip((own.n, both.more.n // 2, both.more.n), both.readings(primary), strict=True)
        ],
        "own": both.rank(own, primary),
        "own_standard_error": None if error is None else error.error,
        "own_text_blocks": len(own.left),
        "twins_mean": math.fsum(ranks) / len(ranks),
        "own_by_layer": {str(n): primary(sigma) / len(sigma) for n, sigma in own.sigmas.items()},
        "twins_by_layer": {
            str(n): math.fsum(primary(twin.sigmas[n]) for twin in twins) / len(twins) / len(own.sigmas[n])
            for n in own.sigmas
        },
    }
    made.pictures.append(
        units_picture(
            case,
            "Effective rank of the model minus that of random twins, one dot per twin",
            {
                case.model: made.definitions[case.claim.primary.name].units,
                "twin-against-twin (negative)": pairs,
                "planted-eighth (positive)": made.controls["planted-eighth"].units,
            },
        )
    )
    return made


def _start(case: Case, own: Side, twins: list[Side]) -> Measurement:
    """Checks and scope; they look at the samples that both sides stand on, not at the larger base sample."""
    width = len(next(iter(own.sigmas.values())))
    made = Measurement({}, n_samples=own.n, recipes=[own.key, *(twin.key for twin in twins)])
    alike = {(side.n, side.texts) for side in (own, *twins)} == {(own.n, own.texts)}
    made.checks |= passed(
        "enough-samples",
        own.n > 2 * width and alike,
        f"{own.n} tokens of {own.texts} texts on {'both sides' if alike else 'one side, others on the other'}, "
        f"d = {width}; wanted more than 2 d tokens, the same for all",
    )
    wrong = [f"{who}, {text}" for who, side in _named(own, twins) for text in side.not_centred]
    made.checks |= passed(
        "centred-over-samples", not wrong, "; ".join(wrong[:3]) or "no null direction along (1, ..., 1)"
    )
    made.stands_on = (
        f"{case.model} and {len(twins)} random twins, {own.texts} texts, {own.n} tokens, layers "
        f"{', '.join(map(str, own.sigmas))}"
    )
    made.descriptive |= {"n": own.n, "d": width, "texts": own.texts}
    return made


def _named(own: Side, twins: list[Side]) -> list[tuple[str, Side]]:
    return [("the model", own), *((f"twin {number}", twin) for number, twin in enumerate(twins))]
