"""Verdict cards: everything that is known of one case, as Markdown for readers and JSON for machines."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from editverdict.inference.replication import Beside, beside
from editverdict.inference.rows import Row
from editverdict.reporting.beside import COLUMNS, NO_NUMBER, beside_rows, paper_text, replication_text
from editverdict.reporting.formatting import (
    LOOKS,
    MISSING,
    interval,
    measured,
    number,
    origin,
    percent,
    region,
    slug,
    units,
)

CARD_VERSION = 2


# ------------------------------------------------------------------------------- Markdown
def text(value: Any) -> str:
    """Any value as one line of Markdown: markup, pipes and line breaks are neutralised."""
    plain = re.sub(r"\s+", " ", str(value))
    plain = re.sub(r"([\\`*|~])", r"\\\1", plain).replace("](", "]\\(")
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(value: Any) -> str:
    """A value as a code span that may stand in a table."""
    plain = re.sub(r"\s+", " ", str(value)).replace("`", "'").replace("|", "¦")
    return f"`{plain}`" if plain.strip() else MISSING


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the cells are Markdown already. Empty text if there are no rows."""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns), *lines]) if lines else ""


def _section(title: str, *parts: str) -> list[str]:
    body = [part for part in parts if part]
    return [f"### {title}", *body] if body else []


def _verdict_table(row: Row) -> str:
    level = percent(row.level)
    lines = [
        ("measured", code(number(row.estimate))),
        ("paper", text(paper_text(row))),
        ("replication distance", text(replication_text(row))),
        (f"{level} interval", code(interval(row.interval))),
        ("expected", code(region(row.expected))),
        ("origin of the threshold", text(origin(row.expected))),
        ("margin to flip", code(number(row.margin_to_flip))),
        ("resampling units", text(units(row))),
        ("specific to the method", text(row.specific or MISSING)),
        ("depends on definition", number(row.depends_on_definition)),
        ("scope", text(f"{row.scope}: {row.scope_reason}" if row.scope_reason else row.scope)),
        ("stands on", text(row.stands_on or MISSING)),
    ]
    if row.expected.rationale:
        lines.insert(6, ("why this threshold", text(row.expected.rationale)))
    return table((code(row.quantity), " "), lines)


def _controls(row: Row) -> str:
    columns = ("control", "role", "measured", "interval", "outcome", "case - control", "specific")
    cells = [
        (
            text(c.name) + (f" ({text(c.note)})" if c.note else ""),
            f"{c.role}: must {c.must.replace('_', ' ')}" if c.must else c.role,
            code(number(c.estimate)),
            code(interval(c.interval)),
            f"**{c.outcome}**" if c.outcome in ("failed", "undecided") else c.outcome,
            MISSING if c.contrast is None else code(f"{number(c.contrast)} {interval(c.contrast_interval)}"),
            c.specific or MISSING,
        )
        for c in row.controls
    ]
    return table(columns, cells)


def _definitions(row: Row) -> str:
    cells = [
        (text(d.name), d.role, code(number(d.estimate)), code(interval(d.interval)), d.verdict or MISSING,
         text(d.note or MISSING))
        for d in row.definitions
    ]  # fmt: skip
    return table(("definition", "role", "measured", "interval", "would say", "note"), cells)


def _paper(row: Row) -> tuple[str, str]:
    cells = [(text(w), code(p), code(m), text(far), text(note)) for w, p, m, far, note in beside_rows(row)]
    none = "" if cells else f"The paper prints no number to stand beside it: {text(row.not_comparable or NO_NUMBER)}."
    return table(COLUMNS, cells), none


def flatten(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested descriptive numbers as (dotted name, written value) pairs."""
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            pairs += flatten(value, f"{key} · ")
        elif isinstance(value, list | tuple):
            scalars = all(not isinstance(v, list | tuple | dict) for v in value)
            pairs.append((key, ", ".join(number(v) for v in value) if scalars else json.dumps(value)))
        else:
            pairs.append((key, number(value)))
    return pairs


def card_markdown(row: Row) -> str:
    """The verdict card of a case as Markdown."""
    look = LOOKS[row.verdict]
    checks = [(text(c.name), "ok" if c.ok else "**failed**", text(c.detail)) for c in row.checks]
    described = ": ".join(text(part) for part in (row.describes, row.reduce) if part)
    lines = [
        f"## {look.symbol} {look.words.upper()} · {code(row.case)}",
        f"> {text(row.statement)}",
        f"{text(row.paper)}, {text(row.where)} ({text(row.hypothesis)})",
        f"**{text(row.reason)}**",
        _verdict_table(row),
        f"Quantity: {described}" if described else "",
        *_section("Controls", _controls(row)),
        *_section("Validity checks", table(("check", "outcome", "detail"), checks)),
        *_section("Definitions", _definitions(row)),
        *_section("Beside it, the paper", *_paper(row)),
        *_section("Descriptive", table(("number", "value"), [(text(k), code(v)) for k, v in flatten(row.descriptive)])),
        *_section("Hashes", table(("of", "sha256"), [(text(k), code(v)) for k, v in row.hashes.items()])),
    ]
    if row.traceback:
        fence = "`" * (max((len(m) for m in re.findall(r"`+", row.traceback)), default=2) + 1)
        lines += _section("Traceback", f"{fence}text\n{row.traceback}\n{fence}")
    return "\n\n".join(line for line in lines if line) + "\n"


# ------------------------------------------------------------------------------- JSON
def _beside_json(one: Beside) -> dict[str, Any]:
    """A printed number beside the measured one; an infinite distance is the text ``inf``."""
    infinite = one.distance is not None and math.isinf(one.distance)
    return {
        "table": one.printed.table,
        "row": one.printed.row,
        "printed": one.printed.value,
        "measured": one.measured,
        "comparable": one.comparable,
        "why_not": one.why or None,
        "difference": one.difference,
        "distance": "inf" if infinite else one.distance,
    }


def card_json(row: Row) -> dict[str, Any]:
    """The verdict card of a case as plain data; numbers in full precision."""
    full = row.model_dump(mode="json")
    names = ("case", "claim", "kind", "statement", "paper", "hypothesis", "where", "model", "method", "dataset",
             "profile", "verdict", "reason")  # fmt: skip
    card: dict[str, Any] = {"card_version": CARD_VERSION, "row_schema_version": row.schema_version}
    card |= {name: full[name] for name in names}
    card["measured"] = {
        key: full[key]
        for key in ("quantity", "describes", "reduce", "estimate", "interval", "level", "unit", "n_units", "min_units")
    }
    card["beside_the_paper"] = [_beside_json(one) for one in beside(row)]
    card["expected"] = full["expected"] | {"text": region(row.expected)}
    for name in ("margin_to_flip", "controls", "checks", "definitions", "depends_on_definition", "specific", "scope",
                 "scope_reason", "stands_on", "paper_values", "not_comparable", "descriptive", "evidence", "hashes",
                 "traceback"):  # fmt: skip
        card[name] = full[name]
    return card


def card_json_text(row: Row) -> str:
    """``card_json`` as indented text."""
    return json.dumps(card_json(row), indent=2, ensure_ascii=False) + "\n"


def one_line(row: Row) -> str:
    """The case in one line, for logs: verdict, case, measured, expected."""
    return f"{LOOKS[row.verdict].words}: {row.case}: {measured(row)}, expected {region(row.expected)}"


def write_cards(run_dir: Path, rows: Iterable[Row]) -> list[Path]:
    """Write ``cards/<case>.md`` and ``cards/<case>.json`` in the run folder."""
    folder = run_dir / "cards"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for row in rows:
        for suffix, content in ((".md", card_markdown(row)), (".json", card_json_text(row))):
            path = folder / f"{slug(row.case)}{suffix}"
            path.write_text(content, encoding="utf-8")
            written.append(path)
    return written
