"""The lower half of a symmetric matrix in strips."""

from __future__ import annotations

import pytest
import torch

from editverdict.numerics.random_matrices import standard_normal
from editverdict.numerics.triangle import Triangle, strip_height, triangle_bytes


@pytest.mark.parametrize("d", [1, 5, 96, 97, 200, 1000])
def test_a_gram_matrix_is_whole_and_symmetric_to_the_bit(d: int) -> None:
    rows, v = standard_normal((40, d), d), standard_normal((1, d), 1)[0]
    half = Triangle(d)
    half.add_gram(rows[:15])
    half.add_gram(rows[15:])
    half.add_outer(v, -2.0)
    whole = half.square()
    torch.testing.assert_close(whole, rows.T @ rows - 2.0 * torch.outer(v, v), rtol=1e-12, atol=1e-12)
    assert torch.equal(whole, whole.T) and torch.equal(half.diagonal(), whole.diagonal())
    assert torch.equal(Triangle.of(whole).square(), whole)


def test_strips_cover_every_row_once_and_hold_about_half() -> None:
    for d in (1, 95, 576, 1024, 1536, 4096, 16384):
        height = strip_height(d)
        assert height % 8 == 0 and -(-d // height) <= 8
        assert triangle_bytes(d) >= 4 * d * (d + 1)
    for d in (576, 1024, 4096, 16384):
        assert triangle_bytes(d) <= 0.6 * 8 * d * d
    half = Triangle(1000)
    assert sum(strip.nbytes for strip in half.strips) == triangle_bytes(1000)
    assert sum(len(strip) for strip in half.strips) == 1000


def test_adding_leaves_the_other_alone() -> None:
    one, other = Triangle.of(torch.eye(120, dtype=torch.float64)), Triangle.of(torch.ones(120, 120).double())
    copied = other.copy()
    one.add(other)
    assert torch.equal(other.square(), copied.square())
    one.add_outer(torch.ones(120, dtype=torch.float64), 1.0)
    assert torch.equal(one.square(), torch.eye(120).double() + 2.0)
    assert torch.equal(other.square(), torch.ones(120, 120).double())
