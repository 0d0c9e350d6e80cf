"""Every renderer shows what the paper prints beside what was measured, and how far apart the two are or why not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from editverdict.inference.rows import ClaimVerdict, PaperNumber, Row
from editverdict.reporting.allure import description, parameters
from editverdict.reporting.beside import paper_text, replication_text, short_text
from editverdict.reporting.cards import card_json_text, card_markdown
from editverdict.reporting.export import cases_csv, claims_latex
from editverdict.reporting.findings import findings_markdown
from editverdict.reporting.html import write_summary
from editverdict.reporting.terminal import run_report
from suites.selftest.reporting.test_render import Page

RowFactory = Callable[..., Row]
PRINTED = {"table": 5, "row": "Big-8B, median", "value": 0.79, "low": 0.785, "high": 0.795, "model": "Big-8B"}
HERE: dict[str, Any] = {
    "model": "big-8b",
    "scope": "replication",
    "not_comparable": None,
    "paper_values": (PaperNumber(**PRINTED),),
}
ELSEWHERE: dict[str, Any] = {"paper_values": (PaperNumber(**PRINTED), PaperNumber(**PRINTED | {"value": 0.5}))}
WHY = "not comparable: another model (smollm2-135m for Big-8B); another model and another corpus"


def test_a_replication_has_a_distance(row_with: RowFactory) -> None:
    row = row_with(**HERE)
    assert paper_text(row) == "0.79 (Table 5, Big-8B, median)"
    assert replication_text(row) == "distance 0.07143, difference +0.0013"
    assert short_text(row) == "paper 0.79 (T5), distance 0.071"
    assert replication_text(row_with(**HERE | {"interval": None})) == "difference +0.0013, no interval"
    assert replication_text(row_with(**HERE | {"estimate": None, "interval": None})) == "nothing measured"


def test_elsewhere_both_numbers_stand_and_the_reason(row_with: RowFactory) -> None:
    row = row_with(**ELSEWHERE)
    assert paper_text(row) == "0.79 (Table 5, Big-8B, median); 1 more"
    assert replication_text(row) == WHY
    assert short_text(row) == "paper 0.79 (T5), not comparable: another model (+1)"


def test_without_a_number_there_is_the_reason(row_with: RowFactory) -> None:
    row = row_with(paper_values=(), not_comparable="it is in a figure only")
    assert (paper_text(row), replication_text(row)) == ("no number", "not comparable: it is in a figure only")
    assert "it is in a figure only" in card_markdown(row)
    silent = row_with(paper_values=(), not_comparable=None)
    assert replication_text(silent) == "not comparable: the paper prints no number for it"


@pytest.mark.parametrize(("changes", "said"), [(HERE, "distance 0.07143, difference +0.0013"), (ELSEWHERE, WHY)])
def test_every_renderer_says_it(row_with: RowFactory, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    row = row_with(**changes, evidence=None)
    claim = ClaimVerdict(claim=row.claim, statement=row.statement, hypothesis=row.hypothesis, verdict=row.verdict,
                         reason=row.reason, stands_on=row.stands_on, cases=(row.case,))  # fmt: skip
    values = {p.name: p.value for p in parameters(row)}
    assert list(values)[:3] == ["measured", "paper", "replication distance"]
    assert values["paper"].startswith("0.79 (Table 5, Big-8B, median)") and values["replication distance"] == said
    for text in (card_markdown(row), description(row), findings_markdown([claim], [row], {})):
        assert said in text and "0.79" in text
    (tmp_path / "results.jsonl").write_text(row.model_dump_json() + "\n")
    words = Page(write_summary(tmp_path).read_text(encoding="utf-8")).text
    brief = said.replace("another model and another corpus", "and 1 more, see the case")
    assert brief in words  # in the table of claims
    assert words.count(said) >= 2  # in the facts of the case, and in the list of all printed numbers
    assert "Table 5, Big-8B, median" in words
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(run_report([claim], [row], {}))
    assert "paper 0.79 (T5)" in console.export_text()
    assert "0.79 (Table 5; " in claims_latex([claim], [row])


def test_the_card_as_data(row_with: RowFactory) -> None:
    (found,) = json.loads(card_json_text(row_with(**HERE)))["beside_the_paper"]
    assert found["printed"] == 0.79 and found["measured"] == 0.7913 and found["comparable"] is True
    assert found["distance"] == pytest.approx(0.0013 / (0.0132 + 0.005))
    stuck = row_with(
        **HERE | {"interval": (0.7913, 0.7913), "paper_values": (PaperNumber(table=5, row="r", value=0.8),)}
    )
    assert json.loads(card_json_text(stuck))["beside_the_paper"][0]["distance"] == "inf"


def test_csv_has_the_paper_in_columns_of_its_own(row_with: RowFactory) -> None:
    here, there = csv.DictReader(io.StringIO(cases_csv([row_with(**HERE), row_with(**ELSEWHERE)])))
    assert (here["paper_table"], here["paper_value"], here["comparable"]) == ("5", "0.79", "True")
    assert float(here["difference"]) == pytest.approx(0.0013) and here["why_not_comparable"] == ""
    assert there["replication_distance"] == there["difference"] == "" and there["comparable"] == "False"
    assert there["why_not_comparable"].startswith("another model (smollm2-135m for Big-8B)")
