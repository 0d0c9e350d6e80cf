"""ELKEN (Peng et al. 2024): an event in a sentence, questions about what follows from it, and about what does not.

``event``, ``fact.qas`` (become portability) and ``fact.local_qas`` (locality); a question is an object with
``question``, ``subject`` (an object with ``name``, of some events ``ent2name``), ``answer`` (``name``, ``alias``) and,
of portability, ``type``. The questions about tendencies are left out, as the paper does (appendix C.2): nothing in an
event decides them.

A portability question's kind is

- ``event-unknown`` where the right answer is that the event leaves it open (who holds an office after a dismissal),
- ``event-stated`` where the dataset has type 0: the event itself says it,
- ``event-inferred`` where it has type 1: it takes knowledge beside the event (the city of a university).
"""

from __future__ import annotations

from editverdict.data.errors import DataError
from editverdict.data.fields import Json, flatten, text_of
from editverdict.data.records import Probe

UNKNOWN = "unknown"
"""The dataset's answer to a question that the event leaves open."""
EVENT_KINDS = ("event-stated", "event-inferred", "event-unknown")
_TYPES = {0: "event-stated", 1: "event-inferred"}


def elken_fields(item: Json) -> Json:
    """Return the record fields of one event.

    Raises
    ------
    DataError
        When a field is missing or of another type, or when there is no factual question: such an event (ELKEN has some,
        with tendencies alone) can be edited but not examined.
    """
    facts = item.get("fact")
    if not isinstance(facts, dict):
        raise DataError(f"field 'fact': expected an object with 'qas' and 'local_qas', found {type(facts).__name__}")
    asked, local = _questions(facts, "qas"), _questions(facts, "local_qas")
    if not asked:
        raise DataError("field 'fact.qas' is empty: an event without a factual question cannot be examined")
    return {
        "event": text_of(item, "event"),
        "subject": _subject(asked[0], "fact.qas.0"),
        "rephrases": (),
        "portability": tuple(_fact_probe(q, f"fact.qas.{i}") for i, q in enumerate(asked)),
        "locality": tuple(_probe(q, "other-relation", f"fact.local_qas.{i}") for i, q in enumerate(local)),
    }


def tendency_questions(item: object) -> int:
    """Count the questions about tendencies that are left out with an event."""
    tendency = item.get("tendency") if isinstance(item, dict) else None
    if not isinstance(tendency, dict):
        return 0
    return sum(len(part) for part in (tendency.get("qas"), tendency.get("local_qas")) if isinstance(part, list))


def _questions(facts: Json, field: str) -> list[Json]:
    found = facts.get(field)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise DataError(f"field 'fact.{field}': expected a list of objects, found {str(found)[:60]!r}")
    return found


def _subject(question: Json, where: str) -> str:
    subject = question.get("subject")
    names = [subject[key] for key in ("name", "ent2name") if key in subject] if isinstance(subject, dict) else []
    if not names or not isinstance(names[0], str) or not names[0].strip():
        raise DataError(f"field '{where}.subject': expected an object with 'name', found {str(subject)[:60]!r}")
    return names[0].strip()


def _answers(question: Json, where: str) -> tuple[str, ...]:
    answer = question.get("answer")
    if not isinstance(answer, dict) or "name" not in answer:
        raise DataError(f"field '{where}.answer': expected an object with 'name', found {str(answer)[:60]!r}")
    names = flatten([answer["name"], answer.get("alias") or []], f"{where}.answer")
    if not names:
        raise DataError(f"field '{where}.answer' is empty")
    return names


def _probe(question: Json, kind: str, where: str) -> Probe:
    _subject(question, where)
    try:
        prompt = text_of(question, "question")
    except DataError as error:
        raise DataError(f"in '{where}': {error}") from None
    return Probe(prompt=prompt, answers=_answers(question, where), kind=kind)


def _fact_probe(question: Json, where: str) -> Probe:
    given = question.get("type")
    if type(given) is not int or given not in _TYPES:
        raise DataError(f"field '{where}.type': expected 0 (stated) or 1 (inferred), found {given!r}")
    found = _probe(question, _TYPES[given], where)
    return found.model_copy(update={"kind": "event-unknown"}) if found.answers[0].lower() == UNKNOWN else found
