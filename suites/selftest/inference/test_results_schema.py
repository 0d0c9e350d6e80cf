"""docs/results-schema.md and the classes say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from editverdict.inference import rows
from editverdict.inference.claims import FAMILY_KEY
from editverdict.inference.intervals import ESTIMATION_KEY
from editverdict.inference.verdicts import EDITS_KEY

PAGE = Path(__file__).parents[3] / "docs" / "results-schema.md"
CLASSES = (
    rows.Row,
    rows.Region,
    rows.ControlResult,
    rows.CheckResult,
    rows.DefinitionResult,
    rows.PaperNumber,
    rows.ClaimVerdict,
)


def section(name: str) -> str:
    found = re.search(rf"^## `{name}`.*?(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    if found is None:
        pytest.fail(f"{PAGE.name} has no section '## `{name}`'")
    return found.group(0)


@pytest.mark.parametrize("part", CLASSES, ids=lambda part: part.__name__)
def test_every_field_is_documented_and_no_other(part: type[rows.RowPart]) -> None:
    documented = re.findall(r"^\| `(\w+)` \|", section(part.__name__), re.M)
    assert documented == list(part.model_fields)


@pytest.mark.parametrize("part", CLASSES, ids=lambda part: part.__name__)
def test_literal_values_are_documented(part: type[rows.RowPart]) -> None:
    text = section(part.__name__)
    for name, field in part.model_fields.items():
        options = [value for kind in (field.annotation, *get_args(field.annotation)) for value in get_args(kind)]
        missing = [value for value in options if isinstance(value, str) and f"`{value}`" not in text]
        assert not missing, name


def test_version_volatile_columns_and_keys_are_documented() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"Schema version: {rows.SCHEMA_VERSION}" in text
    volatile = re.search(r"^- Volatile columns: (.*?)\. ", text, re.M)
    assert volatile is not None and set(re.findall(r"`(\w+)`", volatile.group(1))) == rows.VOLATILE_FIELDS
    for key in (ESTIMATION_KEY, EDITS_KEY, FAMILY_KEY):
        assert f"`{key}`" in section("Row")
