"""Validity checks: each must see its fault in arrays alone, and let sound data through."""

from __future__ import annotations

import inspect

import pytest
import torch

from editverdict.geometry import checks
from editverdict.geometry.checks import (
    check_centred,
    check_paired,
    check_resolution,
    check_sample_size,
    pairing_statistics,
)
from editverdict.numerics.moments import Moments
from editverdict.numerics.random_matrices import standard_normal
from editverdict.numerics.spectrum import exact_spectrum, sample_spectrum, spectrum_of

N, D = 600, 64


def _edit(base: torch.Tensor, times: float, nonlinear: float = 0.0) -> torch.Tensor:
    """A rank-one update whose strength differs per sample, and a response that does not keep to one direction."""
    n, d = base.shape
    strength = 1.0 + 0.5 * standard_normal((n, 1), 11)
    v = standard_normal((1, d), 12) / d**0.5
    scale = float((base - base.mean(dim=0)).norm()) / n**0.5
    mix = standard_normal((d, d), 13) / d**0.5
    return base + 0.05 * times * scale * strength * v + nonlinear * torch.tanh((base - base.mean(dim=0)) @ mix)


@pytest.fixture(scope="module")
def base(make_states):
    return make_states(N, D, 1)


@pytest.mark.parametrize("times", [0.0, 1e-4, 1.0, 30.0, 300.0])
def test_paired_edits_of_any_size_pass(base, times: float) -> None:
    found = check_paired(base, _edit(base, times))
    assert found.ok, found.detail


def test_large_edit_with_a_full_rank_response_passes(base) -> None:
    edited = _edit(base, 30.0, nonlinear=3.0)
    found = pairing_statistics(base, edited)
    assert found.distance_ratio > 0.5 and found.own_share < 0.9  # the states moved about as far as they lie apart
    assert check_paired(base, edited).ok, check_paired(base, edited).detail


@pytest.mark.parametrize("times", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("order", ["permuted", "shifted", "reversed", "neighbours", "within texts"])
def test_reordered_samples_are_flagged(base, times: float, order: str) -> None:
    index = torch.arange(N)
    moved = {
        "permuted": torch.randperm(N, generator=torch.Generator().manual_seed(0)),
        "shifted": index.roll(1),
        "reversed": index.flip(0),
        "neighbours": index ^ 1,
        "within texts": index.reshape(-1, 20).flip(1).flatten(),
    }[order]
    assert not check_paired(base, _edit(base, times)[moved]).ok


def test_shift_within_smooth_texts_is_flagged(make_states) -> None:
    """Neighbouring tokens resemble each other; a shift by one must not pass for a large edit, nor with one."""
    noise = make_states(N, D, 2, offset=0.0)
    smooth = noise.clone()
    for i in range(1, N):
        smooth[i] = 0.8 * smooth[i - 1] + 0.6 * noise[i]
    for edited in (_edit(smooth, 1.0), _edit(smooth, 30.0, nonlinear=1.5)):
        assert check_paired(smooth, edited).ok
        for wrong in (edited.roll(1, 0), edited[torch.arange(N) ^ 1], edited.reshape(-1, 20, D).flip(1).reshape(N, D)):
            assert not check_paired(smooth, wrong).ok


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_partial_reordering_is_flagged(base, share: float) -> None:
    edited = _edit(base, 1.0)
    count = int(share * N)
    chosen = torch.randperm(N, generator=torch.Generator().manual_seed(1))[:count]
    edited[chosen] = edited[chosen.roll(1)]
    assert not check_paired(base, edited).ok


def test_unpaired_texts_are_flagged(make_states) -> None:
    found = check_paired(make_states(N, D, 3), make_states(N, D, 4))
    assert not found.ok and "ahead of its neighbours" in found.detail


def test_equal_texts_are_ties_not_exchanges(base) -> None:
    doubled = torch.cat([base, base])
    assert check_paired(doubled, _edit(doubled, 0.001)).ok


def test_float32_arrays_pass(base) -> None:
    assert check_paired(base.float(), (_edit(base, 1.0)).float()).ok


def test_tokens_and_repeats_are_compared(base) -> None:
    edited = _edit(base, 1.0)
    assert check_paired(base, edited, base.clone(), base_tokens="a", edited_tokens="a").ok
    assert "token ids differ" in check_paired(base, edited, base_tokens="a", edited_tokens="b").detail
    moved = check_paired(base, edited, base.flip(0))
    assert not moved.ok and "repeated pass" in moved.detail
    assert check_paired(base, edited, base * (1 + 1e-7)).ok


def test_what_cannot_be_compared_is_not_paired(base) -> None:
    assert not check_paired(base, base[:-1]).ok
    assert not check_paired(base[:8], base[:8]).ok
    assert not check_paired(base, base / 0.0).ok
    assert not check_paired(base, base, base[:-1]).ok


def test_statistics_of_known_cases(base) -> None:
    paired = pairing_statistics(base, _edit(base, 1.0))
    assert (paired.probes, paired.swapped_share, paired.own_share) == (256, 0.0, 1.0)
    assert paired.own_advantage > 20
    orders = [torch.randperm(N, generator=torch.Generator().manual_seed(s)) for s in range(2, 22)]
    assert max(pairing_statistics(base, _edit(base, 30.0)[order]).own_advantage for order in orders) < 1.5
    permuted = pairing_statistics(base, base[orders[0]])
    assert permuted.own_advantage < 2 and permuted.own_share < 0.05 and permuted.swapped_share > 0.9


# --------------------------------------------------------------------------- centring
def _uncentred(x: torch.Tensor):
    """Spectrum of moments that a faulty stage forgot to centre: the mean counts as variance."""
    return spectrum_of(Moments.of(len(x), torch.zeros(x.shape[1]), x.T @ x))


def test_centring_over_samples_passes(make_states) -> None:
    for offset in (0.0, 0.05, 5.0):
        x = make_states(N, D, 5, offset=offset)
        for found in (check_centred(sample_spectrum(x), x), check_centred(sample_spectrum(x), x[:200])):
            assert found.ok, found.detail


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_centring_over_features_is_one_null_direction_and_is_flagged(make_states, dtype: torch.dtype) -> None:
    x = make_states(N, D, 6).to(dtype)
    wrong = x - x.mean(dim=1, keepdim=True)
    exact = exact_spectrum([wrong], D)
    ones = torch.full((D,), D**-0.5, dtype=torch.float64)
    limit = 1e-13 if dtype is torch.float64 else 1e-6
    assert float(exact.sigma[-1] / exact.sigma[0]) < limit  # the condition number that comes of it is rounding noise
    assert float(exact.sigma[-2] / exact.sigma[0]) > 1e-3  # one null direction, not more
    assert abs(float(exact.basis[:, -1] @ ones)) == pytest.approx(1.0, abs=1e-6)
    spectrum = sample_spectrum(wrong)
    for data in (wrong, x):  # whether or not the raw activations are at hand
        found = check_centred(spectrum, data)
        assert not found.ok and "features" in found.detail


def test_missing_centring_is_flagged_when_it_matters(make_states) -> None:
    x = make_states(N, D, 7, offset=1.0)
    found = check_centred(_uncentred(x), x)
    assert not found.ok and "not centred over samples" in found.detail
    without_mean = make_states(N, D, 7, offset=0.0)
    assert check_centred(_uncentred(without_mean), without_mean).ok
    with pytest.raises(ValueError, match="raw activations"):
        check_centred(_uncentred(x), x[:, :3])


# --------------------------------------------------------------------------- counts and floors
def test_sample_size_names_every_lack() -> None:
    assert check_sample_size(30_000, 576, 2000, 28_800, 2000).ok
    few = check_sample_size(500, 576, 10, 28_800, 2000)
    assert not few.ok
    assert all(part in few.detail for part in ("499 of 576", "28800 tokens", "2000 texts"))
    assert not check_sample_size(64, 64, 5, 0, 0).ok  # centring takes one: 64 samples span 63 directions
    assert check_sample_size(65, 64, 5, 0, 0).ok


def test_resolution_is_reached_by_rounding(make_states) -> None:
    x = make_states(2000, 32, 8, decay=1e-4)
    fine = sample_spectrum(x)
    assert check_resolution(fine.sigma, fine.floor).ok
    coarse = sample_spectrum(x.to(torch.bfloat16), activation_dtype=torch.bfloat16)
    found = check_resolution(coarse.sigma, coarse.floor)
    assert not found.ok and "at or below the floor" in found.detail
    assert check_resolution(coarse.sigma, coarse.floor, coarse.identified).ok
    assert not check_resolution(torch.tensor([1.0, 0.5]), 0.5).ok
    with pytest.raises(ValueError, match="no direction"):
        check_resolution(torch.ones(2), 0.1, torch.zeros(2, dtype=torch.bool))


def test_checks_take_no_flags() -> None:
    """They may look at arrays, counts and hashes; a boolean argument would be somebody's belief."""
    for name in ("check_sample_size", "check_paired", "check_centred", "check_resolution"):
        for parameter in inspect.signature(getattr(checks, name)).parameters.values():
            assert "bool" not in str(parameter.annotation)
