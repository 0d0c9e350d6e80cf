"""Bias of a statistic that is no mean, read off smaller samples or off its jackknife."""

from __future__ import annotations

import math
from collections.abc import Sequence

from editverdict.inference.standard_errors import require_finite


def bias_from_fractions(at_n: float, at_half: float, at_quarter: float) -> float:
    """Bias of a statistic at sample size n, read off n, n/2 and n/4 by Richardson extrapolation.

    Model: ``theta(n) = theta + a / n^p``. Then ``d1 = theta(n/2) - theta(n)`` and ``d2 = theta(n/4) - theta(n/2)``
    have the ratio ``r = d2 / d1 = 2^p``, and the bias at n is ``d1 / (r - 1)``. Smooth functions of moments have p = 1
    (bias = d1). A slower decay, or none visible in the noise, must not make the bias look small, nor may a chance r
    close to 1 blow it up: r is confined to [sqrt(2), 2], i.e. 1/2 <= p <= 1. A decay faster than 1/n is not believed
    (bias = d1), and where the differences do not shrink or change sign (r <= sqrt(2)), the largest factor holds,
    ``1 / (sqrt(2) - 1) = 2.41``. The result is continuous in its arguments and zero exactly where n and n/2 agree. It
    is one noisy reading: average ``at_half`` and ``at_quarter`` over several halves and quarters where that is cheap.

    Returns
    -------
    float
        Estimate minus truth; subtract it to correct.

    Raises
    ------
    ValueError
        A value is not finite.
    """
    require_finite((at_n, at_half, at_quarter), "values at n, n/2, n/4")
    first, second = at_half - at_n, at_quarter - at_half
    if first == 0.0:
        return 0.0
    ratio = min(max(second / first, math.sqrt(2.0)), 2.0)
    return first / (ratio - 1.0)


def jackknife_bias(full: float, leave_one_out: Sequence[float]) -> float:
    """Bias of a statistic read off its delete-block values, for a bias that falls like ``n^(-1/2)``.

    Quenouille's ``J = (B - 1) (mean_b theta_(-b) - full)`` is the bias where that falls like 1/n. Of a bias that falls
    like ``n^-p`` it is the share p, so twice J is what it may be at most under the bound p >= 1/2 of
    :func:`bias_from_fractions`. All blocks enter it, so it is far less noisy than a reading off one half and one
    quarter.

    Raises
    ------
    ValueError
        There are fewer than two blocks.
    """
    if len(leave_one_out) < 2:
        raise ValueError(f"the bias of a jackknife needs at least 2 blocks, found {len(leave_one_out)}")
    return 2.0 * (len(leave_one_out) - 1) * (math.fsum(leave_one_out) / len(leave_one_out) - full)


def bias_shifts(bias: float | Sequence[float] | None) -> tuple[float, ...]:
    """The corrections that an interval is hulled over: 0, and minus each reading of the bias.

    Raises
    ------
    ValueError
        A reading is not finite.
    """
    if bias is None:
        return (0.0,)
    readings = (bias,) if isinstance(bias, int | float) else tuple(bias)
    require_finite(readings, "readings of the bias")
    return (0.0, *(-float(reading) for reading in readings))
