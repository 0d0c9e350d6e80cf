"""Several low-rank states in one pass: the same numbers as installed one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from editverdict.capture.passes import full_pass, tail_pass
from editverdict.capture.texts import POSITIONS, Positions, TokenBatch, tokenize_sample
from editverdict.editors.base import State, Step
from editverdict.editors.deltas import dense, installed, layer_delta
from editverdict.models.sources import LoadedModel
from editverdict.pipeline.together import tails_together

TEXTS = [
    "A river flows into the sea.",
    "Ada lived in London.",
    "Seven ships sailed from Lisbon to Goa; three of them came back.",
    "Rome.",
    "The capital of France is Paris. The capital of Italy is Rome.",
    "It is known.",
]


def states_of(loaded: LoadedModel) -> list[State]:
    """A rank-one state, nothing, a chain of two on layer 1, and one that changes layers 1 and 2."""
    generator = torch.Generator().manual_seed(4)

    def step(*layers: int) -> Step:
        factors = [(torch.randn(32, 1, generator=generator), torch.randn(1, 64, generator=generator)) for _ in layers]
        pairs = [layer_delta(loaded, n, left, 0.1 * right) for n, (left, right) in zip(layers, factors, strict=True)]
        return Step({name: tensor for pair in pairs for name, tensor in pair.items()})

    return [(step(1),), (), (step(1), step(1)), (step(1, 2),)]


@pytest.mark.parametrize("positions", POSITIONS)
def test_rows_are_those_of_installed_states(tiny: LoadedModel, tiny_tokenizer: Any, positions: Positions) -> None:
    sample = tokenize_sample(tiny_tokenizer, TEXTS, min_texts=6, min_tokens=1, n_blocks=3, positions=positions)
    batches = sample.batches(int(tiny.tokenizer.pad_token_id), tiny.device, tokens_per_batch=60)
    assert any(len(batch.text) > 1 for batch in batches) and any(len(batch.text) < 4 for batch in batches)
    lower: list[torch.Tensor] = []

    def visit(_batch: TokenBatch, seen: dict[tuple[str, int], torch.Tensor]) -> None:
        lower.append(seen["in", 1])

    full_pass(tiny, batches, visit, layer_inputs=[1])
    states, scales = states_of(tiny), [1.0, 1.0, 3.0, -0.5]
    found = tails_together(tiny, batches, lower, 1, [1, 2, 3], states, scales)
    plain = tail_pass(tiny, batches, lower, 1, [1, 2, 3])
    for number, (state, scale) in enumerate(zip(states, scales, strict=True)):
        with installed(tiny.model, state, scale):
            expected = tail_pass(tiny, batches, lower, 1, [1, 2, 3])
        for layer in (1, 2, 3):
            size = float(expected[layer].abs().max())
            torch.testing.assert_close(found[number][layer], expected[layer], rtol=0, atol=2e-5 * size)
            changed = float((found[number][layer] - plain[layer]).abs().max())
            assert (changed < 1e-5 * size) == (not state), "states must not be mistaken for one another"


def test_what_cannot_share_a_pass(tiny: LoadedModel) -> None:
    assert tails_together(tiny, [], [], 1, [1], []) == []
    full = (Step(dense(tiny.sites.down_proj_weight(1), torch.ones(32, 64))),)
    with pytest.raises(ValueError, match="low-rank"):
        tails_together(tiny, [], [], 1, [1], [full])
