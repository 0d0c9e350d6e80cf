"""Single and sequential editing (RQ1): what is reached, what is lost, when, for which facts and by which method."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("rq1-far-from-perfect")
def test_single_edits_are_far_from_perfect(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq1-alphaedit-stable")
def test_alphaedit_keeps_its_edits_while_locality_is_lost(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq1-timing-varies")
def test_methods_lose_their_edits_in_the_papers_order(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq1-long-run-decline")
def test_every_score_declines_over_a_sequence(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq1-confidence-split")
def test_confident_and_other_facts_lose_alike(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq1-scale")
def test_retrieval_beats_edited_models_of_larger_size(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq1-method-independent")
def test_the_loss_depends_little_on_the_algorithm(verdict: Verdict) -> None:
    verdict.must_stand()
