"""The library of specs: all files of one or more folders, validated together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, overload

from editverdict.schema.base import Spec
from editverdict.schema.capabilities import CapabilitySpec
from editverdict.schema.claims import ClaimSpec
from editverdict.schema.errors import SpecError, SpecProblem, Where, did_you_mean, options
from editverdict.schema.profiles import ProfileSpec
from editverdict.schema.references import Entry, Registries, check_references, singular
from editverdict.schema.specs import (
    KINDS,
    ArchitectureSpec,
    CorpusSpec,
    DatasetSpec,
    EncoderSpec,
    JudgeSpec,
    MethodSpec,
    ModelSpec,
)
from editverdict.schema.translate import show, validate
from editverdict.schema.yaml_loader import Document, read_yaml

_NOT_SPECS = frozenset({"schema", "paper", "consistency"})
_S = TypeVar("_S", bound=Spec)
_Entries = dict[tuple[str, str], Entry]


@dataclass(frozen=True)
class SpecLibrary:
    """Every spec by kind and id, sorted by id; all references between them hold.

    Attributes
    ----------
    places : mapping
        (kind, id) -> ``file:line``; the kind is the top-level key, e.g. ``claims``.
    """

    claims: Mapping[str, ClaimSpec]
    architectures: Mapping[str, ArchitectureSpec]
    models: Mapping[str, ModelSpec]
    methods: Mapping[str, MethodSpec]
    datasets: Mapping[str, DatasetSpec]
    corpora: Mapping[str, CorpusSpec]
    encoders: Mapping[str, EncoderSpec]
    judges: Mapping[str, JudgeSpec]
    capabilities: Mapping[str, CapabilitySpec]
    profiles: Mapping[str, ProfileSpec]
    places: Mapping[tuple[str, str], str]

    @classmethod
    def load(cls, *dirs: Path, registries: Registries | None = None) -> SpecLibrary:
        """Read all YAML files below the folders; an id in a later folder replaces that id of an earlier one.

        Parameters
        ----------
        *dirs : Path
            Folders (or single files). Their sub-folders ``schema``, ``paper`` and ``consistency`` and hidden ones are
            left out.
        registries : mapping, optional
            Names of registered code, see `editverdict.schema.references.Registries`; with it the quantities, checks,
            controls and editors that specs name are checked too.

        Raises
        ------
        SpecError
            With all problems of all files, if there is any.
        """
        problems: list[SpecProblem] = []
        entries: _Entries = {}
        lost: set[str] = set()
        for folder in dirs:
            entries.update(_read_folder(folder, problems, lost))
        entries = {**dict(_combinations(entries)), **entries}
        problems += check_references(entries, problems, registries, lost)
        if problems:
            raise SpecError(problems)
        places = {key: entries[key].place for key in sorted(entries)}
        return cls(
            claims=_of(entries, ClaimSpec),
            architectures=_of(entries, ArchitectureSpec),
            models=_of(entries, ModelSpec),
            methods=_of(entries, MethodSpec),
            datasets=_of(entries, DatasetSpec),
            corpora=_of(entries, CorpusSpec),
            encoders=_of(entries, EncoderSpec),
            judges=_of(entries, JudgeSpec),
            capabilities=_of(entries, CapabilitySpec),
            profiles=_of(entries, ProfileSpec),
            places=places,
        )

    @overload
    def get(self, kind: Literal["claims"], name: str) -> ClaimSpec: ...
    @overload
    def get(self, kind: Literal["architectures"], name: str) -> ArchitectureSpec: ...
    @overload
    def get(self, kind: Literal["models"], name: str) -> ModelSpec: ...
    @overload
    def get(self, kind: Literal["methods"], name: str) -> MethodSpec: ...
    @overload
    def get(self, kind: Literal["datasets"], name: str) -> DatasetSpec: ...
    @overload
    def get(self, kind: Literal["corpora"], name: str) -> CorpusSpec: ...
    @overload
    def get(self, kind: Literal["encoders"], name: str) -> EncoderSpec: ...
    @overload
    def get(self, kind: Literal["judges"], name: str) -> JudgeSpec: ...
    @overload
    def get(self, kind: Literal["capabilities"], name: str) -> CapabilitySpec: ...
    @overload
    def get(self, kind: Literal["profiles"], name: str) -> ProfileSpec: ...
    @overload
    def get(self, kind: str, name: str) -> Spec: ...
    def get(self, kind: str, name: str) -> Spec:
        """Return the spec of a kind (top-level key, e.g. ``models``) with an id.

        Raises
        ------
        SpecError
            If there is none; names the nearest id. Also if the kind is unknown.
        """
        if kind not in KINDS:
            found, expected = f"unknown kind of spec '{kind}'", options(kind, KINDS)
            raise SpecError([SpecProblem("", None, "", expected, found, did_you_mean(kind, KINDS))])
        specs = cast(Mapping[str, Spec], getattr(self, kind))
        if name in specs:
            return specs[name]
        one = singular(kind)
        expected = options(name, specs)
        raise SpecError([SpecProblem("", None, "", expected, f"unknown {one} '{name}'", did_you_mean(name, specs))])


def spec_hash(spec: Spec) -> str:
    """Return the sha256 (64 hexadecimal digits) of a spec's canonical JSON.

    Defaults are written out and keys sorted, so that neither the order of keys nor an explicit default changes it.
    """
    text = json.dumps(
        spec.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _of(entries: _Entries, cls: type[_S]) -> dict[str, _S]:
    """Return the valid specs of one class by id, sorted."""
    return {name: e.spec for (_, name), e in sorted(entries.items()) if isinstance(e.spec, cls)}


# --------------------------------------------------------------------------- composing
def _combinations(entries: _Entries) -> Iterator[tuple[tuple[str, str], Entry]]:
    """Yield an entry ``X+M`` for every method M that answers by texts and every method X that does not.

    An item that did not validate is taken as far as it can be read, so that names of its combinations are not reported
    on top of what is wrong with it.
    """
    methods = {e.id: (e, e.document.at(e.where)) for (kind, _), e in entries.items() if kind == "methods"}
    memories = [entry for entry, data in methods.values() if data.get("in_context") is True]
    for memory in memories:
        for entry, data in methods.values():
            if data.get("kind") in ("parameter", "external-memory") and data.get("in_context") is not True:
                name = f"{entry.id}+{memory.id}"
                spec = _combined(entry.spec, memory.spec)
                yield ("methods", name), Entry("methods", name, spec, entry.document, entry.where, composed=True)


def _combined(method: Spec | None, memory: Spec | None) -> MethodSpec | None:
    """Return the spec of a method's model answering through a memory; None where one of them did not validate."""
    if not isinstance(method, MethodSpec) or not isinstance(memory, MethodSpec):
        return None
    return MethodSpec(
        id=f"{method.id}+{memory.id}",
        editor="combination",
        kind="combination",
        family="combination",
        reference=f"{method.id} with {memory.id} beside it, as in the paper's appendix D, Table 43",
        hyperparameters={"parametric": method.id, "memory": memory.id},
        hyperparameters_source="those of its parts",
        in_paper=method.in_paper and memory.in_paper,
    )


# --------------------------------------------------------------------------- reading
def _read_folder(folder: Path, problems: list[SpecProblem], lost: set[str]) -> _Entries:
    """Return the entries of one folder; an id that stands there twice is a problem that names both places.

    Ids that were seen in places that cannot be read are added to `lost`.
    """
    if not folder.exists():
        hint = "check the path" + (f"; the current folder is {Path.cwd()}" if not folder.is_absolute() else "")
        problems.append(SpecProblem(str(folder), None, "", "a folder of specs", "no such folder", hint))
    entries: _Entries = {}
    for path in _spec_files(folder):
        document = read_yaml(path, _shown(path))
        problems += document.problems
        lost |= document.lost_ids | _misplaced_ids(document.data)
        for entry in _read_entries(document, problems):
            first = entries.setdefault((entry.kind, entry.id), entry)
            if first is not entry:
                found = f"{singular(entry.kind)} '{entry.id}' is defined twice: here and at {first.place}"
                where = (*entry.where, "id")
                problems.append(
                    document.problem(where, expected="every id once per folder", found=found, hint="rename one")
                )
    return entries


def _spec_files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    found = []
    for path in folder.rglob("*.y*ml"):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.suffix in (".yaml", ".yml") and path.is_file() and not hidden and parts[0] not in _NOT_SPECS:
            found.append(path)
    return sorted(found)


def _shown(path: Path) -> str:
    """Return the path as a reader would type it: relative to the current folder where it lies below."""
    try:
        return path.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return path.as_posix()


def _read_entries(document: Document, problems: list[SpecProblem]) -> Iterator[Entry]:
    """Yield the items of one file that have an id, and report everything that is wrong with the file."""
    data = document.data
    if data is None:
        if not document.problems:
            expected = "a mapping with one or more of " + ", ".join(KINDS)
            problems.append(SpecProblem(document.file, 1, "", expected, "the file is empty", "fill it or delete it"))
        return
    if not isinstance(data, dict):
        expected = "a mapping with one or more of " + ", ".join(KINDS)
        hint = "put the list under its kind, e.g. 'claims:'" if isinstance(data, list) else ""
        problems.append(document.problem((), expected=expected, found=f"the file is a {show(data)}", hint=hint))
        return
    for key, items in data.items():
        if key not in KINDS:
            hint, expected = did_you_mean(key, KINDS), "one of " + ", ".join(KINDS)
            line = document.key_lines[(key,)]
            problems.append(
                document.problem((key,), line=line, expected=expected, found=f"unknown key '{key}'", hint=hint)
            )
        elif not isinstance(items, list):
            expected = f"a list of {key}, each beginning with '- id: …'"
            problems.append(document.problem((key,), expected=expected, found=f"found {show(items)}"))
        else:
            yield from _read_items(document, key, items, problems)


def _misplaced_ids(data: Any) -> set[str]:
    """Return the ids of items under a key that is no kind of spec, most likely a misspelt one."""
    lists = [items for key, items in data.items() if key not in KINDS] if isinstance(data, dict) else []
    items = [item for some in lists if isinstance(some, list) for item in some if isinstance(item, dict)]
    return {item["id"] for item in items if isinstance(item.get("id"), str)}


def _read_items(document: Document, kind: str, items: Iterable[Any], problems: list[SpecProblem]) -> Iterator[Entry]:
    faulty = {problem.field for problem in document.problems}
    for index, item in enumerate(items):
        where: Where = (kind, index)
        spec, found = validate(KINDS[kind], document, where)
        # What the YAML reader has already said about a field is not said again in other words.
        problems += [problem for problem in found if problem.field not in faulty]
        name = item.get("id") if isinstance(item, dict) else None
        if isinstance(name, str):
            yield Entry(kind, name, spec, document, where)
