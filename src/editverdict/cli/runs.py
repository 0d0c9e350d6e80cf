"""Commands about specs and runs: validate, init, verify, report, compare, plan."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Annotated

import typer

from editverdict.cli.console import DataOption, SpecsOption, console, say


def validate(
    specs: SpecsOption = None,
    vacuous: Annotated[
        bool,
        typer.Option("--vacuous", help="Also feed every claim synthetic measurements: can it fail, can it be won?"),
    ] = False,
) -> None:
    """Check every spec and report all problems of all files together; with --vacuous, exit 1 if a claim cannot fail."""
    from editverdict import bundle
    from editverdict.pipeline.setup import load_library, printed_tables
    from editverdict.pipeline.surveys import surveys
    from editverdict.reporting.run import survey_line

    folders = [bundle.root() / "specs", *(specs or [])]
    library = load_library(folders)
    counts = {
        kind: len(getattr(library, kind)) for kind in ("claims", "models", "methods", "datasets", "corpora", "profiles")
    }
    say("specs are sound: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    quoted = sum(value.column is not None for claim in library.claims.values() for value in claim.paper_values)
    say(f"{quoted} numbers quoted from the paper are those of its printed tables")
    for survey in surveys(library, printed_tables(folders)):
        say(survey_line(survey))
    if vacuous:
        from editverdict.pipeline.vacuous import try_claims

        outcome = try_claims(library.claims.values())
        for finding in outcome.findings:
            say(f"{library.places['claims', finding.claim]}: {finding}")
        tried = f"{outcome.claims} claims tried on {outcome.measurements} synthetic measurements"
        say(f"{tried} ({outcome.worlds} of planted worlds): {len(outcome.findings)} findings")
        raise typer.Exit(1 if outcome.findings else 0)


def init(folder: Path) -> None:
    """Unfold specs, suites, fixtures and plugins into a folder, to run pytest there."""
    from editverdict import bundle

    bundle.unfold(folder)
    say(f"unfolded into {folder}; now: cd {folder} && pytest suites/hypotheses suites/benchmark --profile smoke")


def verify(
    profile: Annotated[str, typer.Option(help="What to measure, and how much (specs/profiles).")] = "laptop",
    workers: Annotated[int, typer.Option("-n", help="Worker processes.")] = 2,
    store: Annotated[Path | None, typer.Option(help="Folder of the artifact store.")] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Where results go; default: reports/out/<profile>-<time>.")
    ] = None,
    easyedit_python: Annotated[
        Path | None, typer.Option(help="Python of an environment that holds EasyEdit, for the methods easyedit:X.")
    ] = None,
    data: DataOption = None,
    triples: Annotated[
        str | None, typer.Option(help="Judge of format openai whose model draws the facts of events.")
    ] = None,
    pytest_options: Annotated[list[str] | None, typer.Argument(help="Further options for pytest, after --.")] = None,
) -> None:
    """Put the claims on trial and draw the report. Exit 0 iff every planned case has a row and none is broken."""
    from editverdict import bundle
    from editverdict.pipeline.watch import run_suites

    home = bundle.root() if (bundle.root() / "pyproject.toml").exists() else Path.cwd()
    if not (home / "conftest.py").exists():
        raise typer.BadParameter(f"no conftest.py in {home}; run `editverdict init DIR` and start from DIR")
    folder = run_dir or home / "reports" / "out" / f"{profile}-{dt.datetime.now():%Y%m%d-%H%M%S}"
    named = {"--store": store, "--easyedit-python": easyedit_python}
    paths = [word for name, path in named.items() if path for word in (name, str(path.absolute()))]
    given = [word for text in data or () for word in ("--data", _absolute(text))]
    given += ["--triples", triples] if triples else []
    options = ["--profile", profile, *paths, *given, *(pytest_options or [])]
    code = run_suites(home, folder.absolute(), workers, options, console)
    if code in (2, 4) and not (folder / "results.jsonl").exists():
        raise typer.Exit(2)
    raise typer.Exit(_report(folder.absolute()))


def _absolute(text: str) -> str:
    """``ID=PATH`` with the path as it is from here, since pytest starts in another folder."""
    name, sign, where = text.partition("=")
    path = Path(where).expanduser()
    return f"{name}={path.absolute()}" if sign and where and path.exists() else text


def report(run_dir: Path) -> None:
    """Draw the report of a run folder anew: cards, tables, HTML, and Allure where Node is there."""
    raise typer.Exit(_report(run_dir.absolute()))


def _report(run_dir: Path) -> int:
    """Write everything, print the claim table and ONE path; 1 if a planned case has no row or is broken."""
    from editverdict import bundle
    from editverdict.pipeline.contests import refresh_contests
    from editverdict.reporting.build import build_report
    from editverdict.reporting.cards import write_cards
    from editverdict.reporting.export import write_exports
    from editverdict.reporting.paper_export import write_paper_tables
    from editverdict.reporting.run import load_run
    from editverdict.reporting.terminal import run_report

    run = load_run(run_dir)
    refresh_contests(run_dir, run.rows, run.manifest.get("methods") or ())
    write_cards(run_dir, run.rows)
    write_exports(run_dir)
    beside = write_paper_tables(run_dir, bundle.root() / "specs" / "paper")
    paths = build_report(run_dir, bundle.root() / "reports")
    console.print(run_report(run.claims, run.rows, run.manifest, run.ledger))
    if paths.message:
        say(paths.message, "yellow")
    missing = [case for claim in run.claims for case in claim.missing]
    broken = [row.case for row in run.rows if row.verdict == "broken"]
    for text, cases in (("no row", missing), ("broken", broken)):
        if cases:
            say(f"{len(cases)} planned case(s) {text}: {', '.join(cases[:6])}", "bold red")
    say(f"the paper's tables beside this run: {beside}")
    say(f"report: {paths.report}")
    return 1 if missing or broken else 0


def compare(first: Path, second: Path) -> None:
    """Compare the rows of two runs in every column that does not depend on time or place."""
    from editverdict.inference.results import merge_rows, same_rows

    files = [path / "results.jsonl" if path.is_dir() else path for path in (first, second)]
    one, other = (merge_rows([file], on_conflict="last") for file in files)
    differences = same_rows(one, other)
    for difference in differences[:40]:
        say(str(difference))
    say(f"{len(one)} and {len(other)} rows, {len(differences)} differences")
    raise typer.Exit(1 if differences else 0)


def plan(
    profile: Annotated[str, typer.Option(help="Profile to plan.")] = "laptop",
    specs: SpecsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the cases of a profile without running anything."""
    from editverdict import bundle
    from editverdict.pipeline.matrix import matrix
    from editverdict.pipeline.setup import load_library

    library = load_library([bundle.root() / "specs", *(specs or [])])
    cases = [case.id for case in matrix(library, library.get("profiles", profile))]
    if as_json:
        console.print_json(json.dumps(cases))
    else:
        say("\n".join(cases))
