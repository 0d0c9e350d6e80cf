"""The validator finds planted violations of every kind, and nothing in a sound list."""

from __future__ import annotations

import re
from typing import Any

import pytest

from editverdict.data import EditRecord, Fact, Probe, missing_kinds, validate_edits


def fact(subject: str, relation: str) -> Fact:
    return Fact(subject=subject, relation=relation)


def make(**changes: Any) -> EditRecord:
    """An edit of a city, complete but for the inverse; ``changes`` replace fields."""
    fields: dict[str, Any] = {
        "id": "a",
        "prompt": "The city of Lyon is located in the country of",
        "subject": "Lyon",
        "target_new": "Japan",
        "target_old": "France",
        "relation": "city-country",
        "rephrases": ("Lyon is a city in", "People in Lyon live in"),
        "locality": (
            Probe(
                prompt="The city of Graz is located in the country of",
                answers=("Austria",),
                kind="same-relation",
                facts=(fact("Graz", "city-country"),),
            ),
        ),
        "portability": (
            Probe(
                prompt="The capital of the country of Lyon is",
                answers=("Tokyo",),
                kind="two-hop",
                facts=(fact("Japan", "country-capital"),),
            ),
            Probe(prompt="The city of Lugdunum is located in the country of", answers=("Japan",), kind="alias"),
        ),
    } | changes
    fields.setdefault("lacks", missing_kinds(fields["rephrases"], fields["locality"], fields["portability"]))
    return EditRecord(**fields)


def capital(identifier: str, country: str, new: str, old: str, **changes: Any) -> EditRecord:
    """An edit of a functional relation, with its inverse."""
    return make(
        **{
            "id": identifier,
            "prompt": f"The capital of {country} is",
            "subject": country,
            "target_new": new,
            "target_old": old,
            "relation": "country-capital",
            "locality": (
                Probe(
                    prompt="The capital of Austria is",
                    answers=("Vienna",),
                    kind="same-relation",
                    facts=(fact("Austria", "country-capital"),),
                ),
            ),
            "rephrases": (f"{country} is governed from", f"{country} has the capital"),
            "portability": (Probe(prompt=f"{new} is the capital of", answers=(country,), kind="inverse"),),
        }
        | changes
    )


def other(**changes: Any) -> EditRecord:
    """A second sound edit."""
    return capital("b", "Peru", "Oslo", "Lima", **changes)


def locality(prompt: str, answer: str, kind: str, known: Fact) -> dict[str, Any]:
    return {"locality": (Probe(prompt=prompt, answers=(answer,), kind=kind, facts=(known,)),)}


SOUND = [make(), other()]

PLANTED: dict[str, tuple[list[EditRecord], str]] = {
    "id twice": ([make(), other(id="a")], "the id occurs twice"),
    "subject twice": ([make(), make(id="c", split="tune")], r"is edited by a too \(splits 'test' and 'tune'\)"),
    "subject twice in other letters": (
        [make(), make(id="c", subject="LYON", prompt="The city of LYON is in the country of")],
        "is edited by a too",
    ),
    "subject inside a subject": (
        [make(), make(id="c", subject="Lyon Bay", prompt="The town of Lyon Bay is in the country of")],
        r"the edited subject 'Lyon' \(a\) occurs in its subject",
    ),
    "alias is another's subject": (
        [make(), other(), make(id="c", subject="Lugdunum", prompt="Lugdunum lies in the land of", portability=())],
        r"'Lugdunum' \(c\) occurs in its alias prompt",
    ),
    "subject missing in the prompt": ([make(prompt="This city is located in the country of")], "0 times"),
    "subject twice in the prompt": ([make(prompt="Lyon, the city of Lyon, is in")], "2 times"),
    "rephrase without subject": ([make(rephrases=("This city is in", "Lyon is in"))], "rephrase does not contain"),
    "rephrase equals prompt": (
        [make(rephrases=("The city of Lyon is located in the country of",))],
        "not all different",
    ),
    "new equals old by alias": ([make(target_old="Nippon", target_new_aliases=("Nippon",))], "cannot be told apart"),
    "new inside old": ([make(target_new="Guinea", target_old="Equatorial Guinea")], "cannot be told apart"),
    "answer in the prompt": (
        [make(subject="Mexico City", prompt="Mexico City is in", target_old="Mexico", rephrases=("Mexico City: in",))],
        "the object 'Mexico' occurs in its prompt",
    ),
    "new object in a rephrase": ([make(rephrases=("Lyon, not Japan, but",))], "the object 'Japan' occurs"),
    "answer in a locality prompt": (
        [make(**locality("Austria's city of Graz is in", "Austria", "same-relation", fact("Graz", "city-country")))],
        "locality: the answer 'Austria' occurs",
    ),
    "answer in a portability prompt": (
        [make(portability=(Probe(prompt="Lyon, like Tokyo, has the capital", answers=("Tokyo",), kind="two-hop"),))],
        "portability: the answer 'Tokyo' occurs",
    ),
    "locality cannot see spill-over": (
        [make(**locality("The city of Kobe is in", "Japan", "same-relation", fact("Kobe", "city-country")))],
        "spill-over would be unseen",
    ),
    "locality fact is edited": (
        [
            make(**locality("The seat of government there is", "Lima", "other", fact("Peru", "country-capital"))),
            other(),
        ],
        r"rests on \(Peru, country-capital\), which b edits",
    ),
    "locality prompt names an edited subject": (
        [make(**locality("The coin of Peru is the", "sol", "other", fact("Peru", "country-currency"))), other()],
        r"'Peru' \(b\) occurs in its other prompt",
    ),
    "same-relation prompt about the subject": (
        [make(**locality("Lyon was in", "Gaul", "same-relation", fact("Gaul", "city-country")))],
        "names the edited subject",
    ),
    "same-relation of another relation": (
        [make(**locality("The mayor of Graz is", "Kahr", "same-relation", fact("Graz", "city-mayor")))],
        "rests on another relation",
    ),
    "other-relation without the subject": (
        [make(**locality("The mayor of Graz is", "Kahr", "other-relation", fact("Graz", "city-mayor")))],
        "does not name the subject",
    ),
    "hop is edited": (
        [make(), capital("c", "Japan", "Oslo", "Tokyo")],
        r"two-hop probe rests on \(Japan, country-capital\), which c edits",
    ),
    "hop starts at the old object": (
        [
            make(
                portability=(
                    Probe(
                        prompt="The capital of the country of Lyon is",
                        answers=("Paris",),
                        kind="two-hop",
                        facts=(fact("France", "country-capital"),),
                    ),
                )
            )
        ],
        "a hop starts at 'France', not at the new object 'Japan'",
    ),
    "two-hop without the subject": (
        [make(portability=(Probe(prompt="The capital there is", answers=("Tokyo",), kind="two-hop"),))],
        "a two-hop prompt does not name the subject",
    ),
    "alias prompt with the subject": (
        [make(portability=(Probe(prompt="Old Lyon lies in", answers=("Japan",), kind="alias"),))],
        "an alias prompt contains the subject itself",
    ),
    "alias answer is the old object": (
        [make(portability=(Probe(prompt="Lugdunum lies in", answers=("France",), kind="alias"),))],
        "the answer of an alias prompt is not the new object",
    ),
    "inverse of a relation that is not one to one": (
        [
            make(portability=(Probe(prompt="Japan has the city of", answers=("Lyon",), kind="inverse"),)),
            make(
                id="c", subject="Nice", prompt="The city of Nice lies in", rephrases=("Nice is in",), target_new="Chad"
            ),
        ],
        "the old object 'France' is that of a too",
    ),
    "two edits with the same new object and an inverse": (
        [other(), capital("c", "Chad", "Oslo", "Ndjamena")],
        "the new object 'Oslo' is that of b too",
    ),
    "the inverse's object belongs to an unedited subject": (
        [
            other(),
            make(**locality("The capital of Norway is", "Oslo", "other", fact("Norway", "country-capital"))),
        ],
        "gives 'Oslo' to another subject, but b makes it",
    ),
    "inverse names the subject": (
        [other(portability=(Probe(prompt="Oslo is in Peru, the land of", answers=("Peru",), kind="inverse"),))],
        "must name the new object and not the subject",
    ),
    "inverse answers something else": (
        [other(portability=(Probe(prompt="Oslo is the capital of", answers=("Norway",), kind="inverse"),))],
        "the answer of an inverse prompt is not the subject",
    ),
    "equal prompts, different answers": (
        [make(), other(**locality("the city of graz is located in the country of", "Chad", "other", fact("x", "y")))],
        "wants 'Chad' where a wants 'Austria'",
    ),
    "equal facts, different answers": (
        [make(), other(**locality("Where is Graz? In", "Chad", "other", fact("Graz", "city-country")))],
        r"wants 'Chad' where a wants 'Austria': \(Graz, city-country\)",
    ),
    "lacks leaves something out": ([make(lacks=())], "'lacks' says"),
    "lacks names what is there": (
        [make(lacks=("portability/alias", "portability/inverse", "locality/other-relation"))],
        "'lacks' says",
    ),
    "a probe without fact": (
        [make(locality=(Probe(prompt="The city of Graz is in", answers=("Austria",), kind="same-relation"),))],
        "1 locality and 0 two-hop probes name no fact",
    ),
}


def test_a_sound_list_has_no_finding() -> None:
    assert validate_edits(SOUND) == []


@pytest.mark.parametrize("name", PLANTED)
def test_planted_violation_is_found(name: str) -> None:
    records, expected = PLANTED[name]
    findings = validate_edits(records)
    assert any(re.search(expected, finding) for finding in findings), findings


def test_findings_do_not_depend_on_the_order() -> None:
    records = [*SOUND, capital("c", "Japan", "Quito", "Tokyo")]
    forward = {f for f in validate_edits(records) if "which c edits" in f}
    backward = {f for f in validate_edits(records[::-1]) if "which c edits" in f}
    assert forward == backward and len(forward) == 1
