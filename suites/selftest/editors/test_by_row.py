"""Several states in force at once: every row sees its own state, and the weights are not touched."""

from __future__ import annotations

import pytest
import torch

from editverdict.editors.base import State, Step
from editverdict.editors.by_row import installed_by_row, is_low_rank
from editverdict.editors.deltas import dense, installed, low_rank
from editverdict.generation.decode import greedy_answers
from editverdict.generation.protocol import Protocol
from editverdict.generation.scoring import target_logprobs, targets_are_argmax
from editverdict.models.fingerprint import hash_weights
from editverdict.models.sources import LoadedModel
from editverdict.schema.protocols import AnswerProtocol

NAMES = ("model.layers.1.mlp.down_proj.weight", "model.layers.2.mlp.down_proj.weight")
PROMPTS = ["The capital of France is", "Ada lived in", "Seven ships sailed from Lisbon to"]


def state(seed: int, ranks: tuple[int, ...]) -> State:
    """Steps of the given ranks, the second step at another layer."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        Step(
            low_rank(
                NAMES[number % 2],
                torch.randn(32, rank, generator=generator) / 2,
                torch.randn(rank, 64, generator=generator),
            )
        )
        for number, rank in enumerate(ranks)
    )


STATES: list[State] = [state(0, (1,)), (), state(1, (2, 1)), state(2, (3,))]


def test_each_row_is_in_its_own_state(tiny: LoadedModel) -> None:
    ids = tiny.tokenizer(PROMPTS * 4, return_tensors="pt", padding=True)
    owners = [number for number in range(4) for _ in PROMPTS]
    scales = [1.0, 1.0, 3.0, 1.0]
    before = hash_weights(tiny.model)
    with torch.no_grad(), installed_by_row(tiny.model, STATES, scales) as rows:
        assert hash_weights(tiny.model) == before
        rows.use(owners)
        found = tiny.model(**ids).logits
        rows.use(owners[::-1])
        turned = tiny.model(**ids).logits
    for number, (own, scale) in enumerate(zip(STATES, scales, strict=True)):
        with torch.no_grad(), installed(tiny.model, own, scale):
            expected = tiny.model(**ids).logits
        mine, theirs = slice(3 * number, 3 * number + 3), slice(9 - 3 * number, 12 - 3 * number)
        torch.testing.assert_close(found[mine], expected[mine], atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(turned[theirs], expected[theirs], atol=2e-4, rtol=1e-4)
    assert not torch.allclose(found[0:3], found[6:9], atol=1e-1)
    assert torch.equal(tiny.model(**ids).logits, tiny.model(**ids).logits) and not tiny.model._forward_hooks


def test_answers_and_scores_equal_those_of_installed_states(tiny: LoadedModel) -> None:
    spec = AnswerProtocol(id="p", max_new_tokens=6, stop=("\n",))
    protocol = Protocol.build(spec, tiny.tokenizer)
    owners = [number for number in range(4) for _ in PROMPTS]
    pairs = [(prompt, "Rome") for prompt in PROMPTS]
    with installed_by_row(tiny.model, STATES, [1.0] * 4) as rows:
        together = greedy_answers(tiny.model, tiny.tokenizer, PROMPTS * 4, protocol, owners=owners, by_row=rows)
        scores = target_logprobs(tiny.model, tiny.tokenizer, pairs * 4, owners=owners, by_row=rows)
        best = targets_are_argmax(tiny.model, tiny.tokenizer, pairs * 4, owners=owners, by_row=rows)
    alone, alone_scores, alone_best = [], [], []
    for own in STATES:
        with installed(tiny.model, own):
            alone += greedy_answers(tiny.model, tiny.tokenizer, PROMPTS, protocol)
            alone_scores.append(target_logprobs(tiny.model, tiny.tokenizer, pairs))
            alone_best += targets_are_argmax(tiny.model, tiny.tokenizer, pairs)
    assert [a.tokens for a in together] == [a.tokens for a in alone]
    assert len({a.tokens for a in together}) > 6, "the states must differ in what they answer"
    torch.testing.assert_close(scores, torch.cat(alone_scores), atol=1e-4, rtol=1e-4)
    assert best == alone_best


def test_what_cannot_be_in_force_row_by_row(tiny: LoadedModel) -> None:
    full = (Step(dense(NAMES[0], torch.ones(32, 64))),)
    assert is_low_rank(STATES[2]) and is_low_rank(()) and not is_low_rank(full)
    kept = Step({**STATES[0][0].tensors, "keys.1": torch.ones(2)})
    assert is_low_rank((kept,)), "statistics that a step carries along are no deltas"
    assert not is_low_rank((Step({"codebook.keys": torch.ones(2)}),)), (
        "a state that is no delta is not in force by rows"
    )
    with pytest.raises(ValueError, match="low-rank"), installed_by_row(tiny.model, [full], [1.0]):
        pass
    with installed_by_row(tiny.model, STATES, [1.0] * 4) as rows:
        rows.use([0, 1])
        with pytest.raises(RuntimeError, match="2 rows were announced, and the batch has 1"):
            tiny.model(torch.tensor([[5, 6]]))
        with pytest.raises(ValueError, match="states 0 … 3"):
            rows.use([4])
    tiny.model(torch.tensor([[5, 6]]))
