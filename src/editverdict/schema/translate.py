"""Pydantic's findings in prose: what was expected, what was found, what to try, and on which line."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from editverdict.schema.base import Spec
from editverdict.schema.errors import SpecProblem, Where, did_you_mean, nearest
from editverdict.schema.yaml_loader import Document

_SHOWN = 70
_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._+-]*$": "an identifier (letters, digits, . _ + -)",
    r"^[0-9a-f]{64}$": "a sha256 (64 digits 0-9 a-f)",
}
_BASIC = ((str, "text"), (float, "a number"), (int, "an integer"), (bool, "true or false"), (Any, "any value"))
_MISSING_HINTS = {
    ("Expectation", "origin"): "a threshold must say where it comes from: add e.g. 'origin: paper' and its 'ref'",
}


def validate(cls: type[Spec], document: Document, where: Where) -> tuple[Spec | None, list[SpecProblem]]:
    """Validate the item of a document at a path.

    The values go to pydantic as JSON: that is its strict mode in which a list may become a tuple and an integer a
    float, while a text never becomes a number nor a number a text.

    Returns
    -------
    tuple
        The spec and no problems, or None and at least one problem (at most one per field).
    """
    variants = cls.variants()
    if not variants:
        return _validated(cls, document, where)
    item = document.at(where)
    named = item.get("format") if isinstance(item, dict) else None
    if isinstance(named, str) and named in variants:
        return _validated(variants[named], document, where)
    # The other fields are held against the format that is most likely meant, by its name or else by its fields.
    near = nearest(named, variants) if isinstance(named, str) else None
    keys = set(item) if isinstance(item, dict) else set()
    meant = variants[near or max(variants, key=lambda name: len(keys & set(variants[name].model_fields)))]
    about_format = document.field_name((*where, "format"))
    problems = [
        problem
        for one in (cls, meant)
        for problem in _validated(one, document, where)[1]
        if (problem.field == about_format) == (one is cls)
    ]
    return None, problems or _validated(meant, document, where)[1]


def _validated(cls: type[Spec], document: Document, where: Where) -> tuple[Spec | None, list[SpecProblem]]:
    try:
        return cls.model_validate_json(json.dumps(document.at(where))), []
    except ValidationError as error:
        return None, list(_translate(document, where, cls, error))


# --------------------------------------------------------------------------- where an error is
@dataclass(frozen=True)
class _Place:
    """Where one pydantic error is: in the file and in the types."""

    where: Where
    annotation: Any
    owner: type[Spec]
    """The class whose field (or unknown key) the last step is."""
    is_key: bool
    is_choice: bool
    """The error belongs to one member of a union, not to the value as such."""


def _locate(cls: type[Spec], base: Where, loc: Iterable[str | int]) -> _Place:
    """Follow pydantic's location through the types and drop the labels of union members, which no file contains."""
    where, owner, rest = base, cls, list(loc)
    annotation: Any = cls
    while rest:
        step = rest.pop(0)
        core = _core(annotation)
        if _is_union(core):
            if not rest:
                return _Place(where, annotation, owner, False, True)
            annotation = _member(core, step)
            continue
        where = (*where, step)
        if _is_spec(core):
            owner = core
            annotation = _full(owner.model_fields.get(str(step)))
        elif get_origin(core) is tuple:
            annotation = get_args(core)[0]
        elif get_origin(core) is dict:
            key, annotation = get_args(core)
            if rest == ["[key]"]:
                return _Place(where, key, owner, True, False)
        else:
            annotation = Any
    return _Place(where, annotation, owner, False, False)


def _core(annotation: Any) -> Any:
    """Strip ``Annotated`` and ``| None``."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, types.UnionType) and len(_members(annotation)) == 1:
            annotation = _members(annotation)[0]
        else:
            return annotation


def _members(union: Any) -> list[Any]:
    return [member for member in get_args(union) if member is not types.NoneType]


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _is_spec(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Spec)


def _member(union: Any, label: str | int) -> Any:
    """Return the member of a union that a label of pydantic names: a ``kind``, or else the member that has items."""
    for member in _members(union):
        core = _core(member)
        if _is_spec(core) and _tag(core) == label:
            return core
    return next((m for m in _members(union) if get_origin(_core(m)) in (tuple, dict) or _is_spec(_core(m))), Any)


def _tag(cls: Any) -> Any:
    """Return the value of ``kind`` that selects a class in a tagged union."""
    return cls.model_fields["kind"].default if "kind" in cls.model_fields else None


def _full(field: FieldInfo | None) -> Any:
    """Return a field's annotation with its constraints."""
    if field is None:
        return Any
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


# --------------------------------------------------------------------------- prose for types and values
def describe(annotation: Any) -> str:
    """Return a type of the specs in words, with its bounds."""
    core = _core(annotation)
    constraints = list(_constraints(annotation))
    pattern = next((p for c in constraints if (p := getattr(c, "pattern", None))), None)
    if pattern:
        return _PATTERNS.get(pattern, f"text that matches {pattern}")
    bounds = [f"{sign} {getattr(c, name)}" for c in constraints for name, sign in _BOUNDS if hasattr(c, name)]
    sizes = [f"at least {c.min_length}" for c in constraints if getattr(c, "min_length", None)]
    text = _describe_core(core)
    if sizes:
        text = re.sub(r"^a (list|mapping)", rf"a \1 with {sizes[0]} item(s)", text)
    return " ".join([text, " and ".join(bounds)]).strip()


_BOUNDS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


def _describe_core(core: Any) -> str:
    basic = next((text for kind, text in _BASIC if kind is core), None)
    if basic:
        return basic
    origin, args = get_origin(core), get_args(core)
    if origin is Literal:
        return f"'{args[0]}'" if len(args) == 1 else "one of " + " | ".join(map(str, args))
    if origin is tuple:
        return f"a list (each item: {describe(args[0])})"
    if origin is dict:
        return f"a mapping (each value: {describe(args[1])})"
    if _is_union(core):
        return _describe_union(core)
    if _is_spec(core):
        required = [name for name, field in core.model_fields.items() if field.is_required()]
        return f"a mapping with {', '.join(required)}" if required else "a mapping"
    return str(core)


def _describe_union(core: Any) -> str:
    members = _members(core)
    if members in ([int, float], [float, int]):
        return "a number"
    if all(_is_spec(_core(member)) for member in members):
        return "a mapping whose kind is " + " | ".join(str(_tag(_core(member))) for member in members)
    return " or ".join(describe(member) for member in members)


def _constraints(annotation: Any) -> Iterable[Any]:
    """Yield the constraint objects of an annotation, looking through ``Annotated`` and ``| None``."""
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        for item in extra:
            yield from item.metadata if isinstance(item, FieldInfo) else [item]
        yield from _constraints(inner)
    elif _is_union(annotation) and len(_members(annotation)) == 1:
        yield from _constraints(_members(annotation)[0])


def show(value: Any) -> str:
    """Return a value with the name of its YAML type, shortened: ``text '0.85'``, ``integer 3``, ``list [a, b]``."""
    if value is None:
        return "null (no value)"
    if isinstance(value, bool):
        return f"boolean {str(value).lower()}"
    names = {str: "text", int: "integer", float: "number", list: "list", dict: "mapping"}
    text = f"'{value}'" if isinstance(value, str) else _flow(value)
    return f"{names[type(value)]} {_cut(text)}"


def _flow(value: Any) -> str:
    """Return a value as YAML would have it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


_SECRETS = ((re.compile(r"(?<=://)[^\s/@]+(?=@)"), "…"), (re.compile(r"(?<=://)([^\s?]+\?)\S+"), r"\1…"))
"""What may hold a key in an address: user and password, and the query."""


def _cut(text: str) -> str:
    for secret, instead in _SECRETS:
        text = secret.sub(instead, text)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


# --------------------------------------------------------------------------- one problem per field
def _translate(document: Document, base: Where, cls: type[Spec], error: ValidationError) -> Iterable[SpecProblem]:
    found = [(details, _locate(cls, base, details["loc"])) for details in error.errors(include_url=False)]
    corrected = _corrections(found)
    done: set[tuple[Where, bool]] = set()
    for details, place in found:
        below = any(len(other.where) > len(place.where) == _common(other.where, place.where) for _, other in found)
        if (place.where, place.is_key) in done or (place.is_choice and below):
            continue
        if details["type"] == "missing" and place.where in corrected:
            continue
        done.add((place.where, place.is_key))
        yield _problem(document, details, place)


def _common(one: Where, two: Where) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))


def _corrections(found: list[tuple[ErrorDetails, _Place]]) -> set[Where]:
    """Return the fields that are missing only because their key is misspelt, which is reported already."""
    names = set()
    for details, place in found:
        if details["type"] == "extra_forbidden":
            near = nearest(str(place.where[-1]), place.owner.model_fields, likeness=0.7)
            names.add((*place.where[:-1], near or ""))
    return names


def _problem(document: Document, details: ErrorDetails, place: _Place) -> SpecProblem:
    kind, where = details["type"], place.where
    if kind == "missing":
        return _missing(document, place)
    if kind == "extra_forbidden":
        key, valid = str(where[-1]), list(place.owner.model_fields)
        expected, hint = "one of " + ", ".join(valid), did_you_mean(key, valid)
        if document.at(where) is None and (" " in key or not hint):
            hint = "inside { } a comma ends a text: put a text with a comma in quotes"
        if key == "<<":
            hint = "merge keys are not supported: write the fields out, or alias single values"
        return document.problem(
            where, line=document.key_lines.get(where), expected=expected, found=f"unknown key '{key}'", hint=hint
        )
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_tag(document, place)
    if kind in ("value_error", "assertion_error"):
        return _inconsistent(document, details, where)
    if place.is_key:
        found, line = f"key {_cut(repr(where[-1]))}", document.key_lines.get(where)
        return document.problem(where, line=line, expected=describe(place.annotation), found=found)
    value = document.at(where)
    expected = describe(place.annotation)
    if kind not in _DESCRIBED:
        expected = details["msg"].removeprefix("Input should be ").removesuffix(".")
    return document.problem(where, expected=expected, found=f"found {show(value)}", hint=_hint(place.annotation, value))


_DESCRIBED = {
    *("string_type", "float_type", "int_type", "bool_type", "tuple_type", "dict_type", "model_type", "literal_error"),
    *("model_attributes_type", "string_pattern_mismatch", "too_short", "greater_than_equal", "greater_than"),
    *("less_than_equal", "less_than"),
}
"""Pydantic error types whose expectation `describe` puts into words; for any other pydantic's own words are used."""


def _missing(document: Document, place: _Place) -> SpecProblem:
    name = str(place.where[-1])
    about = place.owner.model_fields[name].description or ""
    hint = _MISSING_HINTS.get((place.owner.__name__, name)) or " ".join(about.split())
    return document.problem(place.where, expected=describe(place.annotation), found="missing", hint=hint)


def _wrong_tag(document: Document, place: _Place) -> SpecProblem:
    tags = [str(_tag(_core(member))) for member in _members(_core(place.annotation))]
    where, value = (*place.where, "kind"), document.at(place.where).get("kind")
    expected = "one of " + " | ".join(tags)
    if "kind" not in document.at(place.where):
        return document.problem(where, expected=expected, found="missing", hint=f"add e.g. 'kind: {tags[0]}'")
    return document.problem(where, expected=expected, found=f"found {show(value)}", hint=did_you_mean(str(value), tags))


def _inconsistent(document: Document, details: ErrorDetails, where: Where) -> SpecProblem:
    """Report a rule between fields, with the fields that its message speaks of."""
    message = str(details.get("ctx", {}).get("error", details["msg"]))
    value = document.at(where)
    named = {}
    if isinstance(value, dict):
        named = {key: item for key, item in value.items() if re.search(rf"\b{re.escape(key.rstrip('s'))}", message)}
    line = document.line((*where, next(iter(named)))) if named else None
    if len(named) == 1:
        ((key, value),) = named.items()
        where = (*where, key)
    found = f"found {_cut(_flow(named))}" if len(named) > 1 else f"found {show(value)}"
    return document.problem(where, line=line, expected=f"consistent values: {message}", found=found)


def _hint(annotation: Any, value: Any) -> str:
    """Return what to try where the type or value is wrong."""
    core = _core(annotation)
    literals = [str(x) for m in (_members(core) if _is_union(core) else [core]) for x in _literal_values(m)]
    if value is None:
        return "give a value or remove the key"
    if isinstance(value, str):
        return did_you_mean(value, literals) if literals else _hint_for_text(core, value)
    if core is str and isinstance(value, bool | int | float):
        return f"put it in quotes: '{_flow(value)}'"
    if core is int and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    return ""


def _hint_for_text(core: Any, value: str) -> str:
    if core in (int, float) and re.fullmatch(
        r"[-+]?[0-9]+" if core is int else r"[-+]?[0-9]*\.?[0-9]+(e-?[0-9]+)?", value
    ):
        return f"write {value} without quotes"
    if core in (int, float) and re.fullmatch(r"[0-9]+(_[0-9]+)+", value):
        return f"write {value.replace('_', '')}"
    if core is bool and value.lower() in {"yes", "no", "on", "off", "true", "false", "y", "n"}:
        return f"write {'true' if value.lower() in {'yes', 'on', 'true', 'y'} else 'false'}, without quotes"
    if get_origin(core) is tuple:
        return f"write a list: [{_cut(value)}]"
    return ""


def _literal_values(annotation: Any) -> tuple[Any, ...]:
    core = _core(annotation)
    return get_args(core) if get_origin(core) is Literal else ()
