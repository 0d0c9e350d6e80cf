"""AlphaEdit's sensitivity to its L2 term, to the model and to the implementation (C.6)."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("alpha-l2-sensitive")
def test_l2_decides_how_much_is_kept(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("alpha-single-vs-seq-tradeoff")
def test_each_l2_has_its_own_regime(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("alpha-model-dependent")
def test_edits_are_kept_in_one_model_alone(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("alpha-impl-consistent")
def test_two_implementations_agree(verdict: Verdict) -> None:
    verdict.must_stand()
