"""Contrasts with random twins and permuted coordinates: text noise and bias are in the interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from editverdict.inference.controls import judge_comparator
from editverdict.inference.rows import Region
from editverdict.pipeline.measures.collapse import contrast_over_texts, ranks_without_blocks
from editverdict.pipeline.measures.ranks import RANKS
from editverdict.pipeline.measures.twins import Twins, against_twins
from editverdict.pipeline.randoms import Side

RANK = RANKS["exp-entropy-sigma"]
LOW = Region(op="<=", threshold=0.85)


def spectrum(share: float, d: int = 40) -> torch.Tensor:
    """A flat spectrum of so many directions, r_eff / d = share where that is a whole number of them."""
    kept = round(share * d)
    return torch.cat([torch.ones(kept), torch.full((d - kept,), 1e-9)]).double()


def side(share: float, left: tuple[float, ...] = (), n: int = 100) -> Side:
    one = {0: spectrum(share)}
    return Side(one, tuple({0: spectrum(value)} for value in left), one, n, 10, (), f"key-{share}")


def twins(own: float, left: tuple[float, ...], others: tuple[float, ...], **more: Any) -> Twins:
    few = [side(value) for value in others]
    return Twins((0,), side(own, left, **more), few, side(own), few[:3])


def test_texts_that_move_the_model_are_in_the_interval() -> None:
    """Twenty equal twins have no spread, so that the old interval was a point whatever the texts did."""
    calm = against_twins(twins(0.5, (0.5,) * 10, (0.55,) * 20), RANK)
    noisy = against_twins(twins(0.5, (0.475, 0.525) * 5, (0.55,) * 20), RANK)
    assert calm.interval is not None and noisy.interval is not None
    assert calm.value == noisy.value == pytest.approx(-0.05)
    assert calm.interval[1] < -0.02 < noisy.interval[1]
    assert noisy.shared is not None and noisy.shared.dof == 9
    assert noisy.shared.error == pytest.approx(np.sqrt(9 / 10 * 10) * 0.025)


def test_without_blocks_or_on_other_texts_there_is_no_contrast() -> None:
    for made in (twins(0.5, (0.5,), (0.6,) * 20), twins(0.5, (0.5,) * 10, (0.6,) * 20, n=99)):
        found = against_twins(made, RANK)
        assert found.value is None and found.note is not None and "texts" in found.note


def test_the_bias_of_few_texts_is_in_the_interval() -> None:
    """Twins whose rank grows with the sample, as a random model's does: +.1 on few texts, nothing on more."""
    few, more = [side(0.4) for _ in range(20)], [side(0.5) for _ in range(3)]
    found = against_twins(Twins((0,), side(0.5, (0.5,) * 10), few, side(0.5), more), RANK)
    assert found.value == pytest.approx(0.1) and found.interval is not None
    assert found.interval[0] <= 0.0 <= found.interval[1]


def test_permuting_coordinates_has_text_noise_of_its_own() -> None:
    seeds = [0.9 + 0.0001 * k for k in range(20)]
    unequal = [(0.84 + 0.02 * (k % 2), 0.9) for k in range(20)]
    assert judge_comparator("p", [0.85] * 20, seeds, LOW).specific == "yes"
    contrast = contrast_over_texts(0.85, seeds, unequal)
    assert judge_comparator("p", [0.85] * 20, seeds, LOW, contrast=contrast).specific == "undecided"
    together = [(0.84 + 0.02 * (k % 2), 0.89 + 0.02 * (k % 2)) for k in range(20)]  # both sides move alike
    assert judge_comparator("p", [], seeds, LOW, contrast=contrast_over_texts(0.85, seeds, together)).specific == "yes"
    assert contrast_over_texts(0.85, seeds, unequal[:1]).value is None


def test_ranks_without_blocks_leave_each_block_out_once() -> None:
    generator = np.random.default_rng(2)
    states = {layer: generator.normal(size=(120, 6)) * [8, 1, 1, 1, 1, 1] for layer in (3, 5)}
    states[5][:, 1] = states[5][:, 0]  # correlated: permuting raises the rank
    block, seen = np.arange(120) // 30, []
    found = ranks_without_blocks({5: states[5]}, block, 0, lambda done, of: seen.append((done, of)))
    assert len(found) == 4 and seen[-1] == (4, 4) and all(own < permuted for own, permuted in found)
    again = ranks_without_blocks({5: states[5]}, block, 0, lambda _done, _of: None)
    assert found == again
    assert ranks_without_blocks(states, np.zeros(120), 0, lambda _done, _of: None) == []
