"""The command line: validate, init, verify, report, audit, artefacts, judge, judge-card, compare, plan, methods-table,
sequences.

Exit codes: 0 fine; 1 something did not hold (verify: a planned case has no row or is broken); 2 the input is wrong.
"""

from __future__ import annotations

import sys

import typer

from editverdict.cli import judges, ledger, runs, tables
from editverdict.cli.console import errors, say

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
# In the order of the help.
for _command in (
    runs.validate,
    runs.init,
    runs.verify,
    runs.report,
    ledger.audit,
    tables.artefacts,
    judges.judge,
    judges.judge_card,
    runs.compare,
    runs.plan,
    tables.methods_table,
    tables.sequences,
):
    app.command()(_command)

# What a user may have got wrong, by module: importing them here would load torch before anything is done.
MISTAKES = {
    "editverdict.bundle": "InitError",
    "editverdict.data.errors": "DataError",
    "editverdict.evaluation.judging": "JudgeError",
    "editverdict.inference.results": "ResultsError",
    "editverdict.pipeline.setup": "UsageError",
    "editverdict.pipeline.trial": "NotHere",
    "editverdict.reporting.run": "RunFolderError",
    "editverdict.schema.errors": "SpecError",
}


def _is_mistake(error: Exception) -> bool:
    """Whether an error is one that a user can mend; a module that is not loaded has raised nothing."""
    loaded = ((sys.modules[module], name) for module, name in MISTAKES.items() if module in sys.modules)
    return isinstance(error, tuple(getattr(module, name) for module, name in loaded))


def main() -> None:
    """Run the command line; a user's mistake is a message and exit code 2, never a traceback."""
    try:
        app()
    except Exception as error:
        if not _is_mistake(error):
            raise
        say(str(error), "red", errors)
        sys.exit(2)
