"""Claims that cannot fail, cannot be won, or are not judged as they say: found before any model is loaded.

Every claim is fed synthetic measurements of what its quantity can be (``range`` in its spec): units well inside and
well outside the expected region, controls that do what their roles demand, checks that hold. They take the way of real
cases, through :func:`editverdict.pipeline.cases.rule`. A sound claim is then supported and refuted by turns; with a
control that does the opposite or a check that fails it is invalid; with units across the threshold, an undecided
control, too few units or none it is inconclusive; so it is, where it is about what may come late and has not come yet
below the horizon. Whatever comes out otherwise is a finding, and so is a region that leaves one side of the threshold
impossible. Where a planted family stands for the quantity (:mod:`editverdict.pipeline.planted`), a supporting and a
refuting world are measured, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from editverdict.inference.controls import default_must
from editverdict.inference.intervals import MIN_SEEDS, Estimate, jackknife_interval, missing, seeds_interval, t_interval
from editverdict.inference.rows import CheckResult
from editverdict.inference.standard_errors import mean_of
from editverdict.pipeline.cases import region_of, rule
from editverdict.pipeline.measurement import Measurement
from editverdict.pipeline.planted.quality import clear_plant, family_of
from editverdict.pipeline.planted.worlds import Answer
from editverdict.schema.claims import ClaimSpec, Control

Segment = tuple[float, float]
PLACES = (0.25, 0.5, 0.75)
"""Where in a segment the units of a synthetic measurement lie."""
SPREAD = 0.01
"""Half-width of the units' spread, in widths of the segment."""
LEAST_UNITS = 6
"""A claim may ask for fewer, of which no interval of level 99% would be narrow."""


@dataclass(frozen=True)
class Finding:
    """Something wrong with a claim."""

    claim: str
    problem: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.claim}: {self.problem}"


@dataclass(frozen=True)
class Outcome:
    """What came of trying some claims."""

    claims: int
    measurements: int
    """Synthetic measurements that were judged."""
    worlds: int
    """Those of them that were measured on a planted world."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Sides:
    """The possible values of a quantity, divided by the expected region; each segment has a width."""

    inside: tuple[Segment, ...]
    outside: tuple[Segment, ...]

    def side(self, shows: bool) -> tuple[Segment, ...]:
        """Inside if the effect shows, else outside."""
        return self.inside if shows else self.outside

    @classmethod
    def of(cls, claim: ClaimSpec) -> Sides:
        """Divide a claim's range. A single value is no segment: no interval of measured units fits into it."""
        low, high = _bounds(claim)
        expect = claim.expect
        if expect.op == "within":
            start, end = float(expect.low or 0.0), float(expect.high or 0.0)
            return cls(
                _real([(max(start, low), min(end, high))]), _real([(low, min(start, high)), (max(end, low), high)])
            )
        edge = float(expect.threshold or 0.0)
        below, above = _real([(low, min(edge, high))]), _real([(max(edge, low), high)])
        return cls(below, above) if expect.op in ("<=", "<") else cls(above, below)


def try_claims(claims: Iterable[ClaimSpec], seed: int = 0, *, worlds: bool = True) -> Outcome:
    """Try every claim on synthetic measurements.

    Parameters
    ----------
    claims
        The claims.
    seed
        Of units and planted worlds.
    worlds
        Whether planted worlds are measured, too (seconds).
    """
    count, measured, planted = 0, 0, 0
    findings: list[Finding] = []
    for claim in claims:
        count += 1
        problems = list(structural(claim))
        if not problems:
            for trial in (*_synthetic(claim, seed), *(_planted(claim, seed) if worlds else ())):
                measured += 1
                planted += trial.planted
                found = rule(claim, trial.measurement, trial.required, horizon=trial.horizon).decision
                if found.verdict != trial.expected:
                    problems.append(f"{trial.what} should make it {trial.expected}, and it is {found.reason}")
        findings += [Finding(claim.id, problem) for problem in problems]
    return Outcome(count, measured, planted, tuple(findings))


def structural(claim: ClaimSpec) -> Iterator[str]:
    """What the region and the range alone give away."""
    if "range" not in claim.model_fields_set:
        yield (
            f"no 'range': write the least and largest possible value of '{claim.quantity}' "
            "(null where there is no bound), e.g. range: [0, 1]"
        )
        return
    low, high = claim.range
    if low is not None and high is not None and not low < high:
        yield f"its range [{low:g}, {high:g}] is empty: the least value comes first"
        return
    sides, region = Sides.of(claim), region_of(claim).describe()
    possible = f"a quantity in [{_shown(low)}, {_shown(high)}]"
    if not sides.outside:
        yield f"cannot fail: no possible value of {possible} lies outside {region} with room to measure it"
    if not sides.inside:
        yield f"cannot be won: no possible value of {possible} lies inside {region} with room to measure it"
    for control in deciding(claim):
        if not sides.side(shows(control)):
            where = "inside" if shows(control) else "outside"
            yield f"{control.role} control '{control.name}' can never be in order: it must lie {where} {region}"


def deciding(claim: ClaimSpec) -> list[Control]:
    """The controls that decide validity."""
    return [control for control in claim.controls if control.role in ("negative", "positive")]


def shows(control: Control) -> bool:
    """Whether a negative or positive control must show the effect."""
    return (control.must or default_must(control.role)) == "show"


# --------------------------------------------------------------------------- synthetic measurements
@dataclass(frozen=True)
class _Trial:
    what: str
    measurement: Measurement
    expected: str
    required: tuple[CheckResult, ...]
    planted: bool = False
    horizon: int | None = None
    """Of claims about what may come late; the measurement itself is of T = 0."""


def _synthetic(claim: ClaimSpec, seed: int) -> Iterator[_Trial]:
    maker = _Maker(claim, seed)
    sides = maker.sides
    for shown, verdict in ((True, "supported"), (False, "refuted")):
        for segment in sides.side(shown):
            for place in PLACES:
                made = maker.measurement(maker.units(segment, place))
                yield maker.trial(f"units within {_segment(segment)}", made, verdict)
    good = maker.units(sides.inside[0])
    yield maker.trial("units across the threshold", maker.measurement(maker.across()), "inconclusive")
    yield maker.trial("no data", maker.measurement(None), "inconclusive")
    few = maker.measurement(good[: claim.min_units - 1])
    yield maker.trial(f"{claim.min_units - 1} units", few, "inconclusive")
    for control in deciding(claim):
        wrong = maker.estimate(maker.units(sides.side(not shows(control))[0]))
        open_ = maker.estimate(maker.across())
        for word, instead, verdict in (("a wrong", wrong, "invalid"), ("an undecided", open_, "inconclusive")):
            made = maker.measurement(good)
            made.controls[control.name] = instead
            yield maker.trial(f"{word} control '{control.name}'", made, verdict)
        made = maker.measurement(good)
        del made.controls[control.name]
        yield maker.trial(f"control '{control.name}' left unmeasured", made, "inconclusive")
    for name in claim.checks:
        made = maker.measurement(good)
        made.checks[name] = CheckResult(name=name, ok=False, detail="planted failure")
        yield maker.trial(f"a failed check '{name}'", made, "invalid")
    if claim.late is not None:
        yield from _below_the_horizon(claim, maker)
    for name in claim.requires:
        trial = maker.trial(f"'{name}' refuted, which it requires,", maker.measurement(good), "invalid")
        failed = CheckResult(name=f"requires:{name}", ok=False, detail="planted failure")
        yield replace(trial, required=(*(r for r in trial.required if r.name != failed.name), failed))


def _below_the_horizon(claim: ClaimSpec, maker: _Maker) -> Iterator[_Trial]:
    """An effect that has not come yet decides nothing; one that has, does."""
    for shown in (True, False):
        made = maker.measurement(maker.units(maker.sides.side(shown)[0]))
        seen = shown == (claim.late == "effect")
        verdict = "inconclusive" if not seen else "supported" if shown else "refuted"
        what = f"units {'inside' if shown else 'outside'}, below the horizon,"
        yield replace(maker.trial(what, made, verdict), horizon=1)


def _planted(claim: ClaimSpec, seed: int) -> Iterator[_Trial]:
    family, maker = family_of(claim.quantity), _Maker(claim, seed)
    if family is None:
        return
    answers: tuple[Answer, ...] = ("supported", "refuted")
    for answer in answers:
        plant = clear_plant(family, region_of(claim), answer, seed)
        if plant is None:
            continue
        found = plant.draw(np.random.default_rng(seed)).estimate
        if found.n_units < claim.min_units:
            continue  # the claim asks for more units than the family has
        made = maker.measurement(maker.units(maker.sides.side(answer == "supported")[0]))
        made.definitions[claim.primary.name] = found
        yield replace(
            maker.trial(f"a planted world ({plant.label}, truth {plant.truth:.3g})", made, answer), planted=True
        )


class _Maker:
    """Synthetic measurements of one claim."""

    def __init__(self, claim: ClaimSpec, seed: int) -> None:
        self.claim, self.sides = claim, Sides.of(claim)
        self._rng = np.random.default_rng([seed, *claim.id.encode()])
        self._count = max(claim.min_units, MIN_SEEDS if claim.unit == "seed" else LEAST_UNITS)

    def units(self, segment: Segment, place: float = 0.5) -> list[float]:
        """Units close together somewhere in a segment, with room on both sides."""
        low, high = _finite(segment)
        noise = self._rng.uniform(-SPREAD, SPREAD, self._count)
        return [float(value) for value in low + (high - low) * (place + noise)]

    def across(self) -> list[float]:
        """Units on both sides of the threshold, half and half."""
        inside, outside = _finite(self.sides.inside[0]), _finite(self.sides.outside[0])
        edge = inside[0] if inside[0] == outside[1] else inside[1]
        reach = 0.5 * min(inside[1] - inside[0], outside[1] - outside[0])
        return [edge + reach * (1 if i % 2 else -1) for i in range(self._count + self._count % 2)]

    def estimate(self, units: Sequence[float]) -> Estimate:
        """An estimate of the kind that the claim's unit gives."""
        if self.claim.unit == "text_block" and len(units) > 1:
            full, total = mean_of(units), math.fsum(units)
            return jackknife_interval(full, [(total - unit) / (len(units) - 1) for unit in units])
        return seeds_interval(units) if self.claim.unit == "seed" else t_interval(units)

    def measurement(self, units: Sequence[float] | None) -> Measurement:
        """A measurement with these units under every definition, and everything else in order."""
        found = missing() if units is None else self.estimate(units)
        made = Measurement({definition.name: found for definition in self.claim.definitions})
        for control in self.claim.controls:
            if control.role == "comparator":
                others = self.units(self.sides.outside[0])
                made.comparators[control.name] = [others[i % len(others)] for i in range(len(units or ()))]
                made.comparator_subject[control.name] = list(units or ())
            elif control.role == "baseline":
                made.controls[control.name] = self.estimate(self.units(self.sides.inside[0]))
            else:
                made.controls[control.name] = self.estimate(self.units(self.sides.side(shows(control))[-1]))
        made.checks = {name: CheckResult(name=name, ok=True, detail="planted") for name in self.claim.checks}
        return made

    def trial(self, what: str, made: Measurement, expected: str) -> _Trial:
        """A trial with all required checks in order."""
        required = tuple(CheckResult(name=f"requires:{n}", ok=True, detail="planted") for n in self.claim.requires)
        return _Trial(what, made, expected, required)


# --------------------------------------------------------------------------- segments
def _bounds(claim: ClaimSpec) -> Segment:
    low, high = claim.range
    return (-math.inf if low is None else low, math.inf if high is None else high)


def _real(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    return tuple(segment for segment in segments if segment[0] < segment[1])


def _finite(segment: Segment) -> Segment:
    """The part of a segment next to its finite end, as wide as the size of that end and at least 1."""
    low, high = segment
    if math.isinf(low) and math.isinf(high):
        return -1.0, 1.0
    if math.isinf(low):
        return high - max(abs(high), 1.0), high
    return (low, low + max(abs(low), 1.0)) if math.isinf(high) else segment


def _segment(segment: Segment) -> str:
    return "[" + ", ".join("no bound" if math.isinf(end) else f"{end:g}" for end in segment) + "]"


def _shown(end: float | None) -> str:
    return "no bound" if end is None else f"{end:g}"
