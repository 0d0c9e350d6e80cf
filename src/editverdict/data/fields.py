"""Reading fields of a JSON object: each helper takes what datasets write in several ways, or says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from editverdict.data.errors import DataError
from editverdict.data.records import Fact, Probe

Json = dict[str, Any]


def flatten(value: object, field: str) -> tuple[str, ...]:
    """Return the texts of a text, a list of texts or a list of lists of texts, without repetition.

    Raises
    ------
    DataError
        When something else, or an empty text, is found.
    """
    texts = list(_leaves(value, field))
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))


def _leaves(value: object, field: str) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bool) or value is None or isinstance(value, dict):
        raise DataError(f"field {field!r}: expected a text or a list of texts, found {type(value).__name__}")
    elif isinstance(value, int | float):
        yield str(value)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, field)
    else:
        raise DataError(f"field {field!r}: expected a text or a list of texts, found {type(value).__name__}")


def text_of(item: Json, field: str) -> str:
    """Return a field that must be a text with something in it, without spaces around it; DataError otherwise."""
    if field not in item:
        raise DataError(f"field {field!r} is missing (found: {', '.join(sorted(item)) or 'no field'})")
    value = item[field]
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"field {field!r}: expected a text, found {str(value)[:60]!r} ({type(value).__name__})")
    return value.strip()


def core(item: Json) -> Json:
    """Return prompt, subject, new and old object; DataError where one of the first three is missing."""
    # A new object may be listed with its aliases, as KnowEdit does with old ones.
    if "target_new" not in item:
        raise DataError(f"field 'target_new' is missing (found: {', '.join(sorted(item)) or 'no field'})")
    new = flatten(item["target_new"], "target_new")
    old_field = "target_old" if "target_old" in item else "ground_truth"
    old = flatten(item[old_field], old_field) if item.get(old_field) is not None else ()
    if not new:
        raise DataError("field 'target_new' is empty")
    return {
        "prompt": text_of(item, "prompt"),
        "subject": text_of(item, "subject"),
        "target_new": new[0],
        "target_new_aliases": new[1:],
        "target_old": old[0] if old else None,
        "target_old_aliases": old[1:],
    }


def rephrases_of(item: Json) -> tuple[str, ...]:
    """Return the other wordings of the prompt, if any."""
    field = "rephrases" if "rephrases" in item else "rephrase_prompt"
    value = item.get(field)
    return () if value is None else flatten(value, field)


def as_in_prompt(subject: str, prompt: str) -> str:
    """Return the subject as the prompt spells it, which is what an editor looks for."""
    at = prompt.lower().find(subject.lower())
    if subject in prompt or at < 0 or len(prompt) != len(prompt.lower()):
        return subject
    return prompt[at : at + len(subject)]


def probe_of(entry: object, kind: str, field: str) -> Probe:
    """Return one probe; ``kind`` where it names none itself."""
    if not isinstance(entry, dict):
        raise DataError(f"field {field!r}: expected objects with 'prompt' and 'answers', found {type(entry).__name__}")
    answer_field = next((name for name in ("answers", "ground_truth", "answer") if name in entry), None)
    if answer_field is None:
        raise DataError(f"field {field!r}: a probe has no 'answers' (found: {', '.join(sorted(map(str, entry)))})")
    answers = flatten(entry[answer_field], f"{field}.{answer_field}")
    if not answers:
        raise DataError(f"field {field!r}: a probe has no answer")
    given = entry.get("facts") or []
    if not isinstance(given, list):
        raise DataError(f"field '{field}.facts': expected a list of objects, found {type(given).__name__}")
    facts = tuple(Fact.model_validate(fact) for fact in given)
    return Probe(prompt=text_of(entry, "prompt"), answers=answers, kind=str(entry.get("kind") or kind), facts=facts)


def probe_list(item: Json, field: str, kind: str) -> tuple[Probe, ...]:
    """Return the probes of a plain list."""
    value = item.get(field) or []
    if not isinstance(value, list):
        raise DataError(f"field {field!r}: expected a list of objects, found {type(value).__name__}")
    return tuple(probe_of(entry, kind, field) for entry in value)
