"""Encoder-decoders: answers equal those of transformers' own generate, scores a loop over single sequences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

from editverdict.generation.decode import greedy_answers
from editverdict.generation.protocol import Protocol, decoder_start
from editverdict.generation.scoring import choice_logprobs, target_logprobs, targets_are_argmax, token_logprobs
from editverdict.schema.protocols import AnswerProtocol

TARGETS = ["Paris", "Rome", "three of them came back", "no", "a very long way from Lisbon"]


@pytest.fixture(scope="module", params=["t5", "t5-gated", "bart"])
def model(request, tokenizer):  # type: ignore[no-untyped-def]
    """Random weights, wide enough that rounding decides nothing; the head of T5 is made wider for that."""
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    sizes: dict[str, Any] = {"vocab_size": len(tokenizer), "d_model": 32, "decoder_start_token_id": 0, **special}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        if request.param == "bart":  # positions that are learned, and a start token that is not the padding
            config = BartConfig(
                **{**sizes, "decoder_start_token_id": tokenizer.eos_token_id}, encoder_layers=2, decoder_layers=2,
                encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64,
                max_position_embeddings=64, init_std=0.5, bos_token_id=None, forced_eos_token_id=None,
            )  # fmt: skip
            return BartForConditionalGeneration(config).eval()
        config = T5Config(
            **sizes, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=2, num_heads=4, initializer_factor=2.0,
            feed_forward_proj="gated-gelu" if request.param == "t5-gated" else "relu",
        )  # fmt: skip
        return T5ForConditionalGeneration(config).eval()


def protocol(model, tokenizer, limit=10, stop=(), eos=()):  # type: ignore[no-untyped-def]
    spec = AnswerProtocol(id="t", max_new_tokens=limit, stop=stop)
    return Protocol.build(spec, tokenizer, extra_eos=eos, decoder_start=decoder_start(model))


@torch.no_grad()
def generated(model, tokenizer, prompt, limit, eos=()):  # type: ignore[no-untyped-def]
    """Transformers' own greedy search, one prompt at a time; the start token is taken off."""
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    ends = [tokenizer.eos_token_id, *eos]
    out = model.generate(ids, do_sample=False, num_beams=1, max_new_tokens=limit, eos_token_id=ends)
    return tuple(out[0, 1:].tolist())


@pytest.mark.parametrize("batch_size", [1, 5, 128])
def test_answers_equal_transformers_own(model, tokenizer, prompts, batch_size):  # type: ignore[no-untyped-def]
    answers = greedy_answers(model, tokenizer, prompts, protocol(model, tokenizer), batch_size=batch_size)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert answer.tokens == generated(model, tokenizer, prompt, 10), prompt
        assert (answer.stopped_by == "eos") == (answer.tokens[-1] == tokenizer.eos_token_id)
        assert answer.n_tokens == 10 or answer.stopped_by == "eos"
        said = answer.tokens[:-1] if answer.stopped_by == "eos" else answer.tokens
        assert answer.text == tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert len({a.tokens for a in answers}) > 3, "the test model says the same thing to everybody"


def test_end_tokens(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    free = greedy_answers(model, tokenizer, prompts, replace(protocol(model, tokenizer, 8), eos_ids=()))
    assert {a.n_tokens for a in free} == {8} and {a.stopped_by for a in free} == {"limit"}
    end = free[0].tokens[3]
    ended = greedy_answers(model, tokenizer, prompts, protocol(model, tokenizer, 8, eos=(end,)))
    for prompt, answer in zip(prompts, ended, strict=True):
        assert answer.tokens == generated(model, tokenizer, prompt, 8, (end,))
    assert any(a.stopped_by == "eos" and a.n_tokens < 8 for a in ended)


def test_stop_strings(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    free = greedy_answers(model, tokenizer, prompts, protocol(model, tokenizer))
    stop = next(c for a in free for c in a.text[2:] if c.isascii() and not c.isspace())
    cut = greedy_answers(model, tokenizer, prompts, protocol(model, tokenizer, stop=(stop,)))
    for before, answer in zip(free, cut, strict=True):
        assert answer.text == before.text.split(stop)[0]
        assert (answer.stopped_by == "stop") == (stop in before.text)
    assert any(a.stopped_by == "stop" for a in cut)


def test_answers_do_not_depend_on_companions(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    rule = protocol(model, tokenizer)
    together = greedy_answers(model, tokenizer, prompts, rule)
    assert together == [greedy_answers(model, tokenizer, [p], rule)[0] for p in prompts]
    assert together == greedy_answers(model, tokenizer, prompts[::-1], rule, batch_size=4)[::-1]


# --------------------------------------------------------------------------- protocol
def test_the_protocol_says_where_answers_come_from(tokenizer):  # type: ignore[no-untyped-def]
    spec = AnswerProtocol(id="t", max_new_tokens=5)
    ids = [Protocol.build(spec, tokenizer, identity="t" * 64, decoder_start=s).id for s in (None, 0, 2)]
    assert len(set(ids)) == 3
    assert ids[0] == Protocol.build(spec, tokenizer, identity="t" * 64).id


def test_a_protocol_for_another_kind_of_model_is_refused(model, tokenizer, any_model):  # type: ignore[no-untyped-def]
    plain = protocol(any_model, tokenizer)
    assert plain.decoder_start is None
    with pytest.raises(ValueError, match=r"start from decoder token None, the model from \d; build the protocol with"):
        greedy_answers(model, tokenizer, ["Rome"], plain)
    with pytest.raises(ValueError, match=r"start from decoder token \d, the model from None"):
        greedy_answers(any_model, tokenizer, ["Rome"], protocol(model, tokenizer))


def test_a_start_token_that_is_not_named(model, tokenizer):  # type: ignore[no-untyped-def]
    start = decoder_start(model)
    places = [s for s in (model.config, model.generation_config) if getattr(s, "decoder_start_token_id", None) == start]
    assert places
    for settings in places:
        settings.decoder_start_token_id = None
    try:
        with pytest.raises(ValueError, match="names no decoder_start_token_id"):
            decoder_start(model)
    finally:
        for settings in places:
            settings.decoder_start_token_id = start


def test_lengths_are_counted_apart(model, tokenizer):  # type: ignore[no-untyped-def]
    if model.config.model_type == "t5":
        long = "sea " * 200  # relative positions: any length
        assert greedy_answers(model, tokenizer, [long], protocol(model, tokenizer, 4))[0].n_tokens
        return
    fits = "a " * 30
    assert 30 <= len(tokenizer(fits)["input_ids"]) <= 64
    assert greedy_answers(model, tokenizer, [fits], protocol(model, tokenizer, 40))[0].n_tokens
    for prompt, limit in (("a " * 70, 4), ("a", 65)):
        with pytest.raises(ValueError, match="64 positions"):
            greedy_answers(model, tokenizer, [prompt], protocol(model, tokenizer, limit))


# --------------------------------------------------------------------------- scores
@torch.no_grad()
def naive(model, tokenizer, prompt, target):  # type: ignore[no-untyped-def]
    """One pair, by the model's own loss over labels, token by token."""
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    labels = torch.tensor([tokenizer(" " + target)["input_ids"]])
    table = model(input_ids=ids, labels=labels).logits[0].double().log_softmax(-1)
    return table.gather(1, labels[0][:, None])[:, 0], bool((table.argmax(-1) == labels[0]).all())


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_scores_equal_a_naive_loop(model, tokenizer, prompts, batch_size):  # type: ignore[no-untyped-def]
    pairs = [(p, t) for i, p in enumerate(prompts) for t in (TARGETS[i % 5], TARGETS[(i * 3 + 2) % 5])]
    expected = [naive(model, tokenizer, *pair)[0] for pair in pairs]
    for row, wanted in zip(token_logprobs(model, tokenizer, pairs, batch_size=batch_size), expected, strict=True):
        torch.testing.assert_close(row, wanted, rtol=1e-5, atol=1e-4)
    sums = target_logprobs(model, tokenizer, pairs, batch_size=batch_size)
    torch.testing.assert_close(sums, torch.stack([row.sum() for row in expected]), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("choices", [("yes", "no"), ("yes", "three of them")], ids=["one-token", "several-tokens"])
def test_choices_equal_targets(model, tokenizer, prompts, choices):  # type: ignore[no-untyped-def]
    table = choice_logprobs(model, tokenizer, prompts, choices, batch_size=5)
    for j, choice in enumerate(choices):
        wanted = target_logprobs(model, tokenizer, [(p, choice) for p in prompts])
        torch.testing.assert_close(table[:, j], wanted, rtol=1e-5, atol=1e-4)


def test_argmax(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    """What is decoded greedily is the argmax of teacher forcing, where its tokens are those of its text."""
    answers = greedy_answers(model, tokenizer, prompts, protocol(model, tokenizer, 3))
    pairs = [(p, a.text) for p, a in zip(prompts, answers, strict=True) if a.text.strip()] + [(prompts[0], "Paris")]
    found = targets_are_argmax(model, tokenizer, pairs, batch_size=4)
    assert found == [naive(model, tokenizer, p, t.strip())[1] for p, t in pairs]
