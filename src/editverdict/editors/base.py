"""The protocol of an editor: prepare, edit (state + record -> next step), install (state -> something that answers).

A state is never a copy of the model. Weight editors produce deltas (deltas.py), memory editors a list of texts; a
sequential run is a chain of steps, each stored on its own, so that a chain of 100 reuses the chain of 50.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from editverdict.data.records import EditRecord
from editverdict.models.sources import LoadedModel


class EditError(ValueError):
    """An edit cannot be made; the message names the record and says why."""


class Hyperparameters(BaseModel):
    """Base of the closed hyperparameter schemas of editors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Step:
    """What one edit adds to a state."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """Everything needed to install the step again."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """Numbers for the record: loss trace, iteration count, norms."""


State = tuple[Step, ...]
"""The state after T edits: its steps in order. The empty tuple is the unedited model."""


@dataclass(frozen=True)
class Resources:
    """What an editor may ask for; each is computed once, stored, and shared."""

    covariance: Callable[[int], Tensor]
    """Layer -> uncentred second moment of its keys over the corpus [d_ff, d_ff], float64."""
    prefixes: Callable[[int, int], Sequence[str]]
    """(count, tokens) -> context prefixes sampled from the unedited model: a function of model and seed alone."""
    value: Callable[[Mapping[str, Any], EditRecord, Callable[[Sequence[EditRecord]], Sequence[Step]]], Step]
    """(what it depends on beside model, state and edit; the edit; how to compute several) -> stored optimised value.
    First edits are optimised in fixed groups, so the callable may be given the edit's companions as well."""
    step_of: Callable[[str, Sequence[EditRecord]], Step]
    """(method id, chain so far) -> the step that another method makes for the chain's last record."""
    encoder: Callable[[], Any]
    """The sentence encoder."""


class Answering(Protocol):
    """A model in an edited state: turns a question into the prompt that the model is given."""

    def prompts(self, questions: Sequence[str]) -> list[str]:
        """The prompts to decode, one per question."""
        ...


class Plain:
    """Answering without help: the question is the prompt."""

    def prompts(self, questions: Sequence[str]) -> list[str]:
        """The questions themselves."""
        return list(questions)


class Editor(Protocol):
    """One editing method. An instance holds hyperparameters only; all state is in its arguments."""

    name: ClassVar[str]
    version: ClassVar[int]
    """Raised whenever the numbers that the editor produces change; part of every recipe."""
    hyperparameters_type: ClassVar[type[Hyperparameters]]
    hyperparameters: Any

    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """Make the edit ``records[-1]`` in ``state``, the result of editing ``records[:-1]`` one after the other."""
        ...

    def install(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> AbstractContextManager[Answering]:
        """Put the state in force; on leaving, the model is as it was, bit by bit."""
        ...


@runtime_checkable
class OptimisesValues(Protocol):
    """An editor whose steps rest on optimised values; those of first edits are made in fixed groups and shared."""

    def values(self, loaded: LoadedModel, edits: Sequence[EditRecord], resources: Resources) -> list[Step]:
        """Optimise the values of independent edits in the model as it stands."""
        ...
