"""Commands that measure for pages of their own, outside a run: artefacts, methods-table, sequences."""

from __future__ import annotations

import datetime as dt
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editverdict.cli.console import SpecsOption, say

if TYPE_CHECKING:
    from editverdict.pipeline.setup import Options


class _Making:
    """A table on its way: the trial that it is measured in, how to make another in a worker, and since when."""

    def __init__(self, options: Options) -> None:
        from editverdict import bundle
        from editverdict.pipeline.setup import make_trial

        self.make = functools.partial(make_trial, options, bundle.root() / "specs")
        self.trial = self.make()
        self._started = dt.datetime.now()

    def progress(self, text: str) -> None:
        """Say how far it is, and after what time."""
        say(f"{str(dt.datetime.now() - self._started).partition('.')[0]}  {text}")

    def manifest(self) -> dict[str, Any]:
        """What it was made of, and in what time."""
        from editverdict import bundle
        from editverdict.pipeline.runs import manifest

        return manifest(self.trial, bundle.root(), (dt.datetime.now() - self._started).total_seconds(), [])


def _write(out: Path, text: str, record: dict[str, Any], allow_nan: bool = False) -> None:
    """The page, and its numbers beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    out.with_suffix(".json").write_text(json.dumps(record, indent=1, allow_nan=allow_nan))


def artefacts(
    profile: Annotated[str, typer.Option(help="Profile that names model, data and sizes.")] = "laptop",
    store: Annotated[Path | None, typer.Option(help="Folder of the artifact store.")] = None,
    out: Annotated[Path, typer.Option(help="Markdown file; a .json with the manifest goes beside it.")] = Path(
        "reports/out/artefacts.md"
    ),
    specs: SpecsOption = None,
) -> None:
    """Null models beside the paper's tables: what mis-paired samples and a mean over features give without any edit."""
    from editverdict import bundle
    from editverdict.ledger.rates import printed_angles, printed_rates
    from editverdict.ledger.rules import read_rules
    from editverdict.ledger.tables import read_ledger
    from editverdict.pipeline.artefacts import comparison
    from editverdict.pipeline.setup import Options
    from editverdict.reporting.artefacts import artefacts_markdown

    home = bundle.root() / "specs"
    ledger = read_ledger(home / "paper")
    printed = list(printed_rates(ledger, read_rules(home / "consistency")))
    making = _Making(Options(profile=profile, store=store, specs=tuple(specs or ())))
    making.trial.report = say
    making.trial.ahead = lambda _trial, _model: ()  # random twins are no part of this
    found = comparison(making.trial)
    made = making.manifest()
    beside = printed, printed_angles(ledger)
    text = artefacts_markdown(
        {**made, **found["edited"]}, *beside, found["made_up"], found["model"], found["resampled"]
    )
    _write(out, text, {**found, "manifest": made})
    say(text)
    say(f"page: {out}")


def methods_table(
    profile: Annotated[str, typer.Option(help="Profile that names model, data, methods and sizes.")] = "methods-table",
    methods: Annotated[list[str] | None, typer.Option(help="Only these methods.")] = None,
    workers: Annotated[int, typer.Option("-n", help="Worker processes.")] = 2,
    store: Annotated[Path | None, typer.Option(help="Folder of the artifact store.")] = None,
    easyedit_python: Annotated[
        Path | None, typer.Option(help="Python of an environment that holds EasyEdit, for the methods easyedit:X.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Markdown file; a .json with the manifest goes beside it.")] = Path(
        "reports/out/methods.md"
    ),
    specs: SpecsOption = None,
) -> None:
    """Measure every method by single edits and chains: scores, own success, cost. What is stored is not done again."""
    from editverdict.pipeline.methods_table import table
    from editverdict.pipeline.setup import Options
    from editverdict.reporting.methods_table import methods_markdown

    options = Options(
        profile=profile,
        methods=tuple(methods or ()),
        store=store,
        specs=tuple(specs or ()),
        easyedit_python=easyedit_python,
    )
    making = _Making(options)
    lines, failed = table(making.trial, making.make, workers, making.progress)
    made = making.manifest()
    record = {"lines": lines, "failed": failed, "manifest": made}
    _write(out, methods_markdown(made, lines, failed), record, allow_nan=True)
    say(f"table: {out}")


def sequences(
    profile: Annotated[
        str, typer.Option(help="Profile that names model, data, methods, chains, schedule.")
    ] = "long-chains",
    methods: Annotated[list[str] | None, typer.Option(help="Only these methods.")] = None,
    workers: Annotated[int, typer.Option("-n", help="Worker processes.")] = 2,
    store: Annotated[Path | None, typer.Option(help="Folder of the artifact store.")] = None,
    out: Annotated[Path, typer.Option(help="Markdown file; a .json with the manifest goes beside it.")] = Path(
        "reports/out/sequences.md"
    ),
    right_after_each: Annotated[
        bool,
        typer.Option("--right-after-each", help="Also ask about each edit right after it was made: another protocol."),
    ] = False,
    specs: SpecsOption = None,
) -> None:
    """Measure what methods keep of their edits along sequences, and compare them chain by chain."""
    from editverdict.pipeline.sequences import right_after_lines, table
    from editverdict.pipeline.setup import Options
    from editverdict.reporting.sequences import sequences_markdown

    options = Options(profile=profile, methods=tuple(methods or ()), store=store, specs=tuple(specs or ()))
    making = _Making(options)
    lines, compared, failed = table(making.trial, making.make, workers, making.progress, right_after_each)
    at_once = (
        right_after_lines(making.trial, list(dict.fromkeys(x["method"] for x in lines))) if right_after_each else []
    )
    made = making.manifest()
    record = {"lines": lines, "right_after_each": at_once, "comparisons": compared, "failed": failed, "manifest": made}
    _write(out, sequences_markdown(made, lines, compared, failed, at_once), record)
    say(f"tables: {out}")
