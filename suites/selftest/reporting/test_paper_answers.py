"""The paper's tables of answers beside a run's: whose line is where, and what stands for what is not measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from editverdict.inference.rows import Row
from editverdict.reporting.formatting import MISSING
from editverdict.reporting.paper_layout import Grid, grid
from editverdict.reporting.paper_tables import Beside, PaperTable, beside_paper, read_paper
from editverdict.reporting.run import Run

RowFactory = Callable[..., Row]
PAPER = Path(__file__).parents[3] / "specs" / "paper"


@pytest.fixture(scope="module")
def paper() -> dict[int, PaperTable]:
    return read_paper(PAPER)


@pytest.fixture
def of(row_with: RowFactory) -> Callable[..., Row]:
    def make(claim: str, method: str, **descriptive: Any) -> Row:
        subject = f"smollm2-135m-{method}-worldfacts"
        names = {"case": f"{claim}[{subject}]", "claim": claim, "method": method, "model": "smollm2-135m"}
        more = {"dataset": "worldfacts", "evidence": None, "stands_on": subject, "not_comparable": None}
        return row_with(**names, **more, descriptive={"edits": 10, **descriptive})

    return make


def beside(number: int, paper: dict[int, PaperTable], *rows: Row) -> Beside:
    run = Run(Path("somewhere"), rows, (), {"methods_elsewhere": {"overnight": ["MEMIT", "GRACE"]}})
    return next(b for b in beside_paper(run, paper) if b.table.number == number)


def shown(found: Beside, block: int = 0) -> Grid:
    return grid(found.table.number, found.blocks[block].records)


def scores(rel: float, port: float | None = 0.1) -> dict[str, float | None]:
    avg = None if port is None else (rel + 0.2 + 0.3 + port) / 4
    return {"rel": rel, "gen": 0.2, "loc": 0.3, "port": port, "loc_eq4": 0.5, "avg": avg}


def drop(of: Callable[..., Row], method: str, single: float, after: float) -> Row:
    table = {"unedited": scores(0.01), "single": scores(single), "sequential": scores(after, None)}
    return of("rq1-drop-single-to-seq", method, scores=table)


def test_single_and_sequential_with_the_unedited_model_and_scr_once(
    paper: dict[int, PaperTable], of: Callable[..., Row]
) -> None:
    rows = [drop(of, "ROME", 0.9, 0.25), drop(of, "ROME-identity", 0.8, 0.125)]
    rows += [of("scr-dominates-avg", m, scores={"method": scores(0.2), "SCR": scores(0.95)}) for m in ("ROME", "WISE")]
    found = beside(3, paper, *rows)
    table = shown(found)
    assert table.columns == ("dataset", "setting", "method", "Rel.", "Gen.", "Loc.", "Port.", "Avg.")
    assert table.rows == (
        ("worldfacts", "either", "Pre-edit", "1.00", "20.00", "30.00", "10.00", "15.25"),
        ("", "single", "ROME", "90.00", "20.00", "30.00", "10.00", "37.50"),
        ("", "sequential", "ROME", "25.00", "20.00", "30.00", MISSING, MISSING),
        ("", "single", "ROME-identity", "80.00", "20.00", "30.00", "10.00", "35.00"),
        ("", "sequential", "ROME-identity", "12.50", "20.00", "30.00", MISSING, MISSING),
    )
    assert [row[2] for row in shown(found, 1).rows] == ["SCR"]
    missing = "\n".join(found.missing)
    assert "Pre-edit" not in missing and "SCR:" not in missing
    assert "GRACE: this run has no case" in missing and "profile overnight has the method" in missing


def test_tables_of_the_whole_sequence_have_no_single_edits(
    paper: dict[int, PaperTable], of: Callable[..., Row]
) -> None:
    found = beside(29, paper, drop(of, "ROME", 0.9, 0.25))
    assert [row[1:4] for row in shown(found).rows] == [("either", "Pre-edit", "1.00"), ("sequential", "ROME", "25.00")]


def test_courses_have_one_column_per_number_of_edits(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    way = {name: [[0.9, 0.5], [0.7, 0.3]] for name in ("rel", "gen", "loc")} | {"port": [[None, 0.5], [0.2, 0.1]]}
    rows = [drop(of, "ROME", 0.9, 0.25), of("corr-rome-negative", "ROME", schedule=[5, 10], scores=way)]
    found = beside(37, paper, *rows)
    ends, on_the_way = shown(found), shown(found, 1)
    assert ends.columns == ("method", "metric", "1 edit", "10 edits") and ends.rows[0] == (
        "ROME",
        "rel",
        "0.90",
        "0.25",
    )
    assert on_the_way.columns[2:] == ("5 edits", "10 edits")
    assert on_the_way.rows[0] == ("ROME", "rel", "0.80", "0.40") and on_the_way.rows[3] == ("", "port", MISSING, "0.30")


def test_groups_of_confidence(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    split = {"high_logp": {"single": scores(0.9), "sequential": scores(0.4)}, "low_logp": {"single": scores(0.8)}}
    found = beside(38, paper, of("rq1-confidence-split", "ROME", split_scores=split))
    assert shown(found).rows[0] == ("ROME", "rel", "high_logp", "0.90", "0.40")
    assert shown(found).rows[4][2:] == ("low_logp", "0.80", MISSING)


def test_l2_and_memories(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    both = {"L2_1": scores(0.3), "L2_10": scores(0.6), "single_L2_1": scores(0.9), "single_L2_10": scores(0.7)}
    found = beside(41, paper, of("alpha-single-vs-seq-tradeoff", "AlphaEdit", scores=both))
    assert [row[0] for row in shown(found).rows] == ["1", "", "10", ""]
    assert shown(found).rows[3][-4:] == ("60.00", "20.00", "30.00", "10.00")
    states = {"SCR": scores(0.9), "combination": scores(0.6), "method_alone": scores(0.1)}
    found = beside(43, paper, of("comb-scr-beats-combined", "ROME+SCR", scores=states))
    assert [row[2:4] for row in shown(found).rows] == [("SCR", "90.00"), ("ROME+SCR", "60.00")]
    assert any(line.startswith("MEMIT+SCR: ") for line in found.missing)


def test_tokens_kept_with_the_unedited_model_and_scr_once(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    def kept(single: float, sequence: float) -> dict[str, Any]:
        both = (("single", single), ("sequence", sequence))
        return {"tokens": {name: {"ratio": share, "exact": share / 2} for name, share in both}}

    rows = [of("tok-preedit-100", "no-op", **kept(1.0, 1.0)).model_copy(update={"method": None})]
    rows += [of("tok-param-low", "ROME", **kept(0.4, 0.1))]
    rows += [of("tok-scr-competitive", m, SCR=kept(0.75, 0.5), **{m: kept(0.4, 0.1)}) for m in ("ROME", "RECT")]
    found = beside(40, paper, *rows)
    assert shown(found).columns == grid(40, paper[40].records).columns
    assert shown(found).rows == (
        ("ROME", "single", "40.00", "20.00"),
        ("", "sequential", "10.00", "5.00"),
        ("Pre-edit", "single", "100.00", "50.00"),
        ("", "sequential", "100.00", "50.00"),
    )
    assert [row[0] for row in shown(found, 1).rows] == ["SCR", ""]
    assert any(line.startswith("GRACE: ") for line in found.missing)


def test_a_case_that_was_not_run_says_why(paper: dict[int, PaperTable], row_with: RowFactory) -> None:
    row = row_with(
        case="comb-scr-beats-combined[m-ROME+SCR-d]",
        claim="comb-scr-beats-combined",
        method="ROME+SCR",
        model="m",
        verdict="not_run",
        reason="NOT_RUN: no threshold",
        estimate=None,
        interval=None,
        descriptive={},
    )
    found = beside(43, paper, row)
    assert not found.blocks and any("NOT_RUN: no threshold" in line for line in found.missing)
