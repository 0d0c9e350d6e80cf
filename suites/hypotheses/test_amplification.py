"""Relative amplification in weak directions (Theorem 4.5)."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("amp-sigma-min-numerically-real")
def test_smallest_direction_is_real(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("amp-low-sigma-larger-R")
def test_weak_directions_change_more(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("amp-many-gt1-single-edit")
def test_one_edit_exceeds_native_scale_in_many_directions(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("amp-mean-max-extreme")
def test_mean_relative_change_is_extreme(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("amp-c-comparable")
def test_components_are_of_comparable_size(verdict: Verdict) -> None:
    verdict.must_stand()
