"""Retrieval with in-context answering beside methods, and in their edited models (appendix D)."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("scr-dominates-cells")
def test_retrieval_beats_the_method_in_every_dimension(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("scr-locality-vs-preedit")
def test_retrieval_keeps_the_locality_of_the_unedited_model(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("scr-single-vs-seq")
def test_retrieval_does_not_depend_on_the_size_of_its_memory(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("comb-scr-beats-combined")
def test_retrieval_does_better_in_the_unedited_model(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("comb-retrieval-helps")
def test_a_memory_helps_an_edited_model(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("comb-collapsed-unrecoverable")
def test_a_memory_cannot_rescue_a_collapsed_model(verdict: Verdict) -> None:
    verdict.must_stand()
