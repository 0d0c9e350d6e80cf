"""Streamed moments against float64 references."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editverdict.numerics import moments as moments_module
from editverdict.numerics.moments import BlockMoments, Moments, as_rows
from editverdict.numerics.moments import chunk_rows as real_chunk_rows
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


# --------------------------------------------------------------------------- blocks on disk, chunks, memory
def test_blocks_in_a_folder_have_the_same_bits(tmp_path: Path) -> None:
    """Also where samples come back to a block that was put away."""
    x = standard_normal((300, 110), 12) + 3.0
    held, stored = BlockMoments(110, 4), BlockMoments(110, 4, folder=tmp_path)
    for block, rows in zip((0, 1, 1, 2, 0, 3), torch.split(x, 50), strict=True):
        held.update(block, rows)
        stored.update(block, rows)
    assert stored.counts == held.counts == [100, 100, 50, 50] and stored.n == 300
    for one, other in (
        (held.total(), stored.total()),
        (held.without(2), stored.without(2)),
        (held.first_fraction(0.5), stored.first_fraction(0.5)),
        (held.block(3), stored.block(3)),
    ):
        assert one.n == other.n
        assert torch.equal(one.scatter(), other.scatter()) and torch.equal(one.mean, other.mean)
    assert len(list(tmp_path.iterdir())) == 4
    owner = torch.tensor([0, 1, 1, 2, 0, 3]).repeat_interleave(50)
    _same(stored.without(1), _moments(x[owner != 1]))


def test_a_block_without_samples_is_empty_wherever_blocks_are(tmp_path: Path) -> None:
    for blocks in (BlockMoments(3, 3), BlockMoments(3, 3, folder=tmp_path)):
        blocks.update(0, standard_normal((9, 3), 1))
        assert blocks.block(1).n == 0 and blocks.total().n == 9
        with pytest.raises(ValueError, match="undefined, not zero"):
            blocks.without(0).scatter()


def test_the_caller_keeps_its_samples() -> None:
    """Centring happens in place, on a copy, whatever the format."""
    for dtype in (torch.float64, torch.float32):
        x = (standard_normal((20, 4), 2) + 7.0).to(dtype)
        before = x.clone()
        _moments(x, 10, 10)
        assert torch.equal(x, before)


def test_samples_beyond_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    x = standard_normal((95, 6), 3) + 1e4
    whole = _moments(x)
    monkeypatch.setattr(moments_module, "chunk_rows", lambda _d: 10)
    _same(_moments(x), whole)
    for d in (1, 576, 1024, 4096, 16384):
        assert real_chunk_rows(d) >= 512 and 8 * d * (real_chunk_rows(d) - 512) <= 4 * 2**20


def test_a_nan_among_many_samples_is_found() -> None:
    x = torch.zeros(5000, 4)
    x[4321, 2] = float("inf")
    x[4322, 2] = -float("inf")
    with pytest.raises(ValueError, match="2 of 5000 samples"):
        Moments(4).update(x)
    huge = torch.full((3, 2), 1e308, dtype=torch.float64)  # finite, but their sum is not
    assert as_rows(huge, 2) is not None
    with pytest.raises(ValueError, match=r"scatter\.1"):
        Moments.from_tensors({k: t for k, t in _moments(torch.zeros(2, 200)).to_tensors().items() if k != "scatter.1"})
