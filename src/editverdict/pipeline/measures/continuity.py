"""Whether the change after an edit runs through the depth of the network (implied by Assumption 4.2)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from editverdict.geometry.depth import every_second, largest_step, steps_between
from editverdict.inference.intervals import missing, t_interval
from editverdict.pipeline.changes import Change, changes
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.perturbation import (
    method_of,
    reach,
    single_states,
    start,
    units_picture,
)
from editverdict.pipeline.trial import NotHere, Trial

BREAK = 300.0
"""Factor of the planted breaks: the paper's Table 9 falls from 9.00 to 0.03."""


def _sizes(change: Change, layers: Sequence[int], what: str = "ratio") -> list[float]:
    return [change.norms[layer][what] for layer in layers]


def _largest(sizes: Sequence[float]) -> float:
    """log10 of the largest step: factors are far from normal over edits, their logarithms are not."""
    return math.log10(largest_step(sizes))


def worst_break(sizes: Sequence[float]) -> list[float]:
    """The sizes with every second one over ``BREAK``: the 1st, 3rd, ... or the 2nd, 4th, ..., whichever breaks more.

    One phase alone can undo what is there: .03, 9, .03, 9 with every second one three hundred times smaller is level.
    In one phase or the other a step grows by the whole factor, so the worse one always has a step of ``BREAK`` or more.
    """
    smaller = [size / BREAK for size in sizes]
    return max(every_second(sizes, smaller), every_second(smaller, sizes), key=largest_step)


def _moves(change: Change, layers: Sequence[int]) -> bool:
    """Whether the edit changes anything; if not even the first layer moves there are no factors to speak of."""
    return any(size > 0.0 for size in _sizes(change, layers))


@measure("depth_step")
def depth_step(trial: Trial, case: Case) -> Measurement:
    """log10 of the largest factor between mean |dh| / RMS |h| of neighbouring measured layers, per single edit."""
    method, layers = method_of(case), reach(trial, case).layers
    if len(layers) < 2:
        raise NotHere(f"one measured layer of '{case.model}' lies from the edited one up: it has no neighbour")
    measured = changes(trial, case.model, single_states(trial, case, method), what=f"{method} edits")
    imitated = changes(trial, case.model, single_states(trial, case, f"placebo:{method}"), what=f"{method} placebos")
    pairs = [(a, b) for a, b in zip(measured, imitated, strict=True) if _moves(a, layers)]
    own = [a for a, _ in pairs]
    made = start(trial, case, measured, f"{len(measured)} single edits")
    made.definitions = {
        "relative-norm": t_interval([_largest(_sizes(c, layers)) for c in own]),
        "absolute-norm": t_interval([_largest(_sizes(c, layers, "mean")) for c in own]),
    }
    # The edited layer is changed directly and the later ones through the stream: its first step is apart from the rest.
    later = layers[1:]
    made.definitions["later-layers"] = (
        t_interval([_largest(_sizes(c, later)) for c in own]) if len(later) > 1 else missing(note="one later layer")
    )
    made.controls["planted-break"] = t_interval([_largest(worst_break(_sizes(c, layers))) for c in own])
    made.notes["planted-break"] = (
        f"the sizes as measured, every second layer's over {BREAK:g}, in the phase that breaks more"
    )
    made.descriptive["mis_paired"] = [
        _largest(every_second(_sizes(c, layers), _sizes(c, layers, "mispaired"))) for c in own
    ]
    both = [(a, b) for a, b in pairs if _moves(b, layers)]
    made.comparators["placebo"] = [_largest(_sizes(b, layers)) for _, b in both]
    made.comparator_subject["placebo"] = [_largest(_sizes(a, layers)) for a, _ in both]
    if still := [number for number, change in enumerate(measured) if not _moves(change, layers)]:
        made.descriptive["edits_that_change_nothing"] = still
    if own:
        made.descriptive |= _by_layer(own, layers)
    made.pictures.append(
        units_picture(
            case,
            f"Largest step of the change between neighbouring layers after one {method} edit",
            {
                method: made.definitions["relative-norm"].units,
                "placebo (comparator)": made.comparators["placebo"],
                "planted-break (positive)": made.controls["planted-break"].units,
            },
        )
    )
    return made


def _by_layer(own: Sequence[Change], layers: Sequence[int]) -> dict[str, dict[str, float]]:
    """Means over the edits: relative change per layer, and the factor from each layer to the next."""
    steps = [steps_between(_sizes(c, layers)) for c in own]
    names = [f"{a} to {b}" for a, b in itertools.pairwise(layers)]
    return {
        "by_layer": {str(n): math.fsum(c.norms[n]["ratio"] for c in own) / len(own) for n in layers},
        "step": {name: math.fsum(s[i] for s in steps) / len(steps) for i, name in enumerate(names)},
    }
