"""Whether a low effective rank comes from training: the model against random twins of its architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from editverdict.geometry.collapse import planted_leading
from editverdict.inference.bias import bias_from_fractions
from editverdict.inference.intervals import jackknife_interval, seeds_interval, t_interval
from editverdict.inference.standard_errors import standard_error
from editverdict.pipeline import validity
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.collapse import RANKS, inner_rank
from editverdict.pipeline.measures.perturbation import units_picture
from editverdict.pipeline.randoms import FEW_SEEDS, MORE_SAMPLES_PER_DIMENSION, Side, random_twins
from editverdict.pipeline.trial import Trial

KEPT = 0.125
"""Share of the directions that the positive control keeps."""
COMMON_NOISE = (
    "the model is one number and its twins are measured on the same texts: the noise of the texts that both sides have "
    "in common is not in the interval, which speaks of other random twins on these texts"
)
SMALL_N = (
    "a random model's states are nearly a function of the token, so a small sample makes its spectrum look thinner by "
    "more than it does the trained model's; the interval is hulled over what the contrast loses up to the larger "
    "sample and over what it may lose beyond"
)


@measure("rank_below_random")
def rank_below_random(trial: Trial, case: Case) -> Measurement:
    """r_eff / d of the model minus that of a random twin on the same texts, per seed (median over inner layers)."""
    own, twins = random_twins(trial, case.model)
    inner = trial.model(case.model).spec.layers.inner

    def of(side: Side, rank: Callable[[Tensor], float]) -> float:
        return inner_rank(inner, rank)(side.sigmas, side.n)

    made = _start(case, own, twins)
    made.checks |= validity.results(validity.of_base(trial, case.model))
    more, more_twins = random_twins(trial, case.model, MORE_SAMPLES_PER_DIMENSION, FEW_SEEDS)
    made.recipes += [more.key, *(twin.key for twin in more_twins)]

    def contrast(side: Side, others: Sequence[Side], rank: Callable[[Tensor], float], *, half: bool = False) -> float:
        def read(one: Side) -> float:
            return inner_rank(inner, rank)(one.half if half else one.sigmas, one.n)

        return read(side) - math.fsum(read(one) for one in others) / len(others)

    def readings(rank: Callable[[Tensor], float]) -> tuple[float, float, float]:
        """The contrast on the few texts, on half of the more, and on the more, of the same few twins."""
        few = contrast(own, twins[: len(more_twins)], rank)
        return few, contrast(more, more_twins, rank, half=True), contrast(more, more_twins, rank)

    def bias(rank: Callable[[Tensor], float]) -> tuple[float, float]:
        few, half, whole = readings(rank)
        lost = few - whole
        beyond = lost + bias_from_fractions(whole, half, few)
        return min(lost, beyond), max(lost, beyond)

    for definition in case.claim.definitions:
        rank = RANKS[definition.name]
        units = [of(own, rank) - of(twin, rank) for twin in twins]
        made.definitions[definition.name] = t_interval(units, bias=bias(rank))
    primary = RANKS[case.claim.primary.name]
    ranks = [of(twin, primary) for twin in twins]
    # Disjoint pairs: every twin once, so that the differences are independent and need not add up to zero.
    pairs = [a - b for a, b in zip(ranks[::2], ranks[1::2], strict=False)]
    made.controls["twin-against-twin"] = t_interval(pairs)
    few = inner_rank(inner, primary)({n: planted_leading(s, KEPT) for n, s in own.sigmas.items()}, own.n)
    made.controls["planted-eighth"] = seeds_interval([few - rank for rank in ranks])
    whole = jackknife_interval(of(own, primary), [inner_rank(inner, primary)(left, own.n) for left in own.left])
    made.descriptive |= {
        "common_noise": COMMON_NOISE,
        "small_n": SMALL_N,
        "contrast": [[n, c] for n, c in zip((own.n, more.n // 2, more.n), readings(primary), strict=True)],
        "own": whole.value,
        "own_standard_error": standard_error(whole.units) if whole.n_units > 1 else None,
        "own_text_blocks": whole.n_units,
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
