"""Where the linear law breaks (Section 4.3): R_min after many edits against as many times that of the average edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from editverdict.geometry.accumulation import Rates, law_gaps
from editverdict.inference.intervals import Estimate
from editverdict.pipeline.changes import Change
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.along import along, long_enough
from editverdict.pipeline.measures.growth import Grown, grown, planted_growth, r_min, single_changes
from editverdict.pipeline.measures.perturbation import method_of, reach, start, units_picture
from editverdict.pipeline.trial import Trial

PLANTED_SPREAD = 0.5
"""Spread of the planted steps' sizes (of their logarithm): edits differ, and the law speaks of their average."""


def signed_gap(length: int, found: Grown, gaps: Callable[..., Rates] = law_gaps) -> Estimate:
    """log2 of the mean R after T edits over T times that of single edits, median over layers; chains are at T alone.

    Parameters
    ----------
    length
        T.
    found
        The rates.
    gaps
        Reads it off both, by layer.
    """
    return found.read(lambda chains, singles: float(np.median(gaps(length, chains[:, 0], singles))))


def gap(length: int, found: Grown, gaps: Callable[..., Rates] = law_gaps) -> Estimate:
    """How far the law is off, in either direction: the absolute value of :func:`signed_gap`.

    Layers that are off in opposite directions cancel in a median of signed numbers. The interval therefore reaches up
    by what the median of absolute ones is larger, so that they cannot make the law look true.
    """
    signed = signed_gap(length, found, gaps)
    if signed.value is None:
        return signed
    apart = float(np.median(np.abs(gaps(length, found.chains[:, 0], found.singles))))
    return signed.size(max(0.0, apart - abs(signed.value)))


def _rms_gaps(length: int, chains: Rates, singles: Rates) -> Rates:
    """The same of root mean squares, from squares: their mean at T over T squared times that of single edits."""
    return law_gaps(length**2, chains, singles) / 2.0


@measure("law_gap")
def law_gap(trial: Trial, case: Case) -> Measurement:
    """|log2 of mean R_min(T) / (T times the mean R_min of single edits)|, median over layers (Eqs. 16, 17).

    The law speaks of the average edit, so the average over the profile's single edits stands in it: one edit's own
    R_min varies so much from edit to edit that dividing by that of a chain's first would measure that alone. The error
    of that average is common to all chains, and in the interval.
    """
    method, at, length = method_of(case), reach(trial, case), long_enough(trial, case)
    sides = (method, f"placebo:{method}")
    own, placebo = (along(trial, case, m, [length]) for m in sides)
    singly, imitated = (single_changes(trial, case, m) for m in sides)
    what = f"{len(own[length])} chains of {length} edits, {len(singly)} single edits"
    made = start(trial, case, [*_all(own), *singly], what, resolved=True)
    least = grown(trial, case, own, singly, at, r_min)
    random = grown(trial, case, placebo, imitated, at, r_min)
    squares = grown(trial, case, own, singly, at, r_min, "rms").squared()

    def planted(*, coherent: bool) -> Estimate:
        return gap(length, planted_growth(trial, case, [length], coherent=coherent, spread=PLANTED_SPREAD))

    made.edits = length
    made.definitions = {"r-min": gap(length, least), "rms": gap(length, squares, _rms_gaps)}
    made.controls = {"coherent": planted(coherent=True), "random-walk": planted(coherent=False)}
    units = made.definitions["r-min"].units
    made.comparators["placebo"] = gap(length, random).units if units else ()
    made.descriptive |= _described(at.layers, length, least) | least.unmoved()
    made.pictures.append(
        units_picture(
            case,
            f"Distance from the linear law after {length} {method} edits: what each chain adds (pseudo-values)",
            {
                method: units,
                "placebo (comparator)": made.comparators["placebo"],
                "coherent (negative)": made.controls["coherent"].units,
                "random-walk (positive)": made.controls["random-walk"].units,
            },
        )
    )
    return made


def _all(measured: dict[int, list[Change]]) -> list[Change]:
    return [change for many in measured.values() for change in many]


def _described(layers: Sequence[int], length: int, found: Grown) -> dict[str, object]:
    signed = signed_gap(length, found)
    described: dict[str, object] = {
        "signed": {"value": signed.value, "interval": signed.interval},
        "mean_r_min_of_single_edits": dict(zip(map(str, layers), found.singles.mean(axis=0).tolist(), strict=True)),
        "reading": "signed: negative means that R_min grew by less than the law says, positive by more",
    }
    if signed.value is not None:
        by_layer = law_gaps(length, found.chains[:, 0], found.singles).tolist()
        described["signed_by_layer"] = dict(zip(map(str, layers), by_layer, strict=True))
    return described
