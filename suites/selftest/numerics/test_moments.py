"""Streamed moments against float64 references."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editverdict.numerics.moments import BlockMoments, Moments
from editverdict.numerics.random_matrices import standard_normal


def _moments(x: torch.Tensor, *sizes: int) -> Moments:
    out = Moments(x.shape[1])
    for part in torch.split(x, list(sizes) or [x.shape[0]]):
        out.update(part)
    return out


def _reference_scatter(x: torch.Tensor) -> torch.Tensor:
    c = x - x.mean(dim=0)
    return c.T @ c


def _same(a: Moments, b: Moments, rtol: float = 1e-12) -> None:
    assert a.n == b.n
    torch.testing.assert_close(a.mean, b.mean, rtol=rtol, atol=rtol)
    scale = float(b.scatter().abs().max())
    torch.testing.assert_close(a.scatter(), b.scatter(), rtol=0, atol=rtol * scale)


def test_scatter_and_second_moment_equal_the_reference() -> None:
    x = standard_normal((300, 7), 0) + 5.0
    m = _moments(x, 1, 99, 200)
    torch.testing.assert_close(m.scatter(), _reference_scatter(x), rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(m.second_moment(), x.T @ x / 300, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(m.mean_square(), x.square().mean(dim=0), rtol=1e-12, atol=1e-10)


def test_large_offset_costs_no_digits() -> None:
    x = standard_normal((500, 5), 1)
    far = x + 1e8
    reference = _reference_scatter(far - 1e8)
    error = (_moments(far, 100, 400).scatter() - reference).abs().max() / reference.abs().max()
    textbook = far.T @ far - 500 * torch.outer(far.mean(dim=0), far.mean(dim=0))
    assert error < 1e-12
    assert (textbook - reference).abs().max() / reference.abs().max() > 1e-4  # the formula that is not used


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 40), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_merge_in_any_order_equals_one_pass(seed: int, sizes: list[int], order) -> None:
    x = 3.0 * standard_normal((sum(sizes), 4), seed) + torch.arange(4) * 100.0
    parts = [_moments(part) for part in torch.split(x, sizes)]
    order.shuffle(parts)
    merged = Moments(4)
    for part in parts:
        merged.merge(part)
    _same(merged, _moments(x))


def test_merge_leaves_the_other_alone_and_copy_is_independent() -> None:
    a, b = _moments(standard_normal((20, 3), 0)), _moments(standard_normal((30, 3), 1))
    before = b.scatter()
    copied = Moments(3).merge(b)
    copied.update(standard_normal((5, 3), 2))
    a.merge(b)
    assert torch.equal(b.scatter(), before) and b.n == 30 and a.n == 50


def test_round_trip_through_tensors_is_bit_equal_and_continues() -> None:
    x = standard_normal((60, 3), 4)
    first = _moments(x[:40])
    again = Moments.from_tensors(first.to_tensors())
    first.update(x[40:])
    again.update(x[40:])
    assert torch.equal(first.scatter(), again.scatter()) and torch.equal(first.mean, again.mean)


def test_float32_rows_accumulate_in_float64() -> None:
    x = standard_normal((100, 3), 5).to(torch.float32)
    assert _moments(x).scatter().dtype == torch.float64
    torch.testing.assert_close(_moments(x).scatter(), _reference_scatter(x.double()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3), "samples as rows"),
        (torch.zeros(2, 5), r"shape \[n, 4\], found \[2, 5\]"),
        (torch.tensor([[0.0, 0, 0, float("nan")]]), "1 of 1 samples"),
    ],
)
def test_wrong_samples_are_named(x: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Moments(4).update(x)


def test_an_empty_stream_has_no_mean() -> None:
    empty = Moments(2)
    empty.update(torch.zeros(0, 2))
    with pytest.raises(ValueError, match="undefined, not zero"):
        _ = empty.mean
    with pytest.raises(ValueError, match="dimension 3"):
        empty.merge(Moments(3))
    with pytest.raises(ValueError, match="lack"):
        Moments.from_tensors({"n": torch.tensor([1])})


def _blocks(x: torch.Tensor, count: int) -> BlockMoments:
    out = BlockMoments(x.shape[1], count)
    for i, row in enumerate(torch.split(x, 5)):
        out.update(i % count, row)
    return out


def test_leaving_a_block_out_equals_recomputation() -> None:
    x = standard_normal((200, 6), 7) * torch.logspace(0, -3, 6) + 50.0
    blocks = _blocks(x, 4)
    owner = torch.arange(200) // 5 % 4
    for block in range(4):
        _same(blocks.without(block), _moments(x[owner != block]))
    _same(blocks.total(), _moments(x))
    _same(blocks.first_fraction(0.5), _moments(x[owner < 2]))
    _same(blocks.first_fraction(0.25), _moments(x[owner == 0]))
    assert blocks.n == 200


def test_blocks_round_trip_and_refuse_what_does_not_exist() -> None:
    blocks = _blocks(standard_normal((60, 3), 8), 3)
    again = BlockMoments.from_tensors(blocks.to_tensors())
    assert torch.equal(again.without(1).scatter(), blocks.without(1).scatter())
    with pytest.raises(ValueError, match="0 to 2"):
        blocks.update(3, torch.zeros(1, 3))
    with pytest.raises(ValueError, match="leaves none"):
        blocks.first_fraction(0.1)
