"""Judging controls: by their interval, against the same region as the claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from editverdict.inference import regions
from editverdict.inference.intervals import LEVEL, Estimate, missing, paired_contrast, t_interval
from editverdict.inference.rows import ControlResult, Interval, Region

Must = Literal["show", "not_show"]
Outcome = Literal["ok", "failed", "undecided"]
Specific = Literal["yes", "no", "undecided"]


def default_must(role: str) -> Must:
    """What a control of that role must do unless its spec says otherwise.

    Raises
    ------
    ValueError
        The role has nothing to show (comparator, baseline).
    """
    if role == "positive":
        return "show"
    if role == "negative":
        return "not_show"
    raise ValueError(f"a control of role '{role}' decides no validity, so it has no 'must'")


def control_outcome(must: Must, region: Region, interval: Interval | None) -> Outcome:
    """``ok``, ``failed`` or ``undecided``.

    A control *shows* the effect if its interval lies inside the region, and does *not show* it if the interval lies
    entirely outside. Doing the opposite of what it must is ``failed``; a straddling or absent interval, ``undecided``.
    """
    decision = regions.decide(region, interval)
    if decision == "inconclusive":
        return "undecided"
    return "ok" if (decision == "supported") == (must == "show") else "failed"


def judge_control(
    name: str,
    role: Literal["negative", "positive", "baseline"],
    must: Must | None,
    estimate: Estimate,
    region: Region,
    *,
    min_units: int = 2,
    note: str | None = None,
) -> ControlResult:
    """A negative or positive control, judged; a baseline, shown.

    Parameters
    ----------
    name, role, must
        As in the claim's spec; ``must`` None takes the role's default.
    estimate
        The claim's quantity measured on the control. :func:`editverdict.inference.intervals.missing` if it was not.
    region
        The claim's expected region.
    min_units
        With fewer units the interval is withheld, and the control stays undecided.
    note
        Shown with the control.

    Raises
    ------
    ValueError
        The role is ``comparator`` (see :func:`judge_comparator`).
    """
    if role not in ("negative", "positive", "baseline"):
        raise ValueError(f"control {name}: role '{role}' is judged by judge_comparator, as a paired contrast")
    shown = estimate.interval if estimate.n_units >= min_units else None
    notes = [text for text in (note, estimate.note) if text]
    if 0 < estimate.n_units < min_units:
        notes.append(f"{estimate.n_units} of {min_units} units")
    if estimate.percentiles is not None:
        low, high = estimate.percentiles
        notes.append(f"5th-95th percentile of the seeds [{low:.4g}, {high:.4g}]")
    resolved = None if role == "baseline" else must or default_must(role)
    return ControlResult(
        name=name,
        role=role,
        must=resolved,
        estimate=estimate.value,
        interval=estimate.interval if resolved is None else shown,
        n_units=estimate.n_units,
        outcome="shown" if resolved is None else control_outcome(resolved, region, shown),
        note="; ".join(dict.fromkeys(notes)) or None,
    )


def specificity(contrast_interval: Interval | None) -> Specific:
    """``yes`` if the whole contrast is above zero, ``no`` if none of it is, else ``undecided``."""
    if contrast_interval is None:
        return "undecided"
    if contrast_interval[0] > 0:
        return "yes"
    return "no" if contrast_interval[1] <= 0 else "undecided"


def judge_comparator(
    name: str,
    subject_units: Sequence[float],
    comparator_units: Sequence[float],
    region: Region,
    *,
    level: float = LEVEL,
    resolution: float = 0.0,
    note: str | None = None,
    contrast: Estimate | None = None,
) -> ControlResult:
    """A comparator, judged: whether the subject shows the effect more than it does.

    The contrast is paired, unit by unit, and turned into the direction of the claimed effect: positive means that the
    subject shows *more* of it. For ``>=`` and ``>`` that is subject minus comparator; for ``<=`` and ``<`` comparator
    minus subject; for ``within`` the effect of a unit is minus its distance from the centre of the region. A comparator
    never decides validity.

    A ``contrast`` (subject minus comparator, in the claim's quantity) takes the place of the pairing, where the units
    have an error or a bias in common that their differences do not show.

    Raises
    ------
    ValueError
        The sides have different numbers of units (unless the comparator has none: then it is undecided), or units are
        not finite; or a contrast is given for ``within``, where it has no direction.
    """
    own = t_interval(comparator_units, level, resolution) if comparator_units else missing(level)
    if contrast is not None:
        value, interval = _turned(contrast, region)
    elif not comparator_units:
        value, interval = None, None
    else:
        found = paired_contrast(
            [regions.effect(region, unit) for unit in subject_units],
            [regions.effect(region, unit) for unit in comparator_units],
            level,
            resolution,
        )
        value, interval = found.value, found.interval
    notes = (note, own.note, contrast.note if contrast is not None else None)
    return ControlResult(
        name=name,
        role="comparator",
        estimate=own.value,
        interval=own.interval,
        n_units=own.n_units,
        outcome="shown",
        contrast=value,
        contrast_interval=interval,
        specific=specificity(interval),
        note="; ".join(text for text in notes if text) or None,
    )


def _turned(contrast: Estimate, region: Region) -> tuple[float | None, Interval | None]:
    """A difference in the quantity as one in the claimed effect."""
    sign = regions.direction(region)
    if sign == 0:
        raise ValueError("a contrast in the quantity has no direction in a region with two ends; pair the units")
    value = None if contrast.value is None else sign * contrast.value
    if contrast.interval is None:
        return value, None
    low, high = sorted(sign * end for end in contrast.interval)
    return value, (low, high)


def combined_specific(results: Sequence[str | None]) -> Specific | None:
    """One word for several comparators or cases: ``no`` if any says no, ``yes`` if all say yes, else ``undecided``.

    None where there is nothing to combine.
    """
    words = [word for word in results if word is not None]
    if not words:
        return None
    if "no" in words:
        return "no"
    return "yes" if all(word == "yes" for word in words) else "undecided"
