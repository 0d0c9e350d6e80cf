"""Activation passes: what hooks see, on which tokens, and that nothing of them stays behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from editverdict.capture.passes import full_pass, record, row_texts, row_tokens, tail_pass
from editverdict.capture.texts import TextSample, TokenBatch, tokenize_sample
from editverdict.models.sources import LoadedModel

TEXTS = [
    "A river flows into the sea.",
    "Ada lived in London.",
    "Seven ships sailed from Lisbon to Goa; three of them came back.",
    "Rome.",
    "The capital of France is Paris. The capital of Italy is Rome.",
]


@pytest.fixture
def sample(tiny_tokenizer: Any) -> TextSample:
    return tokenize_sample(tiny_tokenizer, TEXTS, min_texts=5, min_tokens=1, n_blocks=5)


@pytest.fixture
def batches(tiny: LoadedModel, sample: TextSample) -> list[TokenBatch]:
    found = sample.batches(int(tiny.tokenizer.pad_token_id), tiny.device, tokens_per_batch=40)
    assert len(found) > 1 and any((batch.mask == 0).any() for batch in found)
    return found


def hooks(loaded: LoadedModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules())


def collect(loaded: LoadedModel, batches: list[TokenBatch], **sites: Any) -> dict[tuple[str, int], list[Tensor]]:
    found: dict[tuple[str, int], list[Tensor]] = {}

    def visit(_batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
        for name, tensor in seen.items():
            found.setdefault(name, []).append(tensor.clone())

    full_pass(loaded, batches, visit, **sites)
    return found


def test_outputs_keys_and_inputs_are_what_they_are_called(tiny: LoadedModel, batches: list[TokenBatch]) -> None:
    found = collect(tiny, batches, outputs=[0, 2], keys=[2], layer_inputs=[0, 2])
    assert set(found) == {("h", 0), ("h", 2), ("key", 2), ("in", 0), ("in", 2)}
    for number, batch in enumerate(batches):
        shape = tuple(batch.ids.shape)
        key, output = found["key", 2][number], found["h", 2][number]
        assert key.shape == (*shape, 64) and output.shape == (*shape, 32)
        assert torch.equal(output, tiny.sites.down_proj(2)(key)), "h is the down-projection of its key"
        assert torch.equal(found["in", 0][number], tiny.model.model.embed_tokens(batch.ids))
        with torch.no_grad():
            states = tiny.model(input_ids=batch.ids, attention_mask=batch.mask, output_hidden_states=True).hidden_states
        assert torch.equal(found["in", 2][number], states[2])


def test_padding_changes_no_sample(tiny: LoadedModel, sample: TextSample, batches: list[TokenBatch]) -> None:
    """Every row equals that of its text alone, in the order that row_texts and row_tokens say."""
    rows: list[Tensor] = []
    full_pass(tiny, batches, lambda batch, seen: rows.append(seen["h", 3][batch.keep]), outputs=[3])
    together = torch.cat(rows)
    assert together.shape == (sample.n_tokens, 32)
    texts, tokens = row_texts(batches), row_tokens(batches)
    for number, ids in enumerate(sample.ids):
        alone: list[Tensor] = []
        single = TextSample((ids,), 1).batches(0, tiny.device)
        full_pass(tiny, single, lambda batch, seen, to=alone: to.append(seen["h", 3][batch.keep]), outputs=[3])  # type: ignore[misc]
        assert tuple(tokens[texts == number].tolist()) == ids[1:]
        torch.testing.assert_close(together[texts == number], alone[0], atol=2e-5, rtol=1e-5)


def test_layers_above_the_highest_wanted_are_not_run(tiny: LoadedModel, batches: list[TokenBatch]) -> None:
    ran: list[int] = []
    handles = [
        layer.register_forward_hook(lambda *_args, number=number: ran.append(number))
        for number, layer in enumerate(tiny.sites.layers)
    ]
    try:
        part = collect(tiny, batches[:1], outputs=[1])
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [0, 1]
    whole = collect(tiny, batches[:1], outputs=[1, 3])
    assert torch.equal(part["h", 1][0], whole["h", 1][0])


@pytest.mark.parametrize("start", [0, 1, 3])
def test_the_tail_of_the_unedited_model_equals_the_full_pass(
    tiny: LoadedModel, batches: list[TokenBatch], start: int
) -> None:
    layers = list(range(start, 4))
    found = collect(tiny, batches, outputs=layers, layer_inputs=[start])
    tail = tail_pass(tiny, batches, found["in", start], start, layers)
    assert list(tail) == layers
    for layer in layers:
        rows = torch.cat([full[batch.keep] for full, batch in zip(found["h", layer], batches, strict=True)])
        assert torch.equal(tail[layer], rows), f"layer {layer} differs"


def test_the_tail_sees_an_edit_and_only_above_it(tiny: LoadedModel, batches: list[TokenBatch]) -> None:
    found = collect(tiny, batches, outputs=[1, 2, 3], layer_inputs=[1])
    before = tail_pass(tiny, batches, found["in", 1], 1, [1, 2, 3])
    weight = tiny.sites.down_proj(2).weight
    with torch.no_grad():
        weight.mul_(1.5)
    after = tail_pass(tiny, batches, found["in", 1], 1, [1, 2, 3])
    assert torch.equal(after[1], before[1])
    torch.testing.assert_close(after[2], 1.5 * before[2])
    assert not torch.allclose(after[3], before[3], atol=1e-3)
    whole = collect(tiny, batches, outputs=[3])
    rows = torch.cat([full[batch.keep] for full, batch in zip(whole["h", 3], batches, strict=True)])
    assert torch.equal(after[3], rows)


def test_stored_inputs_must_fit_the_batches(tiny: LoadedModel, batches: list[TokenBatch]) -> None:
    found = collect(tiny, batches, layer_inputs=[1])
    with pytest.raises(ValueError, match="zip"):
        tail_pass(tiny, batches, found["in", 1][:-1], 1, [2])
    assert hooks(tiny) == 0 and tiny.sites.n_layers == 4


def test_progress_counts_tokens(tiny: LoadedModel, sample: TextSample, batches: list[TokenBatch]) -> None:
    counted: list[int] = []
    full_pass(tiny, batches, lambda _batch, _seen: None, outputs=[0], progress=counted.append)
    assert len(counted) == len(batches) and sum(counted) == sum(map(len, sample.ids))
    found = collect(tiny, batches, layer_inputs=[2])
    again: list[int] = []
    tail_pass(tiny, batches, found["in", 2], 2, [3], progress=again.append)
    assert again == counted


def test_hooks_go_whatever_happens(tiny: LoadedModel, batches: list[TokenBatch]) -> None:
    def fail(_batch: TokenBatch, _seen: dict[tuple[str, int], Tensor]) -> None:
        assert hooks(tiny) == 3
        raise KeyError

    assert hooks(tiny) == 0
    with pytest.raises(KeyError):
        full_pass(tiny, batches, fail, outputs=[0], keys=[1], layer_inputs=[2])
    assert hooks(tiny) == 0 and tiny.sites.n_layers == 4
    with pytest.raises(KeyError), record(tiny, outputs=[0, 1], keys=[2]):
        raise KeyError
    assert hooks(tiny) == 0


def test_hooks_go_when_a_later_site_does_not_exist(tiny: LoadedModel) -> None:
    with pytest.raises(ValueError, match=r"model\.layers\.9"), record(tiny, outputs=[0, 9]):
        pass
    assert hooks(tiny) == 0


def test_recordings_are_detached_and_leave_no_gradient(tiny: LoadedModel, batches: list[TokenBatch]) -> None:
    tiny.model.requires_grad_(True)
    with record(tiny, outputs=[0], keys=[0], layer_inputs=[1]) as seen:
        tiny.model.model(input_ids=batches[0].ids, attention_mask=batches[0].mask, use_cache=False)
    assert len(seen) == 3 and not any(tensor.requires_grad for tensor in seen.values())
