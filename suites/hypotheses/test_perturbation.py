"""Small perturbations and stable principal directions (Assumptions 4.2 and 4.3)."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("smallpert-paired")
def test_no_edit_no_change(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("smallpert-norm")
def test_single_edit_changes_hidden_states_little(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("pc-dominant-stable-early")
def test_leading_directions_survive_ten_edits(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("pc-tail-drifts-faster")
def test_tail_drifts_faster_than_leading_directions(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("smallpert-linear")
def test_change_is_its_first_order_prediction(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("smallpert-depth-continuity")
def test_change_runs_on_from_layer_to_layer(verdict: Verdict) -> None:
    verdict.must_stand()
