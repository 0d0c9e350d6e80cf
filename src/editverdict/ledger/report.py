"""Findings as lines of text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from editverdict.ledger.audit import Audited, coverage
from editverdict.ledger.findings import VERDICTS, counted
from editverdict.ledger.tables import Ledger


def report_lines(ledger: Ledger, audited: Sequence[Audited], *, reach: bool = False) -> Iterator[str]:
    """What is broken, worst first; then how much holds, and how far the rules reach."""
    order = sorted(audited, key=lambda one: -VERDICTS.index(one.verdict))
    for one in order:
        if one.verdict != "consistent":
            yield f"{one.verdict}: {one.case.id}: {one.summary}"
    counts = counted([finding for one in audited for finding in one.findings])
    said = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    rules = {one.case.rule.spec.id for one in audited}
    yield f"{len(ledger.tables)} tables, {len(audited)} cases of {len(rules)} rules: {said}"
    columns = coverage(ledger, audited)
    bare = [f"Table {one.table} {one.column}" for one in columns if one.seen == 0]
    yield f"{len(columns)} columns of numbers, {len(bare)} that no rule reaches"
    if reach:
        yield from (f"not reached: {name}" for name in bare)
