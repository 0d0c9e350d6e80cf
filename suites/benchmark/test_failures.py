"""Failure modes of edited models: what is said first and what is answered in the end (appendix C.4)."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("fail-modes")
def test_reasoning_takes_the_target_back(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("fail-first-token-success")
def test_the_first_token_is_reached_and_the_answer_is_not(verdict: Verdict) -> None:
    verdict.must_stand()
