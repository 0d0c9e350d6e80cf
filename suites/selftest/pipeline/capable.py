"""A toy that has something to lose: items whose answers are what it says, and a trial that scores it on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from editverdict.data.capability import items_of
from editverdict.inference.rows import Row
from editverdict.pipeline import capability
from editverdict.pipeline.cases import judge_case
from editverdict.pipeline.matrix import matrix
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.schema.capabilities import CapabilitySpec, CapabilityTask
from suites.selftest.pipeline.sessions import ROOT

MODEL = "rehearsal-llama"
TEN = "rq2-capability-10edits"
SPECS = """
capabilities:
  - id: mine
    describes: what the toy says
    tasks:
      - {{id: first, describes: d, source: {{kind: file, path: "{first}"}}, chance: 0.25}}
      - {{id: second, describes: d, source: {{kind: file, path: "{second}"}}, chance: 0.25}}
profiles:
  - id: able
    describes: a toy that has something to lose
    models: [rehearsal-llama]
    methods: [ROME, MEND]
    datasets: [worldfacts]
    corpus: wordnet-glosses
    encoder: minilm
    judge: lexical
    protocol: {{id: completion-4, max_new_tokens: 4}}
    capabilities: {{reasoning: mine, broader: small-broader}}
    sizes: {{single_edits: 3, chains: 6, chain_length: 3, long_chain: 4, base_texts: 120, base_tokens: 1920,
            norm_tokens: 480, angle_tokens: 480, text_blocks: 20, random_seeds: 20}}
"""


def generated(name: str, items: int, chance: float | None = 0.25) -> CapabilityTask:
    source = {"kind": "generated", "generator": name}
    metric = "accuracy" if chance else "log-probability"
    fields = {"id": name, "describes": "d", "source": source, "items": items, "chance": chance, "metric": metric}
    return CapabilityTask.model_validate(fields)


def as_the_toy_says(trial: Trial, name: str, path: Path, count: int) -> None:
    """Items whose right choice is the toy's own, but for every eighth."""
    items = items_of(generated(name, count), [])
    found = capability.scored_choices(
        trial.model(MODEL).model, trial.model(MODEL).tokenizer, [(item.prompt, item.choices) for item in items]
    )
    lines = []
    for n, (item, one) in enumerate(zip(items, found, strict=True)):
        said = max(range(4), key=lambda i: one.logprobs[i])
        lines.append(item.model_copy(update={"answer": (said + (n % 8 == 0)) % 4}).model_dump_json())
    path.write_text("\n".join(lines))


def able(folder: Path, store: Path) -> Iterator[Trial]:
    """Profile ``able`` over this store, with its items in ``folder``; one thread while it is in use."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    plain = make_trial(Options(profile="smoke"), ROOT / "specs")
    as_the_toy_says(plain, "copying", folder / "first.jsonl", 80)
    as_the_toy_says(plain, "retrieval", folder / "second.jsonl", 60)
    specs = folder / "specs"
    specs.mkdir()
    (specs / "mine.yaml").write_text(SPECS.format(first=folder / "first.jsonl", second=folder / "second.jsonl"))
    yield make_trial(Options(profile="able", specs=(specs,), store=store), ROOT / "specs")
    torch.set_num_threads(threads)


def judged(trial: Trial, claim: str, method: str = "ROME") -> tuple[Row, list[dict[str, Any]]]:
    cases = [case for case in matrix(trial.library, trial.profile) if case.claim.id == claim and case.method == method]
    made = judge_case(trial, cases[0])
    assert made.row.traceback is None, made.row.traceback
    return made.row, made.pictures


def through_the_harness(suite: CapabilitySpec) -> CapabilitySpec:
    tasks = tuple(task for task in suite.tasks if task.metric == "accuracy")
    return suite.model_copy(update={"id": f"{suite.id}-lm-eval", "runner": "lm-eval", "tasks": tasks})
