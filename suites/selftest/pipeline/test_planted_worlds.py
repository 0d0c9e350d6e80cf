"""Planted worlds: their truths against closed forms and big samples, and verdicts on them, in small numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from editverdict.geometry.accumulation import accumulation_exponent, mean_exponent
from editverdict.inference.intervals import t_interval
from editverdict.inference.rows import Region
from editverdict.numerics.spectrum import sample_spectrum
from editverdict.pipeline.measures import accumulation
from editverdict.pipeline.planted import association, chains, edits, quality, rotations, spectra
from editverdict.pipeline.planted.worlds import (
    NEAR,
    POWERED,
    Drawn,
    Family,
    Plant,
    PlantedControl,
    judged,
    make_world,
    region_around,
    true_answer,
)

WORLDS = {
    "collapse: effective rank": 12,
    "collapse: excess decay": 12,
    "cumulation: exponent of R_min": 20,
    "cumulation: exponent within a margin": 20,
    "cumulation: distance from the linear law": 20,
}
"""Fewer of what takes longest; 40 of every other family."""


# --------------------------------------------------------------------------- verdicts, in small numbers
@pytest.mark.parametrize("family", quality.FAMILIES, ids=lambda family: family.name)
def test_verdicts_are_right_in_small_numbers(family: Family) -> None:
    """The fast version of bench/verdict_quality.py: no target is missed by more than chance explains."""
    counted = quality.run(family, range(10_000, 10_000 + WORLDS.get(family.name, 40)))
    assert counted.misses(by_chance=True) == []
    assert not [key for key in counted.matrix if key[1] == "invalid"]
    assert counted.powered >= 2 and counted.near >= 2


def _normal(truth: float, shrink: float = 1.0, shift: float = 0.0) -> Family:
    """Twenty normal units; an interval that is too narrow by ``shrink``, or an estimate that is off by ``shift``."""

    def draw(rng: np.random.Generator) -> Drawn:
        found = t_interval((truth + shift + rng.standard_normal(20)).tolist())
        low, high = found.interval or (math.nan, math.nan)
        centre, half = (low + high) / 2, shrink * (high - low) / 2
        return Drawn(replace(found, interval=(centre - half, centre + half)))

    plant = Plant("normal units", truth, lambda: 1 / math.sqrt(20), draw)
    return Family("normal", (), "mean", "edit", 20, ("<=",), (-100.0, 100.0), lambda rng: plant)


def test_the_count_sees_a_bad_interval() -> None:
    """An interval a tenth as wide as it should be, and a biased estimate, miss the targets."""
    assert quality.run(_normal(0.3), range(400)).misses() == []
    narrow, biased = (
        quality.run(_normal(0.3, shrink=0.1), range(400)),
        quality.run(_normal(0.3, shift=0.8), range(400)),
    )
    for found in (narrow, biased):
        assert any("decisive and wrong" in text for text in found.misses(by_chance=True))
        assert any("hold the truth" in text for text in found.misses(by_chance=True))
    wide = quality.run(_normal(0.3, shrink=6.0), range(400))
    assert [text for text in wide.misses(by_chance=True) if "well-powered" in text]
    assert wide.coverage == 1.0 and wide.wrong == 0


def test_a_world_is_a_function_of_family_and_seed() -> None:
    one, again, other = (make_world(edits.SMALL_PERTURBATION, seed) for seed in (5, 5, 6))
    assert one.estimate == again.estimate and one.region == again.region and one.verdict == again.verdict
    assert one.estimate != other.estimate


def test_edges_lie_where_they_are_put() -> None:
    """A quarter of the worlds and more near the threshold, some well-powered, on both sides of it."""
    family = _normal(0.0)
    plant = family.plant(np.random.default_rng(0))
    regions = [region_around(family, plant, np.random.default_rng(seed)) for seed in range(400)]
    distances = np.array([quality.edge_distance(region, plant.truth) / plant.error for region in regions])
    assert 0.4 < (distances < NEAR).mean() < 0.6 and 0.3 < (distances >= POWERED).mean() < 0.5
    assert distances.max() <= 40.0
    answers = [true_answer(region, plant.truth) for region in regions]
    assert 150 < answers.count("supported") < 250


def test_a_wrong_control_makes_a_world_invalid() -> None:
    """The control that must be broken shows the effect, so nothing is decided, whatever the estimate says."""
    region = Region(op="<=", threshold=10.0)
    fine = judged(_normal(0.0), _normal(0.0).plant(np.random.default_rng(0)), region, np.random.default_rng(1))
    assert fine.verdict == "supported" and not fine.wrong
    lax = PlantedControl("gaussian", "negative", t_interval([0.0, 0.1, 0.2, 0.1]))
    family = replace(_normal(0.0), controls=lambda: (lax,))
    assert judged(family, family.plant(np.random.default_rng(0)), region, np.random.default_rng(1)).verdict == "invalid"


def test_what_few_units_can_reach() -> None:
    """At 4.03 standard errors six units decide one case in two; with more units or distance, nearly all."""
    assert quality.attainable(4.0, 6) == pytest.approx(0.53, abs=0.04)
    assert quality.attainable(4.0, 20) > 0.85 and quality.attainable(12.0, 6) > 0.99
    rng = np.random.default_rng(0)
    hits = [
        interval[0] > 0.0
        for _ in range(2000)
        if (interval := t_interval((4.0 / math.sqrt(6) + rng.standard_normal(6)).tolist()).interval)
    ]
    assert np.mean(hits) == pytest.approx(quality.attainable(4.0, 6), abs=0.04)


# --------------------------------------------------------------------------- truths
def test_truths_of_spectra() -> None:
    """Of k^-a the slope is -a; of an isotropic spectrum the rank is d; three null directions take three from it."""
    flat = spectra.Shape("Marchenko-Pastur", (tuple([1.0] * spectra.D),) * 3, 0.2)
    steep = spectra.Shape("power law", (tuple(k**-0.7 for k in range(1, spectra.D + 1)),) * 3, 0.2)
    holes = spectra.Shape("exact null directions", ((*[1.0] * (spectra.D - 3), 0.0, 0.0, 0.0),) * 3, 0.2)
    assert spectra._truth(flat, "rank") == pytest.approx(1.0)
    assert spectra._truth(flat, "decay") == pytest.approx(0.0, abs=1e-12)
    assert spectra._truth(steep, "decay") == pytest.approx(-0.7)
    assert spectra._truth(holes, "rank") == pytest.approx(1 - 3 / spectra.D)


def test_samples_have_the_variance_that_the_truth_speaks_of() -> None:
    sizes = torch.tensor([3.0, *[1.0] * (spectra.D - 1)], dtype=torch.float64)
    rng = np.random.default_rng(0)
    variance = torch.stack([spectra.sample(sizes, 0.5, rng).square().mean(0) for _ in range(60)]).mean(0)
    assert variance.tolist() == pytest.approx(sizes.square().tolist(), rel=0.1)


@pytest.mark.parametrize("weights", [(1.0,) * 32, tuple(k**-0.7 for k in range(1, 33)), (1.0, 0.1)])
def test_mean_norm_by_quadrature(weights: tuple[float, ...]) -> None:
    """Against simulation, and for equal weights against the mean of a chi variable."""
    z = np.random.default_rng(0).standard_normal((200_000, len(weights))) * np.array(weights)
    assert edits._mean_norm(weights) == pytest.approx(np.linalg.norm(z, axis=1).mean(), rel=5e-3)
    if set(weights) == {1.0}:
        chi = math.sqrt(2.0) * math.exp(math.lgamma(16.5) - math.lgamma(16.0))
        assert edits._mean_norm(weights) == pytest.approx(chi, rel=1e-6)


def test_truth_and_error_of_slopes_by_repetition() -> None:
    law = edits.Law(decay=0.8, power=0.5, power_spread=0.1, size_spread=0.2, jitter=0.1)
    rng = np.random.default_rng(2)
    means = [np.mean([edits._slope(one, False) for one in law.observed(0.1, rng)[0]]) for _ in range(40)]
    assert np.mean(means) == pytest.approx(0.5, abs=0.03)
    assert np.std(means) == pytest.approx(edits._slope_error(law), rel=0.3)


def test_rotations_turn_by_the_planted_angle() -> None:
    """With a gap after k and many samples the measured cosine is that of the planted angle."""
    sigma = torch.where(torch.arange(rotations.D) < rotations.K, 30.0, 1.0).to(torch.float64)
    scatter = rotations._scatter(sigma, 3200, np.random.default_rng(0))
    for angle in (0.1, 0.6, 1.2):
        assert rotations.turned_cosine(scatter, angle, 3200, 0) == pytest.approx(math.cos(angle), abs=2e-3)
    x = np.random.default_rng(1).normal(0.5, 0.2, 400_000)
    assert rotations.mean_cosine(0.5, 0.2) == pytest.approx(np.cos(x).mean(), abs=1e-3)
    assert rotations.cosine_error(0.5, 0.2, 6) == pytest.approx(np.cos(x).std() / math.sqrt(6), rel=0.01)


@pytest.mark.parametrize("rank_one", [True, False])
@pytest.mark.parametrize(("coherence", "exponent"), [(1.0, 1.0), (0.0, 0.5)])
def test_exponents_of_chains(coherence: float, exponent: float, rank_one: bool) -> None:
    """1 for a coherent chain and about 1/2 for a random walk; measured ones come close, of rank-one edits, too."""
    walk = chains.Walk(coherence, growth=0.0, spread=0.0, rank_one=rank_one)
    limit = mean_exponent(chains.SCHEDULE, *walk.limit(chains.SCHEDULE))
    # Half of tokens' factors are each edit's own: rank-one edits are neither quite coherent nor quite a random walk.
    assert limit == pytest.approx(exponent, abs=0.16 if rank_one else 1e-6)
    found = walk.observed(chains._base(0), (48, 96), chains.SCHEDULE, np.random.default_rng(7))
    estimate = accumulation.exponent(chains.SCHEDULE, found)
    assert estimate.interval is not None and estimate.interval[0] < limit < estimate.interval[1]
    assert estimate.value == pytest.approx(limit, abs=0.08)


def test_exponents_chain_by_chain_are_biased_for_rank_one_edits() -> None:
    """What the families would have seen of the estimator that took each chain's own first edit for the average one."""
    walk = chains.Walk(0.0, growth=0.0, spread=0.0, rank_one=True)
    truth = mean_exponent(chains.SCHEDULE, *walk.limit(chains.SCHEDULE))
    reached, _ = walk.changes(200, chains.SCHEDULE[-1], 1, np.random.default_rng(0))
    rates = np.abs(reached).mean(axis=(2, 3, 4))[:, np.array(chains.SCHEDULE) - 1]
    own = [accumulation_exponent(chains.SCHEDULE, one.tolist()).slope for one in rates]
    assert np.mean(own) > truth + 0.04


def test_association_truth_and_the_trend_that_fools_spearman() -> None:
    """No link within T: over the steps of one chain Spearman still says -1, and the association says 0."""
    link = association.Link(chains=2000, correlations=(-0.6, -0.9), kept=0.5, common=0.5)
    series = link.series(np.random.default_rng(0))
    found = [association.within_t_association(*series.pair(association.PRIMARY, d)) for d in ("rel", "gen")]
    assert found == pytest.approx(link.truths, abs=0.03) and link.truths[0] == pytest.approx(-0.582, abs=1e-3)
    assert link.truth(False) == link.truths[0] and link.truth(True) == -link.truths[1]
    none = association.Link(chains=2000, correlations=(0.0,), kept=0.5)
    assert none.truth(False) == 0.0
    sides = none.series(np.random.default_rng(0)).pair(association.PRIMARY, "rel")
    assert association.within_t_association(*sides) == pytest.approx(0.0, abs=0.04)
    assert np.mean([association.spearman_over_steps(none, seed) for seed in range(40)]) < -0.9


def test_associations_are_planted_in_several_dimensions_with_their_controls() -> None:
    worlds = [make_world(family, seed) for family in (association.ASSOCIATION, association.ASSOCIATION_SIZE)
              for seed in range(24)]  # fmt: skip
    assert {world.estimate.n_units for world in worlds} == set(association.CHAINS)
    assert {world.estimate.parts for world in worlds} >= {1, 3, 4}
    assert all({c.name for c in world.controls} == {"chains-permuted", "scores-dealt"} for world in worlds)
    assert all(c.outcome == "ok" for world in worlds for c in world.controls)


def test_few_units_are_asked_for_less_and_not_for_nothing() -> None:
    """Sizes are counted by themselves: a narrow interval in one of them is seen, a wide one where it is asked for."""
    fine = replace(_normal(0.3), decisive_from=21)
    assert quality.run(fine, range(400)).misses() == []
    wide = replace(_normal(0.3, shrink=6.0), decisive_from=21)
    counted = quality.run(wide, range(400))
    assert counted.misses(by_chance=True) == [] and counted.undecided_by_few() == [
        f"20 units: {counted.powered_decisive} of {counted.powered}"
    ]
    asked = quality.run(replace(wide, decisive_from=20), range(400))
    assert any("well-powered worlds are decided (20 units)" in text for text in asked.misses(by_chance=True))
    narrow = quality.run(replace(_normal(0.3, shrink=0.1), decisive_from=21), range(400))
    assert any("decisive and wrong (20 units)" in text for text in narrow.misses(by_chance=True))


def test_a_plain_plant_is_found_for_a_region() -> None:
    """Inside and outside, far from the threshold; None where the family has none."""
    region = Region(op=">=", threshold=0.93)
    for answer in ("supported", "refuted"):
        plant = quality.clear_plant(rotations.LARGEST_ANGLE, region, answer, 0)  # type: ignore[arg-type]
        assert plant is not None and true_answer(region, plant.truth) == answer
        assert quality.edge_distance(region, plant.truth) > 8 * plant.error
    assert quality.clear_plant(rotations.LARGEST_ANGLE, Region(op="<=", threshold=-2.0), "supported", 0) is None
    assert quality.family_of("leading_subspace_cosine") is rotations.LARGEST_ANGLE
    assert quality.family_of("no such quantity") is None


def test_the_base_sample_biases_slopes_by_what_its_blocks_say() -> None:
    """Few base samples flatten every slope alike; leaving out blocks tells by about how much."""
    law = edits.Law(decay=0.8, power=1.0, power_spread=0.0, size_spread=0.0, jitter=0.0)
    rng = np.random.default_rng(3)
    off, read = [], []
    for _ in range(12):
        found, leave_out = law.observed(0.1, rng)
        off.append(np.mean([edits._slope(one, False) for one in found]) - 1.0)
        read.append(edits.jackknife_bias(*edits.slopes_without_blocks(found, leave_out)))
    assert np.mean(off) < -0.005
    assert 0.5 < np.mean(read) / np.mean(off) < 2.0
    with pytest.raises(ValueError, match="no perturbations"):
        edits.slopes_without_blocks([], torch.ones(3, 3))


def test_slope_over_blocks_is_the_mean_slope() -> None:
    spectrum = sample_spectrum(torch.randn(400, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    found = [
        edits.amplification(spectrum, torch.randn(50, 8, generator=torch.Generator().manual_seed(s))) for s in (1, 2)
    ]
    full, left = edits.slopes_without_blocks(found, spectrum.sigma[None].repeat(3, 1))
    assert full == pytest.approx(np.mean([edits._slope(one, False) for one in found]), rel=1e-9)
    assert left == pytest.approx([full] * 3, rel=1e-12)
