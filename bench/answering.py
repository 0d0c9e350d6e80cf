"""What batching is worth: questions answered at once against one by one, measured side by side in one run.

Both ways answer the same prompts by the same protocol and must give the same answers (rounding may part a few, which
are counted). Batches and single questions are timed in turn, so that a busy machine slows both. Exit code 1 if the
budget is not reached: at a batch of 32, six times as many answers a second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from board import Board, cpu
from rich.console import Console

from editverdict.evaluation.questions import questions_of_all
from editverdict.generation.decode import Answer, greedy_answers
from editverdict.generation.protocol import Protocol
from editverdict.models.sources import LoadedModel
from editverdict.pipeline.setup import Options, make_trial

ROOT = Path(__file__).resolve().parents[1]
MODEL = "smollm2-135m"
BATCH = 32
BUDGET = 6.0
"""Least ratio of throughputs at the paper's 50 new tokens."""


@dataclass(frozen=True)
class Timed:
    """CPU seconds of one batch of questions, both ways."""

    batched: float
    one_by_one: float
    tokens: int
    """Tokens generated."""
    differing: int
    """Answers that the two ways give differently."""


def timed(loaded: LoadedModel, protocol: Protocol, prompts: Sequence[str]) -> Timed:
    """Answer a batch at once, then one by one."""
    at_once: list[Answer] = []
    alone: list[Answer] = []
    batched = cpu(lambda: at_once.extend(_answers(loaded, protocol, prompts, len(prompts))))
    single = cpu(lambda: alone.extend(_answers(loaded, protocol, prompts, 1)))
    differing = sum(a.tokens != b.tokens for a, b in zip(at_once, alone, strict=True))
    return Timed(batched, single, sum(answer.n_tokens for answer in at_once), differing)


def _answers(loaded: LoadedModel, protocol: Protocol, prompts: Sequence[str], batch_size: int) -> list[Answer]:
    return greedy_answers(loaded.model, loaded.tokenizer, prompts, protocol, batch_size=batch_size)


def main() -> int:
    """Measure and print; 1 if the budget is not reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, help="batches per protocol (default 3)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    console = Console()
    board = Board(f"Answering, {MODEL}, batches of {BATCH}, one thread", console)
    trial = make_trial(Options(profile="laptop"), ROOT / "specs")
    loaded, own = trial.model(MODEL), trial.profile.protocol_of(MODEL)
    records = trial.records("worldfacts")
    prompts = list(dict.fromkeys(question.prompt for question in questions_of_all(records)))[: BATCH * rounds]
    # The paper's length without a stop rule, where nearly every answer runs to its limit; and the profile's own.
    long = own.model_copy(update={"id": "completion-50", "max_new_tokens": 50, "stop": ()})
    reached = True
    for spec, budget in ((long, BUDGET), (own, None)):
        protocol = Protocol.build(spec, loaded.tokenizer)
        timed(loaded, protocol, prompts[:2])  # first calls set things up
        found = [timed(loaded, protocol, prompts[i * BATCH : (i + 1) * BATCH]) for i in range(rounds)]
        ratio = statistics.median(one.one_by_one / one.batched for one in found)
        tokens, differing = sum(one.tokens for one in found), sum(one.differing for one in found)
        seconds = [sum(one.batched for one in found), sum(one.one_by_one for one in found)]
        measured = (
            f"{tokens / seconds[0]:.0f} against {tokens / seconds[1]:.0f} tokens/s, "
            f"{differing} of {rounds * BATCH} answers differ"
        )
        board.row(f"throughput at once over one by one, {spec.id}", measured, ratio, "x")
        if budget is not None:
            reached = ratio >= budget
            board.say(f"budget: at least {budget:g} x: {'reached' if reached else 'NOT REACHED'}")
    console.print(board.table)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
