"""How the paper measures (appendix C.1): its judge, its inference, its locality, its groups of edits."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("proto-judge-agreement")
def test_the_judge_agrees_with_labels(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("proto-teacher-forcing-optimistic")
def test_teacher_forcing_scores_higher_than_free_answers(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("proto-locality-definition")
def test_locality_before_any_edit_is_one_by_definition(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("proto-n-protocol")
def test_groups_of_edits_are_those_of_the_paper(verdict: Verdict) -> None:
    verdict.must_stand()
