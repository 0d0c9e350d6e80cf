"""The verdict of a claim over the cases that the profile plans: one pure function.

Quantifiers
-----------
``all`` (intersection-union)
    Supported iff every planned case is supported; no correction is needed. Refuted iff some case is refuted and its p
    value survives Holm over *all* planned cases (those without a row count as p = 1, so that a refutation in a partial
    run cannot be undone by completing the run). With a single planned case there is nothing to correct.
``exists`` (its mirror)
    Supported iff some case is supported and survives Holm; refuted iff every planned case is refuted.
``at_least_two`` ("several methods", out of those that the claim names)
    Supported iff two methods have a case that is supported and survives Holm over all planned cases. A method is ruled
    out iff every planned case of it is refuted; refuted iff so many of the *named* methods are ruled out that fewer
    than two are left (one that has no planned case is left). Ruling out all but one goes wrong if either of two true
    methods is lost, so that the largest p value among them counts twice (the partial conjunction of Benjamini and
    Heller, Biometrics 64 (2008) 1215-1222, with Bonferroni's bound), and each counts by its own largest over cases.
``most``
    The share of supported cases, clustered by model: one share per model, a t interval over models, compared with 1/2.
    A case that is inconclusive by its interval counts as refuted for the lower end and as supported for the upper one.
``mean``
    The mean estimate per model, a t interval over models, compared with the expected region (the same in all cases).

``most`` and ``mean`` speak about models in general, so one model alone gives no interval: inconclusive.

What a claim ranges over
------------------------
A claim whose words say "every model" (or family, or method: ``ranges_over`` of its spec) is not supported by one of
them: what would be supported on fewer than two is inconclusive. A refutation stands, for it takes one counterexample.

Precedence, first that applies
------------------------------
1. no planned case                                          -> not_run
2. ``all`` with a corrected refutation                      -> refuted  (a counterexample stands, whatever is missing)
   ``exists`` with a corrected support, ``at_least_two`` with those of two methods -> supported
3. a planned case has no row                                -> incomplete
4. all cases not_run                                        -> not_run
5. a case is broken                                         -> broken
6. a case is invalid                                        -> invalid
7. some cases not_run                                       -> incomplete (what the others say is in the reason)
8. the quantifier over the cases, all of which are decided or inconclusive

Rule 7: a claim about all planned cases is not supported by those that happened to run; nor is it the data's fault, so
``inconclusive`` would be the wrong word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from editverdict.inference import regions
from editverdict.inference.controls import combined_specific
from editverdict.inference.corrections import holm
from editverdict.inference.forms import apart_in
from editverdict.inference.intervals import LEVEL, t_interval
from editverdict.inference.pvalues import alpha, case_p_values
from editverdict.inference.rows import ClaimVerdict, Region, Row
from editverdict.inference.verdicts import EDITS_KEY, number

Word = Literal["supported", "refuted", "inconclusive", "invalid", "broken", "not_run", "incomplete"]
Quantifier = Literal["all", "exists", "at_least_two", "most", "mean"]
Axis = Literal["model", "family", "method"]
FAMILY_KEY = "model_type"
"""Key of ``Row.descriptive`` that holds the family of the model, as its configuration names it."""
LEAST = 2
"""Of what a claim ranges over, so many at least must be decided before it is supported."""
DECIDED = ("supported", "refuted", "inconclusive")


@dataclass(frozen=True)
class _Finding:
    verdict: Word
    why: str
    rows: tuple[Row, ...]
    """The rows that the verdict stands on."""


def claim_verdict(
    claim: str,
    rows: Sequence[Row],
    planned: Sequence[str],
    *,
    quantifier: Quantifier | None = None,
    about: Sequence[str] = (),
    statement: str = "",
    hypothesis: str = "",
    kind: str = "claim",
    generality: str = "",
    level: float = LEVEL,
    family_p: Mapping[str, float] | None = None,
    ranges_over: Sequence[Axis] = (),
    unplanned: str = "",
) -> ClaimVerdict:
    """The verdict of one claim over its planned cases.

    Parameters
    ----------
    claim
        Id of the claim.
    rows
        Rows of any claims; only those of the planned cases count.
    planned
        Ids of the cases that the profile plans for this claim.
    quantifier
        The claim's; by default the one its rows carry, else ``all``.
    about
        Methods that the claim names, of which ``at_least_two`` speaks; by default those of the rows.
    statement, hypothesis, kind
        For a claim without rows; otherwise the rows' own are taken.
    generality
        E.g. from :func:`generality_of`.
    level
        Level of the intervals of the cases (the tests use (1 - level) / 2 on one side).
    family_p
        Case id -> p value already corrected over a whole family (:func:`editverdict.inference.pvalues.family_p_values`,
        in the direction that the quantifier needs: ``refute`` for ``all``, ``support`` for the others), used instead of
        Holm over the claim's own cases. A planned case absent from it counts as 1.
    ranges_over
        What the claim says it holds for every one of.
    unplanned
        Why no case is planned, where none is.

    Raises
    ------
    ValueError
        A case has several rows, or rows of ``mean`` expect different regions.
    """
    found = _planned_rows(claim, rows, planned)
    missing = tuple(case for case in planned if case not in found)
    have = tuple(found[case] for case in planned if case in found)
    first = have[0] if have else None
    rule: Quantifier = quantifier or (first.quantifier if first else "all")
    finding = _Finding("not_run", unplanned or "the profile plans no case of this claim", ())
    if planned:
        finding = _ranging(_find(rule, have, planned, missing, level, family_p, about), ranges_over)
    standing = [row for row in finding.rows if row.verdict in DECIDED]
    return ClaimVerdict(
        claim=claim,
        kind=first.kind if first else kind,
        statement=first.statement if first else statement,
        hypothesis=first.hypothesis if first else hypothesis,
        verdict=finding.verdict,
        reason=f"{finding.verdict.upper().replace('_', ' ')}: {finding.why}",
        stands_on=stands_on(standing),
        generality=generality,
        cases=tuple(row.case for row in have),
        missing=missing,
        depends_on_definition=any(row.depends_on_definition for row in have),
        specific=combined_specific([row.specific for row in have if row.verdict in DECIDED]),
    )


def stands_on(rows: Sequence[Row]) -> str:
    """What a verdict stands on, e.g. ``smollm2-135m, ROME, worldfacts, T = 10 (extension)``.

    One row: its own ``stands_on`` and scope. Several: their models, methods, datasets and scopes, and T where
    ``Row.descriptive["edits"]`` holds it, and whether edits were made in another form than they are asked in.
    """
    if not rows:
        return "nothing decided"
    if len(rows) == 1 and rows[0].stands_on:
        return f"{rows[0].stands_on} ({rows[0].scope})"
    parts = [_listed(getattr(row, axis) for row in rows) for axis in ("model", "method", "dataset")]
    edits = sorted({row.descriptive[EDITS_KEY] for row in rows if isinstance(row.descriptive.get(EDITS_KEY), int)})
    parts.append(f"T = {' and '.join(map(str, edits))}" if edits else "")
    parts.append(apart_in(rows))
    text = ", ".join(part for part in parts if part) or _listed(row.case for row in rows)
    return f"{text} ({_listed(row.scope for row in rows)})"


def generality_of(rows: Sequence[Row], population: Sequence[str]) -> str:
    """How much of the population of models that the claim names was decided, e.g. ``1 of 4 models of ...``."""
    decided = {row.model for row in rows if row.verdict in DECIDED}
    others = sorted({model for model in decided if model is not None} - set(population))
    text = f"{len(decided & set(population))} of {len(set(population))} models of the claim's population"
    return f"{text}, and beyond it {', '.join(others)}" if others else text


def _planned_rows(claim: str, rows: Sequence[Row], planned: Sequence[str]) -> dict[str, Row]:
    wanted = set(planned)
    found: dict[str, Row] = {}
    for row in rows:
        if row.case not in wanted:
            continue
        if row.claim != claim:
            raise ValueError(f"case {row.case} is planned for claim {claim}, but its row says {row.claim}")
        if row.case in found:
            raise ValueError(f"case {row.case} has several rows; merge them first (editverdict.inference.results)")
        found[row.case] = row
    return found


def _find(
    rule: Quantifier,
    rows: tuple[Row, ...],
    planned: Sequence[str],
    missing: tuple[str, ...],
    level: float,
    family_p: Mapping[str, float] | None,
    about: Sequence[str],
) -> _Finding:
    if len(planned) == 1 and rows and not family_p and rule in ("all", "exists"):
        return _single(rows[0])
    survivors = _survivors(rule, rows, planned, level, family_p)
    if survivors:
        return survivors
    obstacle = _obstacle(rows, missing)
    if obstacle:
        return obstacle
    if rule == "most":
        return _most(rows, level)
    if rule == "at_least_two":
        return _fewer_than_two(rows, about, level)
    return _mean(rows, level) if rule == "mean" else _every(rule, rows)


def _ranging(finding: _Finding, ranges_over: Sequence[Axis]) -> _Finding:
    """A support that stands on too few of what the claim ranges over decides nothing."""
    if finding.verdict != "supported":
        return finding
    for axis in ranges_over:
        found = sorted({_along(row, axis) for row in finding.rows})
        if len(found) < LEAST:
            words = {"family": "families"}.get(axis, f"{axis}s")
            why = f"the claim is about all {words}, and it was decided for {len(found)} ({', '.join(found)})"
            return _Finding("inconclusive", f"{why}; there {finding.why}", finding.rows)
    return finding


def _along(row: Row, axis: Axis) -> str:
    if axis == "family":  # rows that do not name it may all be of one
        return str(row.descriptive.get(FAMILY_KEY) or "not named")
    return str(getattr(row, axis))


def _single(row: Row) -> _Finding:
    """One planned case: the claim's verdict is the case's."""
    return _Finding(row.verdict, _without_verdict(row), (row,))


def _survivors(
    rule: Quantifier,
    rows: tuple[Row, ...],
    planned: Sequence[str],
    level: float,
    family_p: Mapping[str, float] | None,
) -> _Finding | None:
    """``all``: corrected refutations; ``exists``: corrected supports; ``at_least_two``: those of two methods."""
    if rule not in ("all", "exists", "at_least_two"):
        return None
    word: Literal["refuted", "supported"] = "refuted" if rule == "all" else "supported"
    if family_p is None:
        raw = {row.case: case_p_values(row) for row in rows}
        values = [getattr(raw[c], "refute" if rule == "all" else "support") if c in raw else 1.0 for c in planned]
        family_p = dict(zip(planned, holm(values), strict=True))
    kept = tuple(row for row in rows if row.verdict == word and family_p.get(row.case, 1.0) <= alpha(level))
    if not kept or (rule == "at_least_two" and len({row.method for row in kept}) < 2):
        return None
    named = "; ".join(f"{row.case} (corrected p = {family_p[row.case]:.2g})" for row in kept)
    return _Finding(word, f"{len(kept)} of {len(planned)} planned cases {word} after Holm: {named}", kept)


def _obstacle(rows: tuple[Row, ...], missing: tuple[str, ...]) -> _Finding | None:
    if missing:
        others = f"; of the others {_tally(rows)}" if rows else ""
        return _Finding("incomplete", f"no row for {', '.join(missing)}{others}", rows)
    idle = [row for row in rows if row.verdict == "not_run"]
    if len(idle) == len(rows):
        return _Finding("not_run", _reasons(idle), ())
    for word in ("broken", "invalid"):
        hit = [row for row in rows if row.verdict == word]
        if hit:
            return _Finding("broken" if word == "broken" else "invalid", _reasons(hit), rows)
    if idle:
        return _Finding("incomplete", f"of {len(rows)} planned cases {_tally(rows)}; {_reasons(idle)}", rows)
    return None


def _every(rule: Quantifier, rows: tuple[Row, ...]) -> _Finding:
    """``all`` and ``exists`` when every case is decided or inconclusive and none survived the correction."""
    word: Literal["refuted", "supported"] = "supported" if rule == "all" else "refuted"
    if all(row.verdict == word for row in rows):
        return _Finding(word, f"{len(rows)} of {len(rows)} planned cases {word}", rows)
    opposite = "refuted" if word == "supported" else "supported"
    lost = [row.case for row in rows if row.verdict == opposite]
    note = f"; {opposite} before, not after Holm: {', '.join(lost)}" if lost else ""
    return _Finding("inconclusive", f"of {len(rows)} planned cases {_tally(rows)}{note}", rows)


def _fewer_than_two(rows: tuple[Row, ...], about: Sequence[str], level: float) -> _Finding:
    """``at_least_two`` when every case is decided or inconclusive and fewer than two methods are supported."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.method or "", []).append(row)
    named = set(about) | set(groups)
    out = {
        method: max(case_p_values(row).refute for row in own)
        for method, own in groups.items()
        if all(row.verdict == "refuted" for row in own)
    }
    needed = len(named) - 1  # all but one
    said = f"of {len(named)} methods {len(out)} ruled out ({', '.join(out) or 'none'}), {needed} needed"
    if len(out) >= needed > 0:
        # With all of them out, the one of the largest p value need not be.
        twice = 2.0 * sorted(out.values())[needed - 1]
        if twice <= alpha(level):
            return _Finding("refuted", f"fewer than two can be left: {said} (corrected p = {twice:.2g})", rows)
        return _Finding("inconclusive", f"{said}, but not after correction (p = {twice:.2g}); {_tally(rows)}", rows)
    absent = sorted(named - set(groups))
    unseen = f"; not planned: {', '.join(absent)}" if absent else ""
    return _Finding("inconclusive", f"two methods are not supported after Holm; {said}; {_tally(rows)}{unseen}", rows)


def _most(rows: tuple[Row, ...], level: float) -> _Finding:
    lows = _by_model(rows, lambda row: float(row.verdict == "supported"))
    highs = _by_model(rows, lambda row: float(row.verdict != "refuted"))
    if len(lows) < 2:
        return _one_model(rows, "share of supported cases")
    step = 1.0 / min(Counter(row.model for row in rows).values())
    low, high = t_interval(lows, level, step), t_interval(highs, level, step)
    if low.interval is None or high.interval is None:
        raise ValueError("a t interval over two or more models is never absent")
    share = sum(row.verdict == "supported" for row in rows) / len(rows)
    region = Region(op=">", threshold=0.5, origin="convention", ref="most: more than half")
    hull = (max(0.0, low.interval[0]), min(1.0, high.interval[1]))
    text = f"share of supported cases = {number(share, hull)} ({100 * level:g}%, {len(lows)} models), expected > 0.5"
    return _Finding(regions.decide(region, hull), text, rows)


def _mean(rows: tuple[Row, ...], level: float) -> _Finding:
    region = rows[0].expected
    if any(row.expected != region for row in rows):
        raise ValueError(f"claim {rows[0].claim}: quantifier 'mean' needs the same expected region in every case")
    weak = [row for row in rows if row.verdict == "inconclusive" and row.margin_to_flip is None]
    if weak:
        return _Finding("inconclusive", _reasons(weak), rows)
    values = _by_model(rows, lambda row: float("nan") if row.estimate is None else row.estimate)
    if len(values) < 2:
        return _one_model(rows, "mean over models")
    estimate = t_interval(values, level)
    stated = f"mean over {len(values)} models = {number(estimate.value, estimate.interval)} ({100 * level:g}%)"
    return _Finding(regions.decide(region, estimate.interval), f"{stated}, expected {region.describe()}", rows)


def _one_model(rows: tuple[Row, ...], what: str) -> _Finding:
    return _Finding("inconclusive", f"one model: a {what} has no interval; {_tally(rows)}", rows)


def _by_model(rows: Sequence[Row], value: Callable[[Row], float]) -> list[float]:
    """Mean of a number per model, models in order of appearance."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row.model or "", []).append(value(row))
    return [sum(group) / len(group) for group in groups.values()]


def _tally(rows: Sequence[Row]) -> str:
    counts = Counter(row.verdict for row in rows)
    return ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in counts.items())


def _reasons(rows: Sequence[Row]) -> str:
    return "; ".join(f"{row.case}: {row.reason}" for row in rows)


def _without_verdict(row: Row) -> str:
    head, colon, rest = row.reason.partition(": ")
    return rest if colon and head.replace(" ", "_").lower() == row.verdict else row.reason


def _listed(values: Iterable[str | None]) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value))
