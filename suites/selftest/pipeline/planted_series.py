"""Series of R_k and performance with planted links, and the case that the pipeline would make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from editverdict.evaluation.questions import DIMENSIONS
from editverdict.inference.intervals import Estimate
from editverdict.inference.verdicts import CaseDecision, decide_case, judge_definition
from editverdict.pipeline import cases
from editverdict.pipeline import series as c
from editverdict.pipeline.measurement import Measurement
from editverdict.schema.claims import ClaimSpec

STEPS = (2, 5, 10)
ALL, BUT_GEN = DIMENSIONS, ("rel", "loc", "port")
Draw = Callable[[np.random.Generator, c.Array], c.Array]


def dimensions_of(claim: ClaimSpec) -> Sequence[str]:
    return ("rel",) if claim.quantity == "reliability_association" else BUT_GEN if "but_gen" in claim.quantity else ALL


def signed(n: int, signs: Mapping[str, float], seed: int = 0, noise: float = 0.02) -> c.Series:
    """Chains whose R_k is tied to each dimension by its own sign, 0 for not at all; nearly the same at every T."""
    rng = np.random.default_rng(seed)
    r = 0.2 * rng.standard_normal((n, 2)) + rng.standard_normal((n, 1))
    x = {cell: r + 0.01 * rng.standard_normal(r.shape) for cell in c.CELLS}
    y = {d: signs[d] * r + noise * rng.standard_normal(r.shape) for d in DIMENSIONS}
    return c.Series((5, 10), x, y | {"loc_eq4": y["loc"]})


def series(n: int, link: Draw, seed: int = 0, noise: float = 0.05, steps: Sequence[int] = STEPS) -> c.Series:
    """Chains whose R_k grows with T and whose scores fall with T, linked within T by ``link`` alone."""
    rng, trend = np.random.default_rng(seed), 3.0 * np.asarray(steps, dtype=float)
    own = rng.normal(size=(n, len(steps)))
    r = {cell: np.exp(own + noise * rng.normal(size=own.shape) + trend) for cell in c.CELLS}
    return c.Series(tuple(steps), r, {d: link(rng, own) - trend for d in (*DIMENSIONS, "loc_eq4")})


def falling(rng: np.random.Generator, own: c.Array) -> c.Array:
    return -own + 0.1 * rng.normal(size=own.shape)


def rising(rng: np.random.Generator, own: c.Array) -> c.Array:
    return -falling(rng, own)


def halfway(rng: np.random.Generator, own: c.Array) -> c.Array:
    """Spearman about -.5: on the edge of what is claimed of ROME, and of what is claimed of AlphaEdit."""
    return -own + 1.7 * rng.normal(size=own.shape)


def unlinked(rng: np.random.Generator, own: c.Array) -> c.Array:
    return rng.normal(size=own.shape)


def judged(
    claim: ClaimSpec, found: c.Series, dimensions: Sequence[str], **wrong: Estimate
) -> tuple[CaseDecision, Measurement]:
    """The case as the pipeline would judge it, some controls replaced."""
    size = claim.quantity == "performance_association_size_but_gen"
    made = Measurement(c.definitions_of(found, dimensions, size=size), c.controls_of(found, dimensions, size=size))
    if claim.quantity == "association_agreement":
        made = Measurement({"smallest": c.agreement(found, dimensions)}, _agreement_controls(found, dimensions))
    made.controls |= {name.replace("_", "-"): estimate for name, estimate in wrong.items()}
    region, primary = cases.region_of(claim), made.definitions[claim.primary.name]
    decision = decide_case(
        describes=claim.describes,
        unit=claim.unit,
        region=region,
        primary=primary,
        min_units=claim.min_units,
        definitions=[judge_definition(d.name, d.role, made.definitions[d.name], region) for d in claim.definitions],
        controls=[cases._control(control, made, primary, region) for control in claim.controls],
    )
    return decision, made


def _agreement_controls(found: c.Series, dimensions: Sequence[str]) -> dict[str, Estimate]:
    return {
        "summaries-negated": c.planted_agreement(found, dimensions, c.NEGATED),
        "scores-dealt": c.planted_agreement(found, dimensions),
    }
