"""Editors by name: one decorated class per file; other packages register through an entry-point group."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from editverdict.editors.base import Editor, Hyperparameters
from editverdict.models.sources import LoadedModel
from editverdict.schema.errors import did_you_mean

GROUP = "editverdict.editors"
_EDITORS: dict[str, type[Any]] = {}
EditorClass = TypeVar("EditorClass", bound=type)


def register_editor(editor: EditorClass) -> EditorClass:
    """Class decorator: make an editor known under its ``name``."""
    name: str = editor.name  # type: ignore[attr-defined]
    if name in _EDITORS and _EDITORS[name] is not editor:
        raise ValueError(f"two editors are called '{name}': {_EDITORS[name].__qualname__} and {editor.__qualname__}")
    if _EDITORS.get(name) is not editor:
        _EDITORS[name] = editor
        if callable(edit := getattr(editor, "edit", None)):
            editor.edit = _quietly(edit)  # type: ignore[attr-defined]
    return editor


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """A model in evaluation mode whose parameters gather no gradients; both are as they were on leaving.

    An edit in training mode would draw from the global generator (dropout), and one on parameters that ask for
    gradients would leave them behind.
    """
    modes = [(module, module.training) for module in model.modules()]
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)
        for module, mode in modes:
            module.training = mode


def _quietly(edit: Callable[..., Any]) -> Callable[..., Any]:
    """An editor's ``edit``, run on a quiet model and with gradients switched on, whoever calls it."""

    @functools.wraps(edit)
    def made(self: Any, loaded: LoadedModel, *args: Any, **options: Any) -> Any:
        with quiet(loaded.model), torch.enable_grad():
            return edit(self, loaded, *args, **options)

    return made


@functools.lru_cache(maxsize=8)
def _points(_places: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points of our group in the packages on these places of ``sys.path``: every package there is looked into."""
    return tuple(entry_points(group=GROUP))


def editor_names() -> list[str]:
    """Names of all editors, own and from other packages, sorted."""
    for point in _points(tuple(sys.path)):
        try:
            register_editor(point.load())  # the same class again is no conflict; another one of that name is
        except (Exception, SystemExit) as error:  # a broken package must not take the others down
            warnings.warn(f"editor '{point.name}' from {point.value} cannot be loaded: {error}", stacklevel=2)
    return sorted(_EDITORS)


def changes_weights(name: str) -> bool:
    """Whether an editor's states are changes of weights, and not put in force by the editor's own way of answering."""
    return name in editor_names() and not _EDITORS[name].answers_itself


def make_editor(name: str, hyperparameters: Mapping[str, Any]) -> Editor:
    """An editor with checked hyperparameters.

    Raises
    ------
    ValueError
        Unknown editor or hyperparameter; the message lists what was expected.
    """
    if name not in editor_names():
        hint = did_you_mean(name, _EDITORS)
        raise ValueError(f"unknown editor '{name}'; expected one of {editor_names()}{'; ' if hint else ''}{hint}")
    kind = _EDITORS[name]
    settings_type: type[Hyperparameters] = kind.hyperparameters_type
    try:
        settings = settings_type.model_validate(dict(hyperparameters))
    except ValidationError as error:
        lines = "; ".join(_problem(settings_type, dict(one)) for one in error.errors())
        known = ", ".join(settings_type.model_fields)
        raise ValueError(f"hyperparameters of editor '{name}': {lines}; it takes: {known or 'none'}") from error
    made: Editor = kind(settings)
    return made


def _problem(settings: type[BaseModel], error: Mapping[str, Any]) -> str:
    """One violation in words; for a name that does not exist, the nearest one that does."""
    where = error["loc"]
    text = f"{'.'.join(map(str, where))}: {error['msg']} (found {error['input']!r})"
    if error["type"] != "extra_forbidden":
        return text
    for part in where[:-1]:
        inner = settings.model_fields[str(part)].annotation if part in settings.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return text
        settings = inner
    hint = did_you_mean(str(where[-1]), settings.model_fields)
    return f"{text}, {hint}" if hint else text
