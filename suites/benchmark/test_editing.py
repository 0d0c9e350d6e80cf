"""What edited models answer (RQ1), and retrieval with in-context answering beside them."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("rq1-collapse-sequential")
def test_sequential_editing_loses_most_edits(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq1-drop-single-to-seq")
def test_scores_fall_from_single_to_sequential(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("scr-dominates-avg")
def test_retrieval_beats_the_method_on_average(verdict: Verdict) -> None:
    verdict.must_stand()
