"""Recipes: what an artifact was made from, hashed into its name.

A recipe names the kind of artifact, the version of the code that produces it and everything that its content depends
on. Its key is the SHA-256 of the canonical JSON of all three. A recipe may contain other recipes; only their keys
enter, so a key is the root of a Merkle tree and changes when anything below it changes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_KIND = re.compile(r"[a-z0-9][a-z0-9._-]*")
RESERVED_KINDS = frozenset({"damaged"})


@dataclass(frozen=True, eq=False)
class Recipe:
    """An artifact's identity.

    Two recipes are equal iff their keys are. The order of fields does not matter; ``1``, ``1.0`` and ``True`` differ,
    tuples and lists do not.

    Parameters
    ----------
    kind : str
        What is made, e.g. ``delta`` or ``moments``; lower-case, because it names a folder.
    version : int
        Version of the producer: raise it whenever the same fields give another content.
    fields : Mapping
        Everything the content depends on: nested mappings with string keys, lists, tuples, str, int, float, bool, None,
        and recipes (replaced by their keys). NaN and infinities have no canonical form and are refused.

    Raises
    ------
    TypeError
        If a field has no canonical form; the message names the field.
    ValueError
        If ``kind`` cannot name a folder.
    """

    kind: str
    version: int
    fields: Mapping[str, Any]
    key: str = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or not _KIND.fullmatch(self.kind) or self.kind in RESERVED_KINDS:
            raise ValueError(
                f"recipe kind {self.kind!r} cannot name a folder: use lower-case letters, digits, '.', '_' and '-' "
                f"(and none of {sorted(RESERVED_KINDS)})"
            )
        if not isinstance(self.version, int) or isinstance(self.version, bool):
            raise TypeError(f"recipe {self.kind!r}: version must be an int, found {self.version!r}")
        if not isinstance(self.fields, Mapping):
            raise TypeError(f"recipe {self.kind!r}: fields must be a mapping, found {type(self.fields).__name__}")
        plain = _plain(self.fields, self.kind, "fields")
        object.__setattr__(self, "fields", _freeze(plain))
        identity: dict[str, Json] = {"kind": self.kind, "version": int(self.version), "fields": plain}
        object.__setattr__(self, "key", hashlib.sha256(canonical_json(identity).encode("ascii")).hexdigest())

    @classmethod
    def of(cls, kind: str, version: int, /, **fields: Any) -> Recipe:
        """A recipe with its fields as keywords."""
        return cls(kind, version, fields)

    def to_json(self) -> dict[str, Json]:
        """Kind, version, fields and key as plain JSON values."""
        return {"kind": self.kind, "version": self.version, "fields": _thaw(self.fields), "key": self.key}

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Recipe) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        # The frozen view of the fields cannot be serialised; the plain one can, and gives the same key.
        return (Recipe, (self.kind, self.version, _thaw(self.fields)))

    def __str__(self) -> str:
        return f"{self.kind}/{self.key[:12]}"


def canonical_json(value: Json) -> str:
    """The one JSON text of a value: sorted keys, no blanks, ASCII, floats by ``repr``, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _plain(value: object, kind: str, where: str) -> Json:
    """A copy of ``value`` in plain JSON types, or a TypeError that says where it is not."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Recipe):
        return value.key
    # Subclasses (numpy.float64, StrEnum) are reduced to the plain type, so that the key depends on the value alone.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"recipe {kind!r}: {where} is {float(value)}, which has no canonical form")
        return float(value)
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"recipe {kind!r}: {where} has the key {name!r}; keys must be strings")
        return {str.__str__(name): _plain(item, kind, f"{where}.{name}") for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, kind, f"{where}[{i}]") for i, item in enumerate(value)]
    raise TypeError(
        f"recipe {kind!r}: {where} is a {type(value).__name__}; expected str, int, float, bool, None, a list, a "
        "mapping or a Recipe (pass the hash of anything else)"
    )


def _freeze(value: Json) -> Any:
    if isinstance(value, dict):
        return MappingProxyType({name: _freeze(item) for name, item in value.items()})
    if isinstance(value, list):
        return tuple(_freeze(item) for item in value)
    return value


def _thaw(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _thaw(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_thaw(item) for item in value]
    return value
