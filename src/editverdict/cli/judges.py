"""Commands about judges: decide a run's cases again, judge its answers by another judge, the card of a judge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editverdict.cli.console import DataOption, SpecsOption, errors, say

if TYPE_CHECKING:
    from editverdict.inference.rows import Row
    from editverdict.pipeline.trial import Trial


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
    told = _manifest(file.parent)
    before = told.get("judge") or trial.library.profiles[options.profile].judge  # a run may have had another (--judge)
    if before not in trial.library.judges:
        raise UsageError(f"{file.parent / 'manifest.json'}: the run's own judge '{before}' is none of specs/judges")
    goal = out or file.parent / f"judged-by-{by}.jsonl"
    found = rejudge_answers(trial, rows, before, by, goal)
    same, kappa = found["agreement"]["same"], found["agreement"]["kappa"]
    say(f"{found['answers']} answers ({found['distinct']} distinct) judged by {by}: {found['cost']}")
    say(f"the same verdict as {before}: {same['count']} of {same['total']}; kappa {kappa['value']} {kappa['interval']}")
    say(f"answers: {goal}")
    methods = told.get("methods") or trial.profile.all_methods  # likewise (--methods)
    _compare_by(trial, file.parent, rows, by, goal.parent, methods)


def _manifest(run_dir: Path) -> dict[str, Any]:
    """What a run folder says of its run; nothing where it says nothing."""
    path = run_dir / "manifest.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _compare_by(trial: Trial, run_dir: Path, rows: list[Row], by: str, folder: Path, methods: Sequence[str]) -> None:
    """The run's methods against each other by that judge, beside its answers; numbers of another never enter."""
    from editverdict.pipeline.rejudged_contests import contests_by, write_contests_by
    from editverdict.reporting.contests import contests_csv

    made = contests_by(trial, run_dir, rows, by, methods)
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
