"""Capability suites through lm-eval (the optional extra ``capability``), on the model that is in memory.

Items of ours are handed to it as they are; tasks that it ships are named, and others stand in the suite's spec as task
configurations. Statistics are not lm-eval's: it gives one value per item, and nothing is bootstrapped there.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from editverdict.data.capability import CapabilityItem
from editverdict.evaluation.boxed import graded
from editverdict.evaluation.capability import ItemScore, item_score
from editverdict.models.sources import LoadedModel
from editverdict.pipeline.trial import NotHere
from editverdict.schema.capabilities import CapabilitySpec, CapabilityTask, HarnessItems

HARNESS_VERSION = 1
BATCH = 16
BOXED = "boxed"
SEED = 0


def require() -> str:
    """The version of lm-eval.

    Raises
    ------
    NotHere
        It is not installed.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise NotHere("needs lm-eval, which is not installed: pip install 'editverdict[capability]'")
    return importlib.metadata.version("lm_eval")


def runner_fields(suite: CapabilitySpec) -> dict[str, Any]:
    """What the scores of a suite depend on beside its tasks, for recipes."""
    return {"lm-eval": require(), "version": HARNESS_VERSION, "options": suite.options}


def run(
    loaded: LoadedModel, suite: CapabilitySpec, items: Mapping[str, Sequence[CapabilityItem]]
) -> tuple[list[ItemScore], dict[str, Any]]:
    """Score the model as it stands on all tasks of a suite.

    Parameters
    ----------
    loaded
        The model; it stays the same object, and its weights are only read.
    suite
        The suite; ``options`` go to ``simple_evaluate``.
    items
        Items of the tasks that are ours.

    Returns
    -------
    list of ItemScore, dict
        In the order of tasks and items; and lm-eval's version with what each task's data were.

    Raises
    ------
    NotHere
        lm-eval is not installed, or a task's data cannot be had from here.
    """
    version = require()
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=BATCH, device=str(loaded.model.device))
    rows: list[ItemScore] = []
    data: dict[str, Any] = {}
    for task in suite.tasks:
        found = _evaluated(model, suite, task, items.get(task.id))
        data[task.id] = {name: len(samples) for name, samples in found.items()}
        rows += _rows(task, found, items.get(task.id))
    return rows, {"lm_eval": version, "items": data}


def _evaluated(
    model: Any, suite: CapabilitySpec, task: CapabilityTask, items: Sequence[CapabilityItem] | None
) -> dict[str, list[dict[str, Any]]]:
    """lm-eval's task -> its samples in the order of their documents."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    named: str | dict[str, Any]
    if items is not None:
        named = _own_task(task, items)
    elif isinstance(task.source, HarnessItems) and task.source.config is not None:
        named = _configured(task.source)
    else:
        named = task.source.task if isinstance(task.source, HarnessItems) else task.id
    try:
        found = simple_evaluate(
            model=model,
            tasks=[named],
            task_manager=TaskManager(include_defaults=isinstance(named, str)),
            limit=None if items is not None else task.items,
            bootstrap_iters=0,
            log_samples=True,
            random_seed=SEED,
            numpy_random_seed=SEED,
            torch_random_seed=SEED,
            fewshot_random_seed=SEED,
            **({} if items is not None else suite.options),
        )
    except (OSError, ConnectionError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NotHere(f"task '{task.id}': its data cannot be had from here ({text})") from error
    samples = (found or {}).get("samples") or {}
    return {name: sorted(own, key=lambda sample: int(sample["doc_id"])) for name, own in sorted(samples.items())}


def _own_task(task: CapabilityTask, items: Sequence[CapabilityItem]) -> dict[str, Any]:
    """A multiple-choice task of lm-eval over items of ours."""

    def dataset(**_options: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {"test": Dataset.from_list([item.model_dump(mode="json") for item in items])}

    return {
        "task": task.id,
        "custom_dataset": dataset,
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "target_delimiter": " ",
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }


def _configured(source: HarnessItems) -> dict[str, Any]:
    config = {"task": source.task, **(source.config or {})}
    if source.answer is None:
        return config
    return config | {
        "process_results": boxed_grader(source.answer),
        "metric_list": [{"metric": BOXED, "aggregation": "mean", "higher_is_better": True}],
    }


def boxed_grader(field: str) -> Callable[[Mapping[str, Any], Sequence[str]], dict[str, float]]:
    """What lm-eval calls with a document and the generated texts: whether the last boxed answer is right."""

    def process(document: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
        right = document[field]
        answers = [str(one) for one in right] if isinstance(right, list | tuple) else [str(right)]
        return {BOXED: graded(str(results[0]), answers)}

    return process


def _rows(
    task: CapabilityTask, found: Mapping[str, Sequence[Mapping[str, Any]]], items: Sequence[CapabilityItem] | None
) -> list[ItemScore]:
    """One score per item, of the filter that the task names."""
    if items is not None:
        (samples,) = found.values()
        return [_choice_row(task.id, item, sample) for item, sample in zip(items, samples, strict=True)]
    source = task.source
    assert isinstance(source, HarnessItems)
    rows = []
    for name, samples in found.items():
        for sample in samples:
            if source.filter is not None and sample.get("filter") != source.filter:
                continue
            if source.reads not in sample:
                raise ValueError(
                    f"task '{task.id}': lm-eval gives no '{source.reads}' for '{name}'; it gives "
                    f"{sample.get('metrics', sorted(sample))}. Change 'reads' in its spec"
                )
            rows.append(ItemScore(task.id, f"{name}/{sample['doc_id']}", float(sample[source.reads]), math.nan))
    if len({row.item for row in rows}) < len(rows):
        filters = sorted({str(s.get("filter")) for samples in found.values() for s in samples})
        raise ValueError(f"task '{task.id}': answers pass several filters; name one of {filters} as its 'filter'")
    if not rows:
        raise ValueError(f"task '{task.id}': lm-eval gave no items (filter {source.filter!r})")
    return rows


def _choice_row(task: str, item: CapabilityItem, sample: Mapping[str, Any]) -> ItemScore:
    """Scores of an item of ours, from the log-likelihoods that lm-eval found."""
    if sample["doc"]["id"] != item.id:
        raise ValueError(f"task '{task}': lm-eval took '{sample['doc']['id']}' for item '{item.id}'")
    logprobs = [float(response[0]) for response in sample["filtered_resps"]]
    found = item_score(task, item.id, logprobs, [1] * len(logprobs), item.answer)
    return ItemScore(task, item.id, found.correct, found.probability)
