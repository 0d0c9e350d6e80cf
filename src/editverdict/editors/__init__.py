"""Editing methods behind one protocol, one file per method."""

from editverdict.editors import controls, rome, scr
from editverdict.editors.base import Answering, EditError, Editor, Hyperparameters, Plain, Resources, State, Step
from editverdict.editors.deltas import PurityError, installed
from editverdict.editors.registry import editor_names, make_editor, register_editor

__all__ = [
    "Answering",
    "EditError",
    "Editor",
    "Hyperparameters",
    "Plain",
    "PurityError",
    "Resources",
    "State",
    "Step",
    "controls",
    "editor_names",
    "installed",
    "make_editor",
    "register_editor",
    "rome",
    "scr",
]
