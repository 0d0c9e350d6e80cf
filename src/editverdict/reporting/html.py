"""The static summary: one HTML file without scripts, with style and pictures inside, readable offline and in print."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from editverdict.inference.replication import closest
from editverdict.inference.rows import ClaimVerdict, Row
from editverdict.reporting.beside import MEANING, replication_brief
from editverdict.reporting.bullet import bullet
from editverdict.reporting.cards import flatten
from editverdict.reporting.contests import TITLE as METHODS
from editverdict.reporting.contests import contests_html
from editverdict.reporting.files import write_text
from editverdict.reporting.formatting import (
    LOOKS,
    MISSING,
    control_tally,
    headline,
    interval,
    number,
    region,
    seconds,
    verdict_counts,
)
from editverdict.reporting.html_case import claim_article
from editverdict.reporting.ledger_section import TITLE, counts_sentence, ledger_html
from editverdict.reporting.markup import Html, anchor, badge, code, facts, fold, join, small, table, tag
from editverdict.reporting.run import Run, load_run, methods_elsewhere, survey_tables, surveys_of

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
PAPER_TABLES = "paper-tables.html"
"""The page beside this one that it links to, once it is written (``paper_export.py``)."""
_KINDS = {
    "claim": "Claims",
    "check": "Checks that other claims require",
    "identity": "Identities (self-tests of the algebra; nothing to be won)",
    "survey": "Surveys (data only)",
}


# ------------------------------------------------------------------------------- top of the page
def _counts(run: Run) -> Html:
    counts = verdict_counts(c.verdict for c in run.claims if c.kind == "claim")
    bar = join(Html(f'<i class="v-{verdict}" style="flex:{count}"></i>') for verdict, count in counts.items())
    items = [tag("li", join([tag("b", count), " ", badge(verdict)])) for verdict, count in counts.items()]
    return join([tag("div", bar, css="bar", role="presentation"), tag("ul", join(items), css="counts")])


def _plural(count: int, one: str) -> str:
    return f"{count} {one}{'' if count == 1 else 's'}"


def _notes(run: Run) -> list[str]:
    """What a reader must know before believing anything below."""
    notes = list(run.notes)
    scopes = {row.scope for row in run.rows if row.estimate is not None}
    if "rehearsal" in scopes:
        notes.append("Rehearsal: random weights stand in for a model. These verdicts say nothing about the paper.")
    if scopes == {"extension"}:
        notes.append(
            "Every measured case extends the paper to another model, size or dataset; none repeats a setting of the "
            "paper. A refutation here speaks of this setting."
        )
    missing = sum(len(claim.missing) for claim in run.claims)
    if missing:
        notes.append(f"{_plural(missing, 'planned case')} left no row; the claims concerned are incomplete.")
    unsure = [c.claim for c in run.claims if c.depends_on_definition]
    if unsure:
        notes.append(f"Depends on the definition taken: {', '.join(unsure)}.")
    unspecific = [c.claim for c in run.claims if c.specific == "no" and c.verdict in ("supported", "refuted")]
    if unspecific:
        notes.append(f"Not specific, a comparator does the same: {', '.join(unspecific)}.")
    if left_out := methods_elsewhere(run.manifest):
        notes.append(left_out)
    if run.manifest.get("dirty"):
        notes.append("The working tree held uncommitted changes: the commit below does not identify this code.")
    return notes


def _top(run: Run) -> Html:
    papers = list(dict.fromkeys(row.paper for row in run.rows))
    about = [run.manifest.get("profile") and f"profile {run.manifest['profile']}", f"run {run.path.name}"]
    about += [_plural(len(run.rows), "case"), _models(run)]
    parts: list[Any] = [
        tag("p", "editverdict · claims about knowledge editing, put on trial", css="kicker"),
        tag("h1", "; ".join(papers) or "A run without rows"),
        tag("p", headline(run.claims), css="lead"),
        _counts(run),
        tag("p", " · ".join(str(part) for part in about if part), css="kicker"),
    ]
    if (run.path / PAPER_TABLES).is_file():
        link = tag("a", "The paper's tables and figures beside this run", href=PAPER_TABLES)
        parts.append(tag("p", link))
    if run.contests or run.contests_by:
        parts.append(tag("p", tag("a", METHODS, href=f"#{anchor('part', 'methods')}")))
    if run.ledger:
        link = tag("a", TITLE, href=f"#{anchor('part', 'ledger')}")
        parts.append(tag("p", join([link, f": {counts_sentence(run.ledger)}"])))
    notes = _notes(run)
    if notes:
        parts.append(tag("div", join(tag("p", note) for note in notes), css="notes", role="note"))
    return tag("header", join(parts), css="top")


def _models(run: Run) -> str:
    return ", ".join(dict.fromkeys(row.model for row in run.rows if row.model))


def _how_to_read() -> Html:
    verdicts = table(("verdict", "meaning"), [(badge(name), look.meaning) for name, look in LOOKS.items()])
    words = [
        ("controls", "Negative ones must not show the effect, positive ones must; otherwise the case is invalid."),
        ("specific", "Whether the effect differs from a comparator, such as a random update of the same norm."),
        ("paper", MEANING),
        ("margin to flip", "How far the threshold would have to move for the verdict to change."),
        ("scope", "Replication of a setting of the paper, extension to another, or rehearsal with random weights."),
    ]
    return fold("How to read this page", join([verdicts, facts(words)]))


# ------------------------------------------------------------------------------- table of claims
def _measured_cell(rows: list[Row]) -> Html:
    if len(rows) == 1:
        bounds = small(interval(rows[0].interval)) if rows[0].interval else ""
        return join([tag("b", number(rows[0].estimate)), Html("<br>"), bounds])
    lines = [join([tag("b", number(row.estimate)), " ", small(interval(row.interval))]) for row in rows[:4]]
    if len(rows) > 4:
        lines.append(small(f"{len(rows) - 4} more cases"))
    return join(lines, "<br>") if lines else Html(MISSING)


def _paper_cell(rows: list[Row]) -> Html:
    """The printed number, and how far the measured one is from it or the first reason why not: each pair once."""
    said: dict[Html, dict[str, None]] = {}
    for row in rows[:4]:
        one = closest(row)
        shown = number(one.printed.value) if one is not None else MISSING
        where = f"Table {one.printed.table}, {one.printed.row}" if one is not None else ""
        head = join([tag("b", shown), *([Html("<br>"), small(where)] if where else [])])
        said.setdefault(head, {})[replication_brief(row)] = None
    lines = [join([head, *(small(text) for text in texts)], "<br>") for head, texts in said.items()]
    return join(lines, "<br>") if lines else Html(MISSING)


def _controls_cell(rows: list[Row]) -> Html:
    tally = control_tally(rows)
    return tag("span", tally, css="bad" if "failed" in tally else "soso" if "undecided" in tally else "")


def _claim_line(run: Run, claim: ClaimVerdict) -> Html:
    rows = run.cases_of(claim.claim)
    link = tag("a", code(claim.claim), href=f"#{anchor('claim', claim.claim)}")
    expected = list(dict.fromkeys(region(row.expected) for row in rows))[:3] or [MISSING]
    pictured = Html("".join(bullet(row) for row in rows[:4]))
    stands = " · ".join(part for part in (claim.stands_on, claim.generality) if part)
    cells = [
        (badge(claim.verdict), ""),
        (join([link, claim.statement, small(f"Stands on {stands or MISSING}")], "<br>"), ""),
        (_measured_cell(rows), "n void" if claim.verdict == "invalid" else "n"),
        (_paper_cell(rows), "said"),
        (join([join(expected, "<br>"), pictured]), "n"),
        (_controls_cell(rows), ""),
        (claim.specific or MISSING, ""),
    ]
    return tag("tr", join(tag("td", content, css=css) for content, css in cells))


def _claims_table(run: Run, kind: str) -> Html:
    claims = [claim for claim in run.claims if claim.kind == kind]
    if not claims:
        return Html("")
    columns = ("verdict", "claim", "measured", "paper", "expected", "controls", "specific")
    lines = []
    for hypothesis in dict.fromkeys(claim.hypothesis for claim in claims):
        lines.append(tag("tr", tag("td", hypothesis, colspan=str(len(columns))), css="group"))
        lines += [_claim_line(run, claim) for claim in claims if claim.hypothesis == hypothesis]
    head = tag("thead", tag("tr", join(tag("th", column, scope="col") for column in columns)))
    made = tag("table", join([head, tag("tbody", join(lines))]), css="claims")
    return join([tag("h2", _KINDS.get(kind, kind)), tag("div", made, css="panel scroll")])


def _surveys(run: Run) -> Html:
    """What the paper surveys: named with its table, and with no verdict."""
    found = surveys_of(run.manifest)
    if not found:
        return Html("")
    cells = [
        (code(one["claim"]), one["statement"], one["where"], survey_tables(one), f"none: {one['why']}") for one in found
    ]
    made = table(("survey", "what it says", "where", "its data", "verdict"), cells)
    return join([tag("h2", _KINDS["survey"]), tag("div", made, css="panel scroll")])


# ------------------------------------------------------------------------------- manifest
def _stages(stages: Any) -> Html:
    if not isinstance(stages, list):
        return Html("")
    cells = [
        (stage.get("name", MISSING), seconds(stage.get("seconds")), number(stage.get("built")),
         number(stage.get("reused")))
        for stage in stages
        if isinstance(stage, Mapping)
    ]  # fmt: skip
    made = table(("stage", "time", "built", "reused"), cells, numeric=(1, 2, 3))
    return join([tag("h4", "Stages"), made]) if cells else made


def _manifest(run: Run) -> Html:
    plain = {key: value for key, value in run.manifest.items() if key not in ("stages", "surveys")}
    pairs = [(name, code(value)) for name, value in flatten(plain)]
    if not pairs and "stages" not in run.manifest:
        body = tag("p", "manifest.json is missing: what produced these numbers is not recorded.", css="bad")
    else:
        body = join([_stages(run.manifest.get("stages")), tag("h4", "Recorded"), table(("what", "value"), pairs)])
    return join([tag("h2", "Manifest", id="manifest"), tag("div", body, css="panel", style="padding:6px 18px 14px")])


def _style() -> str:
    return resources.files("editverdict.reporting").joinpath("summary.css").read_text(encoding="utf-8")


def page(title: str, body: Html, style: str = "") -> str:
    """A whole page: no scripts, style and pictures inside; ``style`` is added to the summary's own."""
    head = [
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Html('<meta name="viewport" content="width=device-width,initial-scale=1">'),
        tag("title", title),
        Html(f"<style>{_style()}{style}</style>"),
    ]
    return f'<!doctype html>\n<html lang="en"><head>{join(head).text}</head>\n<body>{body.text}</body></html>\n'


def summary_html(run: Run) -> str:
    """The page as text."""
    articles = [claim_article(run, claim, position) for position, claim in enumerate(run.claims)]
    main = [
        *(_claims_table(run, kind) for kind in dict.fromkeys([*_KINDS, *(c.kind for c in run.claims)])),
        _surveys(run),
        contests_html((*run.contests, *run.contests_by)),
        ledger_html(run.ledger),
        _how_to_read(),
        tag("h2", "The cases"),
        *articles,
        _manifest(run),
    ]

    footer = tag("footer", "Drawn from results.jsonl, which is the truth; no number was computed here.")
    return page(f"editverdict: {headline(run.claims)}", join([_top(run), tag("main", join(main)), footer]))


def write_summary(run_dir: Path) -> Path:
    """Write ``summary.html`` into the run folder.

    Returns
    -------
    Path
        The file: one page, no scripts, nothing loaded from elsewhere.

    Raises
    ------
    RunFolderError
        If the run folder has no ``results.jsonl`` or a file in it is damaged.
    """
    path = run_dir / "summary.html"
    write_text(path, summary_html(load_run(run_dir)))
    return path
