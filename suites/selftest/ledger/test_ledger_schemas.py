"""JSON Schemas of tables and rules: those published are those that the code makes."""

from __future__ import annotations

from pathlib import Path

from editverdict.ledger.json_schema import ledger_schemas, write_ledger_schemas
from editverdict.ledger.rules import kinds

ROOT = Path(__file__).resolve().parents[3]
HOW = "specs/schema/ledger is out of date: run python -m editverdict.ledger.json_schema specs/schema/ledger"


def test_published_schemas_are_those_that_the_code_makes(tmp_path: Path) -> None:
    written = {path.name: path.read_bytes() for path in write_ledger_schemas(tmp_path)}
    published = {path.name: path.read_bytes() for path in (ROOT / "specs" / "schema" / "ledger").glob("*.json")}
    assert published == written, HOW


def test_kind_chooses_the_settings() -> None:
    schema = ledger_schemas()["rules.schema.json"]
    rule, names, *chosen = schema["properties"]["rules"]["items"]["allOf"]
    assert rule == {"$ref": "#/$defs/RuleSpec"} and names["properties"]["kind"]["enum"] == sorted(kinds())
    (mean,) = [one for one in chosen if one["if"]["properties"]["kind"]["const"] == "mean"]
    assert mean["then"]["properties"]["settings"] == {"$ref": "#/$defs/MeanSettings"}
    settings = schema["$defs"]["MeanSettings"]
    assert set(settings["required"]) == {"of", "equals"} and settings["additionalProperties"] is False


def test_an_index_names_columns_and_is_closed() -> None:
    schema = ledger_schemas()["tables.schema.json"]
    table = schema["$defs"]["TableSpec"]
    assert schema["additionalProperties"] is False and table["additionalProperties"] is False
    assert {"table", "file", "caption", "keys", "columns"} <= set(table["required"])
