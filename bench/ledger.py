"""How well the rules over printed tables find planted errors, and how far they reach: docs/ledger-quality.md.

Everything is seeded and nothing is timed on the page, so that it is the same wherever it is made. Exit code 1 if a
target is missed. No model, no network.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from editverdict.ledger.audit import audit_foreign, coverage
from editverdict.ledger.findings import VERDICTS, counted
from editverdict.ledger.planting import BROKEN, Trial, Watch, covered, trials
from editverdict.ledger.rules import Rule, read_rules
from editverdict.ledger.synthetic import consistent
from editverdict.ledger.tables import Cell, Ledger, read_ledger

ROOT = Path(__file__).resolve().parents[1]
NOTICED_AT_LEAST = 0.95
MOSTLY = 0.5
GROUPS = {
    "spectra (1, 5-8)": (1, 5, 6, 7, 8),
    "norms of changes (9-12)": (9, 10, 11, 12),
    "principal angles (13-20)": tuple(range(13, 21)),
    "ratios R_k (21-24)": (21, 22, 23, 24),
    "rank correlations (2, 25-28)": (2, 25, 26, 27, 28),
    "editing performance (3, 29-32, 41)": (3, 29, 30, 31, 32, 41),
    "benchmarks (33, 34)": (33, 34),
    "events (35, 36)": (35, 36),
    "courses of edits (37, 38)": (37, 38),
    "locality of tokens (40)": (40,),
    "retrieval and cost (42-46)": (42, 43, 44, 45, 46),
}


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table whose first columns are text and whose others are numbers."""
    rule = [*["---"] * texts, *["---:"] * (len(head) - texts)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def share(some: int, of: int) -> str:
    """``195 of 200 (97.5%)``."""
    return f"{some} of {of} ({100 * some / of:.1f}%)" if of else "–"


def verdict_of(trial: Trial) -> str:
    """Verdict with which an error was noticed."""
    return trial.notice.verdict if trial.notice else "missed"


def rate_row(name: str, found: Sequence[Trial]) -> list[str]:
    """Name, noticed, and with which verdict."""
    by = Counter(verdict_of(trial) for trial in found)
    noticed = len(found) - by["missed"]
    return [
        name,
        share(noticed, len(found)),
        share(sum(by[verdict] for verdict in BROKEN), len(found)),
        *(str(by[verdict]) for verdict in (*BROKEN[::-1], "undefined", "rounding")),
    ]


def numbers(ledger: Ledger) -> list[Cell]:
    """All numbers."""
    return [cell for cell in ledger.cells if cell.number]


def by_group(found: Sequence[Trial]) -> Iterator[tuple[str, list[Trial]]]:
    """Errors by the table that has them."""
    for name, tables in GROUPS.items():
        mine = [trial for trial in found if min(trial.planted.tables) in tables]
        if mine:
            yield name, mine


def columns_in_words(columns: Sequence[tuple[int, str]]) -> str:
    """``Table 9: mean, std; Table 10: mean``."""
    tables: dict[int, list[str]] = {}
    for table, column in columns:
        tables.setdefault(table, []).append(f"`{column}`")
    return "; ".join(f"Table {table}: {', '.join(names)}" for table, names in tables.items()) or "none"


def alarms(rules: Sequence[Rule], ledger: Ledger) -> list[str]:
    """Rules that raise an alarm on tables that are consistent."""
    held, _ = audit_foreign(rules, ledger)
    return sorted({one.case.rule.spec.id for one in held if one.verdict in BROKEN})


def page(rules: list[Rule], paper: Ledger, options: argparse.Namespace) -> tuple[str, bool]:
    """The whole page, and whether the targets are met."""
    watch, sound = Watch(rules, paper), Watch(rules, consistent(paper, 0))
    reach = coverage(paper, watch.audited)
    mostly = trials(watch, options.many, options.seed, covered(paper, watch.audited, MOSTLY))
    first = trials(watch, options.errors, options.seed)
    many = trials(watch, options.many, options.seed + 1)
    populations = [
        rate_row("the paper's tables, entries that a rule determines", first),
        rate_row("the same, more errors", many),
        rate_row("consistent tables, entries that a rule determines", trials(sound, options.errors, options.seed)),
        rate_row("the paper's tables, any number of a column of which rules determine at least half", mostly),
        rate_row(
            "the paper's tables, any number of a column of which rules determine any part",
            trials(watch, options.many, options.seed, covered(paper, watch.audited)),
        ),
        rate_row("the paper's tables, any number", trials(watch, options.many, options.seed, numbers(paper))),
    ]
    groups = [rate_row(name, found) for name, found in by_group(many)]
    missed = [trial.planted.what for trial in many if trial.notice is None]
    general = [rule for rule in rules if not rule.spec.about_paper]
    raised = {seed: alarms(general, consistent(paper, seed)) for seed in range(options.seeds)}
    clean = sum(not names for names in raised.values())
    coincidences = Counter(name for names in raised.values() for name in names)
    alarmed = ", ".join(f"{n} by {name}" for name, n in sorted(coincidences.items())) or "none"
    columns = [
        [
            name,
            *(
                str(sum(getattr(one, what) for one in reach if one.table in tables))
                for what in ("numbers", "seen", "bound")
            ),
        ]
        for name, tables in GROUPS.items()
    ]
    verdicts = counted([finding for one in watch.audited for finding in one.findings])
    found = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in VERDICTS)
    rates = [sum(trial.notice is not None for trial in found) / len(found) for found in (first, many, mostly)]
    met = min(rates) >= NOTICED_AT_LEAST
    head = ["errors", "noticed", "with a failing verdict", "inconsistent", "implausible", "undefined", "rounding"]
    text = f"""# How well the ledger finds errors

Written by `python bench/ledger.py` ({options.errors} errors, {options.many} where more are said, {options.seeds} sets
of consistent tables, seed {options.seed}); nothing here depends on the machine.
What the ledger is: [ledger.md](ledger.md).

{len(rules)} rules of {len({rule.spec.kind for rule in rules})} kinds, {len(general)} of them about any tables of these
shapes and {len(rules) - len(general)} about what this paper says. Held against the paper's {len(paper.tables)} tables
they give {sum(verdicts.values())} findings: {found}.

## Planted errors

One digit (or the sign, or the number of stars) of one random entry is changed. *Noticed*: the finding on a row with
that entry gets a worse verdict than before, or a new finding there is implausible or inconsistent; the first such
verdict is counted. A *failing* verdict is implausible or inconsistent; undefined and rounding let a test pass or be
skipped, so that such an error is seen only by who reads the counts. Target: {100 * NOTICED_AT_LEAST:g}% of the first,
the second and the fourth row.

{markdown_table(head, populations)}

By tables, of the {len(many)} errors of the second row:

{markdown_table(["tables", *head[1:]], groups)}

Missed among them:

{chr(10).join(f"- {what}" for what in missed) or "- none"}

What is missed is mostly one or two units in the last digit of one part of an average of several numbers, which the
rounding of the average hides. *Determined* is the rules' own word for an entry (see Reach). A rule *covers* a column if
it determines at least half of its numbers (fourth row: an error in any of them, determined or not). The fifth row
counts columns of which it determines a single number, too: the course of edits, say, of which only the last step is
printed elsewhere.

## False alarms

`editverdict.ledger.synthetic` makes tables of the same shapes that are consistent by construction: counts first, then
percentages, then averages; a spectrum, a change along its directions, then norms and R_k; ranks, then rho, p and stars.
The {len(general)} rules that are not about what the paper says raise no alarm (nothing implausible, nothing
inconsistent) in {clean} of {options.seeds} seeds. Alarms in the others: {alarmed}.
Rules on coincidences alarm at a chance of 0.01 by their own account, so a few are expected.

## Reach

*Seen*: some rule looks at the number. *Determined*: some rule determines it from others up to rounding, so that a wrong
digit should show.

{markdown_table(["tables", "numbers", "seen", "determined"], columns)}

{len(reach)} columns hold numbers.

- Columns that no rule reaches: {columns_in_words([(o.table, o.column) for o in reach if not o.seen])}.
- Looked at and not determined: {columns_in_words([(o.table, o.column) for o in reach if o.seen and not o.bound])}.
- Tables 4 and 39 hold words.
"""
    return text, met


def main() -> int:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--errors", type=int, default=200, help="planted errors per population")
    parser.add_argument("--many", type=int, default=1000, help="planted errors for the table by groups")
    parser.add_argument("--seeds", type=int, default=10, help="consistent sets of tables")
    parser.add_argument("--seed", type=int, default=0, help="first seed of the errors")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "ledger-quality.md", help="where the page goes")
    options = parser.parse_args()
    rules, paper = read_rules(ROOT / "specs" / "consistency"), read_ledger(ROOT / "specs" / "paper")
    text, met = page(rules, paper, options)
    options.out.write_text(text, encoding="utf-8", newline="\n")
    Console(width=120).print(
        f"{'all targets are met' if met else 'a target is missed'}: {options.out}", highlight=False
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
