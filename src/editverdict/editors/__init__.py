"""Editing methods behind one protocol, one file per method; a file beside this one is found without being listed."""

from importlib import import_module
from pkgutil import iter_modules

from editverdict.editors.base import Answering, EditError, Editor, Frame, Hyperparameters, Plain, Resources, State, Step
from editverdict.editors.deltas import PurityError, installed
from editverdict.editors.registry import editor_names, make_editor, register_editor

# Importing a method's file registers it.
for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Answering",
    "EditError",
    "Editor",
    "Frame",
    "Hyperparameters",
    "Plain",
    "PurityError",
    "Resources",
    "State",
    "Step",
    "editor_names",
    "installed",
    "make_editor",
    "register_editor",
]
