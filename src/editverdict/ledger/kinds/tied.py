"""Rank correlations of few observations: can rho occur at all, with which ties, and what is its exact p?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field

from editverdict.ledger.correlations import (
    CorrelationSettings,
    Explanation,
    Printed,
    by_keys,
    countable,
    explain,
    observations,
    printed_rows,
    undecided,
)
from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.ranges import Range
from editverdict.ledger.ranks import LARGEST, simplest, ties
from editverdict.ledger.rules import Scope, kind


class TiedSettings(CorrelationSettings):
    """Which rows share a series, and which ties the ranked one may have."""

    ranked: tuple[str, ...] = ()
    """Keys of rows whose ranked series have ties of the same sizes (most often: none)."""
    values: tuple[str, ...] = ()
    """Keys of rows that have the same series of values, ranked against different series."""
    ranked_ties: tuple[tuple[int, ...], ...] = Field(default=((), (2,)), min_length=1)
    """Sizes of groups of equal values in the ranked series, in the order in which they are tried; (): no ties."""
    tied: str = ""
    """What ties in the ranked series mean, as a sentence without its stop."""


@kind("tied-ranks", TiedSettings)
def tied_ranks(scope: Scope) -> Iterator[Finding]:
    """Some ties of the values explain every rho and p of a series of values, the ranked series having none.

    Only few correlations are possible among n observations: without ties, 12 / (n^3 - n) apart. A ranked series of
    measured numbers has no ties, so one that needs them is implausible; a rho that no ties explain breaks the rule.
    """
    own: TiedSettings = scope.settings
    for n, rows, found in _explanations(scope, own):
        if found is None:
            yield undecided(scope, rows, countable(n or None, LARGEST))
            return
        for members in by_keys(rows, own.values).values():
            yield _tie_finding(scope, own, n, members, found)


def _explanations(scope: Scope, own: TiedSettings) -> Iterator[tuple[int, list[Printed], Explanation | None]]:
    """Per ranked series: n, its rows, and what explains them; None once if the orders cannot be counted."""
    rows = printed_rows(scope, own)
    n = observations(rows, own)
    if n is None or countable(n, LARGEST):
        yield n or 0, rows, None
        return
    for members in by_keys(rows, own.ranked).values():
        yield n, members, explain(members, own.values, n, own.ranked_ties)


def _tie_finding(scope: Scope, own: TiedSettings, n: int, rows: Sequence[Printed], found: Explanation) -> Finding:
    label = " ".join(rows[0].line.keys.get(key, "") for key in own.values) or "all rows"
    common = sorted(found.structures[tuple(rows[0].line.keys.get(key, "") for key in own.values)])
    different = list(dict.fromkeys(row.rho.text for row in rows))
    what = f"{label}, n = {n}: {_listed(different)}"
    if not common:
        verdict: Verdict = scope.rule.broken
        said = f"{what} cannot all occur with one set of ties among the values, {_ranked(found.tied)}."
    elif found.tied:
        verdict = "implausible"
        said = f"{what} can occur only with {_ranked(found.tied)} (values: {simplest(common)})" + (
            f"; {own.tied}." if own.tied else "."
        )
    else:
        verdict = "consistent"
        said = f"{what} can occur with {simplest(common)} among the values"
        said += f"; without ties the nearest is {_nearest(n, rows)}."
    cells = [cell for row in rows for cell in (row.rho, row.p)]
    return scope.finding(
        verdict,
        cells,
        expected=f"rho and p with {simplest(common)}" if common else "rho and p with some ties",
        found=_listed(different),
        sentence=said,
        row=label,
        binding=[cell for row in rows for cell in row.numbers],
    )


def _listed(texts: Sequence[str], most: int = 4) -> str:
    return ", ".join(texts[:most]) + (f", ... ({len(texts)})" if len(texts) > most else "")


def _ranked(tied: Sequence[int]) -> str:
    return f"{ties(tied)} in the ranked series" if tied else "no ties in the ranked series"


def _nearest(n: int, rows: Sequence[Printed]) -> str:
    """For the first of the printed rho: the nearest value that ranks without ties can have."""
    # the sum of squared differences is even
    step = 12.0 / (n**3 - n)
    rho = rows[0].rho.value
    return f"{1.0 - round((1.0 - rho) / step) * step:.4f} for {rows[0].rho.text}"


class PermutationSettings(TiedSettings):
    """Levels of significance that p may cross."""

    levels: tuple[float, ...] = (0.05, 0.01, 0.001)


@kind("permutation-p", PermutationSettings)
def permutation_p(scope: Scope) -> Iterator[Finding]:
    """The p over all n! orders, for the ties that explain rho: rounding where a level parts it from the printed p."""
    own: PermutationSettings = scope.settings
    for n, rows, found in _explanations(scope, own):
        if found is None:
            yield undecided(scope, rows, countable(n or None, LARGEST))
            return
        for i, row in enumerate(rows):
            matches = found.matches[i]
            if not matches:
                yield scope.finding(
                    "undefined",
                    (row.rho, row.p),
                    expected="a p over all orders",
                    found=row.shown,
                    sentence=f"No ties of {n} observations explain rho {row.rho.text} with p {row.shown}.",
                )
                continue
            exact = sorted(one.p(rho) for one, rho in matches)
            least = min(one.smallest_p for one, _ in matches)
            p = Range(exact[0], exact[-1])
            crossed = [level for level in own.levels if not _same_side(p, row, level)]
            off = 0.0 if row.bound or not row.p.value else max(abs(end / row.p.value - 1.0) for end in exact)
            said = (
                f"{row.line.label}: over all {n}! orders p is {p}, printed {row.shown}"
                + (f" (up to {100 * off:.0f}% off)" if off > 0.005 else "")
                + (
                    f"; they lie on different sides of {', '.join(f'{level:g}' for level in crossed)}"
                    if crossed
                    else ""
                )
                + f"; the smallest p that any order has is {least:.2g}."
            )
            yield scope.finding(
                "rounding" if crossed else "consistent", (row.rho, row.p), expected=p, found=row.shown, sentence=said
            )


def _same_side(exact: Range, row: Printed, level: float) -> bool:
    """Whether all exact p lie on the side of a level on which the printed one lies; a bound above it says nothing."""
    if row.bound:
        return row.p.value > level or exact.high < level
    return exact.high < level if row.p.value < level else exact.low >= level
