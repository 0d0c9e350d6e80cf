"""Checks by recomputation: each must see its fault, however small, and let sound data of any shape through."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
import torch

from editverdict.geometry import recomputed
from editverdict.geometry.amplification import POOLINGS, from_components, pool, project
from editverdict.geometry.angles import angle_profile, paper_ks
from editverdict.geometry.perturbation import paired_change, rms_centred
from editverdict.geometry.recomputed import (
    EXACT_TOLERANCE,
    check_angle_order,
    check_angles,
    check_change,
    check_components,
    check_distinct,
    check_energy,
    check_rates,
    check_reproduced,
    check_spectrum,
    check_used,
    least_resolved,
)
from editverdict.geometry.sketch import Sketch, sketch_directions
from editverdict.numerics.moments import Moments
from editverdict.numerics.random_matrices import standard_normal
from editverdict.numerics.spectrum import MOMENTS_RESOLUTION, Spectrum, exact_spectrum, sample_spectrum, spectrum_of

N, D = 600, 64


def narrow(x: torch.Tensor, *, batch: int = 50) -> Spectrum:
    """Spectrum of moments accumulated in float32."""
    moments = Moments(x.shape[1])
    for part in x.split(batch):
        moments.update(part)
        return spectrum_of(Moments.of(moments.n, moments.mean, moments.scatter().float().double()))


def rounded(x: torch.Tensor) -> Spectrum:
    """Spectrum of moments that were float64 all the way and rounded to float32 once."""
    moments = Moments(x.shape[1])
    moments.update(x)
    return spectrum_of(Moments.of(moments.n, moments.mean, moments.scatter().float().double()))


def uncentred(x: torch.Tensor) -> Spectrum:
    """Spectrum in which the mean counts as variance."""
    return spectrum_of(Moments.of(len(x), torch.zeros(x.shape[1]), x.T @ x))


# --------------------------------------------------------------------------- sums
def test_a_sketch_is_the_scatter_along_its_directions(make_states) -> None:
    x = make_states(N, D, 1, offset=3.0)
    sums = Sketch(D)
    for part in x.split(37):
        sums.update(part)
    along = x @ sketch_directions(D)
    assert sums.n == N
    assert torch.allclose(sums.mean, along.mean(0), rtol=1e-12)
    assert torch.allclose(sums.scatter, (along - along.mean(0)).square().sum(0), rtol=1e-12)
    assert torch.allclose(sums.mean_square, x.square().mean(0), rtol=1e-12)
    again = Sketch.from_tensors(sums.to_tensors())
    assert (
        again.n == N and torch.equal(again.scatter, sums.scatter) and torch.equal(again.mean_square, sums.mean_square)
    )
    with pytest.raises(ValueError, match="expected samples as rows"):
        sums.update(x[:, :3])
    with pytest.raises(ValueError, match="lacks"):
        Sketch.from_tensors({"n": torch.tensor([1])})


# --------------------------------------------------------------------------- spectra
@pytest.mark.parametrize("offset", [0.0, 0.5, 100.0])
@pytest.mark.parametrize("decay", [1.0, 0.02, 1e-5])
def test_sound_spectra_pass(make_states, decay: float, offset: float) -> None:
    for seed in range(10):
        x = make_states(N, D, seed, decay=decay, offset=offset).float()
        for sample in (x, x.to(torch.bfloat16).float(), x[: D // 2]):  # also with fewer samples than dimensions
            found = check_spectrum(sample_spectrum(sample), Sketch.of(sample))
            assert found.ok, found.detail


def test_sound_spectra_pass_by_orders_of_magnitude(make_states) -> None:
    apart = []
    for d in (8, 64, 400):
        basis = torch.linalg.qr(standard_normal((d, d), 5)).Q
        x = (standard_normal((3 * d, d), 6) * torch.logspace(0, -3, d, dtype=torch.float64)) @ basis.T + 2.0
        spectrum, sums = sample_spectrum(x.float()), Sketch.of(x.float())
        claimed = (spectrum.sigma.square()[:, None] * (spectrum.basis.T @ sums.directions).square()).sum(0)
        apart.append(float((claimed - sums.scatter).abs().max() / spectrum.sigma.square().norm()) * d)
    assert max(apart) < recomputed.SUMS_TOLERANCE / 50, apart


@pytest.mark.parametrize("build", [narrow, rounded])
@pytest.mark.parametrize("decay", [1.0, 0.02, 1e-5])
def test_float32_moments_are_seen_even_where_they_do_no_harm(make_states, decay: float, build) -> None:
    for seed in range(20):
        x = make_states(N, D, seed, decay=decay).float()
        found = check_spectrum(build(x), Sketch.of(x))
        assert not found.ok and "double precision" in found.detail


def test_float32_moments_are_seen_where_one_direction_dominates() -> None:
    scale = torch.ones(D, dtype=torch.float64)
    scale[0] = 1e4  # the massive activation of a real model
    for seed in range(20):
        x = (standard_normal((N, D), seed) * scale).float()
        assert check_spectrum(sample_spectrum(x), Sketch.of(x)).ok
        assert not check_spectrum(rounded(x), Sketch.of(x)).ok


def test_other_samples_are_seen(make_states) -> None:
    x = make_states(N, D, 1)
    own, sums = sample_spectrum(x), Sketch.of(x)
    edited = x + 1e-4 * standard_normal((N, 1), 2) * standard_normal((1, D), 3)
    assert "samples where there are" in check_spectrum(sample_spectrum(x[:-1]), sums).detail
    wrong = {
        "one sample fewer": sample_spectrum(x[:-1]),
        "other samples": sample_spectrum(make_states(N, D, 2)),
        "a small edit": sample_spectrum(edited),
        "centred over features": sample_spectrum(x - x.mean(1, keepdim=True)),
        "uncentred": uncentred(x),
        "the edited basis": replace(own, basis=sample_spectrum(edited).basis),
        "the edited singular values": replace(own, sigma=sample_spectrum(edited).sigma),
        "another mean": replace(own, mean=own.mean + 0.01),
        "a null direction": replace(own, sigma=torch.cat([own.sigma[:-1], torch.zeros(1, dtype=torch.float64)])),
        "another order": replace(own, sigma=own.sigma.flip(0), basis=own.basis.flip(1)),
        "no basis": replace(own, basis=own.basis * 1.01),
        "another dimension": sample_spectrum(x[:, :-1]),
        "nothing": replace(own, sigma=own.sigma * torch.nan),
    }
    passed = [name for name, spectrum in wrong.items() if check_spectrum(spectrum, sums).ok]
    assert passed == []


def test_exact_mode_has_a_wider_allowance_and_no_more(make_states) -> None:
    x = make_states(N, D, 3)
    exact, sums = exact_spectrum([x], D), Sketch.of(x.float())
    assert not check_spectrum(exact, sums).ok  # float64 and float32 activations are not the same samples
    assert check_spectrum(exact, sums, tolerance=EXACT_TOLERANCE).ok
    other = exact_spectrum([make_states(N, D, 4)], D)
    assert not check_spectrum(other, sums, tolerance=EXACT_TOLERANCE).ok


# --------------------------------------------------------------------------- resolution
def _limit(spectrum: Spectrum, x: torch.Tensor) -> torch.Tensor:
    return least_resolved(spectrum, Sketch.of(x).mean_square, torch.float32, MOMENTS_RESOLUTION)


def test_directions_that_are_rounding_may_not_be_used(make_states) -> None:
    every = torch.ones(D, dtype=torch.bool)
    for seed in range(20):
        x = make_states(N, D, seed, offset=0.5)
        sound = sample_spectrum(x.float())
        assert check_used(sound, every, _limit(sound, x)).ok
        dead, twice = x.clone(), x.clone()
        dead[:, 7], twice[:, 9] = 0.3, twice[:, 8]  # a coordinate that never moves; one that repeats another
        along = torch.nn.functional.normalize(standard_normal((D,), 50), dim=0)
        thin = x - torch.outer(x @ along, along)
        for sample in (dead.float(), twice.float(), thin.float()):
            spectrum = sample_spectrum(sample)
            limit = _limit(spectrum, sample)
            found = check_used(spectrum, every, limit)
            assert not found.ok and found.detail.startswith("1 of 64"), found.detail
            assert check_used(spectrum, spectrum.identified, limit).ok
            assert check_spectrum(spectrum, Sketch.of(sample), limit).ok
            lowered = replace(spectrum, floor=spectrum.floor * 1e-6)
            assert "resolution limit" in check_spectrum(lowered, Sketch.of(sample), limit).detail
    assert not check_used(sound, torch.zeros(D, dtype=torch.bool), _limit(sound, x)).ok  # nothing is used
    few = sample_spectrum(x[:40].float())
    assert not check_used(few, every, torch.zeros(D, dtype=torch.float64)).ok  # 40 samples span 39 directions


# --------------------------------------------------------------------------- states
def test_states_run_again(make_states) -> None:
    again = {layer: make_states(40, D, layer, offset=2.0).float() for layer in (1, 2, 3)}
    noisy = {layer: x * (1 + 2e-6 * standard_normal(tuple(x.shape), 7)).float() for layer, x in again.items()}
    assert check_reproduced(again, again).ok
    assert check_reproduced(noisy, again).ok
    exchanged = check_reproduced({**noisy, 2: noisy[3], 3: noisy[2]}, again)
    assert not exchanged.ok and "layer 2" in exchanged.detail and "are those of layer 3" in exchanged.detail
    wrong = {
        "shifted": {**again, 2: again[2].roll(1, 0)},
        "one row": {**again, 2: torch.cat([again[2][1:2], again[2][1:]])},
        "features": {**again, 2: again[2] - again[2].mean(1, keepdim=True)},
        "scaled": {**again, 2: again[2] * 1.001},
        "fewer rows": {**again, 2: again[2][:-1]},
        "not finite": {**again, 2: again[2] * torch.nan},
        "a layer missing": {1: again[1], 3: again[3]},
    }
    assert [name for name, states in wrong.items() if check_reproduced(states, again).ok] == []
    assert not check_reproduced({}, {}).ok


def test_states_in_half_precision_have_their_own_allowance(make_states) -> None:
    again = {1: make_states(40, D, 1).to(torch.bfloat16), 2: make_states(40, D, 2).to(torch.bfloat16)}
    near = {layer: (x.double() * (1 + 0.02 * standard_normal(tuple(x.shape), 3))).float() for layer, x in again.items()}
    assert check_reproduced(near, again).ok
    assert not check_reproduced({1: again[2], 2: again[1]}, again).ok


def test_repetitions_are_counted() -> None:
    texts, samples = torch.arange(1000), torch.arange(20_000)
    assert check_distinct(texts, samples).ok
    assert check_distinct(texts.clamp_max(960), samples.clamp_max(17_000)).ok  # 3.9% of texts, 15% of samples
    assert "texts are repetitions" in check_distinct(texts % 940, samples).detail
    assert "samples are repetitions" in check_distinct(texts, samples % 14_000).detail
    assert not check_distinct(texts % 500, samples % 10_000).ok
    assert not check_distinct(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)).ok


# --------------------------------------------------------------------------- changes
@pytest.fixture(scope="module")
def pair(make_states) -> tuple[torch.Tensor, torch.Tensor]:
    """States before and after a small rank-one edit with a weak full-rank response, float32."""
    base = make_states(N, D, 1)
    after = base + 0.01 * standard_normal((N, 1), 2) * standard_normal((1, D), 3)
    return base.float(), (after + 1e-3 * standard_normal((N, D), 4)).float()


def test_norms_of_a_change(pair) -> None:
    before, after = pair
    rms = rms_centred(before)
    norms = vars(paired_change(before, after))
    assert check_change(before, after, norms, rms).ok
    assert check_change(before, before, vars(paired_change(before, before)), rms).ok  # an edit that changes nothing
    for wrong in (
        vars(paired_change(before, after.roll(1, 0))),
        {**norms, "mean": norms["mean"] * 1.001},
        {**norms, "ratio": norms["ratio"] * 0.5},
        vars(paired_change(before, after, 2 * rms)),
    ):
        assert not check_change(before, after, wrong, rms).ok


def test_components_of_a_change(pair) -> None:
    before, after = pair
    dh, basis = after.double() - before.double(), sample_spectrum(before)
    components = project(basis, dh)
    pooled = {name: pool(components, name) for name in POOLINGS}
    norms = vars(paired_change(before, after))
    assert check_components(basis.basis, dh, pooled).ok
    assert check_energy(norms, N, pooled["rms"]).ok
    nothing = {name: torch.zeros(D, dtype=torch.float64) for name in POOLINGS}
    assert check_components(basis.basis, dh * 0, nothing).ok
    edited = project(sample_spectrum(after), dh)  # the directions of the edited states: as near as directions can be
    other = project(basis, after.roll(1, 0).double() - before.double())
    for wrong in (edited, other, components / D**0.5):
        assert not check_components(basis.basis, dh, {name: pool(wrong, name) for name in POOLINGS}).ok
    assert not check_components(basis.basis, dh, {**pooled, "mean_abs": pooled["rms"]}).ok
    assert check_energy(
        norms, N, pool(edited, "rms")
    ).ok  # any full basis holds all the energy, which is why it is not all
    assert not check_energy(norms, N, pool(other, "rms")).ok
    assert not check_energy(norms, N, pooled["mean_abs"]).ok


def test_rates_of_a_change(pair) -> None:
    before, after = pair
    spectrum = sample_spectrum(before)
    pooled = pool(project(spectrum, after.double() - before.double()))
    found = from_components(spectrum, pooled[None])
    assert check_rates(spectrum, pooled, found.r, found.identified).ok
    assert not check_rates(spectrum, pooled, found.r * 1.01, found.identified).ok
    assert not check_rates(replace(spectrum, n=N // 2), pooled, found.r, found.identified).ok
    unknown = found.r.clone()
    unknown[5] = torch.nan
    assert not check_rates(spectrum, pooled, unknown, found.identified).ok
    assert not check_rates(spectrum, pooled, found.r, torch.zeros(D, dtype=torch.bool)).ok


# --------------------------------------------------------------------------- angles
def _profiles(u1: torch.Tensor, u2: torch.Tensor) -> dict[str, dict[str, float]]:
    return {label: vars(angle_profile(u1, u2, k)) for label, k in paper_ks(D).items()}


def test_angles_of_two_bases(pair, make_states) -> None:
    before, after = pair
    base = sample_spectrum(before).basis
    for edited in (sample_spectrum(after).basis, sample_spectrum(make_states(N, D, 9)).basis, base):
        profiles = _profiles(base, edited)
        assert check_angles(base, edited, profiles).ok, check_angles(base, edited, profiles).detail
        assert check_angle_order(profiles).ok
    far = sample_spectrum(make_states(N, D, 9)).basis
    honest = _profiles(base, far)
    swapped = {
        label: {**p, "largest_angle": p["smallest_angle"], "smallest_angle": p["largest_angle"]}
        for label, p in honest.items()
    }
    replaced = {label: {**p, "largest_angle": p["smallest_angle"]} for label, p in honest.items()}
    for wrong in (swapped, replaced):
        assert not check_angle_order(wrong).ok  # by their order alone
        assert not check_angles(base, far, wrong).ok
    all_smallest = {
        label: {
            **p,
            "largest_angle": p["smallest_angle"],
            "mean": p["smallest_angle"],
            "overlap": p["smallest_angle"] ** 2,
        }
        for label, p in honest.items()
    }
    assert check_angle_order(all_smallest).ok  # in order, and yet not these subspaces'
    assert not check_angles(base, far, all_smallest).ok
    assert not check_angles(base, far, _profiles(far, far)).ok
    assert not check_angle_order({"10": {**honest["10"], "mean": 1.2}}).ok


def test_checks_take_no_flags() -> None:
    """They may look at arrays, counts and hashes; a boolean argument would be somebody's belief."""
    for name, function in inspect.getmembers(recomputed, inspect.isfunction):
        if name.startswith("check_"):
            for parameter in inspect.signature(function).parameters.values():
                assert "bool" not in str(parameter.annotation), name
