"""Principal subspaces along chains of edits (Assumption 4.3, Section 4.3)."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("pc-decay-with-edits")
def test_leading_directions_move_away_with_every_edit(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("pc-rome-collapse")
def test_twenty_rome_edits_lose_the_leading_directions(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("pc-alphaedit-more-stable-than-rome")
def test_alphaedit_keeps_the_leading_directions_better_than_rome(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("pc-basis-drift-worse-than-linear")
def test_reached_basis_makes_an_edit_weigh_more(verdict: Verdict) -> None:
    verdict.must_stand()
