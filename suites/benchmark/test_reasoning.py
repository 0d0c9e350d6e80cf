"""Reasoning models under sequential edits, and what AlphaEdit keeps and loses (RQ2)."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("rq2-reasoning-worse")
def test_reasoning_models_are_left_with_less(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq2-alphaedit-tradeoff")
def test_alphaedit_keeps_reasoning_and_loses_locality(verdict: Verdict) -> None:
    verdict.must_stand()
