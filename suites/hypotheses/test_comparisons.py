"""Relative amplification in models and methods beside each other (B.4, B.5.1)."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("amp-cross-architecture")
def test_weak_directions_change_more_in_every_family(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("amp-method-differences")
def test_alphaedit_changes_less_than_memit_and_rome(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("amp-model-sensitivity")
def test_deepseek_changes_more_extremely(verdict: Verdict) -> None:
    verdict.must_stand()
