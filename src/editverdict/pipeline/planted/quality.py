"""How often verdicts are right: many worlds of every hypothesis, counted.

Targets: decisive verdicts that are wrong, at most 1% of worlds; decisive, at least 95% of the well-powered worlds
(truth at least 4 true standard errors from the threshold); intervals that hold the truth, the nominal level within 2
points.

Where few units cannot reach the second, a family says from how many on it is asked for (``decisive_from``); what fewer
reach is shown with the others, and every number of units meets the targets by itself or misses them.

What few units can reach at best: an exact t interval of level 99% over 6 units is 4.03 standard errors wide to each
side, so at exactly 4 it decides one case in two, whatever the estimator; :func:`attainable` gives that for any distance
and number of units, and the counts by number of units stand beside it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from editverdict.inference.intervals import LEVEL, t_quantile
from editverdict.inference.rows import Region
from editverdict.pipeline.planted.association import ASSOCIATION, ASSOCIATION_SIZE
from editverdict.pipeline.planted.chains import CUMULATION, CUMULATION_WITHIN, LAW_GAP
from editverdict.pipeline.planted.edits import C_SLOPE, R_SLOPE, SHARE_ABOVE_ONE, SMALL_PERTURBATION
from editverdict.pipeline.planted.rotations import LARGEST_ANGLE
from editverdict.pipeline.planted.spectra import EFFECTIVE_RANK, EXCESS_DECAY
from editverdict.pipeline.planted.worlds import (
    NEAR,
    POWERED,
    Answer,
    Family,
    Plant,
    World,
    edge_distance,
    make_world,
    true_answer,
)

FAMILIES: tuple[Family, ...] = (
    EFFECTIVE_RANK,
    EXCESS_DECAY,
    SMALL_PERTURBATION,
    LARGEST_ANGLE,
    R_SLOPE,
    C_SLOPE,
    SHARE_ABOVE_ONE,
    CUMULATION,
    CUMULATION_WITHIN,
    LAW_GAP,
    ASSOCIATION,
    ASSOCIATION_SIZE,
)
WRONG_AT_MOST = 0.01
DECISIVE_AT_LEAST = 0.95
COVERAGE_WITHIN = 0.02
NEAR_AT_LEAST = 0.25
CHANCE = 1e-3
"""A fast run misses a target only where so rare a count, or a rarer one, would have to be chance."""
DECISIVE = ("supported", "refuted")
_PLANTS_TRIED = 400
_CLEAR = 8.0


@dataclass(frozen=True)
class Counts:
    """Verdicts of the worlds of one family with one number of units."""

    worlds: int = 0
    wrong: int = 0
    covered: int = 0
    powered: int = 0
    decided: int = 0
    """Decisive ones of the well-powered."""
    could: float = 0.0
    """What an exact t interval would decide of these."""

    def with_world(self, world: World, units: int) -> Counts:
        """One more."""
        powered = world.distance >= POWERED
        return Counts(
            self.worlds + 1,
            self.wrong + world.wrong,
            self.covered + world.covered,
            self.powered + powered,
            self.decided + (powered and world.verdict in DECISIVE),
            self.could + (attainable(min(world.distance, 40.0), units) if powered else 0.0),
        )


@dataclass(frozen=True)
class Tally:
    """Verdicts of one family, counted."""

    family: str
    worlds: int
    near: int
    """Truth within 2 true standard errors of the threshold."""
    wrong: int
    """Decisive and wrong."""
    powered: int
    """Truth at least 4 true standard errors away."""
    powered_decisive: int
    covered: int
    matrix: dict[tuple[str, str], int]
    """(true answer, verdict) -> worlds."""
    by_units: dict[int, Counts]
    seconds: float
    level: float = LEVEL
    decisive_from: int = 0
    """As the family has it."""

    @property
    def wrong_rate(self) -> float:
        """Share of worlds with a wrong decisive verdict."""
        return self.wrong / self.worlds

    @property
    def decisive_rate(self) -> float:
        """Share of the well-powered worlds that are decided; nan where there is none."""
        return self.powered_decisive / self.powered if self.powered else float("nan")

    @property
    def coverage(self) -> float:
        """Share of intervals that hold the truth."""
        return self.covered / self.worlds

    def misses(self, *, by_chance: bool = False) -> list[str]:
        """Targets that are missed, in words.

        Parameters
        ----------
        by_chance
            Allow for chance: count as missed only what a procedure that just meets the target would give in less than
            one run of a thousand. For small numbers of worlds.
        """
        whole = Counts(self.worlds, self.wrong, self.covered, self.powered, self.powered_decisive)
        found = []
        if self.decisive_from:
            for units, counts in self.by_units.items():
                missed = self._misses_of(counts, by_chance, units >= self.decisive_from)
                found += [f"{text} ({units} units)" for text in missed]
        else:
            found += self._misses_of(whole, by_chance, True)
        if _below(self.near, self.worlds, NEAR_AT_LEAST, by_chance):
            found.append(f"{self.near} of {self.worlds} worlds are near the threshold")
        return [f"{self.family}: {text}" for text in found]

    def _misses_of(self, counts: Counts, by_chance: bool, decisive: bool) -> list[str]:
        found = []
        if _above(counts.wrong, counts.worlds, WRONG_AT_MOST, by_chance):
            found.append(f"{counts.wrong} of {counts.worlds} verdicts are decisive and wrong")
        if decisive and _below(counts.decided, counts.powered, DECISIVE_AT_LEAST, by_chance):
            found.append(f"{counts.decided} of {counts.powered} well-powered worlds are decided")
        if _below(counts.covered, counts.worlds, self.level - COVERAGE_WITHIN, by_chance):
            found.append(f"{counts.covered} of {counts.worlds} intervals hold the truth")
        return found

    def undecided_by_few(self) -> list[str]:
        """Where the share of decisive verdicts is not asked for and is below the target, in words."""
        return [
            f"{units} units: {counts.decided} of {counts.powered}"
            for units, counts in self.by_units.items()
            if units < self.decisive_from and _below(counts.decided, counts.powered, DECISIVE_AT_LEAST, False)
        ]


def attainable(distance: float, units: int, level: float = LEVEL) -> float:
    """Chance that an exact t interval over normal units decides rightly, that many true standard errors away."""
    return float(stats.nct.sf(t_quantile(level, units - 1), units - 1, distance))


def tally(family: Family, worlds: Sequence[World], seconds: float = 0.0) -> Tally:
    """Count the verdicts of some worlds of a family."""
    powered = [world for world in worlds if world.distance >= POWERED]
    by_units: dict[int, Counts] = {}
    for world in worlds:
        units = world.estimate.n_units
        by_units[units] = by_units.get(units, Counts()).with_world(world, units)
    return Tally(
        family=family.name,
        worlds=len(worlds),
        near=sum(world.distance < NEAR for world in worlds),
        wrong=sum(world.wrong for world in worlds),
        powered=len(powered),
        powered_decisive=sum(world.verdict in DECISIVE for world in powered),
        covered=sum(world.covered for world in worlds),
        matrix=dict(Counter((world.answer, world.verdict) for world in worlds)),
        by_units=dict(sorted(by_units.items())),
        seconds=seconds,
        decisive_from=family.decisive_from,
    )


def run(family: Family, seeds: Iterable[int]) -> Tally:
    """Make the worlds of some seeds and count their verdicts."""
    started = time.perf_counter()
    worlds = [make_world(family, seed) for seed in seeds]
    return tally(family, worlds, time.perf_counter() - started)


def family_of(quantity: str) -> Family | None:
    """The planted family that stands for a measurement, if there is one."""
    return next((family for family in FAMILIES if quantity in family.quantities), None)


def clear_plant(family: Family, region: Region, answer: Answer, seed: int) -> Plant | None:
    """The plant whose truth lies furthest inside (or outside) a given region, in true standard errors.

    None if the family has none that is far enough for the verdict to be plain. The search ends at the first that is
    half as far again.
    """
    rng = np.random.default_rng(seed)
    found: Plant | None = None
    furthest = _CLEAR
    for _ in range(_PLANTS_TRIED):
        plant = family.plant(rng)
        if true_answer(region, plant.truth) != answer:
            continue  # before its error is asked for, which may take a simulation
        distance = edge_distance(region, plant.truth) / plant.error
        if distance > furthest:
            found, furthest = plant, distance
        if furthest > 1.5 * _CLEAR:
            break
    return found


def _above(count: int, of: int, rate: float, by_chance: bool) -> bool:
    if not by_chance:
        return of > 0 and count > rate * of
    return float(stats.binom.sf(count - 1, of, rate)) < CHANCE


def _below(count: int, of: int, rate: float, by_chance: bool) -> bool:
    if not by_chance:
        return of == 0 or count < rate * of
    return float(stats.binom.cdf(count, of, rate)) < CHANCE
