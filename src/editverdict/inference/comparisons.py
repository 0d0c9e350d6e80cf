"""Method against method on the same facts: paired tests and intervals that know which facts share a subject.

Facts of one subject are not independent (what an edit does to Rome, it does to all that is asked about Rome), so
subjects are what is resampled and what signs are flipped of:

- the *interval* of the mean difference is a bootstrap over subjects (:func:`clustered_bootstrap`);
- the *p value* that decides is the sign-flip test over subjects (:func:`sign_flip_p`): exact for right-or-wrong scores,
  and equal to McNemar's exact test where every subject has one fact;
- *McNemar's* test over facts (:func:`mcnemar`), exact and mid-p, stands beside it, as the field prints it; it takes
  facts for independent.

Numbers of different protocols are never compared (:class:`ProtocolsDiffer`), but for :func:`protocol_gap`, whose
question the gap between two protocols is.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from editverdict.inference.corrections import holm
from editverdict.inference.intervals import LEVEL, t_quantile
from editverdict.inference.rows import Interval

DRAWS = 9999
CHUNK = 2_000_000
"""Resampled counts that are held at once."""
DENOMINATOR = 5040
"""Largest common denominator of scores for which sign flips are counted exactly."""
SPAN = 1.0
"""Largest difference of two scores in [0, 1]."""


class ProtocolsDiffer(ValueError):
    """Numbers of different protocols were about to be compared."""


@dataclass(frozen=True)
class Outcomes:
    """What one method scored on each fact, by one protocol."""

    name: str
    protocol: str
    """Score id: protocol and judge."""
    values: Mapping[Hashable, float]
    """Fact -> score in [0, 1]; right or wrong as 1 and 0."""
    subjects: Mapping[Hashable, str]
    """Fact -> subject, the cluster; facts that are not named are clusters of their own."""


# --------------------------------------------------------------------------- McNemar
@dataclass(frozen=True)
class McNemar:
    """Paired right-or-wrong scores of two methods."""

    only_first: int
    """Facts that the first has right and the second has not."""
    only_second: int
    p_exact: float
    """Two-sided exact conditional (binomial) test; conservative."""
    p_mid: float
    """Its mid-p version (Fagerland, Lydersen and Laake, BMC Med. Res. Methodol. 13 (2013) 91): half of the probability
    of what was observed; close to the nominal level, without a guarantee."""


def mcnemar(first: Sequence[float], second: Sequence[float]) -> McNemar:
    """McNemar's test of equal shares of right answers, facts taken for independent.

    Parameters
    ----------
    first, second
        0 or 1 per fact, the same facts in the same order.

    Raises
    ------
    ValueError
        The lengths differ, or a value is neither 0 nor 1.
    """
    a, b = _paired(first, second)
    if not np.isin(a, (0.0, 1.0)).all() or not np.isin(b, (0.0, 1.0)).all():
        raise ValueError(
            "McNemar's test takes right (1) or wrong (0) per fact, found other values; for shares use sign_flip_p"
        )
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    n = only_a + only_b
    if n == 0:
        return McNemar(0, 0, 1.0, 1.0)
    exact = float(stats.binomtest(only_a, n, 0.5).pvalue)
    chance = float(stats.binom.pmf(only_a, n, 0.5))
    # Both tails hold what was observed, unless it is the very middle, which is one point.
    return McNemar(only_a, only_b, exact, exact - (chance if only_a != only_b else chance / 2))


# --------------------------------------------------------------------------- sign flips over clusters
def sign_flip_p(
    differences: Sequence[float], clusters: Sequence[Hashable], *, draws: int = DRAWS, seed: int = 0
) -> float:
    """Two-sided p value of no difference: the sign of every cluster's sum of differences is as likely + as -.

    Where all sums are fractions with a small common denominator (right-or-wrong scores, and means of few of them) the
    distribution over all 2^m sign vectors is computed exactly; else ``draws`` random ones are taken, the one observed
    counted among them. A correction over many tests needs the exact one: of 9,999 draws no p is below .0001.

    Parameters
    ----------
    differences
        First minus second, per fact.
    clusters
        The cluster of each fact.
    draws, seed
        Of random sign vectors.

    Raises
    ------
    ValueError
        The lengths differ, or a value is not finite.
    """
    sums = _cluster_sums(differences, clusters)[0]
    sums = np.abs(sums[sums != 0.0])
    observed = abs(math.fsum(_cluster_sums(differences, clusters)[0]))
    if sums.size == 0:
        return 1.0
    if (scale := _common_denominator(sums)) is not None:
        return _exact_flips(np.round(sums * scale).astype(np.int64), round(observed * scale))
    generator = np.random.default_rng(seed)
    hits, left = 0, draws
    while left > 0:
        size = min(left, max(1, CHUNK // sums.size))
        signs = generator.integers(0, 2, size=(size, sums.size)) * 2 - 1
        # Sums of the same numbers in another order may differ in their last bits.
        hits += int((np.abs(signs @ sums) >= observed * (1 - 1e-12)).sum())
        left -= size
    return (hits + 1) / (draws + 1)


def _common_denominator(sums: NDArray[np.float64]) -> int | None:
    """The least number that makes all sums whole; None where there is no small one."""
    scale = 1
    for value in sums.tolist():
        part = Fraction(value).limit_denominator(DENOMINATOR)
        scale = math.lcm(scale, part.denominator)
        if abs(float(part) - value) > 1e-9 or scale > DENOMINATOR:
            return None
    return scale


def _exact_flips(sizes: NDArray[np.int64], observed: int) -> float:
    """P(|sum of +-sizes| >= observed), every sign vector as likely."""
    reach = int(sizes.sum())
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for size in sizes.tolist():
        chances = 0.5 * (np.roll(chances, size) + np.roll(chances, -size))
    beyond = chances[: reach - observed + 1].sum() + chances[reach + observed :].sum()
    return float(min(1.0, beyond if observed > 0 else 1.0))


# --------------------------------------------------------------------------- bootstrap over clusters
@dataclass(frozen=True)
class Bootstrap:
    """Mean difference over facts, with an interval over clusters."""

    value: float | None
    """None: no facts."""
    interval: Interval | None
    """None: fewer than two clusters."""
    level: float
    n_facts: int
    n_clusters: int


def clustered_bootstrap(
    differences: Sequence[float],
    clusters: Sequence[Hashable],
    level: float = LEVEL,
    *,
    span: float = SPAN,
    draws: int = DRAWS,
    seed: int = 0,
) -> Bootstrap:
    """Mean over facts with an expanded percentile interval over clusters.

    Whole clusters are drawn with replacement; the mean is that over the facts drawn. With m clusters the plain
    percentile interval is too short, by sqrt((m - 1) / m) and by the normal quantile in place of Student's; it is taken
    at the percentiles that make up for both (Hesterberg, Am. Stat. 69 (2015) 371-386). Where all clusters agree in
    their difference there is nothing to resample: then a cluster that differs by up to ``span`` has a probability of at
    most ``1 - ((1 - level) / 2)^(1 / m)``, and so far, times ``span``, the interval reaches to both sides, cut at
    +-``span``.

    Parameters
    ----------
    differences
        First minus second, per fact.
    clusters
        The cluster of each fact.
    level
        Confidence level.
    span
        Largest possible difference.
    draws, seed
        Number and seed of resamples.

    Raises
    ------
    ValueError
        The lengths differ, a value is not finite, or the level is out of range.
    """
    sums, counts = _cluster_sums(differences, clusters)
    m, facts = sums.size, int(counts.sum())
    if facts == 0:
        return Bootstrap(None, None, level, 0, 0)
    value = math.fsum(differences) / facts
    if m < 2:
        return Bootstrap(value, None, level, facts, m)
    means = sums / counts
    if (means == means[0]).all():
        reach = span * (1.0 - ((1.0 - level) / 2) ** (1.0 / m))
        return Bootstrap(value, (max(value - reach, -span), min(value + reach, span)), level, facts, m)
    found = _resampled(sums, counts, draws, seed)
    tail = float(stats.norm.cdf(-math.sqrt(m / (m - 1)) * t_quantile(level, m - 1)))
    low, high = (float(x) for x in np.quantile(found, [tail, 1.0 - tail]))
    return Bootstrap(value, (low, high), level, facts, m)


def _resampled(sums: NDArray[np.float64], counts: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    """Means over facts of so many resamples of the clusters."""
    generator, m = np.random.default_rng(seed), sums.size
    parts, left = [], draws
    while left > 0:
        size = min(left, max(1, CHUNK // m))
        drawn = generator.multinomial(m, np.full(m, 1.0 / m), size=size)
        parts.append((drawn @ sums) / (drawn @ counts))
        left -= size
    return np.concatenate(parts)


# --------------------------------------------------------------------------- the table
@dataclass(frozen=True)
class Comparison:
    """Two methods on the facts that both were asked about."""

    first: str
    second: str
    protocol: str
    difference: Bootstrap
    """First minus second."""
    p: float
    """Sign-flip test over subjects, two-sided."""
    mcnemar: McNemar | None
    """None where scores are shares and not right or wrong."""
    p_holm: float = 1.0
    """``p`` after Holm over the table."""


def compare(
    first: Outcomes, second: Outcomes, level: float = LEVEL, *, draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """Compare two methods.

    Raises
    ------
    ProtocolsDiffer
        They were scored by different protocols or judges.
    ValueError
        They were asked about different facts, or a fact is put to different subjects.
    """
    if first.protocol != second.protocol:
        raise ProtocolsDiffer(
            f"{first.name} was scored by {first.protocol} and {second.name} by {second.protocol}: numbers of different "
            "protocols or judges are not compared; answer or judge one of them again"
        )
    return _compared(first, second, first.protocol, level, draws, seed)


def comparison_table(
    methods: Sequence[Outcomes],
    *,
    against: str | None = None,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Comparison]:
    """All pairs of methods, or every other method against one, with Holm's correction over the whole table.

    Parameters
    ----------
    methods
        Scores by one protocol, on the same facts.
    against
        Name of the method that all others are compared with; None: every pair.

    Raises
    ------
    ProtocolsDiffer
        The methods were scored by different protocols or judges.
    ValueError
        A name occurs twice, ``against`` is none of them, or facts differ.
    """
    names = [one.name for one in methods]
    if len(set(names)) != len(names):
        raise ValueError(f"a table needs every method once, found {', '.join(names)}")
    if against is not None and against not in names:
        raise ValueError(f"no method is called {against!r}; the table has {', '.join(names) or 'none'}")
    pairs = [(a, b) for a, b in combinations(methods, 2)]
    if against is not None:
        reference = methods[names.index(against)]
        pairs = [(one, reference) for one in methods if one.name != against]
    found = [compare(a, b, level, draws=draws, seed=seed) for a, b in pairs]
    adjusted = holm([one.p for one in found])
    return [
        Comparison(c.first, c.second, c.protocol, c.difference, c.p, c.mcnemar, p)
        for c, p in zip(found, adjusted, strict=True)
    ]


def protocol_gap(
    forced: Outcomes, free: Outcomes, level: float = LEVEL, *, draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """The gap between two protocols on one method's facts, which is no comparison of methods.

    Raises
    ------
    ValueError
        The protocols are one and the same, the methods are not, or facts differ.
    """
    if forced.protocol == free.protocol:
        raise ValueError(f"both sides were scored by {free.protocol}: there is no gap between a protocol and itself")
    if forced.name != free.name:
        raise ValueError(
            f"a gap between protocols is of one method, found {forced.name} and {free.name}; between methods under "
            "different protocols nothing can be told"
        )
    return _compared(forced, free, f"{forced.protocol} minus {free.protocol}", level, draws, seed)


def _compared(first: Outcomes, second: Outcomes, protocol: str, level: float, draws: int, seed: int) -> Comparison:
    facts, clusters = _facts(first, second)
    a, b = [float(first.values[f]) for f in facts], [float(second.values[f]) for f in facts]
    _paired(a, b)
    differences = [x - y for x, y in zip(a, b, strict=True)]
    binary = all(value in (0.0, 1.0) for value in (*a, *b))
    return Comparison(
        first.name,
        second.name,
        protocol,
        clustered_bootstrap(differences, clusters, level, draws=draws, seed=seed),
        sign_flip_p(differences, clusters, draws=draws, seed=seed),
        mcnemar(a, b) if binary else None,
    )


def _facts(first: Outcomes, second: Outcomes) -> tuple[list[Hashable], list[Hashable]]:
    """The facts of both, in the first one's order, and their clusters."""
    lacking = [f for f in first.values if f not in second.values] + [f for f in second.values if f not in first.values]
    if lacking:
        raise ValueError(
            f"{first.name} and {second.name} were asked about different facts: {len(lacking)} are of one side only, "
            f"e.g. {lacking[0]!r}; a paired comparison needs the same facts on both sides"
        )
    clusters: list[Hashable] = []
    for fact in first.values:
        own, other = (side.subjects.get(fact, ("fact", fact)) for side in (first, second))
        if own != other:
            raise ValueError(f"fact {fact!r} belongs to {own!r} for {first.name} and to {other!r} for {second.name}")
        clusters.append(own)
    return list(first.values), clusters


def _paired(first: Sequence[float], second: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"expected one score per fact on both sides, found shapes {list(a.shape)} and {list(b.shape)}")
    bad = int((~np.isfinite(a)).sum() + (~np.isfinite(b)).sum())
    if bad:
        raise ValueError(f"{bad} scores are not finite; a fact without a score must be left out by name")
    return a, b


def _cluster_sums(
    differences: Sequence[float], clusters: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of differences and number of facts per cluster, in order of first appearance."""
    if len(differences) != len(clusters):
        raise ValueError(f"expected a cluster per fact, found {len(clusters)} for {len(differences)} facts")
    if not np.isfinite(np.asarray(differences, dtype=np.float64)).all():
        raise ValueError("some differences are not finite; a fact without a score must be left out by name")
    found: dict[Hashable, list[float]] = {}
    for difference, cluster in zip(differences, clusters, strict=True):
        found.setdefault(cluster, []).append(float(difference))
    sums = np.array([math.fsum(values) for values in found.values()])
    return sums, np.array([float(len(values)) for values in found.values()])
