"""``edit_form: question``: edits stand in the template that questions are put in; recipes and rows say so."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from editverdict.generation.protocol import Protocol
from editverdict.inference.forms import FORMS_KEY, apart
from editverdict.pipeline import frames
from editverdict.pipeline.edits import resources, singles, step_recipe
from editverdict.pipeline.forms import forms_of
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.setup import Options, load_library, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.schema.protocols import AnswerProtocol
from suites.selftest.pipeline.sessions import ROOT

MODEL, DATA = "rehearsal-llama", "worldfacts"
TEMPLATE = "<|s|>{{ messages[0]['content'] | trim }}<|e|>{% if add_generation_prompt %}me:\n{% endif %}"


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("forms")), ROOT / "specs")


@pytest.fixture
def of_form(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Any:
    """(edit form, prompt form) -> the same trial with a profile of these forms."""
    monkeypatch.setattr(trial.model(MODEL).tokenizer, "chat_template", TEMPLATE)

    def made(edit_form: str, prompt_form: str = "chat") -> Trial:
        spec = AnswerProtocol(id="some-4", prompt_form=prompt_form, max_new_tokens=4, stop=())
        changes = {"protocol": spec, "edit_form": edit_form}
        return dataclasses.replace(trial, profile=trial.profile.model_copy(update=changes), _memo={})

    return made


def test_the_frame_is_the_template_of_the_question(of_form: Any) -> None:
    asked = of_form("question")
    frame, tokenizer = frames.frame_of(asked, MODEL), asked.model(MODEL).tokenizer
    assert (frame.before, frame.after) == ("<|s|>", "<|e|>me:\n")
    for record in asked.records(DATA)[:20]:
        ids = asked.protocol(MODEL).encode([record.prompt])[0]
        assert list(tokenizer(frame.around(record.prompt))["input_ids"]) == ids
    tuned = [record for record in asked.records(DATA) if record.split == "tune"]
    framed = resources(asked, MODEL).train_edits()
    assert [one.prompt for one in framed] == [frame.around(one.prompt) for one in tuned]


def test_nothing_stands_around_bare_edits_and_completions(of_form: Any) -> None:
    assert not frames.frame_of(of_form("bare"), MODEL) and not frames.frame_of(of_form("question", "completion"), MODEL)


def test_a_frame_is_part_of_what_is_stored(of_form: Any) -> None:
    """Of methods that write edits from prompts; where there is none, keys are those of bare edits."""
    records = of_form("bare").records(DATA)[:1]

    def key(method: str, *forms: str) -> str:
        return step_recipe(of_form(*forms), MODEL, method, records).key

    for method in ("ROME", "GRACE", "placebo:ROME"):
        assert key(method, "question") != key(method, "bare") == key(method, "question", "completion")
    assert key("SCR", "question") == key("SCR", "bare")


def test_an_edit_in_the_template_is_another(of_form: Any) -> None:
    """ROME's key stays the subject's last token, read within the template, and values are searched in it."""
    records = of_form("bare").records(DATA)[:1]
    ((bare,),) = singles(of_form("bare"), MODEL, "ROME", records)
    ((within,),) = singles(of_form("question"), MODEL, "ROME", records)
    assert bare.tensors.keys() == within.tensors.keys() and bare.info["key"] != within.info["key"]
    assert any((bare.tensors[name] != within.tensors[name]).any() for name in bare.tensors)


def test_rows_say_in_which_form_was_edited(of_form: Any, trial: Trial) -> None:
    case = Case(trial.library.claims["rq1-far-from-perfect"], MODEL, "ROME", DATA)
    for edit_form, edited in (("bare", "bare prompt"), ("question", "chat template")):
        found = forms_of(of_form(edit_form), case)
        assert found == {"edited": edited, "asked": "chat template"}
        assert bool(apart({FORMS_KEY: found})) == (edit_form == "bare")
    assert forms_of(of_form("question"), dataclasses.replace(case, method="SCR"))["edited"] == "text"
    assert forms_of(of_form("question", "completion"), case) == {"edited": "bare prompt", "asked": "bare prompt"}


def tokenizer_that_begins_texts(template: str) -> PreTrainedTokenizerFast:
    """Words as tokens, and a first token of its own before every text, as Llama's tokenizers have it."""
    words = ["<unk>", "<bos>", "the", "user", ":", "assistant", "sea", "\n"]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<bos>", unk_token="<unk>", eos_token="<unk>")
    made.chat_template = template
    return made


@pytest.mark.parametrize(
    "template", ["<bos>user : {{ messages[0]['content'] }} assistant :", "user {{ messages[0]['content'] }} :"]
)
def test_a_text_begins_once(template: str) -> None:
    tokenizer = tokenizer_that_begins_texts(template)
    spec = AnswerProtocol(id="some-4", prompt_form="chat", max_new_tokens=4, stop=())
    frame = frames._frame(Protocol.build(spec, tokenizer), tokenizer)
    ids = tokenizer(frame.around("the sea"))["input_ids"]
    assert ids.count(1) == 1 and ids[0] == 1 and not frame.before.startswith("<bos>")
    assert ids[1:] == [token for token in Protocol.build(spec, tokenizer).encode(["the sea"])[0] if token != 1]


def test_a_template_that_changes_the_text_is_refused() -> None:
    tokenizer = tokenizer_that_begins_texts("user {{ messages[0]['content'] | upper }} :")
    spec = AnswerProtocol(id="some-4", prompt_form="chat", max_new_tokens=4, stop=())
    with pytest.raises(ValueError, match="does not hold the user's text"):
        frames._frame(Protocol.build(spec, tokenizer), tokenizer)


def test_profiles_in_chat_form_edit_in_it() -> None:
    """GRACE answers the prompts of its codebook and no others: edited bare and asked in a template it does nothing."""
    profiles = load_library([ROOT / "specs"]).profiles.values()
    apart_on_purpose = {
        profile.id
        for profile in profiles
        if profile.edit_form == "bare"
        and any(one.prompt_form == "chat" for one in (profile.protocol, *profile.protocols.values()))
    }
    assert apart_on_purpose == {"records-100-bare"}
