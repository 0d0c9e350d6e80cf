"""What stands around the prompts that are edited (``edit_form`` of a profile)."""

from __future__ import annotations

from typing import Any

from editverdict.editors.base import Frame
from editverdict.generation.protocol import Protocol
from editverdict.pipeline.trial import Trial

PLACE = "editverdict"
"""Stands for a prompt while what a template puts around it is found."""


def frame_of(trial: Trial, model_id: str) -> Frame:
    """What stands around the prompts that a trial edits in a model: what is put around questions, or nothing.

    A tokenizer that begins every text with a token of its own adds it to the edit, too, so the template's is left out.
    """
    if trial.profile.edit_form == "bare":
        return Frame()
    memo = ("frame", model_id)
    if memo not in trial._memo:
        trial._memo[memo] = _frame(trial.protocol(model_id), trial.model(model_id).tokenizer)
    found: Frame = trial._memo[memo]
    return found


def _frame(protocol: Protocol, tokenizer: Any) -> Frame:
    before, place, after = protocol.render(PLACE).partition(PLACE)
    if not place:
        raise ValueError(f"protocol '{protocol.spec.id}': its chat template does not hold the user's text as it is")
    begin = tokenizer.bos_token
    if begin and before.startswith(begin) and list(tokenizer("")["input_ids"])[:1] == [tokenizer.bos_token_id]:
        before = before.removeprefix(begin)
    return Frame(before, after)
