"""The command line: validate, plan, verify, report, judge, judge-card, compare, audit, artefacts, tables, init.

Exit codes: 0 fine; 1 something did not hold (verify: a planned case has no row or is broken); 2 the input is wrong.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from editverdict.inference.rows import Row
    from editverdict.pipeline.trial import Trial

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console(width=None if sys.stdout.isatty() else 120)
errors = Console(stderr=True)


def say(text: str, style: str | None = None, to: Console = console) -> None:
    """Print a text as it is: brackets (every case has some) are no markup, and lines are not broken."""
    to.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


SpecsOption = Annotated[
    list[Path] | None, typer.Option("--specs", help="A folder with your own specs, laid over ours.")
]

DataOption = Annotated[
    list[str] | None, typer.Option("--data", help="ID=FILE_OR_FOLDER or ID=hub:OWNER/NAME:FILE, for a dataset.")
]


@app.command()
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


@app.command()
def init(folder: Path) -> None:
    """Unfold specs, suites, fixtures and plugins into a folder, to run pytest there."""
    from editverdict import bundle

    bundle.unfold(folder)
    say(f"unfolded into {folder}; now: cd {folder} && pytest suites/hypotheses suites/benchmark --profile smoke")


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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
    from editverdict.pipeline.runs import manifest
    from editverdict.pipeline.setup import Options, make_trial
    from editverdict.reporting.artefacts import artefacts_markdown

    home = bundle.root() / "specs"
    ledger = read_ledger(home / "paper")
    printed = list(printed_rates(ledger, read_rules(home / "consistency")))
    trial = make_trial(Options(profile=profile, store=store, specs=tuple(specs or ())), home)
    trial.report = say
    trial.ahead = lambda _trial, _model: ()  # random twins are no part of this
    started = dt.datetime.now()
    found = comparison(trial)
    made = manifest(trial, bundle.root(), (dt.datetime.now() - started).total_seconds(), [])
    beside = printed, printed_angles(ledger)
    text = artefacts_markdown(
        {**made, **found["edited"]}, *beside, found["made_up"], found["model"], found["resampled"]
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    out.with_suffix(".json").write_text(json.dumps({**found, "manifest": made}, indent=1, allow_nan=False))
    say(text)
    say(f"page: {out}")


@app.command()
def judge(
    results: Annotated[Path, typer.Argument(help="A run folder, or its results.jsonl.")],
    answers: Annotated[
        bool, typer.Option("--answers", help="Judge the run's stored answers instead, by the judge of --judge.")
    ] = False,
    by: Annotated[str | None, typer.Option("--judge", help="With --answers: which judge (specs/judges).")] = None,
    store: Annotated[Path | None, typer.Option(help="With --answers: folder of the artifact store.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --answers: JSONL file; default: judged-by-<judge>.jsonl beside the rows.")
    ] = None,
    data: DataOption = None,
    specs: SpecsOption = None,
) -> None:
    """Decide every case of a results.jsonl again from its stored numbers, without any model."""
    from editverdict.inference.results import read_rows, rejudge

    file = results / "results.jsonl" if results.is_dir() else results
    rows = read_rows(file)
    if answers or by:
        if not by:
            raise typer.BadParameter("--answers needs --judge NAME: which judge")
        _judge_answers(file, rows, by, store, out, specs, data)
        return
    changed = 0
    for row in rows:
        again = rejudge(row)
        if (again.verdict, again.reason) != (row.verdict, row.reason):
            changed += 1
            say(f"{row.case}: stored {row.verdict}, judged {again.verdict}: {again.reason}")
    say(f"{len(rows)} cases judged again, {changed} differ")
    raise typer.Exit(1 if changed else 0)


def _judge_answers(
    file: Path,
    rows: list[Row],
    by: str,
    store: Path | None,
    out: Path | None,
    specs: list[Path] | None,
    data: list[str] | None,
) -> None:
    """Judge stored answers by another judge; the verdicts on claims are those of a run with ``--judge``."""
    from editverdict import bundle
    from editverdict.pipeline.rejudging import rejudge_answers
    from editverdict.pipeline.setup import Options, UsageError, make_trial

    profiles = {row.profile for row in rows}
    if len(profiles) != 1:
        raise UsageError(f"{file}: expected rows of one profile, found {', '.join(sorted(profiles)) or 'no row'}")
    options = Options(profile=profiles.pop(), judge=by, store=store, specs=tuple(specs or ()), data=tuple(data or ()))
    trial = make_trial(options, bundle.root() / "specs")
    trial.report = lambda line: say(line, to=errors)
    before = trial.library.profiles[options.profile].judge
    goal = out or file.parent / f"judged-by-{by}.jsonl"
    found = rejudge_answers(trial, rows, before, by, goal)
    same, kappa = found["agreement"]["same"], found["agreement"]["kappa"]
    say(f"{found['answers']} answers ({found['distinct']} distinct) judged by {by}: {found['cost']}")
    say(f"the same verdict as {before}: {same['count']} of {same['total']}; kappa {kappa['value']} {kappa['interval']}")
    say(f"answers: {goal}")
    _compare_by(trial, file.parent, rows, by, goal.parent)


def _compare_by(trial: Trial, run_dir: Path, rows: list[Row], by: str, folder: Path) -> None:
    """The run's methods against each other by that judge, beside its answers; numbers of another never enter."""
    from editverdict.pipeline.rejudged_contests import contests_by, write_contests_by
    from editverdict.reporting.contests import contests_csv

    manifest = run_dir / "manifest.json"  # a run may have had other methods than its profile (--methods)
    told = json.loads(manifest.read_text(encoding="utf-8")).get("methods") if manifest.is_file() else None
    made = contests_by(trial, run_dir, rows, by, told or trial.profile.all_methods)
    goal = folder / f"comparisons-by-{by}.json"
    for why in made.left_out:
        say(f"not compared: {why}", "yellow")
    if not made.tables:
        for stale in (goal, goal.with_suffix(".csv")):
            stale.unlink(missing_ok=True)
        say("no comparisons of methods: no case of this run has kept facts that can be judged again")
        return
    write_contests_by(trial, made, by, goal)
    goal.with_suffix(".csv").write_text(contests_csv(made.tables), encoding="utf-8", newline="")
    apart = sum(line.differs for one in made.tables for line in one.lines)
    lines = sum(len(one.lines) for one in made.tables)
    say(f"comparisons by {by}: {goal} ({lines} of two methods, {apart} of which show a difference)")


@app.command("judge-card")
def judge_card(
    judge: Annotated[str, typer.Argument(help="Id of a judge (specs/judges).")],
    profile: Annotated[str, typer.Option(help="Profile that names the device and its threads.")] = "laptop",
    labelled: Annotated[
        Path | None, typer.Option(help="JSONL file with labelled answers of your own, in place of ours.")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="Folder of the artifact store.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Markdown file; a .json goes beside it. Default: reports/out/judge-<judge>.md.")
    ] = None,
    specs: SpecsOption = None,
) -> None:
    """Say how far a judge can be trusted; exit 1 if it accepts answers to other questions (or may)."""
    from editverdict import bundle
    from editverdict.evaluation.labelled import read_labelled
    from editverdict.pipeline.judge_cards import judge_card as card_of
    from editverdict.pipeline.setup import Options, make_trial
    from editverdict.reporting.judge_card import judge_card_markdown

    home = bundle.root() / "specs"
    items = read_labelled(labelled or home / "judges" / "labelled.jsonl")
    trial = make_trial(Options(profile=profile, judge=judge, store=store, specs=tuple(specs or ())), home)
    trial.report = lambda line: say(line, to=errors)
    card = card_of(trial, judge, items)
    goal = out or Path("reports/out") / f"judge-{judge}.md"
    goal.parent.mkdir(parents=True, exist_ok=True)
    text = judge_card_markdown(card)
    goal.write_text(text, encoding="utf-8")
    record = json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False)
    goal.with_suffix(".json").write_text(record + "\n", encoding="utf-8")
    say(text)
    say(f"card: {goal}")
    raise typer.Exit(0 if card["shuffled"]["outcome"] == "ok" else 1)


@app.command()
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


@app.command()
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


@app.command("methods-table")
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
    import functools

    from editverdict import bundle
    from editverdict.pipeline.methods_table import table
    from editverdict.pipeline.runs import manifest
    from editverdict.pipeline.setup import Options, make_trial
    from editverdict.reporting.methods_table import methods_markdown

    options = Options(
        profile=profile,
        methods=tuple(methods or ()),
        store=store,
        specs=tuple(specs or ()),
        easyedit_python=easyedit_python,
    )
    make = functools.partial(make_trial, options, bundle.root() / "specs")
    trial = make()
    started = dt.datetime.now()

    def progress(text: str) -> None:
        say(f"{str(dt.datetime.now() - started).partition('.')[0]}  {text}")

    lines, failed = table(trial, make, workers, progress)
    made = manifest(trial, bundle.root(), (dt.datetime.now() - started).total_seconds(), [])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(methods_markdown(made, lines, failed))
    out.with_suffix(".json").write_text(json.dumps({"lines": lines, "failed": failed, "manifest": made}, indent=1))
    say(f"table: {out}")


@app.command()
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
    specs: SpecsOption = None,
) -> None:
    """Measure what methods keep of their edits along sequences, and compare them chain by chain."""
    import functools

    from editverdict import bundle
    from editverdict.pipeline.runs import manifest
    from editverdict.pipeline.sequences import table
    from editverdict.pipeline.setup import Options, make_trial
    from editverdict.reporting.sequences import sequences_markdown

    options = Options(profile=profile, methods=tuple(methods or ()), store=store, specs=tuple(specs or ()))
    make = functools.partial(make_trial, options, bundle.root() / "specs")
    trial = make()
    started = dt.datetime.now()

    def progress(text: str) -> None:
        say(f"{str(dt.datetime.now() - started).partition('.')[0]}  {text}")

    lines, compared, failed = table(trial, make, workers, progress)
    made = manifest(trial, bundle.root(), (dt.datetime.now() - started).total_seconds(), [])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(sequences_markdown(made, lines, compared, failed))
    record = {"lines": lines, "comparisons": compared, "failed": failed, "manifest": made}
    out.with_suffix(".json").write_text(json.dumps(record, indent=1, allow_nan=False))
    say(f"tables: {out}")


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


if __name__ == "__main__":
    main()
