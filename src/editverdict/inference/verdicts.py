"""The rule that decides a case. It stands here and nowhere else.

Of one case are known: the primary estimate with its interval, the expected region, the least number of units, the
controls, the validity checks and the rival definitions. The first rule that applies decides:

1. a validity check is not ok                       -> invalid
2. a negative or positive control failed            -> invalid
3. there is no primary estimate                     -> inconclusive, "no data"
4. fewer units than the spec asks for               -> inconclusive, with the value printed
5. a negative or positive control is undecided      -> inconclusive, naming it; or the estimate's bias is not known,
   so that it has no interval                       -> inconclusive, saying why
6. the claim is about what may come late, the chains end below the horizon, and the interval says that it has not
   come (outside the region, where an effect is claimed; inside, where its absence is) -> inconclusive
7. the interval lies inside the region, and what was measured is only a part of what the claim says -> inconclusive
8. the interval lies inside / outside / across the expected region -> supported / refuted / inconclusive

How sure a decision is
----------------------
Intervals are two-sided with a nominal coverage of 99% (:data:`editverdict.inference.intervals.LEVEL`). A region with
one threshold is decided wrongly only if the interval misses the truth on one side, so every decision has a one-sided
alpha of 0.005 (:func:`editverdict.inference.pvalues.alpha`); so has each end of ``within``, where support needs both
(two one-sided tests, so alpha stays 0.005). That is the error of one case; claims over several cases correct for their
number (:mod:`editverdict.inference.claims`). What intervals really cover, and how often verdicts are wrong, is measured
on synthetic worlds with known answers: docs/verdict-quality.md.

What comes late
---------------
Some claims are about what the paper sees after fifty or a thousand edits (:class:`Late`). Ten edits that do not show it
say nothing of what comes later, so they refute no effect and support no absence; an effect that is there after ten is
there, and decides. The horizon is the T from which the paper reports the effect for the method.

Part of a claim
---------------
What a claim says of four methods in an order is not shown by the first two, and is refuted by them. A measurement that
could look at a part alone says so under :data:`PART_KEY`.

Failing to reject is never a refutation: a straddling interval is inconclusive whatever its centre.

``depends_on_definition`` asks whether the printed verdict would be another under a rival reading of the paper's words.
It is set only where rule 6 was reached, if some rival's own interval is decisive by rules 6 to 8 (supported or
refuted) and says something else than the primary definition: its opposite, or a decision where the primary one is
inconclusive. A rival that cannot decide contradicts nothing. Descriptive definitions get no verdict.

``specific`` comes from the comparators: ``no`` if any says no, ``yes`` if all say yes, else ``undecided``. It is absent
where there is no comparator or the case is invalid or without data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from editverdict.inference import regions
from editverdict.inference.controls import Specific, combined_specific
from editverdict.inference.intervals import Estimate
from editverdict.inference.regions import Decision
from editverdict.inference.rows import CaseVerdict, CheckResult, ControlResult, DefinitionResult, Interval, Region

EDITS_KEY = "edits"
"""Key of ``Row.descriptive`` that holds T, the number of edits in the state that was measured."""
PART_KEY = "part_of_the_claim"
"""Key of ``Row.descriptive`` that says which part of the claim was measured, where it was not the whole."""


@dataclass(frozen=True)
class CaseDecision:
    """What the rule says about a case."""

    verdict: CaseVerdict
    reason: str
    margin_to_flip: float | None
    """None unless the interval decided (rule 8)."""
    depends_on_definition: bool
    specific: Specific | None
    definitions: tuple[DefinitionResult, ...]


@dataclass(frozen=True)
class Late:
    """What a claim says may come late, and how far the measured chains go."""

    claimed: Literal["effect", "absence"]
    horizon: int
    """T from which the claim is decided both ways."""
    edits: int | None
    """T that was measured; unknown counts as below the horizon."""

    def hides(self, verdict: Decision) -> bool:
        """Whether a later effect could still overturn what the interval says."""
        short = self.edits is None or self.edits < self.horizon
        return short and verdict == ("refuted" if self.claimed == "effect" else "supported")

    def reason(self, verdict: Decision) -> str:
        """In words, for a verdict that is not let stand."""
        shown = "unknown" if self.edits is None else f"= {self.edits}"
        what = "has not come yet, and may later" if self.claimed == "effect" else "is not there yet, and may come later"
        return f"T {shown} is below the horizon of {self.horizon} edits: the effect {what} ({verdict} at this T alone)"


def judge_definition(
    name: str,
    role: Literal["primary", "rival", "descriptive"],
    estimate: Estimate,
    region: Region,
    note: str | None = None,
) -> DefinitionResult:
    """The quantity under one definition, judged by its interval alone; descriptive ones get no verdict."""
    return DefinitionResult(
        name=name,
        role=role,
        estimate=estimate.value,
        interval=estimate.interval,
        verdict=None if role == "descriptive" else regions.decide(region, estimate.interval),
        note=note or estimate.note,
    )


def decide_case(
    *,
    describes: str,
    unit: str,
    region: Region,
    primary: Estimate,
    min_units: int,
    definitions: Sequence[DefinitionResult] = (),
    controls: Sequence[ControlResult] = (),
    checks: Sequence[CheckResult] = (),
    late: Late | None = None,
    part: str | None = None,
) -> CaseDecision:
    """Apply the rule of this module to one case.

    Parameters
    ----------
    describes
        The quantity in words, for the reason (``Row.describes``, or ``Row.quantity`` where that is empty).
    unit
        ``edit``, ``chain``, ``text_block``, ...
    region
        The expected region.
    primary
        The primary definition's estimate.
    min_units
        Fewer units than this decide nothing.
    definitions
        All definitions; verdicts are computed anew, and the primary one takes its numbers from ``primary``.
    controls
        As judged by :mod:`editverdict.inference.controls`.
    checks
        Validity checks.
    late
        Of claims about what may come late.
    part
        What was measured, in words, where that is not all that the claim says.
    """
    judged = tuple(_judged(definition, region, primary) for definition in definitions)
    measured = _measured(describes, unit, region, primary)
    failure = _invalidity(region, controls, checks)
    if failure is not None:
        return CaseDecision("invalid", f"INVALID: {failure}", None, False, None, judged)
    if primary.value is None:
        return CaseDecision("inconclusive", f"INCONCLUSIVE: no data for {describes}", None, False, None, judged)
    specific = combined_specific([control.specific for control in controls if control.role == "comparator"])
    obstacle = _obstacle(unit, region, primary, min_units, controls)
    if obstacle is not None or primary.interval is None:
        why = "; ".join(text for text in (obstacle, primary.open) if text) or "no interval"
        return CaseDecision("inconclusive", f"INCONCLUSIVE: {why}; {measured}", None, False, specific, judged)
    verdict = regions.decide(region, primary.interval)
    held_back = _held_back(verdict, late, part)
    rivals = [d.verdict for d in judged if d.role == "rival" and d.verdict and not _held_back(d.verdict, late, part)]
    said = "inconclusive" if held_back else verdict
    depends = any(rival in ("supported", "refuted") and rival != said for rival in rivals)
    if held_back:
        why = f"INCONCLUSIVE: {held_back}; {measured}"
        return CaseDecision("inconclusive", why, None, depends, specific, judged)
    margin = regions.margin_to_flip(region, primary.interval, verdict)
    return CaseDecision(verdict, f"{verdict.upper()}: {measured}", margin, depends, specific, judged)


def _held_back(verdict: Decision, late: Late | None, part: str | None) -> str | None:
    """Why a decision of the interval is not let stand (rules 6 and 7)."""
    if late is not None and late.hides(verdict):
        return late.reason(verdict)
    if part and verdict == "supported":
        return f"a part of the claim was measured, which can refute it and not support it ({part})"
    return None


def unit_word(unit: str, count: int) -> str:
    """``20 edits``, ``1 chain``, ``20 text blocks``."""
    word = unit.replace("_", " ") or "unit"
    return f"{count} {word}{'' if count == 1 else 's'}"


def number(value: float | None, interval: Interval | None) -> str:
    """``0.021 [0.011, 0.031]``; an absent number is said to be absent."""
    if value is None:
        return "no value"
    return f"{value:.4g}" if interval is None else f"{value:.4g} [{interval[0]:.4g}, {interval[1]:.4g}]"


def _measured(describes: str, unit: str, region: Region, primary: Estimate) -> str:
    counted = unit_word(unit, primary.n_units)
    stands = counted if primary.interval is None else f"{100 * primary.level:g}%, {counted}"
    return f"{describes} = {number(primary.value, primary.interval)} ({stands}), expected {region.describe()}"


def _judged(definition: DefinitionResult, region: Region, primary: Estimate) -> DefinitionResult:
    if definition.role == "descriptive":
        return definition.model_copy(update={"verdict": None})
    if definition.role == "primary":
        numbers = {"estimate": primary.value, "interval": primary.interval}
        return definition.model_copy(update={**numbers, "verdict": regions.decide(region, primary.interval)})
    return definition.model_copy(update={"verdict": regions.decide(region, definition.interval)})


def _invalidity(region: Region, controls: Sequence[ControlResult], checks: Sequence[CheckResult]) -> str | None:
    failed = [f"check {check.name}: {check.detail}" for check in checks if not check.ok]
    if not failed:
        failed = [
            f"{control.role} control {control.name} "
            f"{'does not show' if control.must == 'show' else 'shows'} the effect: "
            f"{number(control.estimate, control.interval)}, region {region.describe()}"
            for control in _deciding(controls)
            if control.outcome == "failed"
        ]
    return "; ".join(failed) or None


def _obstacle(
    unit: str, region: Region, primary: Estimate, min_units: int, controls: Sequence[ControlResult]
) -> str | None:
    if primary.n_units < min_units:
        return f"{primary.n_units} of {unit_word(unit, min_units)}"
    undecided = [control for control in _deciding(controls) if control.outcome == "undecided"]
    if undecided:
        named = ", ".join(f"{c.role} control {c.name} = {number(c.estimate, c.interval)}" for c in undecided)
        return f"undecided: {named}, region {region.describe()}"
    return None


def _deciding(controls: Sequence[ControlResult]) -> list[ControlResult]:
    return [control for control in controls if control.role in ("negative", "positive")]
