"""Whether a first-order reading of an edit holds: remainder and homogeneity (Assumption 4.2, Eqs. 7 and 8)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from editverdict.inference.intervals import Estimate, t_interval
from editverdict.inference.standard_errors import shared_error
from editverdict.models.attention import EAGER
from editverdict.pipeline.linear_again import of_first_edit
from editverdict.pipeline.linearity import TOKENS, Linearity, linear_sample, linearities
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.perturbation import (
    CONTROL_EDITS,
    THIRTY,
    method_of,
    no_op,
    reach,
    single_states,
    start,
    units_picture,
)
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.pipeline.validity import joined


def _typical(values: dict[int, float | None], layers: Sequence[int]) -> float | None:
    """Median over layers; None if something is missing, because nothing changed there."""
    found = [values[layer] for layer in layers if values.get(layer) is not None]
    return median(v for v in found if v is not None) if len(found) == len(layers) else None


def _estimate(own: Sequence[Linearity], what: str, layers: Sequence[int]) -> Estimate:
    """Mean over edits of the median over layers; the texts that all of them stand on count as a second unit.

    A few tokens carry much of a Frobenius norm, and they are the same for every edit: the spread over edits alone does
    not show that other texts would have given another number.
    """
    moving = [one for one in own if _typical(getattr(one, what), layers) is not None]
    units = _known([_typical(getattr(one, what), layers) for one in moving])
    n_blocks = min((len(squares) for one in moving for squares in one.blocks[what].values()), default=0)
    without = []
    for block in range(n_blocks):
        left = _known([_typical(one.without(what, block), layers) for one in moving])
        if len(left) == len(units):
            without.append(math.fsum(left) / len(left))
    return t_interval(units, shared=shared_error(without) if len(without) > 1 else None)


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


@measure("first_order_remainder")
def first_order_remainder(trial: Trial, case: Case) -> Measurement:
    """|dh - J dW| / |dh| per single edit, median over the later layers."""
    method, at = method_of(case), reach(trial, case)
    layers, edited, later = at.layers, at.edited, at.later
    if not later:
        raise NotHere(f"no measured layer lies after the edited one of '{case.model}': there the change is linear")
    states = single_states(trial, case, method)
    own = linearities(trial, case.model, states, f"{method} edits", gross=(CONTROL_EDITS, THIRTY))
    imitations = single_states(trial, case, f"placebo:{method}")
    placebo = linearities(trial, case.model, imitations, f"{method} placebos", doubled=False)
    remainders = [_typical(one.remainder, later) for one in own]
    imitated = [_typical(one.remainder, later) for one in placebo]
    made = _start(trial, case, own, placebo)
    moving = next((number for number, one in enumerate(own) if any(one.size.values())), None)
    if moving is not None:
        made.checks = joined(made.checks, of_first_edit(trial, case.model, states[moving], own[moving]))
    made.definitions = {
        "jvp-remainder": _estimate(own, "remainder", later),
        "homogeneity": _estimate(own, "homogeneity", later),
        "last-layer": _estimate(own, "remainder", later[-1:]),
        "edited-layer": _estimate(own, "remainder", [edited]),
    }
    made.controls["thirty-fold"] = _estimate(own[:CONTROL_EDITS], "gross", later)
    both = [(a, b) for a, b in zip(remainders, imitated, strict=True) if a is not None and b is not None]
    made.comparators["placebo"] = [b for _, b in both]
    made.comparator_subject["placebo"] = [a for a, _ in both]
    made.descriptive |= _by_layer(own, layers)
    if still := [number for number, value in enumerate(remainders) if value is None]:
        made.descriptive["edits_that_change_nothing"] = still
    made.pictures.append(
        units_picture(
            case,
            f"First-order remainder after one {method} edit, median of the later layers",
            {
                method: _known(remainders),
                "homogeneity (rival)": made.definitions["homogeneity"].units,
                "placebo (comparator)": _known(imitated),
                "thirty-fold (positive)": made.controls["thirty-fold"].units,
            },
        )
    )
    return made


def _start(trial: Trial, case: Case, own: Sequence[Linearity], others: Sequence[Linearity]) -> Measurement:
    """The common checks, with tokens and pairing judged on the samples that the remainders stand on."""
    sample, what = linear_sample(trial, case.model), f"{len(own)} single edits"
    made = start(trial, case, [no_op(trial, case.model)], what)
    found = [(f"state {i}, layer {n}", *one.checks[n]) for i, one in enumerate(own) for n in one.checks]
    bad = [f"{where}: {detail}" for where, ok, detail in found if not ok]
    paired = "; ".join(bad[:3]) or (found[0][2] if found else "no edit changes anything")
    made.checks |= passed("samples-paired", bool(found) and not bad, paired)
    tokens = f"{sample.n_tokens} tokens of {sample.n_texts} texts"
    made.checks |= passed("enough-tokens", sample.n_samples >= TOKENS, f"{tokens}; wanted {TOKENS}")
    made.recipes += [one.key for one in (*own, *others)]
    made.n_samples = sample.n_samples
    made.stands_on = f"{case.subject}, {what}, {tokens}, {EAGER} attention"
    made.descriptive |= {"tokens": sample.n_tokens, "texts": sample.n_texts, "attention": EAGER}
    return made


def _by_layer(own: Sequence[Linearity], layers: Sequence[int]) -> dict[str, dict[str, float | None]]:
    """Means over the edits."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = _known(values)
        return math.fsum(known) / len(known) if known else None

    return {
        "remainder_by_layer": {str(n): mean([one.remainder.get(n) for one in own]) for n in layers},
        "homogeneity_by_layer": {str(n): mean([one.homogeneity.get(n) for one in own]) for n in layers},
        "relative_change_by_layer": {str(n): mean([one.size.get(n) for one in own]) for n in layers},
    }
