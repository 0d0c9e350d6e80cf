"""The protocol id covers what makes an answer, and nothing else."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from editverdict.generation.protocol import Protocol, tokenizer_identity
from editverdict.schema.protocols import AnswerProtocol, Thinking

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[say]{% endif %}"
)


def build(tokenizer, identity="t" * 64, extra_eos=(), **changes):  # type: ignore[no-untyped-def]
    settings = {"id": "p", "max_new_tokens": 12, **changes}
    return Protocol.build(AnswerProtocol(**settings), tokenizer, identity=identity, extra_eos=extra_eos)


@pytest.fixture
def chatty(tokenizer):  # type: ignore[no-untyped-def]
    tokenizer.chat_template = TEMPLATE
    yield tokenizer
    tokenizer.chat_template = None


def test_id_is_short_stable_and_free_of_names(tokenizer):  # type: ignore[no-untyped-def]
    assert re.fullmatch("[0-9a-f]{16}", build(tokenizer).id)
    assert build(tokenizer).id == build(tokenizer, id="another-name").id
    assert build(tokenizer, stop=("a", "b")).id == build(tokenizer, stop=("b", "a")).id


@pytest.mark.parametrize(
    "change",
    [
        {"max_new_tokens": 13},
        {"stop": ()},
        {"stop": ("\n", ".")},
        {"identity": "u" * 64},
        {"extra_eos": (5,)},
        {"thinking": Thinking()},
        {"decoding": "teacher-forced"},
    ],
    ids=str,
)
def test_id_changes_with_what_makes_an_answer(tokenizer, change):  # type: ignore[no-untyped-def]
    assert build(tokenizer, **change).id != build(tokenizer).id


def test_what_a_protocol_does_not_use_does_not_change_its_id(tokenizer):  # type: ignore[no-untyped-def]
    """Stored answers stay valid when protocols learn new settings: the id is over what is in force."""
    state = {
        "version": 1,
        "tokenizer": "t" * 64,
        "prompt_form": "completion",
        "chat_template": None,
        "decoding": "greedy",
        "max_new_tokens": 12,
        "stop": ["\n"],
        "eos": [tokenizer.eos_token_id],
    }
    text = json.dumps(state, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    assert build(tokenizer).id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_marks_and_template_options_count(chatty):  # type: ignore[no-untyped-def]
    marked = build(chatty, prompt_form="chat", thinking=Thinking())
    assert marked.id != build(chatty, prompt_form="chat", thinking=Thinking(close="</thought>")).id
    ids = {build(chatty, prompt_form="chat", template_options={"thinks": on}).id for on in (True, False)}
    assert len(ids | {build(chatty, prompt_form="chat").id}) == 3


def test_options_need_a_template():
    with pytest.raises(ValueError, match=r"template_options \(thinks\) with prompt_form 'completion'"):
        AnswerProtocol(id="p", max_new_tokens=1, template_options={"thinks": True})
    with pytest.raises(ValueError, match="name tokenize, which this library sets"):
        AnswerProtocol(id="p", prompt_form="chat", max_new_tokens=1, template_options={"tokenize": True})


def test_the_template_counts_in_chat_form_only(chatty):  # type: ignore[no-untyped-def]
    completion, chat = build(chatty), build(chatty, prompt_form="chat")
    chatty.chat_template = TEMPLATE + "!"
    assert build(chatty).id == completion.id
    assert build(chatty, prompt_form="chat").id != chat.id
    assert chat.id != completion.id


def test_rendering(chatty):  # type: ignore[no-untyped-def]
    assert build(chatty).render("Rome is in") == "Rome is in"
    chat = build(chatty, prompt_form="chat")
    assert chat.render("Rome is in") == "[user]Rome is in[say]"
    chatty.chat_template = "changed later"
    assert chat.render("Rome is in") == "[user]Rome is in[say]"
    assert chatty.decode(chat.encode(["Rome"])[0]) == "[user]Rome[say]"


def test_tokenizer_identity_ignores_padding_but_not_vocabulary(tokenizer, other_tokenizer):  # type: ignore[no-untyped-def]
    before = tokenizer_identity(tokenizer)
    tokenizer(["a", "b c d"], padding=True, truncation=True, max_length=3)
    assert tokenizer.backend_tokenizer.padding is not None
    assert tokenizer_identity(tokenizer) == before
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    assert tokenizer_identity(other_tokenizer) == before
    other_tokenizer.add_tokens(["<new>"])
    assert tokenizer_identity(other_tokenizer) != before


def test_refusals(tokenizer):  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"no .* chat template"):
        build(tokenizer, prompt_form="chat")
    with pytest.raises(ValueError, match="stop string is empty"):
        build(tokenizer, stop=("\n", ""))
