"""Thinking and answer are parted by their marks, and the stop rule holds for the answer alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from editverdict.generation.decode import greedy_answers
from editverdict.generation.protocol import Protocol
from editverdict.generation.thinking import Parts, opens_in, part
from editverdict.schema.protocols import AnswerProtocol, Thinking

MARKS = Thinking()


@pytest.mark.parametrize(
    ("text", "opened", "expected"),
    [
        ("<think>Rome? Yes.</think>\nRome", False, Parts("Rome? Yes.", "\nRome", True)),
        (" \n<think>Rome?</think>Rome", False, Parts("Rome?", "Rome", True)),
        ("Rome? Yes.</think>Rome", True, Parts("Rome? Yes.", "Rome", True)),
        ("Rome? Yes.</think>Rome", False, Parts("Rome? Yes.", "Rome", True)),
        ("<think>\n</think>Rome", False, Parts("\n", "Rome", True)),
        ("<think>Rome? Wait", False, Parts("Rome? Wait", "", False)),
        ("Rome? Wait", True, Parts("Rome? Wait", "", False)),
        ("Rome.", False, Parts(None, "Rome.", None)),
        ("", True, Parts("", "", False)),
        ("", False, Parts(None, "", None)),
        ("a</think>b</think>c", True, Parts("a", "b</think>c", True)),
        ("The tag <think> is a mark", False, Parts(None, "The tag <think> is a mark", None)),
    ],
)
def test_parts(text: str, opened: bool, expected: Parts) -> None:
    assert part(text, MARKS, opened=opened) == expected


def test_whether_a_prompt_opens_the_thinking_part() -> None:
    assert opens_in("user: x\nassistant: <think>\n", MARKS)
    assert not opens_in("user: x\nassistant: <think>\n\n</think>\n\n", MARKS)
    assert not opens_in("user: x\nassistant: ", MARKS)


def test_marks_must_differ() -> None:
    with pytest.raises(ValidationError, match=r"both '#'; expected two different marks"):
        Thinking(open="#", close="#")


def spec(limit, stop=(), marks=None, **changes):  # type: ignore[no-untyped-def]
    thinking = None if marks is None else Thinking(open=marks[0], close=marks[1])
    return AnswerProtocol(id="t", max_new_tokens=limit, stop=stop, thinking=thinking, **changes)


def marks_in(tokenizer, answer):  # type: ignore[no-untyped-def]
    """What the model says first, and something that it says later, taken for marks; None where that will not do."""
    first, later = (
        tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)
        for tokens in (answer.tokens[:1], answer.tokens[5:7])
    )
    rest = answer.raw.lstrip().removeprefix(first.strip())
    usable = first.strip() and later.strip() and first.strip() != later and rest != answer.raw.lstrip()
    return (first.strip(), later) if usable and later in rest and "\ufffd" not in first + later else None


def test_answers_are_parted_and_stop_strings_count_behind_the_mark(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    def answered(prompt, **settings):  # type: ignore[no-untyped-def]
        protocol = replace(Protocol.build(spec(16, **settings), tokenizer), eos_ids=())
        return greedy_answers(model, tokenizer, [prompt], protocol)[0]

    def plainly(text):  # type: ignore[no-untyped-def]
        for token in tokenizer.all_special_tokens:
            text = text.replace(token, "")
        return text

    parted = stopped_later = 0
    for prompt in prompts:
        free = answered(prompt)
        marks = marks_in(tokenizer, free)
        if marks is None:
            continue
        rest = free.raw.lstrip()[len(marks[0]) :]
        at = rest.find(marks[1])
        thought, said = plainly(rest[:at]), plainly(rest[at + len(marks[1]) :]).lstrip()
        answer = answered(prompt, marks=marks)
        assert answer.tokens == free.tokens and answer.raw == free.raw
        assert (answer.thinking, answer.text, answer.thinking_closed) == (thought, said, True)
        parted += 1
        # A character of the thinking part that occurs again in the answer ends it there, and not before.
        again = [c for c in said[1:] if c in thought and c.isascii() and c.strip()]
        if not again:
            continue
        cut = answered(prompt, marks=marks, stop=(again[0],))
        assert (cut.stopped_by, cut.thinking, cut.text) == ("stop", thought, said[: said.find(again[0])])
        stopped_later += answered(prompt, stop=(again[0],)).n_tokens < cut.n_tokens
    assert parted >= 5 and stopped_later >= 2, (parted, stopped_later)


def test_thinking_that_does_not_end_is_no_answer(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if thinks %}\u00a7open\u00a7{% endif %}"
    )
    try:
        on, off = (
            Protocol.build(
                spec(
                    6,
                    marks=("\u00a7open\u00a7", "\u00a7close\u00a7"),
                    prompt_form="chat",
                    template_options={"thinks": thinks},
                ),
                tokenizer,
            )
            for thinks in (True, False)
        )
        assert on.id != off.id
        assert on.begins_thinking("Rome") and not off.begins_thinking("Rome")
        for answer in greedy_answers(model, tokenizer, prompts[:4], on):
            assert answer.text == "" and answer.thinking_closed is False and answer.thinking
        for answer in greedy_answers(model, tokenizer, prompts[:4], off):
            assert answer.thinking is None and answer.thinking_closed is None and answer.text
    finally:
        tokenizer.chat_template = None
