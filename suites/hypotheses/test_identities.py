"""Identities of the paper's algebra: they test the machinery and cannot be won or lost."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("amp-identity")
def test_scale_along_directions_is_sigma_over_root_n(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("cum-telescoping")
def test_changes_of_a_chain_add_up(verdict: Verdict) -> None:
    verdict.must_stand()
