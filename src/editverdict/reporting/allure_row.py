"""A row in Allure's vocabulary: pure functions, free of pytest and of the Allure package.

The plugin calls them while a test runs; ``allure_results.finish_results`` applies them once more afterwards to the raw
files, so that cases whose process was killed are in the report too.
"""

from __future__ import annotations

import base64
import csv
import io
from html import escape
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

from editverdict.inference.rows import Row
from editverdict.reporting.beside import paper_text, replication_text
from editverdict.reporting.cards import card_json_text, card_markdown
from editverdict.reporting.evidence import AnswersPicture, Picture
from editverdict.reporting.formatting import (
    MISSING,
    SEVERITIES,
    control_tally,
    interval,
    number,
    percent,
    region,
    units,
)
from editverdict.reporting.plots import kept_svg
from editverdict.reporting.run import RunFolderError, load_evidence

_STATUS = {
    "supported": "passed",
    "refuted": "failed",
    "inconclusive": "skipped",
    "not_run": "skipped",
    "invalid": "broken",
    "broken": "broken",
}


class Attachment(NamedTuple):
    """A file shown beside a case."""

    name: str
    mime: str
    extension: str
    content: bytes


class Parameter(NamedTuple):
    """A named value shown beside a case; excluded ones do not enter Allure's history id."""

    name: str
    value: str
    excluded: bool = True


def status(row: Row) -> str:
    """Allure's word for the verdict: passed, failed, skipped or broken."""
    return _STATUS[row.verdict]


def title(row: Row) -> str:
    """E.g. ``collapse-eff-rank[smollm2-135m]: effective-rank-ratio <= 0.85``."""
    return f"{row.case}: {row.quantity} {region(row.expected)}"


def message(row: Row) -> str:
    """What tree, categories and history show: the reason, which begins with the verdict and carries the numbers."""
    return row.reason


def labels(row: Row) -> list[tuple[str, str]]:
    """Allure labels: epic is the paper, feature the hypothesis, story the claim; the others are filters."""
    severity = row.severity if row.severity in SEVERITIES else "normal"
    pairs: list[tuple[str, str | None]] = [
        ("epic", row.paper),
        ("feature", row.hypothesis),
        ("story", row.claim),
        ("severity", severity),
        ("claim_id", row.claim),
        ("case", row.case),
        ("verdict", row.verdict),
        ("kind", row.kind),
        ("model", row.model),
        ("method", row.method),
        ("dataset", row.dataset),
        ("metric", row.quantity),
        ("scope", row.scope),
        ("specific", row.specific),
        ("profile", row.profile),
        ("spec_hash", row.hashes.get("spec")),
    ]
    return [(name, value) for name, value in pairs if value]


def description(row: Row) -> str:
    """The verdict card as the description of the test (Markdown)."""
    return card_markdown(row)


def description_html(row: Row, run_dir: Path | None = None) -> str:
    """The description as HTML with the pictures in it: Allure keeps attachments folded, a picture should be seen.

    Markup in the row's own texts stays text. Without readable evidence it is the description alone.
    """
    head, split, rest = description(row).partition("\n### ")
    drawn = [a for a in attachments(row, run_dir) if a.extension == "svg"]
    images = [
        f'<p><img alt="{escape(a.name, quote=True)}" style="max-width:100%" '
        f'src="data:image/svg+xml;base64,{base64.b64encode(a.content).decode()}"></p>'
        for a in drawn
    ]
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    return "".join([markdown.render(head), *images, markdown.render(split + rest)])


def parameters(row: Row) -> list[Parameter]:
    """Outcomes as parameters; all are excluded from the history id."""
    values = [
        ("measured", number(row.estimate)),
        ("paper", paper_text(row)),
        ("replication distance", replication_text(row)),
        ("expected", region(row.expected)),
        (f"interval {percent(row.level)}", interval(row.interval)),
        ("units", units(row)),
        ("controls", control_tally([row])),
        ("margin to flip", number(row.margin_to_flip)),
        ("specific", row.specific or MISSING),
        ("scope", row.scope),
    ]
    return [Parameter(name, value) for name, value in values]


def status_details(row: Row) -> dict[str, str]:
    """``expected`` and ``actual`` for Allure's difference view; nothing if nothing was measured."""
    if row.estimate is None:
        return {}
    bounds = f" {interval(row.interval)} ({percent(row.level)}, {units(row)})" if row.interval else ""
    return {
        "expected": f"{row.quantity} {region(row.expected)}",
        "actual": f"{row.quantity} = {number(row.estimate)}{bounds}",
    }


def answers_csv(picture: AnswersPicture) -> str:
    """A table of answers as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(picture.columns)
    writer.writerows([["" if cell is None else cell for cell in cells] for cells in picture.rows])
    return buffer.getvalue()


def _picture(run_dir: Path, row: Row, position: int, picture: Picture, drawings: Path | None) -> Attachment:
    if isinstance(picture, AnswersPicture):
        return Attachment(picture.title, "text/csv", "csv", answers_csv(picture).encode())
    return Attachment(
        picture.title, "image/svg+xml", "svg", kept_svg(run_dir, row, position, picture, drawings).encode()
    )


def attachments(row: Row, run_dir: Path | None = None, drawings: Path | None = None) -> list[Attachment]:
    """Verdict card (Markdown, JSON), pictures (SVG), answers (CSV) and, for broken cases, the traceback.

    Parameters
    ----------
    row
        The case.
    run_dir
        Run folder with the evidence; without it there are no pictures. Evidence that cannot be read becomes an
        attachment that says so: a report never fails for want of a picture.
    drawings
        Folder of pictures that runs share (:func:`kept_svg`).
    """
    made = [
        Attachment("verdict.md", "text/markdown", "md", card_markdown(row).encode()),
        Attachment("verdict.json", "application/json", "json", card_json_text(row).encode()),
    ]
    if run_dir is not None:
        try:
            evidence = load_evidence(run_dir, row)
            pictures = evidence.pictures if evidence else ()
            made += [
                _picture(run_dir, row, place, picture, drawings) for place, picture in enumerate(pictures, start=1)
            ]
        except (RunFolderError, ArithmeticError, TypeError, ValueError) as error:
            made.append(Attachment("no picture", "text/plain", "txt", str(error).encode()))
    if row.traceback:
        made.append(Attachment("traceback", "text/plain", "txt", row.traceback.encode()))
    return made
