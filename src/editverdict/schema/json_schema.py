"""JSON Schemas of the specs, for editors that complete and check YAML while it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from editverdict.schema.specs import KINDS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return file name -> JSON Schema: one per kind, and ``specs.schema.json`` for a file with any of them."""
    schemas = {f"{kind}.schema.json": _file_schema([kind]) for kind in KINDS}
    schemas["specs.schema.json"] = _file_schema(list(KINDS))
    return schemas


def write_json_schemas(folder: Path) -> list[Path]:
    """Write the JSON Schemas of `json_schemas` into a folder, made if it is missing, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in json_schemas().items():
        path = folder / name
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
        written.append(path)
    return written


def _file_schema(kinds: list[str]) -> dict[str, Any]:
    """Return the schema of a file whose top-level lists are among `kinds`."""
    classes = {kind: list(KINDS[kind].variants().values()) or [KINDS[kind]] for kind in kinds}
    references, body = models_json_schema([(one, "validation") for kind in kinds for one in classes[kind]])
    properties = {
        kind: {
            "type": "array",
            "description": _first_line(KINDS[kind].__doc__),
            "items": _one_of([references[one, "validation"] for one in classes[kind]]),
        }
        for kind in kinds
    }
    single = len(kinds) == 1
    return {
        "$schema": _DIALECT,
        "title": f"editverdict: {kinds[0] if single else 'specs'}",
        "type": "object",
        "properties": properties,
        **({"required": kinds} if single else {"minProperties": 1}),
        "additionalProperties": False,
        "$defs": body["$defs"],
    }


def _one_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"oneOf": schemas}


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]
