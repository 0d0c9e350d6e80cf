"""YAML read as a graph of nodes, so that every key and every value knows its line.

The scalars are those of the YAML 1.2 core schema, narrowed where a reader could be surprised: only ``true`` and
``false`` are booleans (``yes``, ``no``, ``on``, ``off`` are text), ``1e-6`` is a number, ``010``, ``1_000``, ``1:30``,
dates, ``.nan`` and ``.inf`` are text. Keys are text, duplicates are errors, and no tag constructs anything.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from editverdict.schema.errors import SpecProblem, Where

_TAG = "tag:yaml.org,2002:"
_INT = r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+"
_FLOAT = r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"
_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
)
_ID = re.compile(r"\bid:[ \t]+[\"']?([A-Za-z0-9][A-Za-z0-9._+-]*)")
_YAML_HINTS = (
    ("'\\t'", "indent with spaces, not with tabs"),
    ("mapping values are not allowed", "put quotes around a text that contains ': ', and check the indentation"),
    ("could not find expected ':'", "a key needs a colon and a blank: 'key: value'"),
    ("undefined alias", "define it first with '&name', or put quotes around a text that begins with '*'"),
    ("duplicate anchor", "give each anchor a name of its own"),
    ("cannot start any token", "put quotes around a text that begins with a special character"),
    ("single document", "one document per file: remove the '---' between them"),
    ("expected <block end>", "check the indentation: keys of one mapping begin in the same column"),
)


_MOST_VALUES = 200_000
"""Values in one file after aliases are followed; nested aliases can multiply a short file beyond any memory."""


class _TooManyValuesError(Exception):
    """The file has more values than any list of specs."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalar rules of this module; used to compose nodes, never to construct."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  PyYAML's own class attribute, typed so there


class _QuickLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same by libyaml, where PyYAML was built with it: a fifth of the time, and half of the messages."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  as above


for _name, _pattern, _first in _SCALARS:
    for _one in (_Loader, _QuickLoader):
        _one.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), _first)

_DEEP = 1000
"""Brackets and indentation from which on nothing is read quickly: libyaml nests nodes on the C stack, which has no
RecursionError."""
_SLOWLY = re.compile(rf"[?!\t\r\x85\u2028\u2029\ufeff]|^[-:\s]{{{_DEEP}}}", re.MULTILINE)
"""What libyaml reads otherwise than PyYAML (tabs, further line breaks, `?`, odd tags), or nests too deeply."""


@dataclass(frozen=True)
class _Fault:
    """A problem whose field cannot be named before the whole document is read."""

    where: Where
    line: int
    expected: str
    found: str
    hint: str


@dataclass
class Document:
    """A YAML file as plain data, with the line of every key and value and the problems of reading it."""

    file: str
    data: Any = None
    key_lines: dict[Where, int] = field(default_factory=dict)
    """Path of a mapping's entry -> line of its key, counted from 1."""
    value_lines: dict[Where, int] = field(default_factory=dict)
    """Path of a value -> line where it begins."""
    problems: list[SpecProblem] = field(default_factory=list)
    lost_ids: frozenset[str] = frozenset()
    """What look like ids in a text that cannot be parsed, so that references to them are not errors too."""

    def at(self, where: Where) -> Any:
        """Return the value at a path; KeyError, IndexError or TypeError if there is none."""
        value = self.data
        for step in where:
            value = value[step]
        return value

    def line(self, where: Where) -> int:
        """Return the line of the value at `where`, or of the nearest thing around it that exists.

        The line of a list or mapping is that of its key, the line of a scalar that of the value.
        """
        while where and where not in self.value_lines:
            where = where[:-1]
        key, value = self.key_lines.get(where), self.value_lines.get(where, 1)
        if key is None:
            return value
        # An alias stands behind its key but was written further up; its place is the key's.
        return key if isinstance(self.at(where), dict | list) else max(key, value)

    def field_name(self, where: Where) -> str:
        """Return the dotted path, the index of a list replaced by the item's id or name."""
        name, value = "", self.data
        for step in where:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                value = None
            if isinstance(step, int):
                label = value.get("id", value.get("name", step)) if isinstance(value, dict) else step
                name += f"[{label if isinstance(label, str) else step}]"
            else:
                name += f".{step}" if name else step
        return name

    def problem(
        self, where: Where, *, expected: str, found: str, hint: str = "", line: int | None = None
    ) -> SpecProblem:
        """Return the problem at a path of this document."""
        place = self.line(where) if line is None else line
        return SpecProblem(self.file, place, self.field_name(where), expected, found, hint)


def read_yaml(path: Path, shown_as: str | None = None) -> Document:
    """Read one YAML file.

    Parameters
    ----------
    path : Path
        The file; must be UTF-8 (a byte order mark is allowed).
    shown_as : str, optional
        Name of the file in messages; the path by default.

    Returns
    -------
    Document
        Its `problems` say what is wrong with the YAML itself; nothing is raised for a bad or unreadable file.
    """
    file = shown_as or str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return _failed(file, None, "a readable file", f"cannot be read ({reason})", "check the path and its rights")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, found = raw.count(b"\n", 0, error.start) + 1, f"byte 0x{raw[error.start]:02x} is not UTF-8"
        document = _failed(file, line, "UTF-8 text", found, "save the file with UTF-8 encoding")
        document.lost_ids = _ids_in(raw.decode("utf-8", errors="replace"))
        return document
    return parse_yaml(text, file)


def parse_yaml(text: str, file: str) -> Document:
    """Parse YAML text; see `read_yaml`."""
    document = _parse(text, file)
    if document.data is None:
        document.lost_ids = _ids_in(text)
    return document


def _ids_in(text: str) -> frozenset[str]:
    return frozenset(_ID.findall(text))


def _composed(text: str) -> yaml.Node | None:
    """The graph of nodes of a text.

    Raises
    ------
    yaml.YAMLError
        Of PyYAML's own loader, whose words and places are those that are told; libyaml's error is never seen.
    """
    if text.count("[") + text.count("{") < _DEEP and not _SLOWLY.search(text):
        try:
            found: yaml.Node | None = yaml.compose(text, Loader=_QuickLoader)
        except yaml.YAMLError:
            pass
        else:
            return found
    slow: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    return slow


def _parse(text: str, file: str) -> Document:
    try:
        node = _composed(text)
        builder = _Builder(Document(file))
        if node is not None:
            builder.document.data = builder.build(node, ())
    except yaml.MarkedYAMLError as error:
        return _bad_yaml(file, error)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _failed(
            file, line, "printable text", f"bad YAML: character {error.character!r} is not allowed", "remove it"
        )
    except _TooManyValuesError:
        found = f"bad YAML: more than {_MOST_VALUES} values"
        return _failed(
            file, None, "a list of specs", found, "check the aliases (*name): each repeats all it stands for"
        )
    except RecursionError:
        return _failed(file, None, "a flat list of specs", "bad YAML: nested too deeply", "check the brackets")
    document = builder.document
    document.problems += [
        document.problem(f.where, line=f.line, expected=f.expected, found=f.found, hint=f.hint) for f in builder.faults
    ]
    return document


def _failed(file: str, line: int | None, expected: str, found: str, hint: str) -> Document:
    return Document(file, problems=[SpecProblem(file, line, "", expected, found, hint)])


def _bad_yaml(file: str, error: yaml.MarkedYAMLError) -> Document:
    """Turn PyYAML's exception into a problem; an unclosed quote or bracket is placed where it was opened."""
    mark, what = error.problem_mark, error.problem or error.context or "cannot be parsed"
    opened = error.context_mark
    at_end = "end of stream" in what or "stream end" in what or "document separator" in what
    hint = next((hint for sign, hint in _YAML_HINTS if sign in what), "")
    if at_end and opened is not None:
        mark, hint = opened, "close the quote or bracket that is opened here"
    line = mark.line + 1 if mark is not None else None
    column = f" in column {mark.column + 1}" if mark is not None else ""
    return _failed(file, line, "valid YAML", f"bad YAML{column}: {what}", hint)


class _Builder:
    """Turns nodes into plain data and collects lines and faults on the way."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.faults: list[_Fault] = []
        self._open: set[int] = set()

    def build(self, node: yaml.Node, where: Where) -> Any:
        """Return the plain value of a node and note its line."""
        self.document.value_lines[where] = node.start_mark.line + 1
        if len(self.document.value_lines) > _MOST_VALUES:
            raise _TooManyValuesError
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, where)
        if id(node) in self._open:
            self._fault(node, where, "a value that ends", "an alias that contains itself", "write the value out")
            return None
        self._open.add(id(node))
        try:
            kind = "map" if isinstance(node, yaml.MappingNode) else "seq"
            if node.tag != _TAG + kind:
                self._fault(node, where, "a plain mapping or list", f"tag '{_short_tag(node.tag)}'", "remove the tag")
                return None
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, where)
            return [self.build(item, (*where, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
                shown = f"key {key}" if isinstance(key_node, yaml.ScalarNode) else "a key that is no text"
                self._fault(key_node, where, "a key that is text", shown, "put it in quotes")
                continue
            path = (*where, key)
            if key in result:
                first = self.document.key_lines[path]
                found = f"duplicate key '{key}': on line {first} and again on line {line}"
                self._fault(key_node, path, "every key once", found, "remove one of the two")
                continue
            self.document.key_lines[path] = line
            result[key] = self.build(value_node, path)
        return result

    def _scalar(self, node: yaml.ScalarNode, where: Where) -> Any:
        text, kind = str(node.value), node.tag.removeprefix(_TAG)
        try:
            return _scalar_value(kind, text)
        except KeyError:
            self._fault(node, where, "a plain value", f"tag '{_short_tag(node.tag)}'", "remove the tag")
        except ValueError:
            self._fault(node, where, f"a finite value of type {kind}", f"'{text[:60]}'", "")
        return None

    def _fault(self, node: yaml.Node, where: Where, expected: str, found: str, hint: str) -> None:
        self.faults.append(_Fault(where, node.start_mark.line + 1, expected, found, hint))


def _short_tag(tag: str) -> str:
    return "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag


def _scalar_value(kind: str, text: str) -> str | bool | int | float | None:
    """Convert a scalar; KeyError for an unknown tag, ValueError for a text that does not fit its tag."""
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        try:
            return {"true": True, "false": False}[text.lower()]
        except KeyError:
            raise ValueError(text) from None
    if kind == "int":
        return int(text, 0)
    if kind == "float":
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value
    raise KeyError(kind)
