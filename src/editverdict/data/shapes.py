"""The shapes that an edit comes in, each turned into an :class:`EditRecord`.

========================  =====================================================================================
generic                   ``prompt``, ``subject``, ``target_new``; optional ``id``, ``target_new_aliases``,
                          ``target_old`` (or ``ground_truth``), ``target_old_aliases``, ``relation``, ``rephrases``
                          (a list, or ``rephrase_prompt``), ``locality`` and ``portability`` (lists of objects with
                          ``prompt``, ``answers`` or ``ground_truth``, ``kind``, ``facts``), ``split``, ``source``
KnowEdit                  ``locality`` and ``portability`` are objects: group -> list of ``prompt``, ``ground_truth``
CounterFact (-edit)       ``rephrase_prompt``, ``locality_prompt``, ``locality_ground_truth``
CounterFact (original)    ``requested_rewrite`` with ``{}`` for the subject, ``paraphrase_prompts``,
                          ``neighborhood_prompts``
========================  =====================================================================================

``ground_truth`` may be a text, a list of texts, or a list of lists of aliases; all of them count as right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from editverdict.data.errors import DataError
from editverdict.data.kinds import missing_kinds
from editverdict.data.records import EditRecord, Fact, Probe

Json = dict[str, Any]

GENERIC_FIELDS = frozenset(EditRecord.model_fields) | {"ground_truth", "rephrase_prompt", "case_id"}
_LOCALITY_GROUPS = {"relation-specificity": "other-relation", "neighborhood": "same-relation"}
_PORTABILITY_GROUPS = {"subject-aliasing": "alias", "reasoning": "two-hop", "one-hop": "two-hop", "reverse": "inverse"}


def detect_shape(item: Json) -> str:
    """Return ``counterfact``, ``knowedit`` or ``jsonl`` (generic) for one record."""
    if "requested_rewrite" in item or "locality_prompt" in item:
        return "counterfact"
    if isinstance(item.get("locality"), dict) or isinstance(item.get("portability"), dict) or "cond" in item:
        return "knowedit"
    return "jsonl"


def convert(item: Json, shape: str, identifier: str, source: str) -> EditRecord:
    """Turn one object of a known shape into a record.

    Raises
    ------
    DataError
        When the object lacks a field, or a field has another type than expected.
    """
    converter = {"jsonl": _generic, "knowedit": _knowedit, "counterfact": _counterfact}[shape]
    try:
        fields = converter(item)
        fields["subject"] = _as_in_prompt(fields["subject"], fields["prompt"])
        return EditRecord(
            **{
                "lacks": missing_kinds(fields["rephrases"], fields["locality"], fields["portability"]),
                **fields,
                "id": str(item.get("id", item.get("case_id", identifier))),
                "source": fields.get("source") or source,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "record"
        raise DataError(f"field {where!r}: {first['msg']}, found {str(first.get('input'))[:60]!r}") from None


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


# ------------------------------------------------------------------------------------------------------ fields
def _text(item: Json, field: str) -> str:
    if field not in item:
        raise DataError(f"field {field!r} is missing (found: {', '.join(sorted(item)) or 'no field'})")
    value = item[field]
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"field {field!r}: expected a text, found {str(value)[:60]!r} ({type(value).__name__})")
    return value.strip()


def _core(item: Json) -> Json:
    # A new object may be listed with its aliases, as KnowEdit does with old ones.
    if "target_new" not in item:
        raise DataError(f"field 'target_new' is missing (found: {', '.join(sorted(item)) or 'no field'})")
    new = flatten(item["target_new"], "target_new")
    old_field = "target_old" if "target_old" in item else "ground_truth"
    old = flatten(item[old_field], old_field) if item.get(old_field) is not None else ()
    if not new:
        raise DataError("field 'target_new' is empty")
    return {
        "prompt": _text(item, "prompt"),
        "subject": _text(item, "subject"),
        "target_new": new[0],
        "target_new_aliases": new[1:],
        "target_old": old[0] if old else None,
        "target_old_aliases": old[1:],
    }


def _rephrases(item: Json) -> tuple[str, ...]:
    field = "rephrases" if "rephrases" in item else "rephrase_prompt"
    value = item.get(field)
    return () if value is None else flatten(value, field)


def _as_in_prompt(subject: str, prompt: str) -> str:
    """Return the subject as the prompt spells it, which is what an editor looks for."""
    at = prompt.lower().find(subject.lower())
    if subject in prompt or at < 0 or len(prompt) != len(prompt.lower()):
        return subject
    return prompt[at : at + len(subject)]


def _probe(entry: object, kind: str, field: str) -> Probe:
    if not isinstance(entry, dict):
        raise DataError(f"field {field!r}: expected objects with 'prompt' and 'answers', found {type(entry).__name__}")
    answer_field = next((name for name in ("answers", "ground_truth", "answer") if name in entry), None)
    if answer_field is None:
        raise DataError(f"field {field!r}: a probe has no 'answers' (found: {', '.join(sorted(map(str, entry)))})")
    answers = flatten(entry[answer_field], f"{field}.{answer_field}")
    if not answers:
        raise DataError(f"field {field!r}: a probe has no answer")
    facts = tuple(Fact.model_validate(fact) for fact in entry.get("facts") or ())
    return Probe(prompt=_text(entry, "prompt"), answers=answers, kind=str(entry.get("kind") or kind), facts=facts)


def _probe_list(item: Json, field: str, kind: str) -> tuple[Probe, ...]:
    value = item.get(field) or []
    if not isinstance(value, list):
        raise DataError(f"field {field!r}: expected a list of objects, found {type(value).__name__}")
    return tuple(_probe(entry, kind, field) for entry in value)


# ------------------------------------------------------------------------------------------------------ shapes
def _generic(item: Json) -> Json:
    fields = _core(item)
    for which in ("target_new_aliases", "target_old_aliases"):
        if item.get(which) is not None:
            fields[which] = tuple(dict.fromkeys((*fields[which], *flatten(item[which], which))))
    fields |= {
        "rephrases": _rephrases(item),
        "locality": _probe_list(item, "locality", "other"),
        "portability": _probe_list(item, "portability", "other"),
    }
    fields |= {name: item[name] for name in ("relation", "split", "source") if item.get(name) is not None}
    return fields


def _knowedit(item: Json) -> Json:
    fields = _core(item)
    fields["locality"] = tuple(_grouped(item, "locality", _LOCALITY_GROUPS))
    fields["portability"] = tuple(_grouped(item, "portability", _PORTABILITY_GROUPS))
    fields["rephrases"] = _rephrases(item)
    if not fields["rephrases"]:
        # The data set has no rephrase: the prompt with the subject's other name stands in for it, and 'lacks' says so.
        # It stays among the portability prompts, where the data set's authors put it.
        fields["rephrases"] = tuple(probe.prompt for probe in fields["portability"] if probe.kind == "alias")[:1]
        missing = missing_kinds((), fields["locality"], fields["portability"])
        fields["lacks"] = missing
    return fields


def _grouped(item: Json, field: str, names: dict[str, str]) -> Iterator[Probe]:
    groups = item.get(field) or {}
    if not isinstance(groups, dict):
        raise DataError(f"field {field!r}: expected an object of lists, found {type(groups).__name__}")
    for group, entries in groups.items():
        slug = re.sub(r"[\s_]+", "-", str(group)).lower()
        if not isinstance(entries, list):
            raise DataError(f"field '{field}.{group}': expected a list, found {type(entries).__name__}")
        for entry in entries:
            yield _probe(entry, names.get(slug, slug), f"{field}.{group}")


def _counterfact(item: Json) -> Json:
    if "requested_rewrite" in item:
        return _original_counterfact(item)
    fields = _core(item)
    fields["rephrases"] = _rephrases(item)
    locality = {"prompt": item.get("locality_prompt"), "ground_truth": item.get("locality_ground_truth")}
    fields["locality"] = (_probe(locality, "same-relation", "locality_prompt"),) if locality["prompt"] else ()
    fields["portability"] = ()
    return fields


def _original_counterfact(item: Json) -> Json:
    rewrite = item["requested_rewrite"]
    if not isinstance(rewrite, dict):
        raise DataError(f"field 'requested_rewrite': expected an object, found {type(rewrite).__name__}")
    subject, template = _text(rewrite, "subject"), _text(rewrite, "prompt")
    targets = {}
    for which in ("target_new", "target_true"):
        target = rewrite.get(which)
        targets[which] = _text(target, "str") if isinstance(target, dict) else _text(rewrite, which)
    near = flatten(item.get("neighborhood_prompts") or [], "neighborhood_prompts")
    return {
        "prompt": template.replace("{}", subject),
        "subject": subject,
        "target_new": targets["target_new"],
        "target_old": targets["target_true"],
        "relation": rewrite.get("relation_id"),
        "rephrases": flatten(item.get("paraphrase_prompts") or [], "paraphrase_prompts"),
        # The neighbours share the old object.
        "locality": tuple(Probe(prompt=p, answers=(targets["target_true"],), kind="same-relation") for p in near),
        "portability": (),
    }
