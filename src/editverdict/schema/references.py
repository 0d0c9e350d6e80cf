"""References between specs, and from specs to registered code: every name must lead somewhere."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from editverdict.schema.base import Spec
from editverdict.schema.errors import SpecProblem, Where, did_you_mean, options
from editverdict.schema.yaml_loader import Document

Registries = Mapping[str, Collection[str]]
"""Names of registered code: ``quantities``, ``checks``, ``editors``, ``generators`` (of capability items); ``controls``
either for all quantities alike or as a mapping from quantity to names; ``tables`` (numbers of the paper's tables, as
text)."""

_SINGULAR = {"corpora": "corpus", "quantities": "quantity", "capabilities": "suite of capability tasks"}


@dataclass(frozen=True)
class Entry:
    """One item of one file; `spec` is None where it did not validate."""

    kind: str
    """Top-level key, e.g. ``claims``."""
    id: str
    spec: Spec | None
    document: Document
    where: Where
    composed: bool = False
    """Whether it was made of other items; then document and place are those of its first part."""

    @property
    def place(self) -> str:
        """The item's ``file:line``."""
        return f"{self.document.file}:{self.document.line(self.where)}"


@dataclass(frozen=True)
class _Reference:
    """A name at a place of an item, and what it must be one of."""

    where: Where
    name: str
    noun: str
    valid: Collection[str]


_EACH = "[]"
_KEYS = "{}"
_VALUES = "{:}"
_Path = tuple[str, ...]
"""Keys from the item downwards; `_EACH` stands for every index of a list, `_KEYS` for the keys of a mapping, `_VALUES`
for what stands under each of them."""

_TO_SPECS: dict[str, tuple[tuple[_Path, str], ...]] = {
    "models": ((("architecture",), "architectures"),),
    "claims": ((("about", _EACH), "methods"), (("about_models", _EACH), "models")),
    "methods": ((("per_model", _KEYS), "models"),),
    "profiles": (
        (("models", _EACH), "models"),
        (("methods", _EACH), "methods"),
        (("methods_for", _KEYS), "methods"),
        (("methods_for", _VALUES, _EACH), "claims"),
        (("datasets", _EACH), "datasets"),
        (("corpus",), "corpora"),
        (("encoder",), "encoders"),
        (("judge",), "judges"),
        (("triples",), "judges"),
        (("claims", _EACH), "claims"),
        (("left_out", _EACH), "claims"),
        (("chain_limits", _KEYS), "methods"),
        (("protocols", _KEYS), "models"),
        (("capabilities", "reasoning"), "capabilities"),
        (("capabilities", "broader"), "capabilities"),
    ),
}
_TO_CODE: dict[str, tuple[tuple[_Path, str], ...]] = {
    "claims": (
        (("quantity",), "quantities"),
        (("checks", _EACH), "checks"),
        (("paper_values", _EACH, "table"), "tables"),
    ),
    "methods": ((("editor",), "editors"),),
    "capabilities": ((("tasks", _EACH, "source", "generator"), "generators"),),
}


def singular(kind: str) -> str:
    """Return the word for one item of a kind: ``claims`` -> ``claim``."""
    return _SINGULAR.get(kind, kind.removesuffix("s"))


def check_references(
    entries: Mapping[tuple[str, str], Entry],
    known: Iterable[SpecProblem] = (),
    registries: Registries | None = None,
    lost: Collection[str] = (),
) -> list[SpecProblem]:
    """Return a problem for every name that leads nowhere and for every repetition within a list of names.

    Items that did not validate are checked as well, as far as they can be read, and count as existing; so all mistakes
    are told at once and none twice.

    Parameters
    ----------
    entries : mapping
        (kind, id) -> entry, after overlaying.
    known : iterable of SpecProblem
        Problems reported before; fields with one are left out.
    registries : mapping, optional
        Names of registered code; what is not given is not checked.
    lost : collection of str
        Ids seen where nothing could be read; references to them are passed over, the reason being reported already.
    """
    reported = {(problem.file, problem.field) for problem in known}
    links = _Links(entries, registries or {}, lost)
    found = [problem for entry in entries.values() if not entry.composed for problem in _check_entry(entry, links)]
    return [problem for problem in found if (problem.file, problem.field) not in reported]


def _check_entry(entry: Entry, links: _Links) -> Iterator[SpecProblem]:
    seen: set[tuple[Where, str]] = set()
    for reference in links.of(entry):
        where = (*entry.where, *reference.where)
        key = (reference.where[:-1], reference.name)
        if reference.name not in reference.valid:
            yield _dangling(entry.document, where, reference)
        elif isinstance(reference.where[-1], int) and key in seen:
            found = f"'{reference.name}' listed twice"
            yield entry.document.problem(where, expected="every name once", found=found, hint="remove one")
        seen.add(key)


def _dangling(document: Document, where: Where, reference: _Reference) -> SpecProblem:
    hint = did_you_mean(reference.name, reference.valid)
    expected = options(reference.name, reference.valid)
    found = f"unknown {reference.noun} '{reference.name}'"
    line = document.key_lines.get(where) if where[-1] == reference.name else None
    return document.problem(where, line=line, expected=expected, found=found, hint=hint)


class _Links:
    """Finds the references of an item and what they may name; works on plain data, valid or not."""

    def __init__(self, entries: Mapping[tuple[str, str], Entry], registries: Registries, lost: Collection[str]) -> None:
        self._entries = entries
        self._registries = registries
        self._lost = frozenset(lost)

    def of(self, entry: Entry) -> Iterator[_Reference]:
        """Yield the references of one item, without those to lost items."""
        return (found for found in self._all_of(entry) if self._lost.isdisjoint([found.name, *found.name.split("+")]))

    def _all_of(self, entry: Entry) -> Iterator[_Reference]:
        data = entry.document.at(entry.where)
        for path, kind in _TO_SPECS.get(entry.kind, ()):
            for where, name in _select(data, path):
                yield _Reference(where, name, singular(kind), [e.id for e in self._all(kind)])
        for path, registry in _TO_CODE.get(entry.kind, ()):
            if registry in self._registries:
                for where, name in _select(data, path):
                    yield _Reference(where, name, singular(registry), self._registries[registry])
        if entry.kind == "claims":
            yield from self._of_claim(entry.id, data)
        elif entry.kind == "judges" and data.get("format") == "local":
            # Only there is a model's name that of a spec; behind an endpoint it is the endpoint's own.
            for where, name in _select(data, ("model",)):
                yield _Reference(where, name, "model", [e.id for e in self._all("models")])
        elif entry.kind == "models" and _is_random(data):
            others = [e.id for e in self._all("models") if not _is_random(e.document.at(e.where))]
            for where, name in _select(data, ("source", "like")):
                yield _Reference(where, name, "model with files of its own", others)

    def _of_claim(self, name: str, data: dict[str, Any]) -> Iterator[_Reference]:
        definitions = [text for _, text in _select(data, ("definitions", _EACH, "name"))]
        for where, text in _select(data, ("controls", _EACH, "definition")):
            yield _Reference(where, text, "definition", definitions)
        checks = [e.id for e in self._all("claims") if e.id != name and _may_be_check(e.document.at(e.where))]
        for where, text in _select(data, ("requires", _EACH)):
            yield _Reference(where, text, "check (claim of kind 'check')", checks)
        valid = self._registries.get("controls")
        if isinstance(valid, Mapping):
            valid = valid.get(str(data.get("quantity")))
        if valid is not None:
            for where, text in _select(data, ("controls", _EACH, "name")):
                yield _Reference(where, text, f"control of quantity '{data.get('quantity')}'", valid)

    def _all(self, kind: str) -> list[Entry]:
        return [entry for (of_kind, _), entry in self._entries.items() if of_kind == kind]


def _select(data: Any, path: _Path, where: Where = ()) -> Iterator[tuple[Where, str]]:
    """Yield the texts (and integers, as text) at a path with their places; what has another form is passed over."""
    if not path:
        if isinstance(data, str) or (isinstance(data, int) and not isinstance(data, bool)):
            yield where, str(data)
        return
    step, rest = path[0], path[1:]
    if step == _EACH:
        for index, item in enumerate(data if isinstance(data, list) else ()):
            yield from _select(item, rest, (*where, index))
    elif isinstance(data, dict):
        for key in data if step in (_KEYS, _VALUES) else [step] if step in data else []:
            yield from _select(key if step == _KEYS else data[key], rest, (*where, key))


def _may_be_check(data: dict[str, Any]) -> bool:
    # A claim whose kind is misspelt is reported for that alone.
    return data.get("kind", "claim") not in ("claim", "identity", "survey")


def _is_random(data: dict[str, Any]) -> bool:
    source = data.get("source")
    return isinstance(source, dict) and source.get("kind") == "random"
