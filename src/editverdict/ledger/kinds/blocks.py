"""Blocks of rows: those that repeat another table, those that repeat each other, and what changes between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.rules import Scope, Settings, kind
from editverdict.ledger.tables import Cell, Line


class EqualBlocksSettings(Settings):
    """Columns that are to be equal, digit by digit, where all keys are."""

    columns: tuple[str, ...] = Field(min_length=1)


@kind("equal-blocks", EqualBlocksSettings)
def equal_blocks(scope: Scope) -> Iterator[Finding]:
    """Every row of the first table stands in one of the others with the same keys and the same entries."""
    own: EqualBlocksSettings = scope.settings
    for line in scope.lines():
        for table in scope.tables[1:]:
            for twin in scope.ledger[table].select(**line.keys):
                mine, theirs = _entries(line, own.columns), _entries(twin, own.columns)
                odd = [name for name in own.columns if line.cells[name].text != twin.cells[name].text]
                yield scope.finding(
                    scope.rule.broken if odd else "consistent",
                    (*mine, *theirs),
                    expected=_said(theirs, odd),
                    found=_said(mine, odd),
                    binding=[cell for cell in (*mine, *theirs) if cell.number],
                )


def _entries(line: Line, columns: Sequence[str]) -> list[Cell]:
    return [line.cells[name] for name in columns]


def _said(cells: Sequence[Cell], only: Sequence[str]) -> str:
    return ", ".join(f"{cell.column} {cell.text}" for cell in cells if not only or cell.column in only)


class BlockSettings(Settings):
    """Rows that make up a block, and what is compared between blocks."""

    block: tuple[str, ...] = Field(min_length=1)
    """Keys that tell blocks apart; the others tell the rows of a block apart."""
    columns: tuple[str, ...] = Field(min_length=1)
    artefact: str = ""
    """Why equal blocks are to be expected, as the end of a sentence."""


Block = dict[tuple[str, ...], Line]


def _blocks(scope: Scope, keys: Sequence[str]) -> dict[tuple[str, ...], Block]:
    """Blocks by their keys: their rows by the other keys."""
    found: dict[tuple[str, ...], Block] = {}
    for table in scope.tables:
        for line in scope.lines(table):
            rest = tuple(value for key, value in line.keys.items() if key not in keys)
            found.setdefault(tuple(line.keys.get(key, "") for key in keys), {})[rest] = line
    return found


@kind("repeated-blocks", BlockSettings)
def repeated_blocks(scope: Scope) -> Iterator[Finding]:
    """Blocks whose entries are all those of an earlier one add no evidence of their own."""
    own: BlockSettings = scope.settings
    blocks = _blocks(scope, own.block)
    texts = {
        name: tuple((rest, *(line.cells[c].text for c in own.columns)) for rest, line in sorted(block.items()))
        for name, block in blocks.items()
    }
    distinct = len(set(texts.values()))
    rows = {row for text in texts.values() for row in text}
    for name, block in blocks.items():
        first = next(other for other in blocks if texts[other] == texts[name])
        said = f"{distinct} of {len(blocks)} blocks are different, with {len(rows)} different rows of {_size(blocks)}"
        if first != name:
            said += f"; this one repeats {' '.join(first)}{', ' + own.artefact if own.artefact else ''}"
        yield scope.finding(
            "consistent" if first == name else scope.rule.broken,
            [line.cells[c] for line in block.values() for c in own.columns],
            expected=f"entries other than those of the {list(blocks).index(name)} blocks before",
            found="all different" if first == name else f"all {len(block)} rows as in {' '.join(first)}",
            sentence=f"{said}.",
            row=" ".join(name),
        )


def _size(blocks: dict[tuple[str, ...], Block]) -> int:
    return sum(map(len, blocks.values()))


class StableSettings(BlockSettings):
    """What is to stay the same from block to block."""

    columns: tuple[str, ...] = ("rho",)
    marks: str = "stars"
    """Column that counts the marks of significance."""


@kind("stable-signs", StableSettings)
def stable_signs(scope: Scope) -> Iterator[Finding]:
    """A marked coefficient keeps its sign in all blocks (else broken), marked in all or none (else undefined)."""
    own: StableSettings = scope.settings
    rows: dict[tuple[str, ...], list[tuple[Cell, Cell]]] = {}
    for block in _blocks(scope, own.block).values():
        for rest, line in block.items():
            cells = line.numbers(own.columns[0], own.marks)
            if cells is not None:
                rows.setdefault(rest, []).append((cells[0], cells[1]))
    for rest, pairs in rows.items():
        signs = [sum(value.value > 0 for value, _ in pairs), sum(value.value < 0 for value, _ in pairs)]
        marked = [value.value > 0 for value, mark in pairs if mark.value > 0]
        flips = all(signs)
        verdict: Verdict = "consistent"
        if len(set(marked)) > 1:
            verdict = scope.rule.broken
        elif 0 < len(marked) < len(pairs):
            verdict = "undefined"
        low, high = min(v.value for v, _ in pairs), max(v.value for v, _ in pairs)
        said = f"{' '.join(rest)}: {low:g} to {high:g}, {signs[0]} above and {signs[1]} below zero" + (
            f", marked in {len(marked)} of {len(pairs)} blocks"
            + ("; whether it counts as an association depends on the block." if verdict == "undefined" else ".")
        )
        yield scope.finding(
            verdict,
            [cell for pair in pairs for cell in pair],
            expected="the same sign, marked in all blocks or in none",
            found=f"{'both signs' if flips else 'one sign'}, {len(marked)} of {len(pairs)} marked",
            sentence=said,
            row=" ".join(rest),
        )


class SignSettings(Settings):
    """A sign that is claimed of a group of rows."""

    column: str = "rho"
    sign: Literal["negative", "positive"]
    marks: str | None = None
    """Column that counts marks of significance, if they are claimed, too."""
    by: tuple[str, ...] = ()
    """Keys that tell the groups apart."""


@kind("signs", SignSettings)
def signs(scope: Scope) -> Iterator[Finding]:
    """All rows of a group have the sign, and marks where they are claimed."""
    own: SignSettings = scope.settings
    groups: dict[str, list[list[Cell]]] = {}
    for line in scope.lines():
        cells = line.numbers(own.column, *([own.marks] if own.marks else []))
        if cells is not None:
            groups.setdefault(" ".join(line.keys.get(key, "") for key in own.by) or "all rows", []).append(cells)
    for label, rows in groups.items():
        wanted = -1.0 if own.sign == "negative" else 1.0
        odd = [cells for cells in rows if cells[0].value * wanted <= 0.0 or any(one.value < 1 for one in cells[1:])]
        yield scope.finding(
            scope.rule.broken if odd else "consistent",
            [cell for cells in rows for cell in cells],
            expected=f"{own.sign}{', with marks' if own.marks else ''} in {len(rows)} rows",
            found=f"{len(rows) - len(odd)}"
            + (f"; not {odd[0][0]}: {', '.join(c.text for c in odd[0])}" if odd else ""),
            row=label,
        )
