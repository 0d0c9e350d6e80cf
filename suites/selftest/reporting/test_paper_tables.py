"""The paper's tables beside a run's: printed form, our numbers in it, reasons for what is missing, and the page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from editverdict.inference.rows import Row
from editverdict.reporting.html import write_summary
from editverdict.reporting.paper_export import write_paper_tables
from editverdict.reporting.paper_layout import Grid, grid, scientific, written
from editverdict.reporting.paper_parts import PARTS
from editverdict.reporting.paper_tables import (
    Beside,
    PaperTable,
    beside_paper,
    figures,
    largest_t,
    read_paper,
    records_csv,
)
from editverdict.reporting.run import Run
from editverdict.schema.errors import SpecError
from suites.selftest.reporting.test_render import Page

RowFactory = Callable[..., Row]
PAPER = Path(__file__).parents[3] / "specs" / "paper"
SPECTRUM = {
    "5": {"d": 576, "r_eff": 455.27, "r_eff_over_d": 0.79040, "sigma_1": 812.34, "sigma_min": 2.4567, "cond": 330.66,
          "identified": 576},
    "29": {"d": 576, "r_eff": 312.9, "r_eff_over_d": 0.5432, "sigma_1": 9100.2, "sigma_min": None, "cond": None,
           "identified": 575},
}  # fmt: skip
RATES = {"mean": 0.2134, "min": 0.0101, "largest": 12.5, "std": 0.5, "num_above_one": 3.4, "share_above_one": 0.0059}
COSINES = {"8": {"1": {"10": 0.99912, "100/4096": 0.98}, "10": {"10": 0.951, "100/4096": None}}}
CURVES = {
    "29": {
        "ROME, T = 1": {"first_tenth": 0.05, "median": 0.1, "last_tenth": 0.3, "max": 2.0, "share_above_one": 0.003},
        "ROME, T = 10": {"first_tenth": 0.2, "median": 0.4, "last_tenth": 1.1, "max": 9.0, "share_above_one": 0.11},
        "placebo, T = 10": {"first_tenth": 0.2, "median": 0.5, "last_tenth": 1.6, "max": 7.0, "share_above_one": 0.3},
    }
}


@pytest.fixture(scope="module")
def paper() -> dict[int, PaperTable]:
    return read_paper(PAPER)


@pytest.fixture
def of(row_with: RowFactory) -> Callable[..., Row]:
    """A factory of rows: ``of("smallpert-norm", method="ROME", descriptive=...)``."""

    def make(claim: str, *, method: str | None = None, model: str = "smollm2-135m", **changes: Any) -> Row:
        subject = "-".join(part for part in (model, method) if part)
        names = {"case": f"{claim}[{subject}]", "claim": claim, "method": method, "model": model, "evidence": None}
        return row_with(**(names | {"stands_on": f"{subject}, 20 units", "not_comparable": None} | changes))

    return make


def run_of(*rows: Row, **manifest: Any) -> Run:
    return Run(Path("somewhere"), rows, (), manifest)


def table_of(number: int, paper: dict[int, PaperTable], *rows: Row, **manifest: Any) -> Beside:
    return next(b for b in beside_paper(run_of(*rows, **manifest), paper) if b.table.number == number)


def shown(found: Beside, block: int = 0) -> Grid:
    return grid(found.table.number, found.blocks[block].records)


def correlation(association: float | None = -0.31, rho: float | None = -0.9) -> dict[str, Any]:
    names = [
        {"summary": s, "aggregation": a, "dimension": d}
        for s in ("median", "q90", "q95", "trimmed")
        for a in ("mean", "max", "median")
        for d in ("rel", "gen", "loc", "port")
    ]
    trend = None if rho is None else {"rho": rho, "p": 0.0004, "steps": 9}
    cells = [
        n | {"association": association, "p": 0.2} | ({} if association is None else {"p_holm": 1.0}) for n in names
    ]
    chain = {
        "role": "descriptive: trend-confounded",
        "T": [2, 5, 10],
        "smallest_p": 1 / 3,
        "cells": [trend] * len(cells),
    }
    return {"cells": cells, "single_chain": chain}


# ------------------------------------------------------------------------------- the paper's side
def test_the_papers_tables_are_all_there_and_belong_somewhere(paper: dict[int, PaperTable]) -> None:
    assert set(paper) == set(range(1, 47))
    placed = [number for part in PARTS for number in part.tables]
    # The geometry of hidden states, what edited models answer and can do, and what that costs; 4 and 39 hold words.
    assert sorted(placed) == [1, 2, 3, *range(5, 39), *range(40, 47)]
    assert sum(len(paper[number].records) for number in placed) == 1565 + 52 + 9 + 9 + 27 + 27 + 20
    assert paper[5].models == {"llama-3.1-8b-instruct"} and paper[9].methods[:2] == ["AlphaEdit", "MEMIT"]


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, ("30", "4096", "2066", "50.4", "4922.3", "3.85×10⁻⁵", "1.28×10⁸")),
        (5, ("31", "4096", "1023", "25.0", "1.3×10⁴", "3.0×10⁻³", "4.3×10⁶")),
        (2, ("", "Gen.", "0.6360 (0.0656)", "-0.4238 (0.2557)", "-0.8645** (0.0026)", "-0.0840 (0.8298)")),
        (12, ("", "Dec23-FFN-wo", "3.76×10³", "3.77×10³", "865.09", "4.89×10⁴")),
        (13, ("", "1000", "0.973", "0.552", "0.128", "0.002")),
        (19, ("", "100", "0.989", "0.923", "0.893", "0.235", "0.007")),
        (24, ("", "Enc23-FFN-wi", "4.03×10¹⁷", "0.00×10⁰", "1.00×10²⁰", "1.00×10²⁰", "72", "0.44")),
        (3, ("", "sequential", "SCR", "90.00", "90.00", "15.50", "45.26", "60.19")),
        (37, ("ROME", "rel", "0.80", "0.73", "0.43", "0.02", "0.00", "0.02", "0.00", "0.00")),
        (38, ("", "", "low_logp", "0.78", "0.51", "0.19", "0.00", "0.00")),
        (40, ("AlphaEdit", "single", "38.41", "20.68")),
        (41, ("Llama-3.1-8B-Instruct", "10", "ZsRE", "single", "64.95", "39.12", "12.18", "10.42")),
        (31, ("Qwen3-14B", "ZsRE", "single", "Pre-edit", "2.15", "1.69", "11.72", "1.79", "4.34")),
        (43, ("", "100", "SCR", "95.0", "87.0", "16.5", "42.9", "60.4")),
        (28, ("Median", "Rel.", "0.1017 (0.7946)", "-0.7746* (0.0142)", "-0.8476** (0.0039)", "-0.6245 (0.0722)")),
    ],
)
def test_the_paper_is_shown_as_printed(paper: dict[int, PaperTable], number: int, line: tuple[str, ...]) -> None:
    assert line in grid(number, paper[number].records).rows


def test_printed_lines_are_as_many_as_in_print(paper: dict[int, PaperTable]) -> None:
    lines = {number: len(grid(number, table.records).rows) for number, table in paper.items()}
    assert [lines[n] for n in (1, 2, 9, 13, 18, 19, 21, 25)] == [7, 4, 27, 17, 17, 16, 24, 12]


def test_numbers_of_the_paper_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"index\.yaml"):
        read_paper(tmp_path)


# ------------------------------------------------------------------------------- our side
def test_our_spectrum_stands_in_the_papers_columns_and_digits(of: RowFactory, paper: dict[int, PaperTable]) -> None:
    row = of("collapse-eff-rank", descriptive={"table": SPECTRUM})
    one, five = table_of(1, paper, row), table_of(5, paper, row)
    assert shown(one).rows[0] == ("5", "576", "455", "79.0", "812.3", "2.46×10⁰", "3.31×10²", "576")
    assert shown(five).rows[0] == ("5", "576", "455", "79.0", "8.1×10²", "2.5×10⁰", "3.3×10²", "576")
    assert shown(five).rows[1][5:7] == ("—", "—")  # what is missing is not zero
    assert shown(five).columns[:7] == grid(5, paper[5].records).columns
    assert not five.missing


def test_a_model_of_the_paper_stands_beside_its_own_table_alone(of: RowFactory, paper: dict[int, PaperTable]) -> None:
    theirs = of("collapse-eff-rank", model="llama-3.1-8b-instruct", descriptive={"table": SPECTRUM})
    ours = of("collapse-eff-rank", descriptive={"table": SPECTRUM})
    models = {n: [b.rows[0].model for b in table_of(n, paper, theirs, ours).blocks] for n in (1, 5, 6, 7)}
    assert models[1] == models[5] == ["llama-3.1-8b-instruct"]
    assert models[6] == models[7] == ["smollm2-135m"]
    (reason,) = table_of(6, paper, theirs).missing
    assert "cases of collapse-eff-rank are about llama-3.1-8b-instruct, beside whose table they stand" in reason


def test_norms_keep_small_ones_apart_from_zero(of: RowFactory, paper: dict[int, PaperTable]) -> None:
    norms = {"8": {"mean": 1.24, "std": 0.0012, "min": 0.0, "max": 2310.0, "rms_hidden": 31.0, "ratio": 0.04}}
    rows = [of("smallpert-norm", method=m, descriptive={"by_layer": norms}) for m in ("RECT", "ROME")]
    found = table_of(9, paper, *rows)
    assert [block.rows[0].method for block in found.blocks] == ["ROME", "RECT"]  # the paper's methods first
    assert shown(found).rows == (("ROME", "8", "1.24", "1.20×10⁻³", "0.00", "2.31×10³", "0.040"),)


def test_angles_say_which_k_stands_for_the_papers(of: RowFactory, paper: dict[int, PaperTable]) -> None:
    described = {"cosines_by_T_and_k": COSINES, "k": {"10": 10, "100/4096": 14}, "edits": 10}
    rows = [of("pc-decay-with-edits", method=m, descriptive=described) for m in ("AlphaEdit-L2-1", "ROME")]
    found = table_of(13, paper, *rows)
    assert [block.rows[0].method for block in found.blocks] == ["AlphaEdit-L2-1"]
    assert shown(found).columns == ("layer", "edit step", "Top10 PCs cos", "Top14 PCs cos (100/4096 of d)")
    assert shown(found).rows == (("8", "1", "0.999", "0.980"), ("", "10", "0.951", "—"))
    assert "T = 10" in found.blocks[0].stands_on[0]
    assert [block.rows[0].method for block in table_of(16, paper, *rows).blocks] == ["ROME"]
    old = of("pc-decay-with-edits", method="ROME", descriptive={"cosines_by_T_and_k": COSINES})
    assert shown(table_of(16, paper, old)).columns[3] == "Top 100/4096 of d, PCs cos"


def test_rates_are_shares_and_counts_of_directions(of: RowFactory, paper: dict[int, PaperTable]) -> None:
    row = of("amp-mean-max-extreme", method="ROME", descriptive={"by_layer": {"8": RATES}})
    line = ("ROME", "8", "2.13×10⁻¹", "1.01×10⁻²", "1.25×10¹", "5.00×10⁻¹", "3.4", "0.59")
    assert shown(table_of(21, paper, row)).rows == (line,)


def test_modules_of_an_encoder_decoder(of: RowFactory, paper: dict[int, PaperTable]) -> None:
    rates = {"mean": 0.5, "min": 0.1, "max": 20.0, "above_one": 0.25, "identified": 40}
    spectrum = {"d": 1024, "r_eff": 31.2, "r_eff_over_d": 0.0305, "sigma_1": 1.7e6, "sigma_min": 60.0, "cond": 2.8e4}
    angles = {"Dec23-FFN-wi": {"10": {"cos": 0.9, "gap": 0.1}}, "Dec23-FFN-wo": {"5": {"cos": 0.8, "gap": 0.2}}}
    rows = [
        of("amp-t5", method="MEND", descriptive={"by_module": {"wo": rates}, "collapse": {"wo": spectrum}}),
        of("pc-t5-immediate-loss", method="MEND", descriptive={"by_module": angles}),
    ]
    assert shown(table_of(24, paper, *rows)).rows[0][6:] == ("10", "25.00")
    assert shown(table_of(24, paper, *rows)).rows[0][5] == "—"  # the standard deviation was not kept
    assert shown(table_of(8, paper, *rows)).rows[0][:6] == ("wo", "1024", "31", "3.0", "1.7×10⁶", "6.0×10¹")
    assert shown(table_of(19, paper, *rows)).rows == (("Dec23-FFN-wi", "1", "0.900"),)
    assert shown(table_of(20, paper, *rows)).rows == (("Dec23-FFN-wo", "1", "0.800"),)


def test_correlations_stand_side_by_side_each_subject_once(of: RowFactory, paper: dict[int, PaperTable]) -> None:
    rows = [
        of("corr-R-large-implies-degradation", method="ROME", descriptive=correlation()),
        of("corr-rome-negative", method="ROME", descriptive=correlation(0.5, 0.5)),
        of("corr-memit-negative", method="MEMIT", descriptive=correlation(None, None)),
    ]
    found = table_of(28, paper, *rows)
    assert len(found.blocks) == 2  # the paper's statistic, then the one without the trend
    trend, within = shown(found), shown(found, 1)
    assert trend.columns == within.columns == ("aggregation", "metric", "MEMIT", "ROME")
    assert trend.rows[0] == ("Mean", "Rel.", "—", "-0.9000*** (< 0.001)") and len(trend.rows) == 12
    assert within.rows[0] == ("Mean", "Rel.", "—", "-0.3100 (1.0000)")
    assert "first chain at T = 2, 5, 10 · smallest p that so many steps can reach 0.33" in found.blocks[0].stands_on[0]
    assert len(shown(table_of(2, paper, *rows)).rows) == 4  # the mean over layers alone is printed there
    assert found.missing == (
        f"{rows[2].case}: {rows[2].reason}",
        *(f"{method}: this run has no case of corr-* about it" for method in ("AlphaEdit", "WISE")),
    )


# ------------------------------------------------------------------------------- what is missing
def test_what_was_not_measured_has_the_rows_own_reason(of: RowFactory, paper: dict[int, PaperTable]) -> None:
    changes: dict[str, Any] = {"verdict": "not_run", "estimate": None, "interval": None, "descriptive": {}}
    row = of("smallpert-norm", method="WISE", reason="NOT RUN: needs what is not here", **changes)
    found = table_of(9, paper, row, methods_elsewhere={"overnight": ["MEMIT"], "gpu": ["MEMIT", "MEND"]})
    assert not found.blocks
    assert "WISE: smallpert-norm[smollm2-135m-WISE]: NOT RUN: needs what is not here" in found.missing
    assert "MEMIT: this run has no case of smallpert-norm about it; profile overnight and gpu has the method" in (
        found.missing
    )
    assert "ROME: this run has no case of smallpert-norm about it" in found.missing


@pytest.mark.parametrize("descriptive", [{}, {"table": 3}, {"table": {"5": "text"}}, {"table": []}])
def test_a_row_that_kept_no_such_numbers_says_so(
    of: RowFactory, paper: dict[int, PaperTable], descriptive: dict[str, Any]
) -> None:
    found = table_of(5, paper, of("collapse-eff-rank", descriptive=descriptive))
    assert not found.blocks and "holds no such numbers" in found.missing[0]


def test_why_a_table_is_not_comparable_is_told(of: RowFactory, paper: dict[int, PaperTable]) -> None:
    row = of("collapse-eff-rank", descriptive={"table": SPECTRUM}, not_comparable="another corpus")
    assert table_of(5, paper, row).not_comparable == ("another corpus",)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "—"), ("", "—"), (float("nan"), "NaN"), (float("inf"), "inf"), ("NaN", "NaN")]
)
def test_odd_cells(value: Any, text: str) -> None:
    assert written(5, "cond", value) == text


def test_powers_of_ten() -> None:
    assert scientific(3.381e-6, 2) == "3.38e-6" and scientific(0.0, 2) == "0.00e0"
    assert written(21, "r_mean", 12345.0) == "1.23×10⁴"


# ------------------------------------------------------------------------------- files
def write(folder: Path, *rows: Row, curves: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "results.jsonl").write_text("".join(f"{row.model_dump_json()}\n" for row in rows), encoding="utf-8")
    if curves is not None:
        (folder / "evidence").mkdir()
        (folder / "evidence" / "curves.json").write_text(json.dumps({"pictures": [curves]}), encoding="utf-8")
    return folder


def chain_curves(pictures: dict[str, Any]) -> dict[str, Any]:
    curves = pictures["amplification"]["curves"]
    named = [curve | {"name": name} for curve, name in zip([*curves[:2], curves[0]], CURVES["29"], strict=True)]
    return {**pictures["amplification"], "curves": named}


def test_page_is_safe_well_formed_and_linked(
    of: RowFactory, run_dir: Path, hostile: str, pictures: dict[str, Any], tmp_path: Path
) -> None:
    rows = [
        of("collapse-eff-rank", descriptive={"table": {hostile: SPECTRUM["5"]}}, not_comparable=hostile),
        of("smallpert-norm", method="WISE", verdict="invalid", reason=f"INVALID: {hostile}", descriptive={}),
        of("amp-mean-max-extreme", method="ROME", stands_on=hostile, descriptive={"by_layer": {"8": RATES}}),
        of(
            "cum-R-increases-with-steps",
            method="ROME",
            descriptive={"directions": CURVES},
            evidence="evidence/curves.json",
        ),
    ]
    folder = write(tmp_path / "run", *rows, curves=chain_curves(pictures))
    text = write_paper_tables(folder, PAPER).read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == [] and page.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert hostile in page.text and "<script>" not in text
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= {*page.ids, "summary.html"}
    assert text.count("<svg") == 2 + 7  # Figure 2, Figure 6; Figures 3 to 5 and 7 to 10, of which panels may be empty
    markdown = (folder / "paper-tables.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown and "### Table 28" in markdown and "### Figure 6" in markdown
    assert (folder / "paper-tables" / "table_05.csv").is_file()
    assert "paper-tables.html" in Page(write_summary(folder).read_text(encoding="utf-8")).links
    assert "paper-tables.html" not in Page(write_summary(run_dir).read_text(encoding="utf-8")).links


def test_figure_2_is_the_largest_t(of: RowFactory, pictures: dict[str, Any], tmp_path: Path) -> None:
    described = {"descriptive": {"directions": CURVES, "edits": 10}, "evidence": "evidence/curves.json"}
    row = of("cum-R-increases-with-steps", method="ROME", **described)
    (block,) = figures(run_of(row)).blocks
    assert [record["curve"] for record in largest_t(block.records)] == ["ROME, T = 10", "placebo, T = 10"]
    folder = write(tmp_path / "run", row, curves=chain_curves(pictures))
    text = write_paper_tables(folder, PAPER).read_text(encoding="utf-8")
    second, sixth = text.partition('id="figure-2"')[2].split('id="figure-6"')
    assert "ROME, T = 10" in second and "ROME, T = 1," not in second and "ROME, T = 1," in sixth
    assert "1.10×10⁰" in second and "11.00" in second


def test_a_missing_evidence_file_costs_the_picture_alone(of: RowFactory, tmp_path: Path) -> None:
    described = {"descriptive": {"directions": CURVES}, "evidence": "evidence/gone.json"}
    folder = write(tmp_path / "run", of("cum-R-increases-with-steps", method="ROME", **described))
    words = Page(write_paper_tables(folder, PAPER).read_text(encoding="utf-8")).text
    assert "No picture: " in words and "placebo, T = 10" in words


def test_csv_keeps_full_precision_and_missing_empty(of: RowFactory, paper: dict[int, PaperTable]) -> None:
    found = table_of(5, paper, of("collapse-eff-rank", descriptive={"table": SPECTRUM}))
    columns, lines = records_csv(found.table.records, found.blocks)
    buffer = io.StringIO()
    csv.writer(buffer).writerows([columns, *lines])
    read = list(csv.DictReader(io.StringIO(buffer.getvalue())))
    assert [line["source"] for line in read] == ["paper"] * 7 + ["this run"] * 2
    assert read[0]["sigma_min"] == "3.4e-6" and read[7]["sigma_min"] == "2.4567" and read[8]["sigma_min"] == ""
    assert read[7]["model"] == "smollm2-135m"


def test_costs_of_retrieval_in_the_papers_columns() -> None:
    from editverdict.reporting import paper_efficiency as costs_of
    from suites.selftest.reporting.conftest import make_row

    by_config = {"100 texts, top-1": 1.5, "1000 texts, top-10": 1.9, "again": 1.5, "planted": 2.0}
    shares = {"rel": 0.8, "gen": None, "loc": 0.5, "port": 0.25, "avg": None}
    row = make_row(
        descriptive={
            "edits": 10,
            "peak_mib": by_config,
            "seconds_per_query": by_config,
            "scores": {"1000 texts, top-3": shares, "irrelevant": shares},
        }
    )
    names = [{"method": "SCR", "memory_size": size, "top_k": k} for size, k in ((100, 1), (1000, 10))]
    assert costs_of.latency(row) == [names[0] | {"latency_s": 1.5}, names[1] | {"latency_s": 1.9}]
    assert [record["vram_mb"] for record in costs_of.memory_in_use(row)] == [1.5, 1.9]
    assert [(r["memory_size"], r["metric"], r["value"]) for r in costs_of.scores(row)] == [
        (1000, name, shares[name]) for name in ("rel", "gen", "loc", "port")
    ]
    beside = make_row(
        descriptive={
            "edits": 10,
            "seconds_per_edit": {"SCR": 0.01, "AlphaEdit": 3.0},
            "seconds_per_query": {"SCR": 1.9, "AlphaEdit": 1.2},
            "scores": {"SCR": shares, "AlphaEdit": shares},
        }
    )
    first, second = costs_of.time_and_quality(beside)
    assert first == {"method": "SCR", "n_edits": 10, "edit_time": 0.01, "inference_time": 1.9, "rel": 80.0, "loc": 50.0}
    assert second["method"] == "AlphaEdit" and second["edit_time"] == 3.0
    assert costs_of.latency(make_row()) == costs_of.scores(make_row()) == costs_of.time_and_quality(make_row()) == []
