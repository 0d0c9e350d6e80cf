"""How changes add up over chains of edits (Section 4.3)."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("cum-linear-law")
def test_weakest_direction_grows_linearly(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("cum-R-increases-with-steps")
def test_relative_change_increases_at_every_step(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("cum-law-breaks")
def test_linear_law_fails_after_twenty_edits(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("cum-basis-drift-causes")
def test_weak_directions_drift_first(verdict: Verdict) -> None:
    verdict.must_stand()
