"""Spectra: is a smallest singular value more than the rounding of the arithmetic it was computed in?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from scipy import stats

from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.joins import rows
from editverdict.ledger.rules import Scope, Settings, kind

Times = Literal["one", "root-dimension", "larger-dimension"]


class ResolutionSettings(Settings):
    """Largest and smallest singular value, and the arithmetic that they were presumably computed in."""

    top: str
    bottom: str
    dimension: str
    samples: float
    """Columns of the matrix, n."""
    bits: Literal["float16", "float32", "float64"] = "float32"
    times: Times
    """What multiplies ``top * eps``: nothing (below it even one entry of that size is lost), the root of the dimension
    (how rounding errors of independent signs add), or the larger dimension (the usual cut of a numerical rank)."""


@kind("resolution", ResolutionSettings)
def resolution(scope: Scope) -> Iterator[Finding]:
    """A singular value below the largest one times the unit of the arithmetic cannot be told from zero."""
    own: ResolutionSettings = scope.settings
    eps = float(np.finfo(own.bits).eps)
    for line, cells in rows(scope, own.top, own.bottom, own.dimension):
        top, bottom, d = cells
        times = {"one": 1.0, "root-dimension": math.sqrt(d.value), "larger-dimension": max(d.value, own.samples)}
        floor = top.range * (eps * times[own.times])
        verdict: Verdict = scope.rule.broken if bottom.range.high < floor.low else "consistent"
        share = bottom.value / (top.value * eps)
        found = f"{bottom.text}, {share:.3g} times {own.top} x {eps:.3g}"
        yield scope.finding(verdict, cells, expected=f"at least {floor.low:.3g}", found=found, row=line.label)


class ScalingSettings(Settings):
    """Two columns, one of which should not follow the other unless it is rounding."""

    top: str
    bottom: str
    rank_correlation: float = 0.8
    """From here on the one is said to follow the other ..."""
    slope: float = 0.5
    """... if it grows at least with this power of it, too (Theil-Sen, which a few odd rows do not move)."""


@kind("noise-scaling", ScalingSettings)
def noise_scaling(scope: Scope) -> Iterator[Finding]:
    """Rounding noise is a fixed multiple of the scale of a matrix: slope 1 on logarithms, and a narrow ratio."""
    own: ScalingSettings = scope.settings
    found = rows(scope, own.top, own.bottom)
    top, bottom = (np.log10([cells[i].value for _, cells in found]) for i in (0, 1))
    rho = float(stats.spearmanr(top, bottom).statistic)
    slope, _, low, high = stats.theilslopes(bottom, top)
    ratio = np.quantile(top - bottom, [0.1, 0.9])
    follows = rho >= own.rank_correlation and slope >= own.slope
    verdict: Verdict = scope.rule.broken if follows else "consistent"
    text = (
        f"Spearman {rho:.3f}, slope of logarithms {slope:.2f} ({low:.2f} to {high:.2f}); {own.top} spans "
        f"{10 ** np.ptp(top):.3g}, the middle 80 % of {own.top}/{own.bottom} {10 ** float(np.ptp(ratio)):.3g}"
    )
    cells = [cell for _, pair in found for cell in pair]
    expected = f"Spearman below {own.rank_correlation:g}, or a slope below {own.slope:g}"
    yield scope.finding(verdict, cells, expected=expected, found=text, row=f"{len(found)} rows")
