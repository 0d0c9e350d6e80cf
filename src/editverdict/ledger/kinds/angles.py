"""Principal angles: what unrelated subspaces give."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.joins import number_of, with_partner
from editverdict.ledger.ranges import Range
from editverdict.ledger.rules import Scope, Settings, kind


def smallest_angle_cosine(d: int, k: int) -> float:
    """Cosine of the smallest angle between unrelated k-dimensional subspaces of R^d, for large k.

    The upper edge ``4 a (1 - a)``, ``a = k / d``, of the squared cosines (Wachter 1980); 1 from ``k = d / 2`` on.
    """
    share = k / d
    return 1.0 if share >= 0.5 else 2.0 * math.sqrt(share * (1.0 - share))


def largest_angle_cosine(d: int, k: int) -> float:
    """Mean cosine of the largest angle between unrelated k-dimensional subspaces of R^d, ``k <= d / 2``.

    The smallest singular value of a square Gaussian matrix times ``sqrt(k)`` has the survival function
    ``exp(-x^2/2 - x)`` (Edelman 1988), hence the mean 0.656; the density of the cosines at zero, ``(2 k / pi)
    sqrt((1 - a) / a)``, makes the unit ``1 / sqrt(k (d - k))``.
    """
    mean = math.sqrt(math.pi / 2) * math.exp(0.5) * math.erfc(math.sqrt(0.5))
    return mean / math.sqrt(k * (d - k))


def largest_angle_quantile(d: int, k: int, level: float) -> float:
    """Quantile of that cosine."""
    return (math.sqrt(1.0 - 2.0 * math.log(1.0 - level)) - 1.0) / math.sqrt(k * (d - k))


class ChanceSettings(Settings):
    """A column of cosines, the key that holds k, and where the dimension stands."""

    column: str
    k: str
    size: str
    on: tuple[str, ...]
    angle: Literal["smallest", "largest"]
    margin: float = 0.0
    """smallest: so far below the edge, relatively, a cosine of finite subspaces may fall."""
    level: float = 0.999
    """largest: quantile up to which a cosine is that of unrelated subspaces."""


@kind("chance-angle", ChanceSettings)
def chance_angle(scope: Scope) -> Iterator[Finding]:
    """smallest: no two subspaces are expected below chance; largest: subspaces that nothing relates are at chance."""
    own: ChanceSettings = scope.settings
    for line, (cosine, size) in with_partner(scope, (own.column,), own.on, (own.size,)):
        k, d = number_of(line.keys.get(own.k, "")), int(size.value)
        if k is None or not 1 <= k <= d / 2:
            continue
        if own.angle == "smallest":
            chance = smallest_angle_cosine(d, int(k))
            fine = cosine.range.high >= chance * (1.0 - own.margin)
            expected = f"at least {chance:.5f} (unrelated subspaces)"
        else:
            most = largest_angle_quantile(d, int(k), own.level)
            fine = cosine.range.meets(Range(0.0, most))
            expected = f"about {largest_angle_cosine(d, int(k)):.4f}, at most {most:.4f}"
        verdict: Verdict = "consistent" if fine else scope.rule.broken
        yield scope.finding(verdict, (cosine, size), expected=expected, found=cosine.text, row=line.label)
