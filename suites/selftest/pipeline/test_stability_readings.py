"""Readings of the stability and depth claims on planted numbers: what controls and units say, without a model."""

from __future__ import annotations

import math

import pytest

from editverdict.geometry.depth import largest_step
from editverdict.pipeline.measures.continuity import BREAK, worst_break


# --------------------------------------------------------------------------- depth continuity: the planted break
@pytest.mark.parametrize("sizes", [[0.03, 9.0, 0.03, 9.0], [9.0, 0.03, 9.0, 0.03], [1.0, 1.0], [0.1, 5.0, 0.4]])
def test_a_planted_break_never_undoes_what_is_there(sizes: list[float]) -> None:
    """The old control always took the 2nd, 4th, ... layer: level where these are three hundred times the others."""
    assert largest_step(worst_break(sizes)) >= BREAK * (1 - 1e-12)
    assert math.log10(largest_step(worst_break(sizes))) > 1.0


def test_a_jump_up_and_down_is_broken_further() -> None:
    assert worst_break([0.03, 9.0, 0.03, 9.0]) == pytest.approx([0.0001, 9.0, 0.0001, 9.0])
