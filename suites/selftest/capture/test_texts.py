"""Texts as token batches: which tokens are samples, in what order, in which block."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from editverdict.capture.passes import row_texts, row_tokens
from editverdict.capture.texts import TextSample, tokenize_sample

CPU = torch.device("cpu")
TEXTS = ["A river flows.", "a", "Ada lived in London, it is known.", "Seven ships.", "The capital of Italy is Rome."]


def sample_of(*lengths: int, blocks: int = 2) -> TextSample:
    """Texts of given lengths; token ids tell text and position: 100 * text + position."""
    return TextSample(tuple(tuple(100 * t + p for p in range(n)) for t, n in enumerate(lengths)), blocks)


def test_counts() -> None:
    sample = sample_of(5, 2, 9)
    assert (sample.n_texts, sample.n_tokens) == (3, 4 + 1 + 8)
    kept = sum(int(batch.keep.sum()) for batch in sample.batches(7, CPU))
    assert kept == sample.n_tokens
    assert sum(int(batch.mask.sum()) for batch in sample.batches(7, CPU)) == 5 + 2 + 9


def test_padding_and_first_tokens_are_no_samples() -> None:
    (batch,) = sample_of(3, 5).batches(7, CPU)
    assert batch.ids.tolist() == [[0, 1, 2, 7, 7], [100, 101, 102, 103, 104]]
    assert batch.mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch.keep.tolist() == [[False, True, True, False, False], [False, True, True, True, True]]
    assert batch.keep.dtype == torch.bool and batch.text.tolist() == [0, 1]


@pytest.mark.parametrize("pad", [0, 7, 101])
def test_a_token_that_equals_the_padding_is_still_a_sample(pad: int) -> None:
    """The mask decides, not the id: a pad that is also the end-of-text token occurs in texts."""
    batches = sample_of(3, 5).batches(pad, CPU)
    assert sorted(row_tokens(batches).tolist()) == [1, 2, 101, 102, 103, 104]


def test_batches_are_a_function_of_the_sample() -> None:
    sample = sample_of(9, 3, 30, 3, 12, 40, 2, 8)
    one, other = (sample.batches(7, CPU, tokens_per_batch=40) for _ in range(2))
    assert len(one) == len(other) > 2
    for a, b in zip(one, other, strict=True):
        assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("ids", "mask", "keep", "text"))
    order = [int(t) for batch in one for t in batch.text]
    assert order == sorted(range(8), key=lambda t: (len(sample.ids[t]), t))
    assert all(batch.ids.numel() <= 40 or len(batch.text) == 1 for batch in one)
    assert any(len(batch.text) > 1 for batch in one)


def test_rows_are_ordered_by_batch_text_and_position() -> None:
    sample = sample_of(4, 2, 6)
    batches = sample.batches(7, CPU, tokens_per_batch=8)
    assert len(batches) == 2
    tokens, texts = row_tokens(batches), row_texts(batches)
    assert tokens.tolist() == [101, 1, 2, 3, 201, 202, 203, 204, 205]
    assert texts.tolist() == [1, 0, 0, 0, 2, 2, 2, 2, 2]
    assert tokens.shape == texts.shape == (sample.n_tokens,)
    assert (tokens // 100).tolist() == texts.tolist()


def test_blocks_are_consecutive_and_even() -> None:
    sample = sample_of(*[2] * 10, blocks=4)
    blocks = [sample.block_of(text) for text in range(10)]
    assert blocks == sorted(blocks) and set(blocks) == {0, 1, 2, 3}
    sizes = [blocks.count(block) for block in range(4)]
    assert max(sizes) - min(sizes) <= 1


def test_head() -> None:
    sample = sample_of(5, 3, 4, 9, blocks=3)
    assert sample.head(1).ids == sample.head(4).ids == sample.ids[:1]
    assert sample.head(5).ids == sample.head(6).ids == sample.ids[:2]
    assert sample.head(7).ids == sample.ids[:3] and sample.head(7).n_blocks == 3
    assert sample.head(5).n_blocks == 2, "no more blocks than texts"
    assert sample.head(17).ids == sample.ids and sample.head(1000) == sample


def test_hash() -> None:
    sample = sample_of(3, 4)
    assert sample.hash == sample_of(3, 4).hash
    assert sample.hash != TextSample(sample.ids[::-1], 2).hash
    joined = TextSample((sum(sample.ids, ()),), 1)
    assert joined.hash != sample.hash, "where texts end matters"


# --------------------------------------------------------------------------- from texts
def test_a_sample_of_a_corpus(tiny_tokenizer: Any) -> None:
    sample = tokenize_sample(tiny_tokenizer, TEXTS, min_texts=99, min_tokens=1, n_blocks=2)
    encoded = [tuple(tiny_tokenizer(text)["input_ids"]) for text in TEXTS]
    assert len(encoded[1]) == 1
    assert sample.ids == tuple(ids for ids in encoded if len(ids) > 1), "a text of one token gives no sample"
    assert sample.n_blocks == 2


@pytest.mark.parametrize(("min_texts", "min_tokens", "expected"), [(2, 1, 2), (1, 10, 2), (3, 1, 3), (1, 1, 1)])
def test_as_many_texts_as_needed(tiny_tokenizer: Any, min_texts: int, min_tokens: int, expected: int) -> None:
    sample = tokenize_sample(tiny_tokenizer, TEXTS * 3, min_texts=min_texts, min_tokens=min_tokens, n_blocks=20)
    assert sample.n_texts == expected >= min_texts and sample.n_tokens >= min_tokens
    assert sample.n_blocks == expected
    if expected > min_texts:
        fewer = TextSample(sample.ids[:-1], 1)
        assert fewer.n_tokens < min_tokens


def test_many_texts_pass_the_step_of_the_tokenizer(tiny_tokenizer: Any) -> None:
    texts = [f"{TEXTS[number % 5]} {number}" for number in range(1300)]
    sample = tokenize_sample(tiny_tokenizer, texts, min_texts=1100, min_tokens=1, n_blocks=20)
    assert sample.ids == tuple(tuple(tiny_tokenizer(text)["input_ids"]) for text in texts[:1100])


def test_long_texts_are_cut(tiny_tokenizer: Any) -> None:
    sample = tokenize_sample(tiny_tokenizer, ["river " * 50], min_texts=1, min_tokens=1, n_blocks=1, max_length=12)
    assert [len(ids) for ids in sample.ids] == [12]


def test_a_corpus_of_nothing(tiny_tokenizer: Any) -> None:
    for texts in ([], ["a", "a"], [""]):
        with pytest.raises(ValueError, match="no text of two tokens or more; expected one text per line"):
            tokenize_sample(tiny_tokenizer, texts, min_texts=1, min_tokens=1, n_blocks=1)
