"""Events in the place of facts (RQ3), and methods that keep their edits in a memory."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("rq3-single-unsatisfactory")
def test_a_single_event_leaves_the_edited_model_worse_than_it_was(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq3-sequential-breakdown")
def test_the_edited_model_breaks_down_over_a_sequence_of_events(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq3-fact-to-event-drop")
def test_weights_take_facts_better_than_events(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq3-scr-best")
def test_retrieval_is_best_on_events(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("scr-single-vs-seq-memories")
def test_a_memory_holds_up_under_sequential_editing(verdict: Verdict) -> None:
    verdict.must_stand()
