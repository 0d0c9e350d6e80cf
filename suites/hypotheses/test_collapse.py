"""Dimensional collapse (Assumption 4.1): is the space of hidden states as thin as the paper says?"""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("collapse-eff-rank")
def test_effective_rank_is_well_below_dimension(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("collapse-sigma-min")
def test_smallest_singular_value_vanishes(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("collapse-cond")
def test_condition_number_exceeds_a_million(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("collapse-spectrum-decay")
def test_spectrum_decays_faster_than_noise(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("collapse-deeper-layers")
def test_last_layer_collapses_more(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("collapse-universal")
def test_three_trends_hold_in_every_layer(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("collapse-pretrained-property")
def test_low_rank_comes_from_training(verdict: Verdict) -> None:
    verdict.must_stand()
