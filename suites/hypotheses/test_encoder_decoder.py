"""The same hypotheses on an encoder-decoder (T5), module by module."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("smallpert-t5-heterogeneous")
def test_changes_differ_by_orders_of_magnitude_between_modules(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("pc-t5-immediate-loss")
def test_some_module_loses_its_subspace_with_the_first_edit(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("amp-t5")
def test_relative_change_at_input_projections_is_unbounded(verdict: Verdict) -> None:
    verdict.must_stand()
