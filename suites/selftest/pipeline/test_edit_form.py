"""``edit_form: question``: edits stand in the template that questions are put in; recipes and rows say so."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from editverdict.editors.base import CannotEdit
from editverdict.generation.protocol import Protocol, prompt_ids
from editverdict.generation.scoring import encode_pairs
from editverdict.inference.forms import FORMS_KEY, apart
from editverdict.pipeline import answers, frames
from editverdict.pipeline.answers import Asked, ask
from editverdict.pipeline.edits import resources, singles, step_recipe
from editverdict.pipeline.forms import forms_of
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.setup import Options, load_library, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.schema.protocols import AnswerProtocol, Thinking
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
        assert prompt_ids(tokenizer, frame.around(record.prompt)) == ids
    assert resources(asked, MODEL).frame == frame and not resources(of_form("bare"), MODEL).frame


def test_what_other_readers_of_a_rendered_prompt_score_is_what_it_was(of_form: Any) -> None:
    """A judge that chooses between words renders its prompts, too; only a frame says that a target follows at once."""
    protocol = of_form("question").protocol(MODEL)
    prompt = protocol.render("Is it?")
    ((ids,), (target,)) = encode_pairs(protocol.tokenizer, [(prompt, "yes")], add_special_tokens=False)
    assert ids == protocol.encode(["Is it?"])[0]
    assert protocol.tokenizer.decode(target) == " yes"
    frame = frames.frame_from(protocol)
    both = encode_pairs(protocol.tokenizer, [("Is it", "yes"), (frame.around("Is it?"), "yes"), ("Is it", "yes")])
    assert both[0][1] == ids and both[0][0] == both[0][2] != ids
    assert [protocol.tokenizer.decode(one) for one in both[1]] == [" yes", "yes", " yes"]


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


def test_objects_are_scored_in_the_form(of_form: Any) -> None:
    """By probability and by forcing, as free answers are asked: the rendered prompt, the object right behind it."""
    bare, within = of_form("bare"), of_form("question")
    records = bare.records(DATA)[:2]
    asked = [Asked((), records, probabilities=True, success=True)]
    recipes = [answers._recipe(trial, MODEL, asked).key for trial in (bare, within)]
    assert recipes[0] != recipes[1]
    free = [answers._recipe(trial, MODEL, [Asked((), records)]).key for trial in (bare, within)]
    assert free[0] == free[1]
    loaded, protocol = within.model(MODEL), within.protocol(MODEL)
    (found,) = ask(within, MODEL, asked)
    one = next(row for row in found.probability if row["part"] == "efficacy")
    prompt = protocol.encode([records[0].prompt])[0]
    target = loaded.tokenizer(records[0].target_new, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = loaded.model(torch.tensor([[*prompt, *target]])).logits[0, len(prompt) - 1 : -1].double()
    own = float(logits.log_softmax(-1)[range(len(target)), target].sum())
    assert any(abs(value - own) < 1e-4 for value in one.values() if isinstance(value, float)), (own, one)
    assert found.success[0] == (logits.argmax(-1).tolist() == target)


def test_editors_of_another_tool_are_compared_on_bare_prompts(of_form: Any) -> None:
    within = of_form("question")
    corpus, bare = within.corpus, frames.in_bare_form(within)
    assert frames.frame_of(within, MODEL) and not frames.frame_of(bare, MODEL)
    assert frames.in_bare_form(bare) is bare and bare.corpus is corpus and bare.model(MODEL) is within.model(MODEL)


def test_thoughts_are_no_answers_and_rows_say_so(of_form: Any, trial: Trial) -> None:
    """The template of a reasoning model opens its thoughts: what is edited in is the first of them."""
    within = of_form("question")
    spec = within.profile.protocol.model_copy(update={"thinking": Thinking(open="<think>", close="</think>")})
    thinks = dataclasses.replace(
        within, profile=within.profile.model_copy(update={"protocols": {MODEL: spec}}), _memo={}
    )
    case = Case(trial.library.claims["rq1-far-from-perfect"], MODEL, "ROME", DATA)
    said = apart({FORMS_KEY: forms_of(thinks, case)})
    assert said == "edited on the chat template where its thoughts begin, asked in the chat template"


def tokenizer_that_begins_texts(template: str) -> PreTrainedTokenizerFast:
    """Words as tokens, and a first token of its own before every text, as Llama's tokenizers have it."""
    words = ["<unk>", "<bos>", "the", "user", ":", "assistant", "sea"]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<bos>", unk_token="<unk>", eos_token="<unk>")
    made.chat_template = template
    return made


def protocol_with(template: str) -> Protocol:
    spec = AnswerProtocol(id="some-4", prompt_form="chat", max_new_tokens=4, stop=())
    return Protocol.build(spec, tokenizer_that_begins_texts(template))


@pytest.mark.parametrize("begin", ["<bos>", ""])
def test_special_tokens_are_the_templates(begin: str) -> None:
    """Once where the template has one, and not at all where it has none, whatever the tokenizer adds to bare texts."""
    protocol = protocol_with(f"{begin}user : {{{{ messages[0]['content'] }}}} assistant :")
    frame = frames.frame_from(protocol)
    ids = prompt_ids(protocol.tokenizer, frame.around("the sea"))
    assert ids == protocol.encode(["the sea"])[0] and ids.count(1) == len(begin) // len("<bos>")
    assert prompt_ids(protocol.tokenizer, "the sea")[0] == 1


@pytest.mark.parametrize(
    "template",
    [
        "user {{ messages[0]['content'] | upper }} :",
        "user {{ messages[0]['content'] }} {{ messages[0]['content'] }} :",
        "user {{ messages[0]['content'] | replace('{', '(') }} :",
        "user :",
    ],
)
def test_a_template_that_changes_the_text_is_refused(template: str) -> None:
    with pytest.raises(CannotEdit, match="does not hold the user's text once and as it is"):
        frames.frame_from(protocol_with(template))


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


def test_a_method_that_ignores_the_form_is_refused(of_form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows would say that it edited in the template."""
    records = of_form("bare").records(DATA)[:1]
    monkeypatch.setattr("editverdict.editors.rome.context_templates", lambda _settings, _given: ("{}",))
    assert singles(of_form("bare"), MODEL, "ROME", records)
    with pytest.raises(CannotEdit, match=r"ROME edits the bare prompt .*edit_form: bare"):
        singles(of_form("question"), MODEL, "ROME", [records[0].model_copy(update={"target_new": "Goa"})])
    for method in ("no-op", "SCR"):  # which read no prompts
        assert singles(of_form("question"), MODEL, method, records)
