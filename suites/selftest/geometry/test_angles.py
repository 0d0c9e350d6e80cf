"""Angles between leading subspaces, and rotations planted into them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editverdict.geometry.angles import (
    angle_curve,
    angle_profile,
    paper_ks,
    random_subspace,
    rotate_tail,
    rotate_uniform,
    stability_loss,
)
from editverdict.numerics.random_matrices import standard_normal
from editverdict.numerics.spectrum import sample_spectrum
from editverdict.numerics.subspaces import chance_cosines


def test_ks_of_the_paper() -> None:
    assert paper_ks(4096) == {"10": 10, "100/4096": 100, "200/4096": 200, "2000/4096": 2000}
    assert paper_ks(576) == {"10": 10, "100/4096": 14, "200/4096": 28, "2000/4096": 281}
    assert paper_ks(409) == {"10": 10, "200/4096": 20, "2000/4096": 200}  # 100/4096 is k = 10 again
    assert paper_ks(8) == {"2000/4096": 4}


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 24), st.data(), st.floats(0.0, math.pi / 2), st.integers(0, 99))
def test_tail_rotation_turns_every_cut_behind_k0_by_its_angle(d: int, data, angle: float, seed: int) -> None:
    k0 = data.draw(st.integers(0, d - 2))
    u = random_subspace(d, d, seed)
    turned = rotate_tail(u, k0, angle, seed)
    torch.testing.assert_close(turned.T @ turned, torch.eye(d, dtype=torch.float64), atol=1e-12, rtol=0)
    curve = angle_curve(u, turned, {str(k): k for k in range(1, d)})
    for k in range(1, d):
        expected = 1.0 if k <= k0 else math.cos(angle)
        assert curve[str(k)] == pytest.approx(expected, abs=1e-7)


def test_uniform_rotation_loses_the_same_at_every_k() -> None:
    for d in (40, 41):
        u = random_subspace(d, d, 3)
        loss = stability_loss(angle_curve(u, rotate_uniform(u, 0.4, 5), {str(k): k for k in range(1, d)}))
        assert max(loss.values()) - min(loss.values()) < 1e-10
        assert loss["7"] == pytest.approx(1 - math.cos(0.4))
    # every direction leaves its place, not one pair alone
    moved = (u * rotate_uniform(u, 0.4, 5)).sum(dim=0)
    assert int((moved < 0.95).sum()) == 40


def test_rotations_refuse_what_they_cannot_turn() -> None:
    with pytest.raises(ValueError, match="d - 2"):
        rotate_tail(torch.eye(4), 3, 0.1)
    with pytest.raises(ValueError, match="basis"):
        rotate_tail(torch.eye(4)[:, :2], 0, 0.1)


def test_profile_orders_its_readings() -> None:
    a, b = random_subspace(30, 30, 0), random_subspace(30, 30, 1)
    found = angle_profile(a, b, 8)
    assert found.largest_angle < found.mean < found.smallest_angle
    assert found.overlap == pytest.approx(8 / 30, abs=0.15)
    with pytest.raises(ValueError, match="1 to 30"):
        angle_profile(a, b, 31)


def test_random_subspaces_are_at_chance() -> None:
    fixed = torch.eye(24, dtype=torch.float64)
    direct = torch.tensor([angle_profile(fixed, random_subspace(24, 24, s), 4).largest_angle for s in range(800)])
    chance = chance_cosines(24, 4, 5, draws=800)
    error = float((direct.var() / 800 + chance.var() / 800).sqrt())
    assert abs(float(direct.double().mean() - chance.mean())) < 4.5 * error


def test_paired_edit_moves_less_than_another_half_of_the_same_texts(make_states) -> None:
    """The reason why like is compared with like: resampling alone looks like drift."""
    first, second = make_states(600, 40, 1), make_states(600, 40, 2)
    edit = 0.02 * torch.outer(standard_normal((600,), 3), standard_normal((40,), 4)) / 40**0.5
    ks = {"10": 10, "20": 20}
    base = sample_spectrum(first).basis
    paired = angle_curve(base, sample_spectrum(first + edit).basis, ks)
    unpaired = angle_curve(base, sample_spectrum(second).basis, ks)
    no_op = angle_curve(base, sample_spectrum(first.clone()).basis, ks)
    assert all(no_op[k] == pytest.approx(1.0, abs=1e-12) for k in ks)
    assert all(1 - unpaired[k] > 100 * (1 - paired[k]) for k in ks)
