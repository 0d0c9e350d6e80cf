"""The shapes that an edit comes in, each turned into an :class:`EditRecord`.

========================  =====================================================================================
generic                   ``prompt``, ``subject``, ``target_new``; optional ``id``, ``target_new_aliases``,
                          ``target_old`` (or ``ground_truth``), ``target_old_aliases``, ``relation``, ``rephrases``
                          (a list, or ``rephrase_prompt``), ``locality`` and ``portability`` (lists of objects with
                          ``prompt``, ``answers`` or ``ground_truth``, ``kind``, ``facts``), ``split``, ``source``,
                          ``part_of``, ``event`` (alone, without ``prompt`` and ``target_new``, or beside them)
KnowEdit                  ``locality`` and ``portability`` are objects: group -> list of ``prompt``, ``ground_truth``
CounterFact (-edit)       ``rephrase_prompt``, ``locality_prompt``, ``locality_ground_truth``
CounterFact (original)    ``requested_rewrite`` with ``{}`` for the subject, ``paraphrase_prompts``,
                          ``neighborhood_prompts``
ELKEN                     ``event`` and ``fact``, see :mod:`editverdict.data.events`
========================  =====================================================================================

``ground_truth`` may be a text, a list of texts, or a list of lists of aliases; all of them count as right.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from editverdict.data.errors import DataError
from editverdict.data.events import elken_fields
from editverdict.data.fields import Json, as_in_prompt, core, flatten, probe_list, probe_of, rephrases_of, text_of
from editverdict.data.kinds import PROBE_KINDS, missing_kinds
from editverdict.data.records import EditRecord, Probe

GENERIC_FIELDS = frozenset(EditRecord.model_fields) | {"ground_truth", "rephrase_prompt", "case_id"}
SPLITS = ("tune", "test")
"""A record of another split would never be edited."""
_LOCALITY_GROUPS = {"relation-specificity": "other-relation", "neighborhood": "same-relation"}
_PORTABILITY_GROUPS = {"subject-aliasing": "alias", "reasoning": "two-hop", "one-hop": "two-hop", "reverse": "inverse"}


def detect_shape(item: Json) -> str:
    """Return ``counterfact``, ``knowedit``, ``elken`` or ``jsonl`` (generic) for one record."""
    if "event" in item and isinstance(item.get("fact"), dict):
        return "elken"
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
    converter = {"jsonl": _generic, "knowedit": _knowedit, "counterfact": _counterfact, "elken": elken_fields}[shape]
    try:
        fields = converter(item)
        if "prompt" in fields:
            fields["subject"] = as_in_prompt(fields["subject"], fields["prompt"])
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


# ------------------------------------------------------------------------------------------------------ shapes
def _generic(item: Json) -> Json:
    event = item.get("event")
    bare = event is not None and not {"prompt", "target_new"} & set(item)
    fields: Json = {"subject": text_of(item, "subject")} if bare and "subject" in item else {} if bare else core(item)
    if event is not None:
        fields["event"] = text_of(item, "event")
    for which in ("target_new_aliases", "target_old_aliases"):
        if item.get(which) is not None:
            fields[which] = tuple(dict.fromkeys((*fields.get(which, ()), *flatten(item[which], which))))
    fields |= {
        "rephrases": rephrases_of(item),
        "locality": probe_list(item, "locality", "other"),
        "portability": probe_list(item, "portability", "other"),
    }
    fields |= {name: item[name] for name in ("relation", "split", "source", "part_of") if item.get(name) is not None}
    if fields.get("split", "test") not in SPLITS:
        raise DataError(f"field 'split': expected {' or '.join(map(repr, SPLITS))}, found {fields['split']!r}")
    if "lacks" in item:
        fields["lacks"] = _lacks(item, fields)
    return fields


def _lacks(item: Json, fields: Json) -> tuple[str, ...]:
    """What a record says it lacks: what is missing, and the rephrase where an alias stands in for it."""
    said = flatten(item["lacks"], "lacks")
    missing = set(missing_kinds(fields["rephrases"], fields["locality"], fields["portability"]))
    if missing - set(said) or set(said) - missing - {"rephrase"}:
        raise DataError(
            f"field 'lacks' says {sorted(said)}, but what is missing is {sorted(missing)}; leave 'lacks' out, it is "
            "found from the probes"
        )
    return tuple(kind for kind in PROBE_KINDS if kind in said)


def _knowedit(item: Json) -> Json:
    fields = core(item)
    fields["locality"] = tuple(_grouped(item, "locality", _LOCALITY_GROUPS))
    fields["portability"] = tuple(_grouped(item, "portability", _PORTABILITY_GROUPS))
    fields["rephrases"] = rephrases_of(item)
    if not fields["rephrases"]:
        # The data set has no rephrase: prompts with the subject's other names stand in for it, and 'lacks' says so.
        # They stay among the portability prompts, where the data set's authors put them. They ask for the same object,
        # so what they accept (now and then another name of it) is accepted.
        aliases = [p for p in fields["portability"] if p.kind == "alias" and p.prompt != fields["prompt"]]
        names = dict.fromkeys((*fields["target_new_aliases"], *(name for probe in aliases for name in probe.answers)))
        fields["target_new_aliases"] = tuple(name for name in names if name != fields["target_new"])
        fields["rephrases"] = tuple(dict.fromkeys(probe.prompt for probe in aliases))
        fields["lacks"] = missing_kinds((), fields["locality"], fields["portability"])
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
            yield probe_of(entry, names.get(slug, slug), f"{field}.{group}")


def _counterfact(item: Json) -> Json:
    if "requested_rewrite" in item:
        return _original_counterfact(item)
    fields = core(item)
    fields["rephrases"] = rephrases_of(item)
    locality = {"prompt": item.get("locality_prompt"), "ground_truth": item.get("locality_ground_truth")}
    fields["locality"] = (probe_of(locality, "same-relation", "locality_prompt"),) if locality["prompt"] else ()
    fields["portability"] = ()
    return fields


def _original_counterfact(item: Json) -> Json:
    rewrite = item["requested_rewrite"]
    if not isinstance(rewrite, dict):
        raise DataError(f"field 'requested_rewrite': expected an object, found {type(rewrite).__name__}")
    subject, template = text_of(rewrite, "subject"), text_of(rewrite, "prompt")
    targets = {}
    for which in ("target_new", "target_true"):
        target = rewrite.get(which)
        targets[which] = text_of(target, "str") if isinstance(target, dict) else text_of(rewrite, which)
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


# ------------------------------------------------------------------------------------------------------ writing
def save_edits(records: Iterable[EditRecord], path: Path) -> None:
    """Write records in the generic shape, one JSON object per line; reading the file gives equal records.

    The file appears whole or not at all. Fields that a record does not use are left out.
    """
    lines = [json.dumps(r.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False) for r in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".draft")
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(line + "\n" for line in lines)
    os.replace(draft, path)
