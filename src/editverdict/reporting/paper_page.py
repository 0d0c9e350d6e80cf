"""``paper-tables.html``: the paper's tables and figures beside this run's, one page without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from editverdict.inference.rows import Row
from editverdict.reporting.evidence import AmplificationPicture
from editverdict.reporting.formatting import MISSING
from editverdict.reporting.html import page
from editverdict.reporting.markup import Html, badge, code, fold, join, small, table, tag
from editverdict.reporting.paper_drawings import figure_svg
from editverdict.reporting.paper_figures import Figure
from editverdict.reporting.paper_layout import HEADS, Grid, grid, written
from editverdict.reporting.paper_nearest import NearCell, NearLine, near_reasons
from editverdict.reporting.paper_parts import FIGURE_TEXTS, FIGURES, PARTS
from editverdict.reporting.paper_tables import Beside, Block, Figures, largest_t, stands_on
from editverdict.reporting.plots import kept_svg, render_svg
from editverdict.reporting.run import Run, RunFolderError, load_evidence
from editverdict.reporting.svg import inline

_STYLE = """
main,header.top,footer{max-width:1400px}
.beside{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,540px),1fr));gap:14px;align-items:start}
.contents td{padding:4px 12px}.contents td:first-child{white-space:nowrap}
.side{padding:12px 14px 14px;min-width:0}
.side h4{margin:.1em 0 .5em}.block .v{font-size:.86rem}
.side table{font-size:.84rem}.side th,.side td{padding:4px 8px}
.side th{white-space:normal}.side td{white-space:nowrap;font-variant-numeric:tabular-nums}
.side table.tight{font-size:.75rem}.side .tight th,.side .tight td{padding:4px 4px}
.block{margin-top:1.1em;padding-top:.8em;border-top:1px solid var(--line)}
.block:first-of-type{margin-top:0;padding-top:0;border-top:0}
.side>p,.block p{margin:.15em 0 .45em}
section.table{margin:0 0 1.9em;scroll-margin-top:12px}
section.table>p{max-width:110ch;margin:.3em 0 .7em}
figure.drawn,figure.drawn svg{max-width:960px;width:100%}
table.near td{vertical-align:top}.near sup{color:var(--muted)}
ol.missing{margin:.5em 0 0;padding-left:1.6em;font-size:.88rem;color:var(--muted);overflow-wrap:anywhere}
ul.missing{margin:.5em 0 0;padding-left:1.1em;font-size:.88rem;color:var(--muted);overflow-wrap:anywhere}
.mapping{max-width:110ch;font-size:.92rem;color:var(--muted);margin:.2em 0 1.1em}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:0 22px}
"""

MORE_FIGURES = "Figures 3 to 5 and 7 to 10: what editing does to answers, and what it costs"
_LONG = 14
"""Characters of a cell (a correlation with its p) above which a table is set tighter, to stand beside another."""


def _grid(made: Grid) -> Html:
    wide = any(len(cell) > _LONG for row in made.rows for cell in row[made.n_names :])
    numbers = tuple(range(made.n_names, len(made.columns)))
    return table(made.columns, made.rows, css="tight" if wide else "", numeric=numbers)


def _missing(reasons: Sequence[str]) -> Html:
    items = join(tag("li", f"not measured in this run: {reason}") for reason in reasons)
    return tag("ul", items, css="missing") if reasons else Html("")


def near_grid(number: int, lines: Sequence[NearLine]) -> Html:
    """Every cell with the paper's number below it; an empty one with the number of its reason."""
    if not lines:
        return Html("")
    reasons = near_reasons(lines)

    def cell(name: str, one: NearCell) -> Html:
        own = [written(number, name, one.ours)] if not one.why else [MISSING, tag("sup", reasons[one.why])]
        beside = f"paper {written(number, name, one.paper)}" if one.paper else "not in the paper"
        return join([tag("b", join(own)), Html("<br>"), small(beside)])

    names, columns = list(lines[0].names), list(lines[0].cells)
    cells = [
        [*line.names.values(), *(cell(n, c) for n, c in line.cells.items()), small(line.setting)] for line in lines
    ]
    heads = [HEADS.get(name, name) for name in (*names, *columns)]
    made = table((*heads, "the paper's setting"), cells, css="near", numeric=range(len(names), len(names + columns)))
    said = tag("ol", join(tag("li", reason) for reason in reasons), css="missing")
    return join([made, said if reasons else Html("")])


def _not_comparable(reasons: Sequence[str]) -> Html:
    return join(tag("p", f"Not comparable because: {reason}", css="soso") for reason in reasons)


def _row_line(row: Row) -> Html:
    suspect = row.verdict in ("invalid", "broken")
    warning = tag("p", row.reason, css="bad") if suspect else Html("")
    return join([tag("p", join([small(stands_on(row)), " · ", code(row.claim), " ", badge(row.verdict)])), warning])


def _block(block: Block, number: int) -> Html:
    head = [code(block.subject), f" {block.name}" if block.name else ""]
    lines = [_row_line(row) for row in block.rows]
    about = fold(f"What {len(lines)} methods stand on", join(lines)) if len(lines) > 1 else join(lines)
    return tag("div", join([tag("p", join(head)), about, _grid(grid(number, block.records))]), css="block")


def _near(number: int, lines: Sequence[NearLine]) -> Html:
    title = "Cell by cell: this run, and the paper at its nearest setting"
    return tag("div", fold(title, near_grid(number, lines), opened=True), css="panel side") if lines else Html("")


def _table(found: Beside) -> Html:
    paper, number = found.table, found.table.number
    models = ", ".join(dict.fromkeys(str(r["model"]) for r in paper.records if "model" in r))
    theirs = [tag("h4", "The paper"), tag("p", small(models)) if models else "", _grid(grid(number, paper.records))]
    missing = () if found.near and found.blocks else found.missing  # else they stand cell by cell
    ours = [tag("h4", "This run"), *(_block(block, number) for block in found.blocks), _missing(missing)]
    sides = [tag("div", join(side), css="side panel") for side in (theirs, ours)]
    parts = [
        tag("h3", f"Table {number}"),
        tag("p", join([f"{paper.summary}. ", small(paper.unit)])),
        _not_comparable(found.not_comparable),
        tag("div", join(sides), css="beside"),
        _near(number, found.near),
    ]
    return tag("section", join(parts), css="table", id=f"table-{number}")


# ------------------------------------------------------------------------------- figures
def _curves(run: Run, row: Row, number: int, prefix: str) -> Html:
    """The pictures of one case; Figure 2 shows the largest T alone, with its placebo."""
    try:
        evidence = load_evidence(run.path, row)
    except RunFolderError as error:
        return tag("p", f"No picture: {error}", css="bad")
    drawn = [
        render_svg(_at_the_end(picture), row) if number == 2 else kept_svg(run.path, row, position, picture)
        for position, picture in enumerate(evidence.pictures if evidence else (), start=1)
        if isinstance(picture, AmplificationPicture)
    ]
    if not drawn:
        return tag("p", "This case left no curves.", css="small")
    made = [tag("figure", Html(inline(text, f"{prefix}{i}-"))) for i, text in enumerate(drawn)]
    return tag("div", join(made), css="figures")


def _at_the_end(picture: AmplificationPicture) -> AmplificationPicture:
    last = picture.curves[-1].name.rpartition("T = ")[2]
    kept = tuple(curve for curve in picture.curves if curve.name.rpartition("T = ")[2] == last)
    return picture.model_copy(update={"curves": kept})


def _figure(run: Run, found: Figures, number: int) -> Html:
    parts = [tag("h3", f"Figure {number}"), tag("p", FIGURE_TEXTS[number]), _not_comparable(found.not_comparable)]
    made = []
    for position, block in enumerate(found.blocks):
        (row,) = block.rows
        records = largest_t(block.records) if number == 2 else list(block.records)
        pictures = _curves(run, row, number, f"f{number}-{position}-")
        body = [tag("p", code(block.subject)), _row_line(row), pictures, _grid(grid(0, records))]
        made.append(tag("div", join(body), css="block"))
    side = tag("div", join([tag("h4", "This run"), *made, _missing(found.missing)]), css="side panel")
    return tag("section", join([*parts, side]), css="table", id=f"figure-{number}")


def _drawn_figure(found: Figure, drawing: str) -> Html:
    """One of Figures 3 to 5 and 7 to 10: its panels, what they stand on, and the paper's numbers nearest to them."""
    picture = tag("figure", Html(inline(drawing, f"d{found.number}-")), css="drawn")
    lines = [_row_line(row) for row in found.rows]
    stand = fold(f"What it stands on: {len(lines)} cases", join(lines)) if lines else Html("")
    title = f"Cell by cell: Table {found.table} beside this run"
    parts = [
        tag("h3", f"Figure {found.number}"),
        tag("p", found.text),
        _not_comparable(found.not_comparable),
        tag("div", join([picture, stand, _missing(found.missing)]), css="side panel"),
        tag("div", fold(title, near_grid(found.table, found.near)), css="panel side") if found.near else Html(""),
    ]
    return tag("section", join(parts), css="table", id=f"figure-{found.number}")


# ------------------------------------------------------------------------------- page
def _contents(tables: Sequence[Beside], drawn: Figures, more: Sequence[Figure]) -> Html:
    """Every table with what stands beside it, as a table of links."""

    def line(kind: str, number: int, about: str, blocks: Sequence[Block]) -> tuple[Html, str, str]:
        link = tag("a", f"{kind} {number}", href=f"#{kind.lower()}-{number}")
        return link, about, "; ".join(dict.fromkeys(block.subject for block in blocks)) or "not measured in this run"

    lines = [line("Table", t.table.number, t.table.summary, t.blocks) for t in tables]
    lines += [line("Figure", number, FIGURES.title.partition(": ")[2], drawn.blocks) for number in (2, 6)]
    for one in more:
        subjects = "; ".join(dict.fromkeys(row.stands_on or row.case for row in one.rows))
        link = tag("a", f"Figure {one.number}", href=f"#figure-{one.number}")
        lines.append((link, one.text.partition(". ")[0], subjects or "not measured in this run"))
    made = table(("paper", "what it shows", "beside it"), lines)
    return tag("div", made, css="panel scroll contents")


def _notes(run: Run) -> Html:
    notes = [
        "The paper's numbers are as printed. A dash is a number that does not exist; nothing that is missing is 0."
    ]
    if any(row.scope == "rehearsal" for row in run.rows):
        notes.append("Rehearsal: random weights stand in for a model. These numbers say nothing about the paper.")
    return tag("div", join(tag("p", note) for note in notes), css="notes", role="note")


def tables_html(
    run: Run,
    tables: Sequence[Beside],
    drawn: Figures,
    more: Sequence[Figure] = (),
    drawings: Mapping[int, str] | None = None,
) -> str:
    """The page as text; ``more`` are the figures that are drawn of rows, ``drawings`` their SVG by number."""
    made = drawings or {one.number: figure_svg(one) for one in more}
    by_number = {found.table.number: found for found in tables}
    top = [
        tag("p", join(["editverdict · ", tag("a", "summary of the run", href="summary.html")]), css="kicker"),
        tag("h1", "The paper's tables and figures beside this run"),
        tag("p", f"run {run.path.name} · profile {run.manifest.get('profile', MISSING)}", css="kicker"),
        _notes(run),
    ]
    main = [_contents(tables, drawn, more)]
    for part in PARTS:
        shown = [_table(by_number[number]) for number in part.tables if number in by_number]
        if shown:
            main += [tag("h2", part.title), tag("p", part.mapping, css="mapping"), *shown]
    main += [tag("h2", FIGURES.title), tag("p", FIGURES.mapping, css="mapping")]
    main += [_figure(run, drawn, number) for number in (2, 6)]
    if more:
        main += [tag("h2", MORE_FIGURES), *(_drawn_figure(one, made[one.number]) for one in more)]
    footer = tag("footer", "Drawn from results.jsonl, the evidence files and the paper's printed numbers.")
    body = join([tag("header", join(top), css="top"), tag("main", join(main)), footer])
    return page("editverdict: the paper's tables beside this run", body, _STYLE)
