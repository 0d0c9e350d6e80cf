"""Suites of tasks that say what a model is still able to do, beside what was edited."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from editverdict.schema.base import Identifier, Spec

CapabilityGroup = Literal["reasoning", "broader"]
"""What must be worked out from the question (the paper's Table 33), and knowledge and language (its Table 34)."""


class GeneratedItems(Spec):
    """Items made by code, from nothing or from installed packages."""

    kind: Literal["generated"] = "generated"
    generator: Identifier
    """A generator of ``editverdict.data.capability``."""
    seed: int = 0


class FileItems(Spec):
    """Items of a JSONL file: ``{"id": ..., "prompt": ..., "choices": [...], "answer": 0}`` per line."""

    kind: Literal["file"] = "file"
    path: str


class HarnessItems(Spec):
    """A task of lm-eval: one that it ships, by its name, or one of ours as a task configuration over a hub's data."""

    kind: Literal["lm-eval"] = "lm-eval"
    task: str
    """Name of the task, or of a group of tasks whose items are taken together."""
    config: dict[str, Any] | None = None
    """Keys of an lm-eval task configuration (``dataset_path``, ``test_split``, ``doc_to_text``, ...), for a task that
    lm-eval does not ship."""
    reads: str
    """Per-item metric that lm-eval gives for the task, e.g. ``exact_match`` or ``acc``."""
    filter: str | None = None
    """Which of the task's answer filters is read, where it has several."""
    answer: str | None = None
    """Field of the data with the right answer, where it is the last boxed one of the generated text that counts; then
    ``reads`` is ``boxed``."""

    @model_validator(mode="after")
    def _graded(self) -> HarnessItems:
        if (self.reads == "boxed") != (self.answer is not None):
            raise ValueError("'reads: boxed' and the field 'answer' with the right answer go together")
        if self.answer is not None and self.config is None:
            raise ValueError("'answer' belongs to a task of our own: give its 'config'")
        return self


TaskSource = Annotated[GeneratedItems | FileItems | HarnessItems, Field(discriminator="kind")]


class CapabilityTask(Spec):
    """One task: items, how one of them is scored, and what blind guessing would score."""

    id: Identifier
    describes: str
    source: TaskSource
    items: Annotated[int, Field(ge=1)] | None = None
    """How many items are taken; none: all that the source has."""
    metric: Literal["accuracy", "log-probability"] = "accuracy"
    """``accuracy``: 1 where the right choice is the most probable (or the generated answer right); ``log-probability``:
    nats per token of a text, shown beside the scores and never averaged with them."""
    chance: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Accuracy of blind guessing: 1 over the number of choices; 0 where the answer is generated."""
    column: str | None = None
    """Column of the paper's table for this task."""

    @model_validator(mode="after")
    def _guessing(self) -> CapabilityTask:
        if self.metric == "accuracy" and self.chance is None:
            raise ValueError("a task scored by accuracy names its 'chance' (0 where the answer is generated)")
        if self.metric == "log-probability" and self.chance is not None:
            raise ValueError("log-probabilities have no 'chance'; leave it out")
        if isinstance(self.source, HarnessItems) and self.metric != "accuracy":
            raise ValueError("tasks of lm-eval are read by their accuracy")
        return self


class CapabilitySpec(Spec):
    """A suite of tasks that is scored as one number: the mean over its tasks, each the mean over its items."""

    id: Identifier
    describes: str
    runner: Literal["own", "lm-eval"] = "own"
    """``own``: log-probabilities by this project's scorer; ``lm-eval``: that harness (extra ``capability``)."""
    tasks: Annotated[tuple[CapabilityTask, ...], Field(min_length=1)]
    options: dict[str, Any] = {}
    """Arguments of ``lm_eval.simple_evaluate``: ``num_fewshot``, ``apply_chat_template``, ``gen_kwargs``, ..."""
    in_paper: bool = False
    licence: str | None = None

    @model_validator(mode="after")
    def _runnable(self) -> CapabilitySpec:
        twice = [name for name, count in Counter(task.id for task in self.tasks).items() if count > 1]
        if twice:
            raise ValueError(f"every task once, found twice: {', '.join(sorted(twice))}")
        foreign = [task.id for task in self.tasks if isinstance(task.source, HarnessItems)]
        if foreign and self.runner == "own":
            raise ValueError(f"tasks of lm-eval need 'runner: lm-eval': {', '.join(foreign)}")
        if self.options and self.runner == "own":
            raise ValueError("'options' are lm-eval's; the own scorer has none")
        if not any(task.metric == "accuracy" for task in self.tasks):
            raise ValueError("a suite is scored by accuracy, so at least one task must have that metric")
        texts = [task.id for task in self.tasks if task.metric != "accuracy" and self.runner != "own"]
        if texts:
            raise ValueError(f"log-probabilities of texts need 'runner: own': {', '.join(texts)}")
        return self
