"""Where a subject ends, in tokens; and the target's tokens."""

from __future__ import annotations

from typing import Any

import pytest

from editverdict.editors import EditError
from editverdict.editors.tokens import subject_end, target_ids

CASES = [
    ("France has Paris", "France"),
    ("The capital of France is", "France"),
    ("The capital of France", "France"),
    ("Rome, that is Rome, is", "Rome"),
    ("The town of Łódź lies", "Łódź"),
    ("In 北京 they say", "北京"),
    ("What 😀 means", "😀"),
    ("São Tomé is", "São Tomé"),
    ("Đắk Lắk is", "Đắk Lắk"),
    ("Ada-Lovelace's machine", "Ada-Lovelace"),
]


@pytest.mark.parametrize(("text", "subject"), CASES, ids=[subject for _, subject in CASES])
def test_the_last_token_of_the_last_occurrence(tiny_tokenizer: Any, text: str, subject: str) -> None:
    """A beginning of the text that ends with the subject has just as many tokens (here nothing merges across)."""
    beginning = text[: text.rfind(subject) + len(subject)]
    ids, head = tiny_tokenizer(text)["input_ids"], tiny_tokenizer(beginning)["input_ids"]
    assert ids[: len(head)] == head, "the tokenizer merges across the subject's end: not a case for this test"
    assert subject_end(tiny_tokenizer, text, subject) == len(head) - 1


def test_the_subject_at_the_start_may_be_token_zero(tiny_tokenizer: Any) -> None:
    assert subject_end(tiny_tokenizer, "Rome is", "R") == 0


def test_a_token_that_goes_on_after_the_subject(tiny_tokenizer: Any) -> None:
    """`France` is one token; a subject that ends within it ends with that token."""
    ids = tiny_tokenizer(" France")["input_ids"]
    assert len(ids) == 1, "the tiny tokenizer has learnt something else"
    assert subject_end(tiny_tokenizer, "The capital of France", "Fran") == subject_end(
        tiny_tokenizer, "The capital of France", "France"
    )


def test_special_tokens_cover_nothing(tiny_tokenizer: Any) -> None:
    class WithStart:
        """Puts a special token before the text, as many tokenizers do."""

        def __call__(self, text: str, **settings: Any) -> dict[str, Any]:
            return {"offset_mapping": [(0, 0), *tiny_tokenizer(text, **settings)["offset_mapping"], (0, 0)]}

    assert subject_end(WithStart(), "Rome is", "R") == 1


@pytest.mark.parametrize("subject", ["Spain", "france", ""])
def test_a_subject_that_is_not_there(tiny_tokenizer: Any, subject: str) -> None:
    with pytest.raises(EditError) as caught:
        subject_end(tiny_tokenizer, "The capital of France is", subject)
    assert repr(subject) in str(caught.value) and "'The capital of France is'" in str(caught.value)


@pytest.mark.parametrize("target", ["Rome", " Rome", "Rome ", "  Rome\n"])
def test_targets_have_one_leading_space(tiny_tokenizer: Any, target: str) -> None:
    assert tiny_tokenizer.decode(target_ids(tiny_tokenizer, target)) == " Rome"


def test_targets_have_no_special_tokens(tiny_tokenizer: Any) -> None:
    class WithStart:
        """Adds a special token unless told not to."""

        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, Any]:
            own = tiny_tokenizer(text)["input_ids"]
            return {"input_ids": [0, *own] if add_special_tokens else own}

    assert target_ids(WithStart(), "Rome") == tiny_tokenizer(" Rome")["input_ids"]
