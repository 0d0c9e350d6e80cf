"""What editing leaves of a model's other abilities (RQ2)."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("rq2-capability-10edits")
def test_ten_edits_cost_some_reasoning(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq2-capability-100edits")
def test_a_hundred_edits_leave_no_reasoning(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq2-capability-100edits-alphaedit")
def test_alphaedit_keeps_reasoning(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq2-broader-tasks")
def test_ten_edits_cost_some_knowledge_and_language(verdict: Verdict) -> None:
    verdict.must_stand()
