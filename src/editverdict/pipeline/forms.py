"""The forms of a case: what its method edits (the bare prompt, or the question as it is put), and what is asked."""

from __future__ import annotations

from editverdict.editors.base import KeepsTexts
from editverdict.inference.forms import BARE, CHAT, TEXT, THOUGHTS, forms
from editverdict.pipeline.edits import editor_of, state_method
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.trial import Trial


def forms_of(trial: Trial, case: Case) -> dict[str, str]:
    """In which form the case's method edits, and in which the case's model is asked (`inference.forms`).

    Of a combination X+SCR the form of X: its weights are edited. A case without a method of its own stands on several;
    some of them edit prompts.
    """
    protocol = trial.profile.protocol_of(case.model)
    asked = CHAT if protocol.prompt_form == "chat" else BARE
    edited = BARE
    if trial.profile.edit_form == "question":
        edited = THOUGHTS if asked == CHAT and protocol.thinking is not None else asked
    if case.method is not None:
        editor = editor_of(trial, state_method(trial, case.method), case.model)
        edited = TEXT if isinstance(editor, KeepsTexts) else edited
    return forms(edited, asked)
