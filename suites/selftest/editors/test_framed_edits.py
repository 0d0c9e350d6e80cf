"""Edits in the form of the question: a prompt within a frame is edited as the same text is without one.

The frame of the tests ends in a line break, as chat templates do, so that the target follows without a space.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import processors

from editverdict.data.records import EditRecord
from editverdict.editors import EditError, Frame, Resources, Step, make_editor, mend_training, tokens, wise
from editverdict.editors.contexts import ContextSettings, context_templates
from editverdict.editors.tokens import target_ids
from editverdict.generation.protocol import Rendered
from editverdict.models.sources import LoadedModel
from editverdict.schema.specs import MethodSpec
from suites.selftest.editors import test_architectures as every
from suites.selftest.models.toys import toy

MODEL = "rehearsal-llama"
FRAME = Frame("It is so: {a} <", ">\n")
WRITES = [spec for spec in every.METHODS if spec.editor not in ("scr", "combination")]
SEEDED = ("adalora", "grace", "wise")


def written(method: MethodSpec, edit: EditRecord, frame: Frame, loaded: LoadedModel) -> Step:
    """The step of one edit, without contexts."""
    given = dataclasses.replace(every.resources(MODEL), prefixes=lambda _count, _tokens: [], frame=frame)
    return every.editor_of(method, MODEL).edit(loaded, (), [edit], given)


@pytest.mark.parametrize("method", WRITES, ids=[spec.id for spec in WRITES])
def test_a_frame_is_the_text_around_the_prompt(method: MethodSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same step as of that text for a prompt, where the target is made to follow it without a space."""
    for name in SEEDED:  # whose draws depend on the fact
        monkeypatch.setattr(f"editverdict.editors.{name}.fact_of", lambda one: one.subject)
    edit, loaded = every.EDITS[1], toy(MODEL)
    within, bare = (written(method, edit, frame, loaded) for frame in (FRAME, Frame()))
    monkeypatch.setattr(tokens, "target_after", lambda encode, target, _prompt: encode(target.strip()))
    monkeypatch.setattr(wise, "_tune_prompts", lambda given: [FRAME.around(one.prompt) for one in given.train_edits()])
    monkeypatch.setattr(mend_training, "_plans", framed_plans(mend_training._plans))
    as_text = written(method, edit.model_copy(update={"prompt": str(FRAME.around(edit.prompt))}), Frame(), loaded)
    assert within.tensors.keys() == as_text.tensors.keys()
    assert all(torch.equal(tensor, as_text.tensors[name]) for name, tensor in within.tensors.items())
    assert any(
        not torch.equal(tensor, within.tensors[name])
        for name, tensor in bare.tensors.items()
        if tensor.shape == within.tensors[name].shape
    )


def framed_plans(plans: Callable[..., Any]) -> Callable[..., Any]:
    """What a network is trained on, written out with the frame around every prompt."""

    def made(*args: Any) -> Any:
        return [
            mend_training._Plan(
                tuple(map(FRAME.around, plan.asked)), plan.target, tuple(map(FRAME.around, plan.probes))
            )
            for plan in plans(*args)
        ]

    return made


@pytest.mark.parametrize("method", WRITES, ids=[spec.id for spec in WRITES])
def test_a_framed_prompt_brings_its_own_special_tokens(method: MethodSpec) -> None:
    """A tokenizer that begins every text with a token of its own begins bare texts with it, and nothing in the frame.

    The frame is longer than what texts are cut to; in each row of tokens it stands whole, and the target behind it.
    """
    loaded, seen, edit = beginning(toy(MODEL)), list[list[int]](), every.EDITS[1]
    bos, frame = int(loaded.tokenizer.bos_token_id), Frame("It is so. " * 20 + "<", ">\n")
    before = loaded.tokenizer(frame.before, add_special_tokens=False)["input_ids"]
    embedding = loaded.model.get_input_embeddings()
    hook = embedding.register_forward_hook(lambda _module, args, _out: seen.extend(args[0].tolist()))
    try:
        given = dataclasses.replace(every.resources(MODEL), frame=frame)
        every.editor_of(method, MODEL).edit(loaded, (), [edit], given)
    finally:
        hook.remove()
    framed = [row for row in seen if before[:-1] == row[: len(before) - 1]]
    assert framed and all(bos not in row for row in framed)
    assert all(row[0] == bos for row in seen if row not in framed)
    whole = loaded.tokenizer(frame.around(edit.prompt), add_special_tokens=False)["input_ids"]
    reads_targets = [row for row in framed if row[: len(whole)] == list(whole)]
    said = {row[len(whole)] for row in reads_targets if len(row) > len(whole)}
    first = target_ids(loaded.tokenizer, edit.target_new, after=frame.around(""))[0]
    others = {target_ids(loaded.tokenizer, one.target_new, after=frame.around(""))[0] for one in every.EDITS}
    assert first in said <= {*others, *PADDING}  # MEND trains on the other objects, too


PADDING = {0, int(toy(MODEL).tokenizer.pad_token_id)}


def beginning(loaded: LoadedModel) -> LoadedModel:
    """The model with a tokenizer that puts its first special token before every text."""
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.bos_token = tokenizer.bos_token or tokenizer.eos_token
    pair = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{tokenizer.bos_token} $A", special_tokens=[pair]
    )
    assert tokenizer("the")["input_ids"][0] == tokenizer.bos_token_id
    return dataclasses.replace(loaded, tokenizer=tokenizer)


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
    """One space behind a bare prompt, whatever it ends in, and none behind a rendered one."""
    tokenizer = tiny.tokenizer
    for after, whole in (("of the", "of the Rome"), (Frame("<", ">\n").around("a"), "<a>\nRome")):
        ids = [*tokenizer(after, add_special_tokens=False)["input_ids"], *target_ids(tokenizer, "Rome", after=after)]
        assert tokenizer.decode(ids) == whole
    assert target_ids(tokenizer, "Rome", after="the\n") == target_ids(tokenizer, "Rome")
    with pytest.raises(EditError, match="has no tokens"):
        target_ids(tokenizer, "  ", after=FRAME.around("a"))


def test_no_frame_is_nothing() -> None:
    assert not Frame() and Frame().template("a {}") == "a {}" and type(Frame().around("a")) is str
    assert FRAME and FRAME.around("a") == "It is so: {a} <a>\n"
    assert isinstance(FRAME.template("{}").format("a"), Rendered)


def test_easyedit_says_that_it_edits_bare_prompts(resources: Callable[..., Resources], edits: list[EditRecord]) -> None:
    editor: Any = make_editor("easyedit", {"algorithm": "ROME", "python": "nowhere"})
    with pytest.raises(EditError, match=r"edit the bare prompt.*edit_form: bare"):
        editor.edit(toy(MODEL), (), edits[:1], dataclasses.replace(resources(), frame=FRAME))
