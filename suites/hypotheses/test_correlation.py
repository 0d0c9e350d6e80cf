"""Amplification and editing performance (§4.4, B.6)."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("corr-rome-negative")
def test_rome_performs_worse_where_changes_are_larger(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("corr-memit-negative")
def test_memit_performs_worse_where_changes_are_larger(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("corr-wise-partial")
def test_wise_is_less_reliable_where_changes_are_larger(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("corr-alphaedit-weak")
def test_alphaedit_hardly_depends_on_the_size_of_changes(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("corr-robust-to-summary")
def test_the_sign_is_the_same_for_every_summary(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("corr-R-large-implies-degradation")
def test_larger_changes_go_with_worse_performance(verdict: Verdict) -> None:
    verdict.must_stand()
