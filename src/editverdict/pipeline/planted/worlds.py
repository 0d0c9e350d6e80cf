"""Plants, families of plants, and the edge of the expected region that turns a plant into a world with an answer.

The edge is put at a chosen number of *true* standard errors from the truth, so that the share of worlds near the
threshold, and of worlds that a sound procedure should decide, is set by design and not by luck: half of all worlds lie
within 2 standard errors, an eighth between 2 and 4, the others uniformly from 4 to 40 (or as far as the
controls allow).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from editverdict.inference import regions
from editverdict.inference.controls import Must, judge_control
from editverdict.inference.intervals import Estimate
from editverdict.inference.rows import CaseVerdict, ControlResult, Region
from editverdict.inference.verdicts import decide_case

Op = Literal["<=", ">=", "within"]
Answer = Literal["supported", "refuted"]
NEAR, POWERED, FAR = 2.0, 4.0, 40.0
"""Standard errors: a world nearer than NEAR is near the threshold, one beyond POWERED is well-powered."""
_BANDS = ((0.0, NEAR, 0.5), (NEAR, POWERED, 0.125), (POWERED, FAR, 0.375))


@dataclass(frozen=True)
class PlantedControl:
    """A control of a world, in the claim's quantity, with the role that a spec would give it."""

    name: str
    role: Literal["negative", "positive"]
    estimate: Estimate
    must: Must | None = None


@dataclass(frozen=True)
class Drawn:
    """What one draw from a plant gives: the estimate, and controls that are made from the same data."""

    estimate: Estimate
    controls: tuple[PlantedControl, ...] = ()


@dataclass(frozen=True)
class Plant:
    """A law with everything about it known."""

    label: str
    """What is planted, in words."""
    truth: float
    """The quantity in the limit of infinite data."""
    true_error: Callable[[], float]
    """Gives the true standard error of the estimate, in the unit of the quantity; a simulation, where it must be."""
    draw: Callable[[np.random.Generator], Drawn]

    @cached_property
    def error(self) -> float:
        """True standard error of the estimate."""
        return self.true_error()


@dataclass(frozen=True)
class Family:
    """Plants of one hypothesis."""

    name: str
    quantities: tuple[str, ...]
    """Names of the measurements that it stands for."""
    describes: str
    unit: str
    min_units: int
    ops: tuple[Op, ...]
    edges: tuple[float, float]
    """Where an edge of the region may lie so that the controls are in order."""
    plant: Callable[[np.random.Generator], Plant]
    controls: Callable[[], tuple[PlantedControl, ...]] = lambda: ()
    """Controls that do not depend on the draw."""
    width: float = 0.0
    """Width of a ``within`` region."""
    decisive_from: int = 0
    """Number of units from which the share of decisive verdicts is asked for; with fewer it is counted and shown. Other
    targets hold for all. Where it is not 0, every number of units has to meet the targets by itself."""


@dataclass(frozen=True)
class World:
    """One draw with its expected region and its true answer."""

    family: str
    label: str
    region: Region
    truth: float
    error: float
    distance: float
    """Standard errors between the truth and the nearest edge."""
    answer: Answer
    estimate: Estimate
    controls: tuple[ControlResult, ...]
    verdict: CaseVerdict
    reason: str

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth."""
        interval = self.estimate.interval
        return interval is not None and interval[0] <= self.truth <= interval[1]

    @property
    def wrong(self) -> bool:
        """Whether the verdict decides, and decides wrongly."""
        return self.verdict in ("supported", "refuted") and self.verdict != self.answer


def true_answer(region: Region, truth: float) -> Answer:
    """What a judge with infinite data would say."""
    return "supported" if regions.contains(region, (truth, truth)) else "refuted"


def edge_distance(region: Region, value: float) -> float:
    """Distance from a value to the nearest edge of a region, in units of the quantity."""
    edges = regions.ends(region) if region.op == "within" else (regions.threshold_of(region),)
    return min(abs(value - edge) for edge in edges)


def judged(family: Family, plant: Plant, region: Region, rng: np.random.Generator) -> World:
    """Draw from a plant and let the project's own rule judge it by a region."""
    drawn = plant.draw(rng)
    controls = tuple(
        judge_control(c.name, c.role, c.must, c.estimate, region) for c in (*family.controls(), *drawn.controls)
    )
    decision = decide_case(
        describes=family.describes,
        unit=family.unit,
        region=region,
        primary=drawn.estimate,
        min_units=family.min_units,
        controls=controls,
    )
    return World(
        family=family.name,
        label=plant.label,
        region=region,
        truth=plant.truth,
        error=plant.error,
        distance=edge_distance(region, plant.truth) / plant.error,
        answer=true_answer(region, plant.truth),
        estimate=drawn.estimate,
        controls=controls,
        verdict=decision.verdict,
        reason=decision.reason,
    )


def make_world(family: Family, seed: int) -> World:
    """The world of a family with a number: plant, edge and data all follow from it."""
    rng = np.random.default_rng([seed, *family.name.encode()])
    plant = family.plant(rng)
    return judged(family, plant, region_around(family, plant, rng), rng)


def region_around(family: Family, plant: Plant, rng: np.random.Generator) -> Region:
    """A region whose nearest edge lies a drawn number of true standard errors from the truth.

    Places outside ``family.edges`` are left out; where none is left (or the truth itself lies outside, as that of an
    isotropic spectrum does, which *is* the control), the edge is drawn uniformly.
    """
    op = family.ops[int(rng.integers(len(family.ops)))]
    low, high = family.edges
    room = {-1.0: (plant.truth - low) / plant.error, 1.0: (high - plant.truth) / plant.error}
    start, end, _ = _BANDS[int(rng.choice(len(_BANDS), p=[share for *_, share in _BANDS]))]
    sides = [side for side in room if room[side] > start and min(room.values()) >= 0.0]
    # A side with hardly any room beyond the start of a band would squeeze all of its worlds against that start.
    sides = [side for side in sides if room[side] > 2.0 * start] or sides
    if sides:
        side = float(rng.choice(sides))
        edge = plant.truth + side * float(rng.uniform(start, min(end, room[side]))) * plant.error
    else:
        edge = float(rng.uniform(low, high))
    if op == "within":
        other = edge + family.width * float(rng.choice([-1.0, 1.0]))
        return Region(op="within", low=min(edge, other), high=max(edge, other))
    return Region(op=op, threshold=edge)
