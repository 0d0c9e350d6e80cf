"""What one query takes: wall-clock and CPU seconds of exactly so many new tokens, with the retrieval part apart.

The paper measures latency under greedy decoding with a fixed output length of 50 tokens (§5, RQ4). Here nothing can end
an answer before its limit (no stop string, no end token), so that every answer has exactly that length, whatever the
model says; one query at a time, because latency is what one user waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editverdict.generation.decode import greedy_answers
from editverdict.generation.protocol import Protocol

LATENCY_VERSION = 1
"""Raised whenever what lies between start and stop of the clock changes."""
EXACTLY = 50
"""New tokens of a timed answer (the paper's §5)."""

Prompts = Callable[[Sequence[str]], list[str]]
"""Questions -> the prompts that the model is given: where a method retrieves, it does so here."""


@dataclass(frozen=True)
class Query:
    """One timed query."""

    retrieval: float
    """Wall-clock seconds until the prompt stood: nothing but a call where a method retrieves nothing."""
    decoding: float
    """Wall-clock seconds from the prompt to the last token, tokenisation included."""
    cpu: float
    """CPU seconds of this process over both."""
    tokens: int
    """New tokens that were really decoded."""
    prompt_tokens: int
    """Length of the prompt that the model was given."""
    peak_mib: float = 0.0
    """Largest memory while it was answered, where that was watched."""

    @property
    def total(self) -> float:
        """Latency: wall-clock seconds of both parts."""
        return self.retrieval + self.decoding

    def record(self) -> dict[str, float]:
        """For a table."""
        return asdict(self)


def exactly(protocol: Protocol, tokens: int = EXACTLY) -> Protocol:
    """The same protocol with answers of exactly so many tokens: least and largest number of new tokens are equal.

    Its id differs from the original's, so that such answers are never taken for answers to be judged.

    Raises
    ------
    ValueError
        Fewer than one token.
    """
    if tokens < 1:
        raise ValueError(f"an answer of exactly {tokens} tokens cannot be timed; expected at least 1")
    spec = protocol.spec.model_copy(update={"id": f"exactly-{tokens}", "max_new_tokens": tokens, "stop": ()})
    return replace(protocol, spec=spec, eos_ids=())


def settled(device: torch.device) -> None:
    """Wait until the device has done all that it was given: a clock must not stop before the work does."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed_query(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Prompts,
    question: str,
    protocol: Protocol,
) -> Query:
    """Answer one question alone and note what it took.

    Parameters
    ----------
    model, tokenizer
        The model in the state that is timed.
    prompts : callable
        The way of answering that is timed.
    question : str
        The query.
    protocol : Protocol
        From :func:`exactly`.

    Raises
    ------
    ValueError
        The protocol can end an answer early, or the answer has another length than it says.
    """
    if protocol.spec.stop or protocol.eos_ids:
        raise ValueError(
            f"protocol '{protocol.spec.id}' can end an answer early (stop {list(protocol.spec.stop)}, end tokens "
            f"{list(protocol.eos_ids)}); time answers under exactly(protocol)"
        )
    settled(model.device)
    cpu, start = time.process_time(), time.perf_counter()
    (prompt,) = prompts([question])
    settled(model.device)
    ready = time.perf_counter()
    (answer,) = greedy_answers(model, tokenizer, [prompt], protocol, batch_size=1)
    settled(model.device)
    end, spent = time.perf_counter(), time.process_time() - cpu
    if answer.n_tokens != protocol.spec.max_new_tokens:
        raise ValueError(
            f"{answer.n_tokens} tokens were decoded where exactly {protocol.spec.max_new_tokens} are timed"
        )
    return Query(ready - start, end - ready, spent, answer.n_tokens, len(protocol.encode([prompt])[0]))


@contextmanager
def slowed(model: nn.Module, share: float) -> Iterator[None]:
    """A planted cost: after every forward pass as much work again as took ``share`` of its time.

    Real work (products of matrices), so that wall clock and CPU time both show it; what it gives is thrown away, so
    that answers stay as they are.

    Raises
    ------
    ValueError
        A share that is not positive.
    """
    if share <= 0:
        raise ValueError(f"a planted cost of {share} of a pass is none; expected a share above 0")
    parameter = next(model.parameters())
    block = torch.full((64, 64), 0.01, device=parameter.device)
    began: list[float] = []

    def start(*_: Any) -> None:
        settled(parameter.device)
        began.append(time.perf_counter())

    def stop(*_: Any) -> None:
        settled(parameter.device)
        now = time.perf_counter()
        end = now + share * (now - began.pop())
        while time.perf_counter() < end:
            (block @ block).sum().item()

    handles = [model.register_forward_pre_hook(start), model.register_forward_hook(stop)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def interleaved(names: Sequence[str], rounds: int) -> list[list[str]]:
    """In which order what is compared takes its turns: one order per round, each the reverse of the one before.

    A machine that grows slower or faster, or is busy for a while, then touches all alike; a drift that is linear in
    time cancels over every two rounds.
    """
    return [list(names) if number % 2 == 0 else list(reversed(names)) for number in range(rounds)]
