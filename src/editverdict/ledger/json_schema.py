"""JSON Schemas of an index of tables and of a file of rules, for editors that check YAML while it is typed.

Written by ``python -m editverdict.ledger.json_schema specs/schema/ledger``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from editverdict.ledger.rules import RuleSpec, kinds
from editverdict.ledger.tables import TableSpec

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def ledger_schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON Schema; in a rule, ``kind`` says which settings there are."""
    references, body = models_json_schema([(TableSpec, "validation")])
    tables = _file("tables", references[TableSpec, "validation"], body["$defs"])
    known = kinds()
    # One class of settings may serve several kinds.
    classes = list(dict.fromkeys(cls for cls, _ in known.values()))
    references, body = models_json_schema([(RuleSpec, "validation"), *((cls, "validation") for cls in classes)])
    rule = references[RuleSpec, "validation"]
    chosen = [
        {
            "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
            "then": {"properties": {"settings": references[cls, "validation"]}},
        }
        for name, (cls, _) in sorted(known.items())
    ]
    item = {"allOf": [rule, {"properties": {"kind": {"enum": sorted(known)}}}, *chosen]}
    return {"tables.schema.json": tables, "rules.schema.json": _file("rules", item, body["$defs"])}


def _file(name: str, item: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Schema of a file with one list."""
    return {
        "$schema": _DIALECT,
        "title": f"editverdict: {name} of the ledger",
        "type": "object",
        "properties": {name: {"type": "array", "minItems": 1, "items": item}},
        "required": [name],
        "additionalProperties": False,
        "$defs": definitions,
    }


def write_ledger_schemas(folder: Path) -> list[Path]:
    """Write the schemas into a folder, made if it is missing, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in ledger_schemas().items():
        path = folder / name
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
        written.append(path)
    return written


if __name__ == "__main__":
    write_ledger_schemas(Path(sys.argv[1]))
