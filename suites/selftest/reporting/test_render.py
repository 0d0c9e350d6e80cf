"""Cards, terminal tables, the static summary and the exports."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from editverdict.inference.rows import ClaimVerdict, Region, Row
from editverdict.reporting.allure import attachments, description_html, labels, parameters, status, status_details
from editverdict.reporting.bullet import bullet
from editverdict.reporting.cards import card_json, card_markdown, write_cards
from editverdict.reporting.export import cases_csv, claims_csv, claims_latex, latex, write_exports
from editverdict.reporting.findings import findings_markdown
from editverdict.reporting.formatting import headline, number, seconds
from editverdict.reporting.html import summary_html, write_summary
from editverdict.reporting.run import RunFolderError, load_evidence, load_run
from editverdict.reporting.terminal import claims_table, run_report, stages_table

RowFactory = Callable[..., Row]


# ------------------------------------------------------------------------------- numbers
@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "—"), (0.0, "0"), (0.79134, "0.7913"), (1.7e-8, "1.70e-8"), (3e7, "3.00e7"), (math.inf, "inf"),
     (math.nan, "NaN"), (True, "yes"), (28800, "28800"), (-0.0004, "-4.00e-4"), ("NaN", "NaN")],
)  # fmt: skip
def test_numbers_are_written_alike(value: Any, written: str) -> None:
    assert number(value) == written


def test_durations() -> None:
    assert seconds(3.21) == "3.2 s"
    assert seconds(725) == "12 min 05 s"
    assert seconds(None) == "—"


def test_headline_counts_claims_only(claims: list[ClaimVerdict]) -> None:
    checks = [claims[0].model_copy(update={"kind": "check"})]
    assert headline(claims + checks).startswith("6 claims on trial: 1 supported, 1 refuted")
    assert headline([]) == "No claim was put on trial in this run."


# ------------------------------------------------------------------------------- cards
def test_card_has_every_number(rows: list[Row]) -> None:
    card = card_markdown(rows[0])
    wanted = ("0.7913", "[0.7781, 0.8042]", "<= 0.85", "paper: Tables 5-7", "0.0458", "24 text blocks",
              "[0.975, 0.986]", "planted-rank", "-0.139", "participation-ratio", "Llama-2-7B inner",
              "0.79", "28,800 tokens",
              "not comparable: the model is not one of the paper's; another model and another corpus",
              "SUPPORTED", "SmolLM2-135M, T = 0", "a" * 64, "41.2", "99% interval",
              "extension")  # fmt: skip
    assert [word for word in wanted if word not in card] == []


def test_card_json_keeps_full_precision(rows: list[Row], run_dir: Path) -> None:
    write_cards(run_dir, rows)
    card = json.loads((run_dir / "cards" / "collapse-eff-rank-smollm2-135m.json").read_text(encoding="utf-8"))
    assert card == json.loads(json.dumps(card_json(rows[0])))
    assert card["measured"]["estimate"] == 0.7913
    assert card["expected"]["text"] == "<= 0.85"
    assert card["controls"][2]["contrast_interval"] == [-0.15, -0.128]


def test_card_of_a_case_without_numbers_shows_no_zero(rows: list[Row]) -> None:
    card = card_markdown(rows[5])
    assert "| measured | `—` |" in card
    assert "`0`" not in card


def test_card_neutralises_markup(rows: list[Row]) -> None:
    card = card_markdown(rows[3])
    assert "<script" not in card
    line = next(line for line in card.splitlines() if line.startswith("| paired"))
    assert len(re.findall(r"(?<!\\)\|", line)) == 4  # three cells: the pipe in the detail splits none


# ------------------------------------------------------------------------------- allure
def test_row_in_allures_words(rows: list[Row], run_dir: Path) -> None:
    assert [status(row) for row in rows] == ["passed", "failed", "skipped", "broken", "broken", "skipped"]
    found = dict(labels(rows[1]))
    assert found["epic"] == rows[1].paper
    assert found["story"] == found["claim_id"] == "amp-many-gt1-single-edit"
    assert (found["model"], found["method"], found["dataset"]) == ("smollm2-135m", "ROME", "worldfacts")
    assert all(parameter.excluded for parameter in parameters(rows[1]))
    assert status_details(rows[5]) == {}
    made = attachments(rows[1], run_dir)
    assert [item.extension for item in made] == ["md", "json", "svg", "svg", "csv"]
    assert b"Valletta" in made[-1].content


def test_description_shows_pictures_and_no_foreign_markup(rows: list[Row], run_dir: Path) -> None:
    assert description_html(rows[0], run_dir).count("data:image/svg+xml;base64,") == 2
    assert "<script" not in description_html(rows[3], run_dir)


def test_unreadable_evidence_becomes_a_note(row_with: RowFactory, run_dir: Path) -> None:
    made = attachments(row_with(evidence="evidence/none.json"), run_dir)
    assert made[-1].name == "no picture"
    assert b"no such file" in made[-1].content


# ------------------------------------------------------------------------------- terminal
def rendered(renderable: Any, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False, record=True)
    console.print(renderable)
    return console.export_text()


@pytest.mark.parametrize("width", [100, 120])
def test_terminal_table_fits_and_says_it_all(
    width: int, claims: list[ClaimVerdict], rows: list[Row], manifest: dict[str, Any]
) -> None:
    text = rendered(run_report(claims, rows, manifest), width)
    assert max(len(line) for line in text.splitlines()) <= width
    for word in ("refuted", "not run", "0.0031", "[0.0012, 0.0049]", ">= 0.5", "2/2 ok", "6 min 42 s", "8 min 54 s"):
        assert word in text
    assert all(claim.claim[:18] in text for claim in claims)


def test_methods_that_another_profile_has_are_named(claims: list[ClaimVerdict], rows: list[Row], run_dir: Path) -> None:
    left_out = {"methods_elsewhere": {"overnight": ["MEMIT", "WISE"]}, "claims_in_part": {"rq4-order": ["ROME"]}}
    said = "Not on trial here: MEMIT, WISE. Profile overnight has the time that they take."
    assert said in rendered(run_report(claims, rows, left_out), 120)
    assert "Not on trial here" not in rendered(run_report(claims, rows, {"methods_elsewhere": {}}), 120)
    run = load_run(run_dir)
    page = summary_html(replace(run, manifest=left_out))
    assert said in page and "rq4-order is on trial here for ROME alone." in page
    assert "Not on trial here" not in summary_html(run)


def test_terminal_takes_text_as_text(claims: list[ClaimVerdict], rows: list[Row]) -> None:
    odd = claims[0].model_copy(update={"stands_on": "[bold]not markup[/bold] [/]"})
    assert "[bold]not" in rendered(claims_table([odd], rows), 120)


def test_stage_without_counts_is_not_zero() -> None:
    assert "—" in rendered(stages_table([{"name": "install", "seconds": 3.0}]), 100)


# ------------------------------------------------------------------------------- static summary
class Page(HTMLParser):
    """Collects tags, ids, links and text of a page, and checks that tags are closed in order."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values["href"] or ""] if tag == "a" else []
        assert not any(name.startswith("on") for name in values)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_summary_is_one_safe_well_formed_page(run_dir: Path, rows: list[Row], hostile: str) -> None:
    text = write_summary(run_dir).read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert hostile in page.text
    assert "<script>" not in text
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert not re.findall(r"(?:src|href)=\"(?!#)", text)


def test_summary_shows_every_case_with_its_numbers(run_dir: Path, rows: list[Row]) -> None:
    text = write_summary(run_dir).read_text(encoding="utf-8")
    words = Page(text).text
    for row in rows:
        assert row.case in words
        assert row.reason in words
    for word in (
        "0.0031",
        "[0.0012, 0.0049]",
        ">= 0.5",
        "random-init",
        "-0.139 [-0.15, -0.128]",
        "2.13.0",
        "6 min 42 s",
    ):
        assert word in words
    assert "6 claims on trial: 1 supported, 1 refuted" in words
    assert "uncommitted changes" in words
    assert "none repeats a setting" in words
    assert "depends on the definition" in words
    assert text.count("<figure>") >= 4


def test_summary_says_when_claims_were_never_judged(run_dir: Path) -> None:
    (run_dir / "claims.json").unlink()
    words = Page(write_summary(run_dir).read_text(encoding="utf-8")).text
    assert "6 claims on trial: 6 incomplete." in words


def test_summary_survives_a_missing_picture(run_dir: Path) -> None:
    (run_dir / "evidence" / "amp.json").unlink()
    assert "No picture:" in Page(write_summary(run_dir).read_text(encoding="utf-8")).text


def test_bullet_draws_nothing_where_nothing_was_measured(rows: list[Row], row_with: RowFactory) -> None:
    assert bullet(rows[5]) == ""
    ElementTree.fromstring(bullet(rows[0]))
    wide = row_with(estimate=1e-8, interval=(-1e-9, 2e-8), expected=Region(op="<=", threshold=1e-6))
    ElementTree.fromstring(bullet(wide))


# ------------------------------------------------------------------------------- reading the folder
def test_cut_off_last_line_is_left_out_with_a_note(run_dir: Path) -> None:
    path = run_dir / "results.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + '{"case": "cut', encoding="utf-8")
    run = load_run(run_dir)
    assert len(run.rows) == 6
    assert "cut off" in run.notes[0]


def test_damaged_line_is_named(run_dir: Path) -> None:
    path = run_dir / "results.jsonl"
    path.write_text('{"case": 1}\n' + path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"results\.jsonl, line 1: expected a row"):
        load_run(run_dir)


def test_last_row_of_a_case_counts(run_dir: Path, row_with: RowFactory) -> None:
    with (run_dir / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(row_with(verdict="refuted").model_dump_json() + "\n")
    run = load_run(run_dir)
    assert len(run.rows) == 6
    assert run.rows[0].verdict == "refuted"


def test_evidence_outside_the_run_folder_is_not_read(run_dir: Path, row_with: RowFactory) -> None:
    with pytest.raises(RunFolderError, match="outside the run folder"):
        load_evidence(run_dir, row_with(evidence="../../secret.json"))


# ------------------------------------------------------------------------------- exports
def test_csv_has_one_line_per_case_and_keeps_missing_empty(rows: list[Row], claims: list[ClaimVerdict]) -> None:
    lines = list(csv.DictReader(io.StringIO(cases_csv(rows))))
    assert [line["case"] for line in lines] == [row.case for row in rows]
    assert float(lines[0]["interval_low"]) == 0.7781
    assert lines[5]["estimate"] == ""
    assert len(list(csv.DictReader(io.StringIO(claims_csv(claims))))) == len(claims)


def test_latex_escapes_and_tabulates(rows: list[Row], claims: list[ClaimVerdict]) -> None:
    text = claims_latex(claims, rows)
    body = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert all(line.count(" & ") == 6 for line in body)
    assert r"$\le 0.85$" in text
    assert latex(r"a_b & 50% \x") == r"a\_b \& 50\% \textbackslash{}x"


def test_exports_are_written(run_dir: Path) -> None:
    assert [path.name for path in write_exports(run_dir)] == ["claims.csv", "cases.csv", "claims.tex", "findings.md"]


SURVEYS = [
    {
        "claim": "own-survey",
        "statement": "Others do it <otherwise>.",
        "where": "A.2, Table 4",
        "why": "settings of others",
        "tables": [{"table": 4, "file": "specs/paper/t4.csv", "caption": "c", "rows": 14, "ticked": {"dim_x": 2}}],
    }
]


def test_a_survey_is_named_with_its_table_and_without_a_verdict(
    run_dir: Path, claims: list[ClaimVerdict], rows: list[Row], manifest: dict[str, Any]
) -> None:
    run = load_run(run_dir)
    held = {**manifest, "surveys": SURVEYS}
    page = summary_html(replace(run, manifest=held))
    section = page.split("Surveys (data only)")[1].split("</table>")[0]
    for text in (
        "own-survey",
        "Table 4 (specs/paper/t4.csv), 14 rows",
        "dim x 2",
        "none: settings of others",
        "&lt;otherwise",
    ):
        assert text in section
    assert "Surveys (data only)" not in summary_html(replace(run, manifest=manifest))
    written = findings_markdown(claims, rows, held).split("## Data that no run can test (1)")[1].split("\n## ")[0]
    assert "`own-survey`" in written and "Table 4" in written and "<otherwise" not in written
    shown = rendered(run_report(claims, rows, held), 200)
    assert "own-survey: data that no run can test. Table 4 (specs/paper/t4.csv)" in " ".join(shown.split())
