"""Greedy decoding equals a loop that anyone can read; the stop rule; what must not leak."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig

from editverdict.generation.decode import greedy_answers
from editverdict.generation.protocol import Protocol
from editverdict.schema.protocols import AnswerProtocol


def protocol(tokenizer, limit=10, stop=(), eos=()):  # type: ignore[no-untyped-def]
    return Protocol.build(AnswerProtocol(id="t", max_new_tokens=limit, stop=stop), tokenizer, extra_eos=eos)


@torch.no_grad()
def naive_tokens(model, tokenizer, prompt, limit):  # type: ignore[no-untyped-def]
    """One prompt, no cache, no padding, no stop."""
    ids = tokenizer(prompt)["input_ids"]
    start = len(ids)
    while len(ids) < start + limit:
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        ids = [*ids, int(logits.argmax())]
    return tuple(ids[start:])


def until(tokens, ends):  # type: ignore[no-untyped-def]
    """Shortest beginning for which ``ends`` holds, else all."""
    return next((tokens[: i + 1] for i in range(len(tokens)) if ends(tokens[: i + 1])), tokens)


def decode(tokenizer, tokens):  # type: ignore[no-untyped-def]
    return tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("batch_size", [1, 5, 128])
def test_equals_a_naive_loop(any_model, tokenizer, prompts, batch_size):  # type: ignore[no-untyped-def]
    answers = greedy_answers(any_model, tokenizer, prompts, protocol(tokenizer), batch_size=batch_size)
    eos = tokenizer.eos_token_id
    for prompt, answer in zip(prompts, answers, strict=True):
        expected = until(naive_tokens(any_model, tokenizer, prompt, 10), lambda t: t[-1] == eos)
        assert answer.tokens == expected, prompt
    assert len({a.tokens for a in answers}) > 3, "the test model says the same thing to everybody"


def test_answers_do_not_depend_on_companions_or_order(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    rule = protocol(tokenizer)
    together = greedy_answers(model, tokenizer, prompts, rule)
    alone = [greedy_answers(model, tokenizer, [p], rule)[0] for p in prompts]
    backwards = greedy_answers(model, tokenizer, prompts[::-1], rule, batch_size=4)[::-1]
    assert together == alone == backwards
    assert together == greedy_answers(model, tokenizer, prompts, rule)


def test_equal_prompts_are_answered_once_and_all_counted(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    seen: list[int] = []
    many = [prompts[0], prompts[1], prompts[0], prompts[0]]
    answers = greedy_answers(model, tokenizer, many, protocol(tokenizer), batch_size=1, progress=seen.append)
    assert answers[0] == answers[2] == answers[3]
    assert sorted(seen) == [1, 3]
    assert greedy_answers(model, tokenizer, [], protocol(tokenizer)) == []


def ascii_pieces(tokenizer, tokens):  # type: ignore[no-untyped-def]
    """Inner character of an inner token (a stop string inside a token), and two characters across a boundary."""
    for i in range(1, len(tokens) - 1):
        piece, following = decode(tokenizer, [tokens[i]]), decode(tokenizer, [tokens[i + 1]])
        if piece.isascii() and len(piece) >= 3 and following.isascii() and following:
            return piece[1], piece[-1] + following[0]
    return None


def test_stop_strings_inside_and_across_tokens(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    free = greedy_answers(model, tokenizer, prompts, protocol(tokenizer, 12))
    stops = {s for a in free if (found := ascii_pieces(tokenizer, a.tokens)) for s in found}
    assert len(stops) >= 4
    cut = 0
    for stop in sorted(stops):
        for before, answer in zip(
            free, greedy_answers(model, tokenizer, prompts, protocol(tokenizer, 12, (stop,))), strict=True
        ):
            expected = until(before.tokens, lambda t, stop=stop: stop in decode(tokenizer, t))
            assert answer.tokens == expected
            assert answer.text == decode(tokenizer, expected).split(stop)[0]
            assert (answer.stopped_by == "stop") == (stop in decode(tokenizer, expected))
            cut += answer.stopped_by == "stop" and answer.text != before.text
            assert answer.raw == tokenizer.decode(list(expected), clean_up_tokenization_spaces=False)
    assert cut > 5


def test_the_earliest_of_several_stop_strings_cuts(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    """Two stop strings completed by one token, the later one named first."""
    tried = 0
    for prompt in prompts:
        free = greedy_answers(model, tokenizer, [prompt], protocol(tokenizer, 12))[0]
        for i in range(1, free.n_tokens):
            before, upto = (decode(tokenizer, free.tokens[:j]) for j in (i, i + 1))
            early, late = upto[len(before) :][1:2], upto[len(before) :][2:3]
            if not (upto.isascii() and late and early != late) or early in before or late in before:
                continue
            answer = greedy_answers(model, tokenizer, [prompt], protocol(tokenizer, 12, (late, early)))[0]
            assert answer.text == upto[: min(upto.find(early), upto.find(late))]
            tried += 1
    assert tried


def test_end_tokens_and_limits(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    endless = replace(protocol(tokenizer, 8), eos_ids=())
    free = greedy_answers(model, tokenizer, prompts, endless)
    assert {a.stopped_by for a in free} == {"limit"}
    assert {a.n_tokens for a in free} == {8}
    end = free[0].tokens[3]
    ended = greedy_answers(model, tokenizer, prompts, replace(endless, eos_ids=(end,)))
    for before, answer in zip(free, ended, strict=True):
        assert answer.tokens == until(before.tokens, lambda t: t[-1] == end)
        assert (answer.stopped_by == "eos") == (end in before.tokens)
        if answer.stopped_by == "eos":
            assert answer.text == decode(tokenizer, answer.tokens[:-1])
    assert ended[0].stopped_by == "eos"
    one = greedy_answers(model, tokenizer, prompts, replace(protocol(tokenizer, 1), eos_ids=()))
    assert [a.tokens for a in one] == [a.tokens[:1] for a in free]


def test_finished_rows_leave_the_batch(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    free = greedy_answers(model, tokenizer, prompts, protocol(tokenizer, 8))
    ends = tuple({a.tokens[i % 6] for i, a in enumerate(free)})
    rows: list[int] = []
    handle = model.register_forward_pre_hook(lambda _m, _a, kw: rows.append(kw["input_ids"].shape[0]), with_kwargs=True)
    try:
        answers = greedy_answers(model, tokenizer, prompts, protocol(tokenizer, 8, eos=ends))
    finally:
        handle.remove()
    assert rows[0] == len(set(prompts)) and rows[-1] < rows[0] and rows == sorted(rows, reverse=True)
    for before, answer in zip(free, answers, strict=True):
        assert answer.tokens == until(before.tokens, lambda t: t[-1] in ends)


def test_generation_defaults_of_the_model_do_not_leak(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    clean = greedy_answers(model, tokenizer, prompts, protocol(tokenizer))
    kept = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=9.0, repetition_penalty=30.0, max_new_tokens=2, suppress_tokens=[clean[0].tokens[0]]
    )
    try:
        assert greedy_answers(model, tokenizer, prompts, protocol(tokenizer)) == clean
        assert model.generation_config.repetition_penalty == 30.0
    finally:
        model.generation_config = kept


@pytest.mark.parametrize("side", ["left", "right"])
def test_tokenizer_and_random_state_are_left_alone(model, tokenizer, prompts, side):  # type: ignore[no-untyped-def]
    kept, state = tokenizer.padding_side, torch.random.get_rng_state()
    tokenizer.padding_side = side
    try:
        answers = greedy_answers(model, tokenizer, prompts, protocol(tokenizer))
        assert tokenizer.padding_side == side
        assert tokenizer.backend_tokenizer.padding is None
    finally:
        tokenizer.padding_side = kept
    assert answers == greedy_answers(model, tokenizer, prompts, protocol(tokenizer))
    assert torch.equal(state, torch.random.get_rng_state())


def test_refusals(model, tokenizer):  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"prompt 1 \(''\) has no tokens"):
        greedy_answers(model, tokenizer, ["fine", ""], protocol(tokenizer))
    with pytest.raises(ValueError, match="128 positions"):
        greedy_answers(model, tokenizer, ["yes " * 200], protocol(tokenizer))
    with pytest.raises(ValueError, match="batch_size"):
        greedy_answers(model, tokenizer, ["fine"], protocol(tokenizer), batch_size=0)
