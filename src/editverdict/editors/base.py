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
from editverdict.generation.protocol import Rendered
from editverdict.models.sources import LoadedModel


class EditError(ValueError):
    """An edit cannot be made; the message names the record and says why."""


class CannotEdit(EditError):
    """The method is not for this kind of model, or lacks what it learns from; a case that asks for it is not run."""


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
    edits: int = 1
    """How many records the step edits: more than one where a method edits them together."""


State = tuple[Step, ...]
"""The state after T edits: its steps in order. The empty tuple is the unedited model."""


class Compute(Protocol):
    """How to optimise the values of several edits together."""

    def __call__(self, edits: Sequence[EditRecord], states: Sequence[State] | None = None, /) -> Sequence[Step]:
        """One value per edit; ``states``: the state that each is made in, if that is not the edited one's for all."""
        ...


Values = Callable[[Mapping[str, Any], Sequence[EditRecord], Compute], list[Step]]


def done_edits(state: State) -> int:
    """Number of records that a state holds."""
    return sum(step.edits for step in state)


def new_edits(state: State, records: Sequence[EditRecord], *, events: bool = False) -> list[EditRecord]:
    """The records that ``state`` does not hold yet: those to be edited now, together.

    Raises
    ------
    EditError
        There are none, or one is a bare event and the method does not say (``events``) that it keeps texts.
    """
    found = list(records[done_edits(state) :])
    bare = [record.id for record in found if record.bare_event]
    if bare and not events:
        raise EditError(
            f"record '{bare[0]}' is an event without prompt and target, which only methods that keep texts can take; "
            "edit the facts that are drawn from it (editverdict.data.triples: convert_event, fact_edits)"
        )
    if not found:
        raise EditError(f"nothing to edit: the state holds {done_edits(state)} edits, and {len(records)} are given")
    return found


def fact_of(edit: EditRecord) -> str:
    """What is edited, for seeds: records of the same fact draw the same, whatever their ids, as recipes have it."""
    return f"{edit.prompt}|{edit.subject}|{edit.target_new}"


def the_new_edit(state: State, records: Sequence[EditRecord], method: str) -> EditRecord:
    """The one new record, for methods that edit one fact at a time.

    Raises
    ------
    EditError
        More than one is to be edited together.
    """
    found = new_edits(state, records)
    if len(found) > 1:
        raise EditError(
            f"{method} edits one fact at a time, and {len(found)} are to be edited together; use batches of 1"
        )
    return found[0]


def _missing(name: str) -> Callable[..., Any]:
    def refuse(*_args: Any, **_options: Any) -> Any:
        raise EditError(f"this editor asks for '{name}', which is not supplied here")

    return refuse


@dataclass(frozen=True)
class Frame:
    """What stands around a prompt that is edited: nothing, or the chat template in which the model is asked.

    A context is put inside it, before the prompt (``template``); the target follows behind it.
    """

    before: str = ""
    after: str = ""

    def __bool__(self) -> bool:
        return bool(self.before or self.after)

    def around(self, text: str) -> str:
        """The text within the frame, as rendered; the text itself where there is none."""
        return Rendered(f"{self.before}{text}{self.after}") if self else text

    def template(self, context: str) -> str:
        """A context, with its one ``{}`` for the prompt, within the frame, whose own braces are doubled."""
        return Rendered(f"{_escaped(self.before)}{context}{_escaped(self.after)}") if self else context


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


@dataclass(frozen=True)
class Resources:
    """What an editor may ask for; each is computed once, stored, and shared."""

    covariance: Callable[[int], Tensor]
    """Layer -> uncentred second moment of its keys over the corpus [d_ff, d_ff], float64."""
    prefixes: Callable[[int, int], Sequence[str]]
    """(count, tokens) -> context prefixes sampled from the unedited model: a function of model and seed alone."""
    values: Values
    """(what they depend on beside model, state and edits; the edits; how to compute several) -> stored optimised
    values, one per edit. First edits, and edits of chains that go on side by side, are optimised in fixed groups, so
    the callable may get companions as well, with the state of each. No state is installed when it is called."""
    step_of: Callable[[str, Sequence[EditRecord]], Step]
    """(method id, chain so far) -> the step that another method makes for the chain's last record."""
    encoder: Callable[[], Any]
    """The sentence encoder."""
    covariances: Callable[[Sequence[int]], Mapping[int, Tensor]] = field(
        default_factory=lambda: _missing("covariances")
    )
    """Layers -> covariance of each; what is missing is computed in one pass over the corpus."""
    trained: Callable[[Mapping[str, Any], Callable[[], Step]], Step] = field(
        default_factory=lambda: _missing("trained")
    )
    """(what it depends on beside the model, how to make it) -> something trained once and stored: a hypernetwork."""
    train_edits: Callable[[], Sequence[EditRecord]] = field(default_factory=lambda: _missing("train_edits"))
    """Records of the ``tune`` split, which no verdict looks at."""
    texts: Callable[[int], Sequence[str]] = field(default_factory=lambda: _missing("texts"))
    """The first so many texts of the corpus."""
    editor: Callable[[str], Editor] = field(default_factory=lambda: _missing("editor"))
    """Method id -> its editor, for combinations."""
    corpus_key: Mapping[str, Any] = field(default_factory=dict)
    """What identifies the corpus of ``covariances``, for the recipes of what is made from them (``trained``)."""
    report: Callable[[str], None] = field(default=lambda _message: None)
    """Where progress goes."""
    frame: Frame = Frame()
    """What stands around a prompt when it is edited."""


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
    answers_itself: ClassVar[bool] = False
    """Whether a state is more than weight deltas, so that only ``install`` can put it in force."""
    hyperparameters: Any

    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """Make the edits of ``records`` that ``state`` does not hold yet (:func:`new_edits`), as one step.

        One record at a time in a sequential run; several together where the method edits batches.
        """
        ...

    def install(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> AbstractContextManager[Answering]:
        """Put the state in force; on leaving, the model is as it was, bit by bit."""
        ...


@runtime_checkable
class OptimisesValues(Protocol):
    """An editor whose steps rest on optimised values; those of first edits are made in fixed groups and shared."""

    @property
    def values_above(self) -> bool:
        """Whether the search for a value runs above every weight that a step changes.

        Edits in different states can then share it: only what it starts from is read in each one's own state.
        """
        ...

    def values(
        self,
        loaded: LoadedModel,
        edits: Sequence[EditRecord],
        resources: Resources,
        states: Sequence[State] | None = None,
    ) -> list[Step]:
        """Optimise the values of independent edits, each in its state (None: all in the model as it stands)."""
        ...


@runtime_checkable
class KeysMore(Protocol):
    """An editor whose steps depend on more than its hyperparameters; what it names becomes part of their recipes."""

    def recipe_fields(self, loaded: LoadedModel) -> dict[str, Any]:
        """Further fields of a step's recipe."""
        ...


@runtime_checkable
class KeepsTexts(Protocol):
    """An editor that takes an event as the sentence that it is; others take the facts that are drawn from it."""

    keeps_texts: ClassVar[bool]
    """True."""


@runtime_checkable
class KnowsItsTexts(Protocol):
    """An editor that says whether texts of the corpus come into its edits; one that does not is taken to read them."""

    @property
    def reads_corpus(self) -> bool:
        """Whether covariances or texts to train on are taken from the corpus: rows then say whose corpus it is."""
        ...


@runtime_checkable
class Trains(Protocol):
    """An editor that rests on something trained (:attr:`Resources.trained`); its steps are keyed by that, too."""

    def training_fields(self, loaded: LoadedModel, resources: Resources) -> dict[str, Any]:
        """What the training depends on beside the model: the fields that ``resources.trained`` is called with."""
        ...
