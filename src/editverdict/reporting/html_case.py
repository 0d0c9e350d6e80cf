"""The part of the static summary that shows one claim and its cases."""

from __future__ import annotations

from typing import Any

from editverdict.inference.replication import closest
from editverdict.inference.rows import ClaimVerdict, ControlResult, Row
from editverdict.reporting.beside import COLUMNS, MEANING, NO_NUMBER, beside_rows, replication_text
from editverdict.reporting.bullet import bullet
from editverdict.reporting.cards import flatten
from editverdict.reporting.evidence import AnswersPicture, Picture
from editverdict.reporting.formatting import (
    LOOKS,
    MISSING,
    control_tally,
    interval,
    number,
    origin,
    percent,
    region,
    seconds,
    units,
)
from editverdict.reporting.ledger_claims import by_claim
from editverdict.reporting.markup import Html, anchor, badge, code, esc, facts, fold, join, small, table, tag
from editverdict.reporting.plots import kept_svg
from editverdict.reporting.run import Run, RunFolderError, load_evidence
from editverdict.reporting.svg import inline

_OUTCOMES = {"ok": "", "shown": "", "failed": "bad", "undecided": "soso"}
_MAX_ANSWERS = 60


def _outcome(control: ControlResult) -> Html:
    return tag("span", control.outcome, css=_OUTCOMES[control.outcome])


def _must(control: ControlResult) -> str:
    words = {"show": "must show the effect", "not_show": "must not show it", None: "only compared"}
    return words[control.must] if control.role != "baseline" else "only shown"


def _controls(row: Row) -> Html:
    cells = [
        (
            join([c.name, Html("<br>"), small(c.note)]) if c.note else c.name,
            c.role,
            _must(c),
            number(c.estimate),
            interval(c.interval),
            MISSING if c.n_units is None else c.n_units,
            _outcome(c),
            MISSING if c.contrast is None else f"{number(c.contrast)} {interval(c.contrast_interval)}",
            c.specific or MISSING,
        )
        for c in row.controls
    ]
    columns = ("control", "role", "", "measured", "interval", "units", "outcome", "case - control", "specific")
    made = table(columns, cells, numeric=(3, 4, 5, 7))
    return join([tag("h4", "Controls"), made]) if cells else tag("p", "This case has no controls.", css="small")


def _paper_fact(row: Row) -> Html:
    one = closest(row)
    shown = number(one.printed.value) if one is not None else MISSING
    where = f"Table {one.printed.table}, {one.printed.row}" if one is not None else "no number"
    css = "" if one is not None and one.comparable else "small"
    far = tag("span", replication_text(row), css=css)
    return join([tag("span", shown, css="big"), Html("<br>"), small(where), Html("<br>"), far])


def _measured_facts(row: Row) -> Html:
    expected: list[Any] = [tag("span", region(row.expected), css="big"), Html("<br>"), small(origin(row.expected))]
    if row.expected.rationale:
        expected += [Html("<br>"), small(row.expected.rationale)]
    pairs: list[tuple[Any, Any]] = [
        ("measured", join([tag("span", number(row.estimate), css="big"), Html("<br>"), small(row.quantity)])),
        ("paper", _paper_fact(row)),
        (f"{percent(row.level)} interval", join([tag("span", interval(row.interval), css="big"), Html("<br>"),
                                                 small(units(row))])),
        ("expected", join(expected)),
        ("margin to flip", join([number(row.margin_to_flip), Html("<br>"), Html(bullet(row))])),
        ("specific", row.specific or MISSING),
        ("scope", f"{row.scope}: {row.scope_reason}" if row.scope_reason else row.scope),
        ("stands on", row.stands_on or MISSING),
    ]  # fmt: skip
    if row.depends_on_definition:
        pairs.append(("definitions", tag("span", "the verdict depends on the definition", css="soso")))
    return facts(pairs)


# ------------------------------------------------------------------------------- pictures
def _answers(picture: AnswersPicture) -> Html:
    shown = [[number(cell) for cell in cells] for cells in picture.rows[:_MAX_ANSWERS]]
    left = len(picture.rows) - len(shown)
    more = tag("p", f"{left} more rows are in the evidence file.", css="small") if left > 0 else Html("")
    caption = tag("figcaption", picture.title)
    return tag("figure", join([caption, table(picture.columns, shown, css="answers"), more]), css="wide")


def _picture(run: Run, row: Row, position: int, picture: Picture, prefix: str) -> Html:
    if isinstance(picture, AnswersPicture):
        return fold(f"Answers ({len(picture.rows)})", _answers(picture))
    return tag("figure", Html(inline(kept_svg(run.path, row, position, picture), f"{prefix}{position}-")))


def _pictures(run: Run, row: Row, prefix: str) -> Html:
    """The pictures of a case; a picture that cannot be drawn says so and stops nothing else."""
    try:
        evidence = load_evidence(run.path, row)
    except RunFolderError as error:
        return tag("p", f"No picture: {error}", css="bad")
    if evidence is None:
        return tag("p", "This case has no picture: no evidence file was written.", css="small")
    made = []
    for position, picture in enumerate(evidence.pictures, start=1):
        try:
            made.append(_picture(run, row, position, picture, prefix))
        except (ValueError, TypeError, ArithmeticError) as error:
            made.append(tag("p", f"The picture {picture.title!r} could not be drawn: {error}", css="bad"))
    return join(made)


# ------------------------------------------------------------------------------- what opens on a click
def _checks(row: Row) -> Html:
    failed = sum(not c.ok for c in row.checks)
    cells = [(c.name, "ok" if c.ok else tag("span", "failed", css="bad"), c.detail) for c in row.checks]
    title = f"Validity checks ({len(cells) - failed}/{len(cells)} ok)"
    return fold(title, table(("check", "outcome", "detail"), cells), opened=failed > 0)


def _definitions(row: Row) -> Html:
    cells = [
        (d.name, d.role, number(d.estimate), interval(d.interval), badge(d.verdict) if d.verdict else MISSING,
         d.note or "")
        for d in row.definitions
    ]  # fmt: skip
    columns = ("definition", "role", "measured", "interval", "would say", "note")
    return fold("Definitions", table(columns, cells, numeric=(2, 3)), opened=row.depends_on_definition)


def _paper(row: Row) -> Html:
    cells = beside_rows(row)
    if not cells:
        why = f"The paper prints no number to stand beside it: {row.not_comparable or NO_NUMBER}."
        return fold("What the paper prints", tag("p", why))
    made = table(COLUMNS, cells, numeric=(1, 2))
    return fold("What the paper prints", join([tag("p", MEANING, css="small"), made]))


def _reading(row: Row) -> Html:
    pairs = [("quantity", row.describes), ("reduced to one number per unit by", row.reduce)]
    pairs += [("family (corrected together)", row.family), ("profile", row.profile)]
    pairs += [("took", f"{seconds(row.seconds)}, peak {number(row.peak_memory_mib)} MiB" if row.seconds else "")]
    return fold("How it was measured", facts((name, value) for name, value in pairs if value))


def _case(run: Run, row: Row, prefix: str) -> Html:
    written = [(name, code(value)) for name, value in row.hashes.items()]
    described = [(name, value) for name, value in flatten(row.descriptive)]
    parts = [
        tag("h3", join([badge(row.verdict), " ", code(row.case)])),
        tag("p", row.reason, css="reason"),
        _measured_facts(row),
        _pictures(run, row, prefix),
        _controls(row),
        _checks(row),
        _definitions(row),
        _paper(row),
        fold("Descriptive numbers (they decide nothing)", table(("number", "value"), described)),
        _reading(row),
        fold("Hashes", table(("of", "sha256"), written)),
        fold("Traceback", tag("pre", row.traceback) if row.traceback else Html(""), opened=True),
    ]
    return tag("section", join(parts), css="case", id=anchor("case", row.case))


def claim_article(run: Run, claim: ClaimVerdict, number_: int) -> Html:
    """One claim: its verdict, what it stands on, and its cases with measured, expected, controls and pictures."""
    rows = run.cases_of(claim.claim)
    where = f"{rows[0].paper}, {rows[0].where}" if rows else claim.hypothesis
    head = join([badge(claim.verdict), tag("h3", code(claim.claim)), small(f"{claim.hypothesis} · {where}")])
    stands = [claim.stands_on, claim.generality]
    parts: list[Any] = [
        tag("div", head, css="head"),
        tag("p", claim.statement, css="statement"),
        tag("p", claim.reason, css="reason") if [row.reason for row in rows] != [claim.reason] else "",
        tag("p", join([Html("Stands on: "), esc_join(stands)]), css="small") if any(stands) else "",
    ]
    if tables := by_claim(run.ledger).get(claim.claim):
        parts.append(tag("p", str(tables), css="small"))
    if claim.missing:
        parts.append(tag("p", f"Planned but missing: {', '.join(claim.missing)}", css="bad"))
    if not rows:
        parts.append(tag("p", "No case of this claim left a row.", css="bad"))
    if len(rows) > 1:
        parts.append(tag("p", f"{len(rows)} cases, controls {control_tally(rows)}.", css="small"))
    parts += [_case(run, row, f"c{number_}-{position}-") for position, row in enumerate(rows)]
    css = f"claim panel v-{claim.verdict}" if claim.verdict in LOOKS else "claim panel"
    return tag("article", join(parts), css=css, id=anchor("claim", claim.claim))


def esc_join(parts: list[str]) -> Html:
    """Texts that are not empty, with dots between them."""
    return Html(" · ".join(esc(part) for part in parts if part))
