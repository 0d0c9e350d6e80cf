"""From events to facts: a model's answers, read and refused; a real endpoint, kept answers; the rule."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import InternalServerError, OpenAI
from transformers import PreTrainedTokenizerFast

from editverdict.data import (
    PROBE_KINDS,
    Complete,
    Conversion,
    DataError,
    EditRecord,
    convert_event,
    convert_events,
    drawn_by,
    fact_edits,
    in_sequence,
    load_edits,
)
from editverdict.data.cloze import cloze_triples
from editverdict.data.text import contains
from editverdict.data.triples import RULE, TRIPLES_SCHEMA, parse_triples, triples_prompt
from editverdict.editors.tokens import subject_end
from editverdict.store import Store

HERE = Path(__file__).resolve().parent
TEXT = "Zora Quill founded the Harbour Books in Ulm."
OTHER = "Bo Lund has left Acme."


def triple(subject: str, prompt: str, target: str) -> dict[str, str]:
    return {"subject": subject, "prompt": prompt, "target_new": target}


FOUNDED = triple("Zora Quill", "Zora Quill founded", "Harbour Books")
SEAT = triple("Harbour Books", "The seat of Harbour Books is", "Ulm")


def answer(*triples: object) -> str:
    return json.dumps({"triples": list(triples)})


def event(text: str = TEXT, name: str = "e1") -> EditRecord:
    return EditRecord(id=name, event=text, source="events.json, index 0")


# ------------------------------------------------------------------------------------------------------ reading
@pytest.mark.parametrize("around", ["{}", "Sure!\n```json\n{}\n```\nDone.", "A set {{a, b}} first: {}", "{} {{"])
def test_an_answer_is_read_through_what_stands_around_it(around: str) -> None:
    triples, wrong = parse_triples(around.format(answer(FOUNDED, SEAT)), TEXT)
    assert [t.model_dump() for t in triples] == [FOUNDED, SEAT] and wrong == []


def test_unusable_triples_are_named_and_the_others_kept() -> None:
    given = [
        FOUNDED,
        triple("Zora Quill", "She founded", "Harbour Books"),
        triple("Ada", "Ada founded", "Harbour Books"),
        triple("Harbour Books", "Harbour Books was founded in", "Berlin"),
        triple("Zora Quill", "Zora Quill founded Harbour Books", "the Harbour Books"),
        triple("zora quill", " Zora Quill founded ", "Harbour Books"),
        triple("Harbour Books", "harbour books lies in", "a Ulm"),
    ]
    triples, wrong = parse_triples(answer(*given), TEXT)
    # The fifth repeats the first once it is spelt as in its prompt; an article that the event has not does no harm.
    assert [(t.subject, t.target_new) for t in triples] == [("Zora Quill", "Harbour Books"), ("harbour books", "a Ulm")]
    assert [text.rsplit(": ", 1)[1] for text in wrong] == [
        "the subject 'Zora Quill' is not in the prompt",
        "the subject 'Ada' is not in the event",
        "the target is not in the event",
        "the target is in the prompt",
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", r"expected a JSON object with 'triples', found '' \(there is no '\{'\)"),
        ("I cannot do that.", "found 'I cannot do that.'"),
        ('{"triples": [{"subject": "Zo', "expected a JSON object"),
        ("{}", "triples: Field required"),
        ('{"facts": []} {"more": 1}', "triples: Field required, found .*facts"),
        # Broken off behind a whole triple: said of the answer, not of the triple that is inside it.
        (answer(FOUNDED, SEAT)[:-30], r"expected a JSON object with 'triples', found .* \(Unterminated string"),
        ('{"triples": []}', "triples: List should have at least 1 item"),
        ('{"triples": {}}', "triples: Input should be a valid list"),
        ('{"facts": [], "triples": [1]}', "triples.0"),
        (answer(FOUNDED | {"target_new": 3}), "triples.0.target_new: Input should be a valid string"),
        (answer(FOUNDED | {"target_new": " "}), "triples.0.target_new: String should have at least 1"),
        (answer(FOUNDED | {"why": "so"}), "triples.0.why: Extra inputs are not permitted"),
        (answer(SEAT | {"target_new": "Berlin"}), "no usable triple: .*the target is not in the event"),
    ],
)
def test_an_answer_of_another_form_is_refused(given: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse_triples(given, TEXT)


def test_the_schema_is_that_of_the_answers() -> None:
    assert TRIPLES_SCHEMA["required"] == ["triples"]
    item = TRIPLES_SCHEMA["$defs"]["Triple"]
    assert sorted(item["required"]) == sorted(FOUNDED) and item["additionalProperties"] is False


# ------------------------------------------------------------------------------------------------------ an endpoint
@contextmanager
def endpoint(folder: Path, answers: dict[str, list[str | int]]) -> Iterator[Complete]:
    """A client of a server process that gives these answers."""
    (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    command = [sys.executable, str(HERE / "chat.py"), str(folder / "answers.json"), str(folder / "asked.log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        client = OpenAI(base_url=address, api_key="none", max_retries=0, timeout=30)

        def complete(prompt: str, /) -> str:
            messages: list[Any] = [{"role": "user", "content": prompt}]
            done = client.chat.completions.create(model="toy", messages=messages, temperature=0)
            return done.choices[0].message.content or ""

        yield complete
        server.terminate()


def asked(folder: Path) -> list[str]:
    return (folder / "asked.log").read_text(encoding="utf-8").split("\n")[:-1]


def test_a_served_model_is_asked_once_and_its_answers_are_kept(tmp_path: Path) -> None:
    good = answer(triple("Bo Lund", "Bo Lund has left", "Acme"))
    served = {TEXT: [answer(FOUNDED, SEAT)], OTHER: ["no idea", good], "X is Y.": ["no", "no"]}
    records = [event(), event(OTHER, "e2"), event("X is Y.", "e3")]
    with endpoint(tmp_path, dict(served)) as complete:  # type: ignore[arg-type]
        first = convert_events(records, complete=complete, name="toy", store=Store(tmp_path / "store"), at_once=3)
    assert sorted(asked(tmp_path)) == sorted([TEXT, OTHER, OTHER, "X is Y.", "X is Y."])
    assert [c.by for c in first] == ["toy", "toy", RULE] and drawn_by(first) == {"toy": 2, RULE: 1}
    assert [len(c.problems) for c in first] == [0, 1, 2] and "found 'no idea'" in first[1].problems[0]

    def gone(prompt: str, /) -> str:
        raise AssertionError("asked again")

    again = convert_events(records, complete=gone, name="toy", store=Store(tmp_path / "store"))
    assert again == first
    with pytest.raises(AssertionError, match="asked again"):  # another model's answers are its own
        convert_event(records[0], complete=gone, name="other", store=Store(tmp_path / "store"))


def test_a_model_that_cannot_be_reached_is_not_replaced_by_the_rule(tmp_path: Path) -> None:
    store, records = Store(tmp_path / "store"), [event(), event(OTHER, "e2")]
    good = answer(triple("Bo Lund", "Bo Lund has left", "Acme"))
    with endpoint(tmp_path, {TEXT: [answer(FOUNDED)], OTHER: [500, good]}) as complete:
        with pytest.raises(InternalServerError):
            convert_events(records, complete=complete, name="toy", store=store)
        # What was answered is kept, the failure is not: only the second event is asked about again.
        assert [c.by for c in convert_events(records, complete=complete, name="toy", store=store)] == ["toy", "toy"]
    assert asked(tmp_path) == [TEXT, OTHER, OTHER]


def test_the_second_question_says_what_was_wrong() -> None:
    prompts: list[str] = []

    def complete(prompt: str, /) -> str:
        prompts.append(prompt)
        return answer(SEAT | {"target_new": "Berlin"}) if len(prompts) == 1 else answer(SEAT)

    assert convert_event(event(), complete=complete, name="toy").by == "toy"
    assert prompts[0] == triples_prompt(TEXT) and prompts[0].endswith(f"Event: {TEXT}")
    assert "the target is not in the event" in prompts[1] and prompts[1].startswith(prompts[0])


def test_conversions_that_cannot_be() -> None:
    with pytest.raises(DataError, match="record 'e' has no event"):
        convert_event(EditRecord(id="e", prompt="A is", subject="A", target_new="B"))
    for name in ("", RULE):
        with pytest.raises(ValueError, match="a model needs a name of its own"):
            convert_event(event(), complete=lambda prompt: "", name=name)
    with pytest.raises(DataError, match="the rule finds no fact in the event 'it rained'"):
        convert_event(event("it rained"))
    with pytest.raises(ValueError, match="the conversion is that of event 'e2', not of 'e1'"):
        fact_edits(event(), Conversion("e2", (), RULE))


# ------------------------------------------------------------------------------------------------------ facts
def test_facts_are_edits_of_their_own() -> None:
    conversion = convert_event(event())
    assert conversion.by == RULE and conversion.problems == ()
    first, second = fact_edits(event(), conversion)
    assert (first.id, first.prompt, first.subject, first.target_new) == (
        "e1/0",
        "Zora Quill founded the",
        "Zora Quill",
        "Harbour Books",
    )
    assert second.target_new == "Ulm" and second.part_of == "e1" and second.lacks == PROBE_KINDS
    assert second.source == f"events.json, index 0, triple 1 ({RULE})"


def test_events_make_way_for_their_facts_in_a_sequence() -> None:
    fact = EditRecord(id="f", prompt="A is", subject="A", target_new="B")
    conversions = convert_events([event(), event(OTHER, "e2")])
    ids = [record.id for record in in_sequence([event(OTHER, "e2"), fact, event()], conversions)]
    assert ids == ["e2/0", "f", "e1/0", "e1/1"]
    with pytest.raises(DataError, match=r"no facts were drawn from 1 event\(s\): e3"):
        in_sequence([fact, event(name="e3")], conversions)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bo Lund is studying marine biology at Ulm University.", ["marine biology", "Ulm University"]),
        ("Ada and Bo Lund have just tied the knot.", ["Bo Lund"]),
        ('"The Deep" by Bo Lund was published on May 3, 2023.', ["Bo Lund", "May 3, 2023"]),
        ("Chess player Bo Lund joined Ulm F.C.", ["Ulm F.C."]),
        ("Bo Lund has joined the University of Ulm, Bergen.", ["University of Ulm, Bergen"]),
        ("Bo Lund's son, Ib, was born in Ulm.", ["Ib", "Ulm"]),
        ("Bo Lund joined Lund and Sons.", ["Lund and Sons"]),
        ("Acme dismissed Bo Lund and Ib Dam.", ["Bo Lund", "Ib Dam"]),
        ("Bo Lund has stepped down.", ["stepped down"]),
        ("Bo Lund resigned.", ["resigned"]),
        ("In 2023, Bo Lund moved.", ["moved"]),
        ("nothing of note happened", []),
        ("", []),
    ],
)
def test_the_rule(text: str, expected: list[str]) -> None:
    found = cloze_triples(text)
    assert [target for _, _, target in found] == expected
    for subject, prompt, target in found:
        assert subject in prompt and not contains(prompt, target)


def test_a_marriage_is_put_into_words_and_a_role_is_no_name() -> None:
    assert cloze_triples("Ada and Bo Lund have just tied the knot.") == [("Ada", "Ada is married to", "Bo Lund")]
    assert cloze_triples("Chess player Bo Lund joined Ulm F.C.")[0][0] == "Bo Lund"


@pytest.mark.parametrize(
    "file",
    ["zsre_knowedit/ZsRE-test-200.json", "wikidata_counterfact_knowedit/train_cf-200.json", "elken/test-fact-100.json"],
)
def test_editors_find_the_subject_in_every_real_edit(
    shared: Callable[..., Path], tiny_tokenizer: PreTrainedTokenizerFast, file: str
) -> None:
    records = load_edits(shared("data", *file.split("/"))).records[:100]
    edits = in_sequence(records, convert_events([r for r in records if r.bare_event]))
    assert len(edits) >= 100
    for edit in edits:
        end = subject_end(tiny_tokenizer, edit.prompt, edit.subject)
        read = tiny_tokenizer.decode(tiny_tokenizer(edit.prompt)["input_ids"][: end + 1])
        assert edit.subject in read


def test_the_rule_finds_facts_in_every_real_event(shared: Callable[..., Path]) -> None:
    records = load_edits(shared("data", "elken", "test-fact-100.json")).records
    conversions = convert_events(records)
    assert drawn_by(conversions) == {RULE: 100}
    stated = found = 0
    for record, conversion in zip(records, conversions, strict=True):
        edits = fact_edits(record, conversion)
        assert edits and all(edit.subject in edit.prompt for edit in edits)
        assert record.event is not None and all(contains(record.event, edit.target_new) for edit in edits)
        for probe in record.portability:
            if probe.kind == "event-stated":
                stated += 1
                found += any(contains(e.target_new, name) for e in edits for name in probe.answers)
    # Two thirds of what the events state is among the targets; a rule that lost most of it would be no stand-in.
    assert found / stated > 2 / 3
