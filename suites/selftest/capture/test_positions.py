"""Which tokens become samples, against a slow explicit computation: each text alone, token by token."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from editverdict.capture.passes import full_pass, row_texts, row_tokens, tail_pass
from editverdict.capture.texts import POSITIONS, Positions, TextSample, TokenBatch, tokenize_sample
from editverdict.models.sources import LoadedModel
from editverdict.schema.profiles import ProfileSpec

CPU = torch.device("cpu")
TEXTS = [
    "A river flows into the sea.",
    "Ada lived in London.",
    "Seven ships sailed from Lisbon to Goa; three of them came back.",
    "Rome.",
    "The capital of France is Paris. The capital of Italy is Rome.",
]


def sample_of(*lengths: int, positions: Positions, blocks: int = 2) -> TextSample:
    """Texts of given lengths; token ids tell text and position: 100 * text + position."""
    return TextSample(tuple(tuple(100 * t + p for p in range(n)) for t, n in enumerate(lengths)), blocks, positions)


def alone(loaded: LoadedModel, ids: tuple[int, ...], layer: int) -> Tensor:
    """States of one text by itself, [tokens, d], without any of this project's batches."""
    seen: list[Tensor] = []
    handle = loaded.sites.down_proj(layer).register_forward_hook(lambda _m, _a, out: seen.append(out.detach()))
    try:
        loaded.model.model(input_ids=torch.tensor([ids]), use_cache=False)
    finally:
        handle.remove()
    return seen[0][0]


def explicit(loaded: LoadedModel, sample: TextSample, layer: int) -> dict[int, Tensor]:
    """Text -> its samples, in float64, by the words of the definition."""
    found = {}
    for number, ids in enumerate(sample.ids):
        states = alone(loaded, ids, layer).double()
        kept = [states[position] for position in range(1, len(ids))]
        if sample.positions == "last_token":
            kept = [kept[-1]]
        elif sample.positions == "mean_token":
            kept = [sum(kept[1:], kept[0]) / len(kept)]
        found[number] = torch.stack(kept)
    return found


def test_the_schema_knows_the_same_names() -> None:
    field = ProfileSpec.model_fields["positions"]
    assert get_args(field.annotation) == POSITIONS and field.default == "all_tokens"


@pytest.mark.parametrize("positions", POSITIONS)
def test_samples_of_a_pass_are_those_of_each_text_alone(
    tiny: LoadedModel, tiny_tokenizer: Any, positions: Positions
) -> None:
    sample = tokenize_sample(tiny_tokenizer, TEXTS, min_texts=5, min_tokens=1, n_blocks=5, positions=positions)
    batches = sample.batches(int(tiny.tokenizer.pad_token_id), CPU, tokens_per_batch=40)
    assert any((batch.mask == 0).any() for batch in batches), "padding must have been at work"
    rows: list[Tensor] = []
    lower: list[Tensor] = []

    def visit(batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
        rows.append(batch.samples(seen["h", 3]))
        lower.append(seen["in", 1])

    full_pass(tiny, batches, visit, outputs=[3], layer_inputs=[1])
    together, texts = torch.cat(rows), row_texts(batches)
    assert len(together) == len(texts) == len(row_tokens(batches)) == sample.n_samples
    assert together.dtype == torch.float32
    for number, expected in explicit(tiny, sample, 3).items():
        torch.testing.assert_close(together[texts == number].double(), expected, atol=2e-5, rtol=1e-5)
    # The pass that starts at an edited layer takes the same samples.
    assert torch.equal(tail_pass(tiny, batches, lower, 1, [3])[3], together)


@pytest.mark.parametrize(("positions", "count"), [("all_tokens", 4 + 1 + 8), ("last_token", 3), ("mean_token", 3)])
def test_counts(positions: Positions, count: int) -> None:
    sample = sample_of(5, 2, 9, positions=positions)
    assert (sample.n_texts, sample.n_tokens, sample.n_samples) == (3, 13, count)
    (batch,) = sample.batches(7, CPU, tokens_per_batch=99)
    assert len(batch.samples(torch.randn(3, 9, 2))) == len(batch.row_texts()) == len(batch.row_tokens()) == count


def test_the_last_token_is_the_last_before_padding() -> None:
    (batch,) = sample_of(3, 5, positions="last_token").batches(7, CPU)
    assert batch.keep.tolist() == [[False, False, True, False, False], [False, False, False, False, True]]
    assert batch.row_tokens().tolist() == [2, 104] and batch.row_texts().tolist() == [0, 1]


def test_a_mean_is_over_all_tokens_but_the_first_and_blind_to_padding() -> None:
    (batch,) = sample_of(3, 5, positions="mean_token").batches(7, CPU)
    states = torch.arange(10, dtype=torch.float32).reshape(2, 5, 1)
    states[0, 3:] = torch.nan
    assert batch.samples(states).flatten().tolist() == [1.5, 7.5]
    # In float64, rounded once: summed in float32 the ones beside 2^25 would be lost.
    large = torch.tensor([[0.0, 2.0**25, 1.0, 1.0, 2.0]])[..., None]
    (one,) = sample_of(5, positions="mean_token", blocks=1).batches(7, CPU)
    assert float(one.samples(large)) == (2.0**25 + 4) / 4
    assert one.samples(large.double()).dtype == torch.float64


def test_a_mean_names_its_text_and_not_a_token() -> None:
    def names(*ids: tuple[int, ...]) -> list[int]:
        return row_tokens(TextSample(ids, 1, "mean_token").batches(7, CPU))[: len(ids)].tolist()

    assert names((1, 2, 3), (4, 5, 6)) == names((1, 2, 3), (4, 5, 6))
    assert len(set(names((1, 2, 3), (1, 3, 2), (2, 2, 3), (1, 2, 7)))) == 4
    assert names((1, 2, 3), (1, 2, 3, 4))[0] == names((1, 2, 3))[0], "padding is no part of a text"


def test_as_many_texts_as_samples_are_wanted(tiny_tokenizer: Any) -> None:
    made = {
        positions: tokenize_sample(
            tiny_tokenizer, TEXTS * 4, min_texts=1, min_tokens=12, n_blocks=20, positions=positions
        )
        for positions in POSITIONS
    }
    assert made["all_tokens"].n_texts < 12 and made["all_tokens"].n_samples >= 12
    for positions in ("last_token", "mean_token"):
        own = made[positions]
        assert own.n_texts == own.n_samples == own.n_blocks == 12
        assert own.head(5).n_texts == 5 and own.head(5).positions == positions


def test_another_choice_is_another_sample() -> None:
    hashes = {sample_of(3, 4, positions=positions).hash for positions in POSITIONS}
    assert len(hashes) == 3
    with pytest.raises(ValueError, match="expected one of all_tokens, last_token, mean_token, found 'first_token'"):
        TextSample(((1, 2),), 1, "first_token")  # type: ignore[arg-type]
