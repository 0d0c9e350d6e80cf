"""What stands around the prompts that are edited (``edit_form`` of a profile)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from editverdict.editors.base import CannotEdit, Frame, Resources
from editverdict.generation.protocol import Protocol
from editverdict.pipeline.trial import Trial

PLACE = "The seas of Editverdict are"
"""Stands for a prompt while what a template puts around it is found."""
PROBES = ("The capital of France is", "{What} is <it>?")
"""Texts that have to come out of frame and template alike."""


@dataclass(frozen=True)
class WatchedFrame(Frame):
    """A frame that knows whether it was asked for: a method that does not ask edits the bare prompt."""

    asked: list[str] = field(default_factory=list)

    def around(self, text: str) -> str:
        """As of any frame."""
        self.asked.append(text)
        return super().around(text)

    def template(self, context: str) -> str:
        """As of any frame."""
        self.asked.append(context)
        return super().template(context)


def watched(given: Resources) -> Resources:
    """The same resources, with a frame that notes whether it is asked for."""
    return dataclasses.replace(given, frame=WatchedFrame(given.frame.before, given.frame.after))


def check_form(method_id: str, frame: Frame) -> None:
    """Refuse an edit that was made without the frame that there is.

    Raises
    ------
    CannotEdit
        The method edits the bare prompt, and rows would say otherwise.
    """
    if frame and isinstance(frame, WatchedFrame) and not frame.asked:
        raise CannotEdit(
            f"{method_id} edits the bare prompt (it does not ask for resources.frame, docs/new-method.md), and this "
            "profile edits in the form of the question; take one with edit_form: bare"
        )


def frame_of(trial: Trial, model_id: str) -> Frame:
    """What stands around the prompts that a trial edits in a model: what is put around questions, or nothing."""
    if trial.profile.edit_form == "bare":
        return Frame()
    memo = ("frame", model_id)
    if memo not in trial._memo:
        trial._memo[memo] = frame_from(trial.protocol(model_id))
    found: Frame = trial._memo[memo]
    return found


def frame_from(protocol: Protocol) -> Frame:
    """The template of a protocol as what stands before and after the user's text; nothing in completion form.

    Raises
    ------
    CannotEdit
        The template changes the text, or holds it more than once.
    """
    before, _, after = protocol.render(PLACE).partition(PLACE)
    frame = Frame(before, after)
    if any(frame.around(text) != protocol.render(text) for text in (PLACE, *PROBES)):
        raise CannotEdit(
            f"protocol '{protocol.spec.id}': its chat template does not hold the user's text once and as it is, so "
            "edits cannot stand in it; take a profile with edit_form: bare"
        )
    return frame


def in_bare_form(trial: Trial) -> Trial:
    """The same trial with edits on bare prompts, for comparisons with editors that know no other form."""
    if trial.profile.edit_form == "bare":
        return trial
    made = dataclasses.replace(trial, profile=trial.profile.model_copy(update={"edit_form": "bare"}), _memo={})
    made.__dict__.update({name: value for name, value in trial.__dict__.items() if name not in made.__dict__})
    return made
