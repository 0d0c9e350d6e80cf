"""What two mistakes give by themselves, against closed forms, with tolerances that follow from n."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from editverdict.geometry.spectrum import exp_entropy
from editverdict.numerics.artefacts import (
    ISOTROPIC_SHARE,
    UNRELATED_MEAN,
    UNRELATED_RMS,
    Signature,
    centred,
    change_rates,
    offset_direction,
    plain,
    plain_svd,
    rare_direction,
    ratio_of_offset,
    resample_cosines,
    share_of_rare,
    signatures,
    unrelated_rms,
)
from editverdict.numerics.null_worlds import Samples, World, draw
from editverdict.numerics.random_matrices import standard_normal

DTYPES = [torch.float64, torch.float32]
ISOTROPIC = World(d=128, per_d=50, decay=0.0, heavy=1.0, rare=None)
PRINTED = World(d=256)
"""A heavy leading direction that few samples carry, a power law, an edit of 2%."""


@cache
def drawn(world: World) -> Samples:
    return draw(world)


@cache
def found(world: World, dtype: torch.dtype = torch.float32) -> tuple[Signature, ...]:
    samples = drawn(world)
    return tuple(signatures(samples.before, samples.after, samples.other_after, dtype))


def one(
    world: World, pairing: str, centring: str, dtype: torch.dtype = torch.float32, pooling: str = "mean_abs"
) -> Signature:
    wanted = (pairing, centring, pooling)
    return next(s for s in found(world, dtype) if (s.pairing, s.centring, s.pooling) == wanted)


def spread(n: int, d: int) -> float:
    """Relative error of an R_k, mean over d of them: that of the norms of n d Gaussian numbers, four times over."""
    return 4.0 / math.sqrt(2.0 * n * d)


# --------------------------------------------------------------------------- no pairs
def test_closed_forms_of_unrelated_samples() -> None:
    assert pytest.approx(1.1283791670955126) == UNRELATED_MEAN
    assert pytest.approx(1.4142135623730951) == UNRELATED_RMS
    # The mean of |z| is sqrt(2/pi) for a standard Gaussian z, and y - x has sqrt(2) times its standard deviation.
    assert pytest.approx(UNRELATED_RMS * ISOTROPIC_SHARE) == UNRELATED_MEAN


@pytest.mark.parametrize("dtype", DTYPES)
def test_unrelated_samples_have_the_constants_in_every_direction_that_is_known(dtype: torch.dtype) -> None:
    """In directions that were not fitted to the sample there is nothing but noise of order 1/sqrt(n)."""
    n, d = 20_000, 32
    x, y = standard_normal((n, d), 1), standard_normal((n, d), 2)
    scale = x.square().mean(dim=0).sqrt()
    svd = plain_svd(x, "samples", dtype)
    c = (y - x).abs()
    # 4.5 standard errors, for 32 directions at once: of the mean of |z|, and of a root mean square.
    assert ((c.mean(dim=0) / scale / UNRELATED_MEAN - 1).abs() < 4.5 * 1.04 / math.sqrt(n)).all()
    assert ((c.square().mean(dim=0).sqrt() / scale / UNRELATED_RMS - 1).abs() < 4.5 / math.sqrt(n)).all()
    # In fitted directions the reference itself is spread by sqrt(d/n) (Marchenko and Pastur), half of it each way in R.
    rates = change_rates(svd, y - x)
    for pooling, constant in (("mean_abs", UNRELATED_MEAN), ("rms", UNRELATED_RMS)):
        assert ((rates[pooling][1] / constant - 1).abs() < 0.5 * math.sqrt(d / n) + 4.5 / math.sqrt(n)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_fitting_to_a_finite_sample_raises_the_constant_as_the_inverse_wishart_mean_says(dtype: torch.dtype) -> None:
    rms = one(ISOTROPIC, "mispaired", "samples", dtype, "rms")
    mean = one(ISOTROPIC, "mispaired", "samples", dtype)
    n, d = ISOTROPIC.n, ISOTROPIC.d
    measured = math.sqrt(rms.r_mean**2 + rms.r_std**2)
    # The edit of 2% adds its square.
    assert measured == pytest.approx(unrelated_rms(n, d), rel=spread(n, d) + 2 * 0.02**2)
    assert mean.r_mean / rms.r_mean == pytest.approx(ISOTROPIC_SHARE, rel=spread(n, d))
    assert mean.above == d


def test_the_root_mean_square_form_needs_no_gaussian_law_and_the_mean_form_does() -> None:
    """A law of two values has E|x - y| = RMS(x): the constant 1.128 is that of Gaussian states."""
    n = 40_000
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randint(0, 2, (n, 8), generator=generator).double() * 2 - 1 for _ in range(2))
    rates = change_rates(plain_svd(x, "samples", torch.float64), y - x)
    single = (y - x)[:, 0].abs().mean() / x[:, 0].square().mean().sqrt()
    assert float(single) == pytest.approx(1.0, rel=4.5 / math.sqrt(n))
    assert float(rates["rms"][1].mean()) == pytest.approx(UNRELATED_RMS, rel=4.5 / math.sqrt(n))


@pytest.mark.parametrize("rare", [0.004, 0.02])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_direction_that_few_samples_carry_is_below_one_and_all_others_above(rare: float, dtype: torch.dtype) -> None:
    world = World(d=256, rare=rare)
    got = one(world, "mispaired", "samples", dtype)
    assert got.above == got.d - 1
    # The number of samples that carry it varies by the root of itself, in both samples; R goes with the root of it.
    assert got.r_min == pytest.approx(rare_direction(rare), rel=3.0 / math.sqrt(rare * got.n))
    assert share_of_rare(rare_direction(rare)) == pytest.approx(rare)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_offset_that_centring_leaves_in_is_below_one(dtype: torch.dtype) -> None:
    world = World(d=128, per_d=50, decay=0.0, heavy=1.0, rare=None, offset=6.0, edit=0.0)
    samples = drawn(world)
    kept = one(world, "mispaired", "none", dtype)
    assert kept.above == kept.d - 1
    # The states' standard deviation is 1 in every direction: the offset is 6 of them.
    assert kept.r_min == pytest.approx(offset_direction(6.0), rel=8.0 / math.sqrt(samples.before.shape[0]))
    assert ratio_of_offset(offset_direction(6.0)) == pytest.approx(6.0)
    assert one(world, "mispaired", "samples", dtype).above == kept.d


# --------------------------------------------------------------------------- centring over features
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("world", [ISOTROPIC, PRINTED], ids=["isotropic", "power law"])
def test_centring_over_features_nulls_exactly_one_direction(world: World, dtype: torch.dtype) -> None:
    svd = plain_svd(drawn(world).before, "features", dtype)
    d, eps = world.d, torch.finfo(dtype).eps
    assert svd.along_ones == pytest.approx(1.0, abs=1e-3)
    # LAPACK promises sigma_1 eps times a slowly growing function of the dimension; any other direction is far above.
    assert svd.floor < math.sqrt(d)
    assert float(svd.sigma[-2] / svd.sigma[0]) > 1e3 * eps * math.sqrt(d)
    assert plain_svd(drawn(world).before, "samples", dtype).floor > 1e3 * math.sqrt(d)


def test_what_stands_for_zero_is_rounding_of_the_number_format() -> None:
    narrow, wide = (one(PRINTED, "mispaired", "features", dtype) for dtype in (torch.float32, torch.float64))
    ratio = torch.finfo(torch.float32).eps / torch.finfo(torch.float64).eps
    assert ratio / 100 < wide.cond / narrow.cond < ratio * 100
    assert ratio / 100 < wide.r_max / narrow.r_max < ratio * 100
    healthy = [one(PRINTED, "mispaired", "samples", dtype) for dtype in (torch.float32, torch.float64)]
    assert healthy[0].cond == pytest.approx(healthy[1].cond, rel=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_change_along_the_null_direction_is_an_isotropic_one(dtype: torch.dtype) -> None:
    got = one(ISOTROPIC, "mispaired", "features", dtype)
    # Mean |dh| is below the root mean square by a quarter of 1/d.
    assert got.share == pytest.approx(ISOTROPIC_SHARE, rel=4.0 / math.sqrt(ISOTROPIC.n) + 1.0 / ISOTROPIC.d)


def test_centring_takes_the_mean_along_its_axis() -> None:
    x = standard_normal((40, 8), 0) + 3.0
    assert centred(x, "samples").mean(dim=0).abs().max() < 1e-12
    assert centred(x, "features").mean(dim=1).abs().max() < 1e-12
    assert centred(x, "none") is x


# --------------------------------------------------------------------------- both, and neither
@pytest.mark.parametrize("dtype", DTYPES)
def test_both_mistakes_give_the_printed_pattern_and_neither_gives_none_of_it(dtype: torch.dtype) -> None:
    d, eps = PRINTED.d, torch.finfo(dtype).eps
    both = one(PRINTED, "mispaired", "features", dtype)
    assert both.above == d - 1 and 0.05 < both.r_min < 0.4
    assert both.rest == pytest.approx(UNRELATED_MEAN, rel=0.03)
    assert both.r_max > 0.01 / eps and both.cond > 0.1 / eps
    # One direction carries mean and standard deviation.
    assert both.r_mean == pytest.approx(both.r_max / d, rel=1e-2)
    assert both.r_std == pytest.approx(both.r_max / math.sqrt(d), rel=1e-2)
    neither = one(PRINTED, "paired", "samples", dtype)
    assert neither.above == 0 and neither.r_max < 1.0
    assert neither.cond < 1e3 and neither.runaway < 100


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_mistake_alone_gives_its_own_part(dtype: torch.dtype) -> None:
    features = one(PRINTED, "paired", "features", dtype)
    assert features.above == 1 and features.rest < 0.1 and features.runaway > 1e4
    pairs = one(PRINTED, "mispaired", "samples", dtype)
    assert pairs.above == PRINTED.d - 1 and pairs.runaway < 2.0
    as_is = one(PRINTED, "paired", "none", dtype)
    assert as_is.above == 0 and as_is.cond < 1e3


def test_rates_rise_along_the_spectrum_without_any_edit() -> None:
    """Sampling spreads the singular values, and R_k with them; with the law's own directions there is no trend."""
    assert (one(ISOTROPIC, "mispaired", "samples").trend or 0.0) > 0.9
    x, y = standard_normal((20_000, 32), 1), standard_normal((20_000, 32), 2)
    known = (y - x).abs().mean(dim=0) / x.square().mean(dim=0).sqrt()
    assert float((known / UNRELATED_MEAN - 1).abs().max()) < 4.5 * 1.04 / math.sqrt(20_000)


def test_the_effective_rank_is_that_of_the_geometry() -> None:
    svd = plain_svd(drawn(PRINTED).before, "samples", torch.float64)
    assert svd.rank * PRINTED.d == pytest.approx(exp_entropy(svd.sigma))
    # An isotropic spectrum is full, but for the spread of a finite sample and the one direction that centring nulls.
    assert one(ISOTROPIC, "paired", "features").rank == pytest.approx(1.0, abs=0.02)


def test_without_an_edit_and_with_pairs_nothing_moves() -> None:
    world = World(d=64, edit=0.0)
    got = one(world, "paired", "samples")
    assert (got.above, got.r_max, got.rest, got.share) == (0, 0.0, 0.0, 0.0)
    assert got.runaway == math.inf and got.trend is None


def test_the_size_of_the_edit_does_not_show_without_pairs() -> None:
    small, large = (one(World(d=64, edit=edit), "mispaired", "features") for edit in (0.0, 0.02))
    assert small.rest == pytest.approx(large.rest, rel=1e-2)
    assert small.above == large.above
    # Neither does it in the norm, which is the same for every method then: the edit adds its square.
    assert small.norm == pytest.approx(large.norm, rel=1e-3)


def test_another_sample_moves_subspaces_further_than_the_edit() -> None:
    world = World(d=256, heavy=1.0, rare=None)
    samples, ks = drawn(world), [6, 12, 125]
    other = resample_cosines(samples.before, samples.other_before, ks)
    edited = resample_cosines(samples.before, samples.after, ks)
    assert all(other[k] < edited[k] for k in ks)
    assert resample_cosines(samples.before, samples.before, ks) == pytest.approx(dict.fromkeys(ks, 1.0))


# --------------------------------------------------------------------------- worlds and input
def test_worlds_are_what_they_say_and_seeded() -> None:
    world = World(d=64, per_d=100, rare=0.05, offset=2.0)
    samples = draw(world)
    assert torch.equal(samples.before, draw(world).before)
    assert not torch.equal(samples.before, draw(World(d=64, per_d=100, rare=0.05, offset=2.0, seed=1)).before)
    states = samples.before - samples.before.mean(dim=0)
    kept = 1.0 - world.rare if world.rare else 1.0
    expected = world.scales.square().sum() - world.scales[0] ** 2 * (1.0 - kept)
    assert float(states.square().sum(dim=1).mean()) == pytest.approx(float(expected), rel=0.2)
    change = samples.after - samples.before
    assert float(torch.linalg.matrix_rank(change)) == 1
    relative = change.square().sum().sqrt() / samples.before.square().sum().sqrt()
    assert float(relative) == pytest.approx(world.edit, rel=1e-6)


@pytest.mark.parametrize("bad", [{"d": 1}, {"per_d": 0.5}, {"rare": 0.0}, {"rare": 1.0}])
def test_impossible_worlds_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected d >= 2"):
        World(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: plain_svd(x[:3], "samples"),
        lambda x: plain_svd(x[0], "samples"),
        lambda x: signatures(x, x[:-1], x),
        lambda x: signatures(x, x, x[:, :-1]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call: Callable[[Tensor], object]) -> None:
    with pytest.raises(ValueError, match=r"expected (states|three samples)"):
        call(standard_normal((20, 5), 0))


def test_zero_for_zero_is_infinite_and_has_no_number_in_a_file() -> None:
    x = torch.zeros(6, 2)
    x[:, 0] = torch.arange(6.0)
    got = next(iter(signatures(x, x + 1.0, x + 1.0, centrings=["samples"])))
    assert got.cond == math.inf and got.r_max == math.inf
    assert plain(got)["cond"] is None and plain(got)["above"] == got.above
