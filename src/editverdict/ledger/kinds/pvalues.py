"""p values: do they follow from rho, which number of observations explains them, do the stars fit, what survives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from pydantic import Field

from editverdict.inference.corrections import benjamini_hochberg, holm
from editverdict.ledger.correlations import (
    UNKNOWN_N,
    CorrelationSettings,
    Printed,
    best_numbers,
    by_keys,
    explained,
    is_bound,
    observations,
    printed_rows,
    undecided,
)
from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.ranges import Range
from editverdict.ledger.ranks import p_of
from editverdict.ledger.rules import Scope, Settings, kind


@kind("p-from-rho", CorrelationSettings)
def p_from_rho(scope: Scope) -> Iterator[Finding]:
    """The t approximation gives p, rho and p both as roundings; a bound must lie above the smallest p of rho."""
    own: CorrelationSettings = scope.settings
    rows = printed_rows(scope, own)
    n = observations(rows, own)
    if n is None:
        yield undecided(scope, rows, UNKNOWN_N)
        return
    for row in rows:
        rho = row.rho.range
        if rho.low > 1.0 or rho.high < -1.0:
            said = "A correlation lies between -1 and 1."
            yield scope.finding(
                scope.rule.broken,
                row.numbers,
                expected="-1 to 1",
                found=row.rho.text,
                sentence=said,
                binding=row.numbers,
            )
        elif row.bound:
            expected = p_of(rho, n)
            verdict: Verdict = "consistent" if expected.low < row.p.value else scope.rule.broken
            yield scope.finding(verdict, (row.rho, row.p), expected=expected, found=row.shown)
        else:
            yield scope.compare(row.p, p_of(rho, n), [row.rho])


class SampleSizeSettings(CorrelationSettings):
    """Rows that share a number of observations."""

    by: tuple[str, ...] = ()
    """Keys that tell the groups apart."""
    most_exceptions: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Largest share of rows that a number of observations may leave unexplained and still count as the one."""


@kind("sample-size", SampleSizeSettings)
def sample_size(scope: Scope) -> Iterator[Finding]:
    """Which number of observations explains the most p values of each group, and how far behind the next one is."""
    own: SampleSizeSettings = scope.settings
    for group, rows in by_keys([row for row in printed_rows(scope, own) if not row.bound], own.by).items():
        (most, n), *others = best_numbers(rows, own.search)
        second, runner_up = others[0] if others else (0, n)
        cells = [cell for row in rows for cell in row.numbers]
        if most == second or most < (1.0 - own.most_exceptions) * len(rows):
            verdict: Verdict = "undefined"
        else:
            verdict = "consistent" if most == len(rows) else "rounding"
        fits = explained(rows, n)
        odd = [row.line.label for row in rows if row not in fits]
        said = f"n = {n} explains {most} of {len(rows)} printed p, the next best (n = {runner_up}) {second}" + (
            f"; not {', '.join(odd)}." if odd else "."
        )
        yield scope.finding(
            verdict,
            cells,
            expected=f"one n for all {len(rows)} p",
            found=f"n = {n}: {most}",
            sentence=said,
            row=" ".join(group) or "all rows",
        )


class StarSettings(Settings):
    """Marks of significance."""

    p: str = "p"
    op: str | None = "p_op"
    stars: str = "stars"
    """Column that counts the marks."""
    levels: tuple[float, ...] = (0.05, 0.01, 0.001)
    """p below the first: one mark; below the second: two; ..."""


@kind("stars", StarSettings)
def stars(scope: Scope) -> Iterator[Finding]:
    """As many marks as levels lie above p; a bound that allows several numbers of marks leaves the row undecided."""
    own: StarSettings = scope.settings
    for line in scope.lines():
        cells = line.numbers(own.p, own.stars)
        if cells is None:
            continue
        p, marks = cells
        bound = is_bound(line, own.op)
        allowed = _marks_below(p.value, own.levels) if bound else _marks_within(p.range, own.levels)
        if marks.value not in allowed:
            verdict: Verdict = scope.rule.broken
        else:
            verdict = "undefined" if bound and len(allowed) > 1 else "consistent"
        said = "The printed bound on p does not decide how many marks belong here." if verdict == "undefined" else ""
        yield scope.finding(
            verdict,
            (marks, p),
            expected=f"{' or '.join(map(str, allowed)) or 'no'} marks",
            found=f"{marks.text} at p {'<' if bound else '='} {p.text}",
            sentence=said,
            binding=(marks, p) if bound else (marks,),
        )


def _marks_within(p: Range, levels: Sequence[float]) -> list[int]:
    """Numbers of marks that some p of a range has."""
    fewest, most = (sum(end < level for level in levels) for end in (p.high, p.low))
    return list(range(fewest, most + 1))


def _marks_below(bound: float, levels: Sequence[float]) -> list[int]:
    """Numbers of marks of all p from nothing to below a bound; none if there is no such p."""
    least = sum(bound <= level for level in levels)
    return list(range(least, len(levels) + 1)) if bound > 0.0 else []


_ADJUST: dict[str, Callable[[Sequence[float]], list[float]]] = {
    "holm": holm,
    "benjamini-hochberg": benjamini_hochberg,
}


class CorrectionSettings(CorrelationSettings):
    """A correction for the number of tests in the tables in question."""

    correction: Literal["holm", "benjamini-hochberg"]
    alpha: float = Field(default=0.05, gt=0.0, lt=1.0)
    by: tuple[str, ...] = ()
    """Keys of the groups that get a finding each; the correction is over all rows."""
    remark: str = ""
    """What is to be said of the correction, as a part of a sentence."""
    named: int = 3
    """Most rows that a sentence names."""


@kind("corrected", CorrectionSettings)
def corrected(scope: Scope) -> Iterator[Finding]:
    """Which p below alpha stay below it when all rows count as one family of tests.

    A printed p is a range, and a bound is one as far as rho allows it, so each adjusted p is a range, too: both
    corrections rise in every p. A p that does not stay below contradicts nothing that is printed: the group is
    undefined then.
    """
    own: CorrectionSettings = scope.settings
    rows = printed_rows(scope, own)
    adjust = _ADJUST[own.correction]
    n = observations(rows, own)
    ranges = [_p_at_most(row, n) for row in rows]
    low, high = adjust([p.low for p in ranges]), adjust([p.high for p in ranges])
    ends = {id(row): Range(a, max(a, b)) for row, a, b in zip(rows, low, high, strict=True)}
    total = _standing(rows, ends, own.alpha)
    for group, members in by_keys(rows, own.by).items():
        raw, kept, open_ = _standing(members, ends, own.alpha)
        lost = [row for row in raw if row not in kept and row not in open_]
        beyond = [f"{_short(row, own.by)} (p {row.shown}, adjusted {ends[id(row)]})" for row in (*lost, *open_)]
        named = ", ".join(beyond[: own.named]) + (f", and {len(beyond) - own.named} more" * (len(beyond) > own.named))
        counts = f"of all {len(rows)} tests {len(total[1])} of {len(total[0])}" + (
            f" ({len(total[2])} more within rounding)" if total[2] else ""
        )
        label = " ".join(group) or "all rows"
        yield scope.finding(
            "undefined" if lost or open_ else "consistent",
            [cell for row in members for cell in (row.rho, row.p)],
            expected=f"{len(raw)} p below {own.alpha:g}",
            found=f"{len(kept)} stay below",
            sentence=f"{label}: {len(kept)} of {len(raw)} p below {own.alpha:g} stay below after {own.correction}, "
            f"{counts}{'; not ' + named if named else ''}{'; ' + own.remark if own.remark else ''}.",
            row=label,
        )


def _p_at_most(row: Printed, n: int | None) -> Range:
    """What p may be, between 0 and 1: a bound is cut to what rho allows, unless the two exclude each other."""
    p = Range(min(max(row.p_range.low, 0.0), 1.0), min(max(row.p_range.high, 0.0), 1.0))
    if n is None:
        return p
    by_rho = p_of(row.rho.range, n)
    return Range(by_rho.low, min(by_rho.high, p.high)) if row.bound and by_rho.low < p.high else p


def _short(row: Printed, by: Sequence[str]) -> str:
    """The row without the keys that name its group."""
    return " ".join(value for key, value in row.line.keys.items() if key not in by)


def _standing(
    rows: Sequence[Printed], ends: dict[int, Range], alpha: float
) -> tuple[list[Printed], list[Printed], list[Printed]]:
    """Rows with a p below alpha; those that surely stay below; those that rounding leaves open."""
    raw = [row for row in rows if (row.p.value <= alpha if row.bound else row.p.value < alpha)]
    kept = [row for row in raw if ends[id(row)].high < alpha]
    return raw, kept, [row for row in raw if ends[id(row)].low < alpha <= ends[id(row)].high]
