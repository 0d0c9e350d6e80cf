"""The command that holds printed tables against the rules of arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from editverdict.cli.console import errors, say


def audit(
    tables: Annotated[Path, typer.Argument(help="Folder of tables as CSV files, shaped like the paper's.")],
    rules: Annotated[Path | None, typer.Option("--rules", help="Folder of your own rules, in place of ours.")] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Also hold the rules about what this paper says of its own tables.")
    ] = False,
    reach: Annotated[
        bool, typer.Option("--reach", help="Also say which columns no rule reaches, or does not determine.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all findings to this file.")] = None,
) -> None:
    """Hold printed tables against the rules of arithmetic.

    Exit code 1 if two printed statements cannot both hold, 2 if the input is wrong or no rule can be held against it.
    """
    from editverdict import bundle
    from editverdict.ledger.audit import audit_foreign
    from editverdict.ledger.names import misnamed
    from editverdict.ledger.report import report_lines, report_record
    from editverdict.ledger.rules import read_rules
    from editverdict.ledger.tables import read_tables_of, unread
    from editverdict.schema.errors import SpecError

    specs = bundle.root() / "specs"
    ledger = read_tables_of(tables, specs / "paper")
    known = read_rules(rules or specs / "consistency")
    # Of rules of a user a wrong name is a slip; ours, held against tables of another index, may find no such column.
    if rules and (problems := misnamed(known, ledger.shapes)):
        raise SpecError(problems)
    audited, idle = audit_foreign([rule for rule in known if paper or not rule.spec.about_paper], ledger)
    left = unread(ledger)
    # Before everything that was found, and after it, where it is still on the screen.
    for line in [*left, *report_lines(ledger, audited, reach=reach, idle=idle), *left]:
        say(line)
    if json_file:
        record = json.dumps(report_record(ledger, audited, idle), indent=2, ensure_ascii=False)
        _write_json(json_file, record)
    if not audited:
        say("no rule could be held against these tables: nothing was checked", "red", errors)
        raise typer.Exit(2)
    raise typer.Exit(1 if any(one.verdict == "inconsistent" for one in audited) else 0)


def _write_json(file: Path, text: str) -> None:
    """Write a file that the user named; exit code 2 if its folder is not there or it cannot be written."""
    try:
        file.write_text(text + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        say(f"--json {file}: expected a file in a folder that is there, found: {error.strerror}", "red", errors)
        raise typer.Exit(2) from error
