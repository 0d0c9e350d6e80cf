"""Announced and shown: does a table have the columns and the values of a key that the text names?"""

from __future__ import annotations

from collections.abc import Iterator

from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.rules import Scope, Settings, kind


class KeySetSettings(Settings):
    """Values that the text gives for a key."""

    key: str
    stated: tuple[str, ...]


@kind("key-set", KeySetSettings)
def key_set(scope: Scope) -> Iterator[Finding]:
    """A value that the text does not name breaks its list; one that the table does not show leaves it open."""
    own: KeySetSettings = scope.settings
    shown = list(dict.fromkeys(line.keys[own.key] for line in scope.lines() if own.key in line.keys))
    extra = [value for value in shown if value not in own.stated]
    missing = [value for value in own.stated if value not in shown]
    verdict: Verdict = scope.rule.broken if extra else "undefined" if missing else "consistent"
    parts = [f"shown {', '.join(shown)}"]
    parts += [f"not announced {', '.join(extra)}"] if extra else []
    parts += [f"not shown {', '.join(missing)}"] if missing else []
    cells = [cell for line in scope.lines() for cell in line.cells.values() if cell.number]
    expected, row = f"{own.key} {', '.join(own.stated)}", f"all {own.key}"
    sentence = f"The text names values of {own.key} that the table does not show." if verdict == "undefined" else ""
    yield scope.finding(verdict, cells, expected=expected, found="; ".join(parts), row=row, sentence=sentence)


class AnnouncedSettings(Settings):
    """Columns by the words of the text."""

    columns: dict[str, str]
    """What the text names -> the column that would hold it."""


@kind("announced-columns", AnnouncedSettings)
def announced_columns(scope: Scope) -> Iterator[Finding]:
    """A quantity that the text says is summarised stands in the table."""
    own: AnnouncedSettings = scope.settings
    lines = scope.lines()
    for word, column in own.columns.items():
        cells = [line.cells[column] for line in lines if column in line.cells and line.cells[column].number]
        verdict: Verdict = "consistent" if cells else scope.rule.broken
        yield scope.finding(
            verdict, cells, expected=f"a column with the {word}", found="there" if cells else "missing", row=word
        )
