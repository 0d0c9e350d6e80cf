"""Timed queries: exactly so many tokens, retrieval apart, planted work seen and nothing of it left behind."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import pytest

from editverdict.generation.decode import greedy_answers
from editverdict.generation.latency import EXACTLY, exactly, interleaved, slowed, timed_query
from editverdict.generation.protocol import Protocol
from editverdict.models.fingerprint import hash_weights
from editverdict.models.sources import LoadedModel
from editverdict.schema.protocols import AnswerProtocol

QUESTION = "Ada lived in"


def same(questions: Sequence[str]) -> list[str]:
    return list(questions)


@pytest.fixture
def protocol(tiny: LoadedModel) -> Protocol:
    """A protocol whose answers end at once: each of the tiny model's first tokens is an end token."""
    spec = AnswerProtocol(id="short", max_new_tokens=12, stop=("e",))
    plain = Protocol.build(spec, tiny.tokenizer, identity="t")
    (answer,) = greedy_answers(tiny.model, tiny.tokenizer, [QUESTION], exactly(plain))
    return Protocol.build(spec, tiny.tokenizer, identity="t", extra_eos=[answer.tokens[0]])


def passes(loaded: LoadedModel, call: Callable[[], object]) -> int:
    """Number of forward passes that a call makes."""
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    handle = loaded.model.register_forward_hook(note)
    try:
        call()
    finally:
        handle.remove()
    return count


def test_exactly_fifty_tokens_are_really_decoded(tiny: LoadedModel, protocol: Protocol) -> None:
    (early,) = greedy_answers(tiny.model, tiny.tokenizer, [QUESTION], protocol)
    assert early.n_tokens == 1 and early.stopped_by == "eos"
    full = exactly(protocol)
    assert passes(tiny, lambda: timed_query(tiny.model, tiny.tokenizer, same, QUESTION, full)) == EXACTLY == 50
    found = timed_query(tiny.model, tiny.tokenizer, same, QUESTION, full)
    assert found.tokens == 50 and found.prompt_tokens == len(protocol.encode([QUESTION])[0])
    assert full.id != protocol.id


def test_a_protocol_that_can_end_early_is_refused(tiny: LoadedModel, protocol: Protocol) -> None:
    with pytest.raises(ValueError, match=r"can end an answer early \(stop \['e'\], end tokens \["):
        timed_query(tiny.model, tiny.tokenizer, same, QUESTION, protocol)
    with pytest.raises(ValueError, match="exactly 0 tokens"):
        exactly(protocol, 0)


def test_retrieval_is_timed_apart(tiny: LoadedModel, protocol: Protocol) -> None:
    def slow(questions: Sequence[str]) -> list[str]:
        time.sleep(0.2)
        return [f"It is known. {question}" for question in questions]

    full = exactly(protocol, 3)
    plain = timed_query(tiny.model, tiny.tokenizer, same, QUESTION, full)
    found = timed_query(tiny.model, tiny.tokenizer, slow, QUESTION, full)
    assert plain.retrieval < 0.1 <= 0.2 <= found.retrieval
    assert found.decoding < 0.2 and found.total == found.retrieval + found.decoding
    assert found.cpu < found.total - 0.1  # sleeping is no work
    assert found.prompt_tokens > plain.prompt_tokens


def test_planted_work_is_seen_and_changes_no_answer(tiny: LoadedModel, protocol: Protocol) -> None:
    full = exactly(protocol)
    ratios: dict[str, list[float]] = {"again": [], "planted": []}
    for _ in range(9):
        base = timed_query(tiny.model, tiny.tokenizer, same, QUESTION, full)
        with slowed(tiny.model, 0.5):
            planted = timed_query(tiny.model, tiny.tokenizer, same, QUESTION, full)
        again = timed_query(tiny.model, tiny.tokenizer, same, QUESTION, full)
        ratios["planted"].append(2 * planted.cpu / (base.cpu + again.cpu))
        ratios["again"].append(again.cpu / base.cpu)
    assert 0.8 < statistics.median(ratios["again"]) < 1.25
    assert 1.25 < statistics.median(ratios["planted"]) < 2.5
    plain = greedy_answers(tiny.model, tiny.tokenizer, [QUESTION], full)
    with slowed(tiny.model, 0.5):
        assert greedy_answers(tiny.model, tiny.tokenizer, [QUESTION], full) == plain
    assert not tiny.model._forward_hooks and not tiny.model._forward_pre_hooks
    assert hash_weights(tiny.model) == tiny.identity.weights


def test_no_planted_work_is_refused(tiny: LoadedModel) -> None:
    with pytest.raises(ValueError, match="planted cost of 0"), slowed(tiny.model, 0.0):
        pass


def test_orders_alternate() -> None:
    assert interleaved(["a", "b", "c"], 3) == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]]
