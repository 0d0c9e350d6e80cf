"""What editing costs in time (RQ4, appendix D), and how SCR depends on its memory (appendix E)."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("rq4-edit-time-order")
def test_edit_time_grows_from_text_to_parameters(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq4-param-no-inference-overhead")
def test_changed_weights_answer_as_fast(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq4-no-method-wins-both")
def test_no_method_is_best_on_both_counts(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("rq4-scr-edit-free")
def test_storing_a_text_takes_no_time(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("comb-tradeoff")
def test_retrieval_trades_latency_for_edit_time(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("sens-vram-flat")
def test_memory_use_is_flat(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("sens-latency-moderate")
def test_latency_grows_moderately(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("sens-performance-robust")
def test_scores_do_not_depend_on_the_memory(verdict: Verdict) -> None:
    verdict.must_stand()
