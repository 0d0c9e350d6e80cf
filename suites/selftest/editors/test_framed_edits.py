"""Edits in the form of the question: a prompt within a frame is edited as the same text is without one.

The frame of the tests ends in a line break, as chat templates do, so that the target follows without a space.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from editverdict.data.records import EditRecord
from editverdict.editors import EditError, Frame, Resources, Step, make_editor
from editverdict.editors.contexts import ContextSettings, context_templates
from editverdict.editors.tokens import target_ids
from editverdict.models.sources import LoadedModel
from editverdict.schema.specs import MethodSpec
from suites.selftest.editors import test_architectures as every
from suites.selftest.models.toys import toy

MODEL = "rehearsal-llama"
FRAME = Frame("It is so: {a} <", ">\n")
WRITES = [spec for spec in every.METHODS if spec.editor not in ("scr", "combination")]
SEEDED = ("adalora", "grace", "wise")


def written(method: MethodSpec, edit: EditRecord, frame: Frame, monkeypatch: pytest.MonkeyPatch) -> Step:
    """The step of one edit, without contexts, and with draws that do not depend on the prompt's form."""
    for name in SEEDED:
        monkeypatch.setattr(f"editverdict.editors.{name}.fact_of", lambda one: one.subject)
    given = dataclasses.replace(every.resources(MODEL), prefixes=lambda _count, _tokens: [], frame=frame)
    framed = [FRAME.record(one) for one in every.EDITS]
    return every.editor_of(method, MODEL).edit(
        toy(MODEL), (), [edit], dataclasses.replace(given, train_edits=lambda: framed)
    )


@pytest.mark.parametrize("method", WRITES, ids=[spec.id for spec in WRITES])
def test_a_frame_is_the_text_around_the_prompt(method: MethodSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    edit = every.EDITS[1]
    within = written(method, edit, FRAME, monkeypatch)
    as_text = written(method, FRAME.record(edit), Frame(), monkeypatch)
    bare = written(method, edit, Frame(), monkeypatch)
    assert within.tensors.keys() == as_text.tensors.keys()
    assert all(torch.equal(tensor, as_text.tensors[name]) for name, tensor in within.tensors.items())
    assert any(
        not torch.equal(tensor, within.tensors[name])
        for name, tensor in bare.tensors.items()
        if tensor.shape == within.tensors[name].shape
    )


def test_contexts_stand_inside_the_frame(resources: Callable[..., Resources]) -> None:
    given = dataclasses.replace(resources(), frame=FRAME)
    templates = context_templates(ContextSettings(prefixes=1), given)
    texts = [template.format("The capital of France is") for template in templates]
    assert texts == [
        "It is so: {a} <The capital of France is>\n",
        "It is so: {a} <It is so. The capital of France is>\n",
    ]
    fixed = context_templates(ContextSettings(templates=("{}", "So, {}")), given)
    assert fixed[1].format("x") == "It is so: {a} <So, x>\n"
    assert context_templates(ContextSettings(prefixes=1), resources()) == ("{}", "It is so. {}")


def test_the_target_follows_the_form(tiny: LoadedModel) -> None:
    """One space behind a word, none behind white space; the decoded whole is the text."""
    tokenizer = tiny.tokenizer
    for after, whole in (("of the", "of the Rome"), ("assistant\n", "assistant\nRome")):
        ids = [*tokenizer(after, add_special_tokens=False)["input_ids"], *target_ids(tokenizer, "Rome", after=after)]
        assert tokenizer.decode(ids) == whole
    assert target_ids(tokenizer, "Rome", after="the") == target_ids(tokenizer, "Rome")
    with pytest.raises(EditError, match="has no tokens"):
        target_ids(tokenizer, "  ", after="\n")


def test_no_frame_is_nothing() -> None:
    edit = every.EDITS[0]
    assert not Frame() and Frame().record(edit) is edit and Frame().template("a {}") == "a {}"
    framed = FRAME.record(edit)
    assert FRAME and edit.subject in framed.prompt and framed.id == edit.id
    assert framed.rephrases == tuple(f"It is so: {{a}} <{text}>\n" for text in edit.rephrases)


def test_easyedit_says_that_it_edits_bare_prompts(resources: Callable[..., Resources], edits: list[EditRecord]) -> None:
    editor: Any = make_editor("easyedit", {"algorithm": "ROME", "python": "nowhere"})
    with pytest.raises(EditError, match=r"edit the bare prompt.*edit_form: bare"):
        editor.edit(toy(MODEL), (), edits[:1], dataclasses.replace(resources(), frame=FRAME))
