"""p values of a case, read off its row, for corrections over several cases.

One-sided Student t tests over the row's units against the edge of the expected region. They agree with the interval: a
two-sided interval of level L lies outside a one-sided region exactly if the p value of refutation is below (1 - L) / 2
(:func:`alpha`). A jackknife bias is allowed for as in the interval: the largest of the p values at the estimate and at
the corrected estimates counts. Shares with an exact interval have the binomial tests that it inverts,
means of bounded quantities those of Gaffke's bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from editverdict.inference import regions
from editverdict.inference.bias import bias_shifts
from editverdict.inference.bounded import at_least_edge_p, at_most_edge_p
from editverdict.inference.corrections import holm
from editverdict.inference.intervals import ESTIMATION_KEY, t_quantile
from editverdict.inference.proportions import at_least_p, at_most_p
from editverdict.inference.rows import Row
from editverdict.inference.standard_errors import shared_of, total_error


@dataclass(frozen=True)
class CasePValues:
    """Both directions; 1 where the row has no interval (nothing is evidence of nothing)."""

    support: float
    """Null hypothesis: the quantity lies outside the region. ``within``: the larger of two one-sided tests (TOST)."""
    refute: float
    """Null hypothesis: it lies inside. ``within``: the smaller of the two tests, one beyond each end."""


def alpha(level: float) -> float:
    """Level of the one-sided tests that corresponds to a two-sided interval."""
    return (1.0 - level) / 2.0


def case_p_values(row: Row) -> CasePValues:
    """Give the p values for and against the claim in one case.

    Only rows that their interval decided (``supported``, ``refuted``, or ``inconclusive`` with a margin to flip) have
    any; all others get 1 and 1.
    """
    if not _decided_by_interval(row):
        return CasePValues(1.0, 1.0)
    method = (row.descriptive.get(ESTIMATION_KEY) or {}).get("method")
    if method in ("exact", "bounded"):
        return _exact(row) if method == "exact" else _bounded(row)
    centres, error, dof = _centres_and_error(row)
    region = row.expected
    if region.op == "within":
        low, high = regions.ends(region)
        above_low = max(_upper(c - low, error, dof, strict=False) for c in centres)
        below_high = max(_upper(high - c, error, dof, strict=False) for c in centres)
        under_low = max(_upper(low - c, error, dof, strict=True) for c in centres)
        over_high = max(_upper(c - high, error, dof, strict=True) for c in centres)
        return CasePValues(support=max(above_low, below_high), refute=min(under_low, over_high))
    sign, threshold = regions.direction(region), regions.threshold_of(region)
    strict = region.op in ("<", ">")
    against = [_upper(sign * (threshold - c), error, dof, strict=not strict) for c in centres]
    # The least of m parts: its interval is moved by what Bonferroni takes at its own level. At the smaller levels of a
    # correction over cases m takes more than that shift, so the factor itself counts there.
    alone = _upper(sign * (threshold - float(row.estimate or 0.0)), error, dof, strict=not strict)
    return CasePValues(
        support=max(_upper(sign * (c - threshold), error, dof, strict=strict) for c in centres),
        refute=max(*against, min(1.0, _parts(row) * alone)),
    )


def _parts(row: Row) -> int:
    record = row.descriptive.get(ESTIMATION_KEY)
    return int(record.get("parts", 1)) if isinstance(record, dict) else 1


def mean_p(units: Sequence[float], resolution: float = 0.0) -> float:
    """Two-sided p value of a mean of zero over units (Student t, with the granularity's floor on the error).

    Parameters
    ----------
    units
        One difference per unit; fewer than two give 1.
    resolution
        As in :func:`editverdict.inference.intervals.t_interval`.
    """
    if len(units) < 2:
        return 1.0
    error, dof = total_error(units, resolution, None)
    mean = math.fsum(units) / len(units)
    return min(1.0, 2.0 * _upper(abs(mean), error, dof, strict=True))


def _exact(row: Row) -> CasePValues:
    """Binomial tests of a share of yes-or-no units: those that Clopper and Pearson's interval inverts."""
    count, total, region = round(sum(row.units)), len(row.units), row.expected
    if region.op == "within":
        low, high = regions.ends(region)
        support = max(at_least_p(count, total, low), at_most_p(count, total, high))
        return CasePValues(support, min(at_most_p(count, total, low), at_least_p(count, total, high)))
    threshold = regions.threshold_of(region)
    above, below = at_least_p(count, total, threshold), at_most_p(count, total, threshold)
    return CasePValues(above, below) if regions.direction(region) > 0 else CasePValues(below, above)


def _bounded(row: Row) -> CasePValues:
    """Tests of the mean of a bounded quantity: those that Gaffke's interval inverts."""
    bounds = tuple(map(float, row.descriptive[ESTIMATION_KEY]["bounds"]))
    span = (bounds[0], bounds[1])

    def beyond(edge: float) -> tuple[float, float]:
        """P values against the mean lying below the edge, and above it."""
        return at_least_edge_p(row.units, span, edge), at_most_edge_p(row.units, span, edge)

    region = row.expected
    if region.op == "within":
        low, high = map(beyond, regions.ends(region))
        return CasePValues(support=max(low[0], high[1]), refute=min(low[1], high[0]))
    above, below = beyond(regions.threshold_of(region))
    return CasePValues(above, below) if regions.direction(region) > 0 else CasePValues(below, above)


def family_p_values(rows: Sequence[Row], direction: str = "refute") -> dict[str, float]:
    """Holm-adjusted p values over all cases of one family of claims.

    Parameters
    ----------
    rows
        The rows of the family, one per case.
    direction
        ``refute`` or ``support``.

    Raises
    ------
    ValueError
        A case occurs twice, or the direction is unknown.
    """
    if direction not in ("refute", "support"):
        raise ValueError(f"direction must be 'refute' or 'support', found {direction!r}")
    names = [row.case for row in rows]
    if len(set(names)) != len(names):
        raise ValueError("a family's p values need one row per case; merge the rows first")
    raw = [getattr(case_p_values(row), direction) for row in rows]
    return dict(zip(names, holm(raw), strict=True))


def _decided_by_interval(row: Row) -> bool:
    if row.estimate is None or row.interval is None or row.n_units < 2 or not all(map(math.isfinite, row.interval)):
        return False
    return row.verdict in ("supported", "refuted") or (row.verdict == "inconclusive" and row.margin_to_flip is not None)


def _centres_and_error(row: Row) -> tuple[tuple[float, ...], float, float]:
    record = row.descriptive.get(ESTIMATION_KEY)
    estimate, interval = row.estimate, row.interval
    if estimate is None or interval is None:
        raise ValueError(f"row {row.case} has no interval")
    if isinstance(record, dict) and len(row.units) >= 2:
        centres = tuple(estimate + shift for shift in bias_shifts(record.get("bias")))
        return centres, *total_error(row.units, float(record.get("resolution", 0.0)), shared_of(record))
    # Without the record of how the interval arose, the stored interval itself is the evidence.
    half = (interval[1] - interval[0]) / 2
    return (interval[0] + half,), half / t_quantile(row.level, row.n_units - 1), row.n_units - 1


def _upper(distance: float, error: float, dof: float, *, strict: bool) -> float:
    """P(T >= distance / error); without any spread, certainty, where ``strict`` says on which side an edge falls."""
    if error == 0.0 or math.isinf(distance):
        reached = distance > 0 or (distance == 0 and not strict)
        return 0.0 if reached else 1.0
    return float(stats.t.sf(distance / error, dof))
