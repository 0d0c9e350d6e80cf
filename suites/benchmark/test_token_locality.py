"""Token-level locality (appendix C.5): what of unrelated answers is left as it was, token by token."""

import pytest

from plugins.claims import Verdict


@pytest.mark.claim("tok-preedit-100")
def test_the_unedited_model_keeps_every_token(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("tok-grace-100")
def test_grace_keeps_every_token(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("tok-param-low")
def test_parameter_methods_change_most_tokens(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("tok-wise-strong")
def test_wise_keeps_most_tokens(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("tok-scr-competitive")
def test_retrieval_keeps_more_tokens_than_parameter_methods(verdict: Verdict) -> None:
    verdict.must_stand()


@pytest.mark.claim("tok-confirms-semantic")
def test_tokens_and_answers_put_methods_into_one_order(verdict: Verdict) -> None:
    verdict.must_stand()
