"""Cell by cell: which printed row is nearest, which lines a table has, and what an empty cell says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from editverdict.inference.rows import Row
from editverdict.reporting.paper_nearest import NearLine, near_reasons, near_rows, nearest_lines
from editverdict.reporting.paper_page import near_grid
from editverdict.reporting.paper_tables import PaperTable, beside_paper, read_paper, records_csv
from editverdict.reporting.run import Run

RowFactory = Callable[..., Row]
PAPER = Path(__file__).parents[3] / "specs" / "paper"
MANIFEST = {
    "profile": "laptop",
    "methods": ["ROME", "SCR"],
    "methods_elsewhere": {"overnight": ["MEMIT"]},
    "claims_left_out": ["comb-tradeoff", "sens-vram-flat"],
    "sizes": {"chain_length": 10},
}


@pytest.fixture(scope="module")
def paper() -> dict[int, PaperTable]:
    return read_paper(PAPER)


def near(number: int, paper: dict[int, PaperTable], *rows: Row) -> list[NearLine]:
    run = Run(Path("somewhere"), rows, (), MANIFEST)
    return list(next(b for b in beside_paper(run, paper) if b.table.number == number).near)


def line_of(lines: list[NearLine], **names: str) -> NearLine:
    (found,) = [one for one in lines if all(one.names[name] == value for name, value in names.items())]
    return found


@pytest.fixture
def of(row_with: RowFactory) -> Callable[..., Row]:
    def make(claim: str, method: str, **changes: Any) -> Row:
        subject = f"smollm2-135m-{method}-worldfacts"
        names = {"case": f"{claim}[{subject}]", "claim": claim, "method": method, "dataset": "worldfacts"}
        more = {"evidence": None, "stands_on": subject, "descriptive": {"edits": 10}}
        return row_with(**(names | more | changes))

    return make


def scores(rel: float) -> dict[str, float]:
    return {"rel": rel, "gen": 0.2, "loc": 0.3, "port": 0.1, "avg": (rel + 0.6) / 4}


def drop(of: Callable[..., Row], method: str = "ROME", after: float = 0.25, **changes: Any) -> Row:
    table = {"unedited": scores(0.01), "single": scores(0.9), "sequential": scores(after)}
    return of("rq1-drop-single-to-seq", method, descriptive={"edits": 10, "scores": table}, **changes)


def test_a_cell_stands_beside_the_printed_one(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    lines = near(29, paper, drop(of))
    rome = line_of(lines, method="ROME")
    assert (rome.cells["rel"].ours, rome.cells["rel"].paper, rome.cells["rel"].why) == (25.0, "0.61", "")
    assert rome.setting == "Llama-2-7B-Chat, ZsRE, all edits"
    before = line_of(lines, method="Pre-edit")
    assert before.cells["loc"].ours == 30.0 and before.cells["loc"].paper == "11.49"


def test_every_method_of_the_paper_has_a_line_and_a_reason(
    paper: dict[int, PaperTable], of: Callable[..., Row]
) -> None:
    lines = near(29, paper, drop(of))
    assert {one.names["method"] for one in lines} == {str(r["method"]) for r in paper[29].records}
    memit = line_of(lines, method="MEMIT")
    assert memit.cells["rel"].ours is None and memit.cells["rel"].paper == "0.00"
    assert "no case" in memit.cells["rel"].why and "profile overnight has the method" in memit.cells["rel"].why
    for one in lines:
        for cell in one.cells.values():
            assert (cell.ours is None) == bool(cell.why)


def test_the_closest_number_of_edits_is_taken_and_others_are_empty(
    paper: dict[int, PaperTable], of: Callable[..., Row]
) -> None:
    lines = near(37, paper, drop(of))
    ten = line_of(lines, method="ROME", n_edits="10")
    assert (ten.cells["rel"].ours, ten.cells["rel"].paper) == (0.25, "0.73")
    assert ten.setting == "Llama-3.1-8B-Instruct, ZsRE"
    assert [one.names["n_edits"] for one in lines[:3]] == ["1", "10", "20"]
    fifty = line_of(lines, method="ROME", n_edits="50")
    assert fifty.cells["rel"].ours is None and fifty.cells["rel"].paper == "0.02"
    assert fifty.cells["rel"].why == "ROME: no case of this run measures this setting; its chains have 10 edits"
    long = of("rq1-collapse-sequential", "ROME", descriptive={"edits": 50, "scores": {"sequential": {"rel": 0.75}}})
    reached = line_of(near(37, paper, drop(of), long), method="ROME", n_edits="50")
    assert reached.cells["rel"].ours == 0.75 and reached.cells["gen"].why == "its row has no such number"
    way = of("corr-rome-negative", "ROME", descriptive={"schedule": [5], "scores": {"rel": [[0.5]]}})
    five = line_of(near(37, paper, drop(of), way), method="ROME", n_edits="5")
    assert five.cells["rel"].ours == 0.5 and five.setting.endswith("10 edits") and five.cells["rel"].paper == "0.73"


def test_our_own_methods_say_that_the_paper_has_none(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    own = line_of(near(29, paper, drop(of, "ROME-identity")), method="ROME-identity")
    assert own.setting == "the paper prints none" and own.cells["rel"].paper == ""
    variant = line_of(near(29, paper, drop(of, "AlphaEdit-L2-1")), method="AlphaEdit-L2-1")
    assert variant.setting.startswith("AlphaEdit, ") and variant.cells["rel"].paper != ""


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (42, "profile laptop leaves comb-tradeoff out"),
        (44, "profile laptop leaves sens-vram-flat out"),
        (41, "AlphaEdit under two weights of L2"),
        (35, "dataset of events"),
    ],
)
def test_what_is_left_out_or_needs_more_says_so(paper: dict[int, PaperTable], number: int, said: str) -> None:
    lines = near(number, paper)
    assert lines and all(said in cell.why for one in lines for cell in one.cells.values())
    assert all(cell.paper for one in lines for cell in one.cells.values())


def test_a_case_that_was_not_run_gives_its_own_reason(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    tasks = {"copying": {"chance": 0.25, "unedited": 0.75, "ROME": 0.5}, "texts": {"chance": None, "unedited": -2.0}}
    ten = of("rq2-capability-10edits", "ROME", descriptive={"edits": 10, "tasks": tasks})
    none = {"estimate": None, "interval": None, "descriptive": {}}
    hundred = of("rq2-capability-100edits", "ROME", verdict="not_run", reason="NOT_RUN: needs T ≥ 100", **none)
    lines = near(33, paper, ten, hundred)
    after = line_of(lines, method="ROME", n_edits="10")
    assert (after.cells["avg"].ours, after.cells["avg"].paper) == (50.0, "50.73")
    assert "other tasks" in after.cells["amc"].why and after.cells["amc"].paper == "66.57"
    assert line_of(lines, method="Pre-edit", n_edits="0").cells["avg"].ours == 75.0
    assert "needs T ≥ 100" in line_of(lines, method="ROME", n_edits="100").cells["avg"].why


def test_events_and_tokens_have_tables_once_there_are_rows(
    paper: dict[int, PaperTable], of: Callable[..., Row]
) -> None:
    states = {"unedited": scores(0.0), "single": scores(0.0), "sequential": scores(0.0), "SCR": scores(0.0)}
    events = of("rq3-single-unsatisfactory", "ROME", descriptive={"edits": 10, "scores": states})
    lines = near(35, paper, events)
    assert line_of(lines, method="ROME", setting="single").cells["avg"].ours == pytest.approx(20.0)
    beside = of("rq3-scr-best", "ROME", descriptive={"edits": 10, "scores": {"method": scores(0), "SCR": scores(0)}})
    after = near(36, paper, beside)
    assert [line_of(after, method=m).cells["port"].ours for m in ("ROME", "SCR")] == pytest.approx([10.0, 10.0])
    kept = {"single": {"ratio": 0.5, "exact": 0.25}, "sequence": {"ratio": 0.1}}
    tokens = near(40, paper, of("tok-param-low", "ROME", descriptive={"tokens": kept}))
    assert line_of(tokens, method="ROME", setting="single").cells["match_ratio"].ours == 50.0
    assert line_of(tokens, method="ROME", setting="sequential").cells["exact_match"].ours is None


def test_two_models_have_a_line_each(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    rows = [drop(of, after=after, model=model) for model, after in (("m-one", 0.9), ("m-two", 0.05))]
    lines = near(29, paper, *rows)
    found = {one.names["model"]: one.cells["rel"].ours for one in lines if one.names["method"] == "ROME"}
    assert found == {"m-one": pytest.approx(90.0), "m-two": pytest.approx(5.0)}
    assert all("dataset" not in one.names for one in lines)
    assert [one.names["model"] for one in lines if one.names["method"] == "MEMIT"] == [""]
    page = near_grid(29, lines).text
    assert "m-one" in page and "m-two" in page and {row["model"] for row in near_rows(lines)} == {"m-one", "m-two", ""}


def test_two_datasets_are_named(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    rows = [drop(of, after=after, dataset=name) for name, after in (("zsre", 0.5), ("elsewhere", 0.25))]
    for number, rel in ((29, (50.0, 25.0)), (37, (0.5, 0.25))):
        lines = [one for one in near(number, paper, *rows) if one.names.get("n_edits", "10") == "10"]
        found = {one.names["dataset"]: one.cells["rel"].ours for one in lines if one.names["method"] == "ROME"}
        assert found == dict(zip(("zsre", "elsewhere"), rel, strict=True))
        assert all("model" not in one.names for one in lines)
    assert all(set(one.names) == {"method", "setting"} for one in near(29, paper, rows[0]))


def test_a_model_of_the_paper_stands_beside_its_own_row(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    lines = near(29, paper, drop(of, model="llama-3.1-8b-instruct", dataset="zsre"))
    printed = {r["method"]: r["rel"] for r in paper[29].records if r["model"] == "Llama-3.1-8B-Instruct" and r["rel"]}
    assert {one.names["method"]: one.cells["rel"].paper for one in lines} == printed
    assert all(one.setting == "Llama-3.1-8B-Instruct, ZsRE, all edits" for one in lines)


def test_two_models_of_the_paper_each_beside_their_own(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    ours = {"llama-2-7b-chat": "Llama-2-7B-Chat", "mistral-7b-instruct-v0.1": "Mistral-7B-Instruct-v0.1"}
    lines = near(29, paper, *(drop(of, model=model, dataset="zsre") for model in ours))
    for model, theirs in ours.items():
        for method in ("ROME", "MEMIT"):  # measured, and not: either line stands beside the model's own
            assert line_of(lines, method=method, model=model).setting == f"{theirs}, ZsRE, all edits"


@pytest.mark.parametrize(
    ("place", "words", "beside"),
    [
        ({"model": "m", "dataset": "d"}, {"n_edits": 10, "setting": "single"}, "1"),
        ({"model": "his", "dataset": "d"}, {"n_edits": 10, "setting": "single"}, "4"),
        ({"model": "his", "dataset": "our-data"}, {"n_edits": 10, "setting": "single"}, "5"),
        ({"model": "m", "dataset": "our-data"}, {"n_edits": 10, "setting": "single"}, "3"),
        ({"model": "his", "dataset": "d"}, {"n_edits": 900, "setting": "either"}, "6"),
    ],
)
def test_own_model_then_own_data_then_own_setting_then_size(
    place: dict[str, str], words: dict[str, Any], beside: str
) -> None:
    rows = [("A", "D", 10, "single"), ("A", "D", 900, "single"), ("A", "Our_data", 900, "single"),
            ("His", "D", 900, "single"), ("His", "Our_data", 1000, "single"), ("His", "D", 9, "either")]  # fmt: skip
    keys = ("model", "dataset", "n_edits", "setting")
    paper = [{"method": "X", **dict(zip(keys, row, strict=True)), "rel": str(i)} for i, row in enumerate(rows, start=1)]
    lines = nearest_lines(paper, [{"method": "X", **place, **words, "rel": 0.5}], lambda *_: "none")
    assert [one.cells["rel"].paper for one in lines if one.cells["rel"].ours == 0.5] == [beside]


def test_the_csv_says_on_which_data(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    rows = [drop(of, dataset=name) for name in ("zsre", "elsewhere")]
    run = Run(Path("somewhere"), tuple(rows), (), MANIFEST)
    blocks = next(b for b in beside_paper(run, paper) if b.table.number == 37).blocks
    columns, lines = records_csv(paper[37].records, blocks)
    own = [dict(zip(columns, line, strict=True)) for line in lines if line[0] == "this run"]
    assert [line["dataset"] for line in own] == ["zsre"] * 8 + ["elsewhere"] * 8


def test_of_several_sizes_the_nearest_on_a_log_scale() -> None:
    paper = [{"method": "A", "n_edits": n, "rel": str(n)} for n in (10, 1000, "all")]
    lines = nearest_lines(paper, [{"method": "A", "n_edits": 200, "rel": 0.5}], lambda *_: "none")
    assert line_of(lines, n_edits="200").cells["rel"].paper == "1000"
    assert {one.names["n_edits"] for one in lines} == {"10", "200", "all"}


def test_reasons_are_numbered_and_text_is_no_markup(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    lines = near(29, paper, drop(of))
    reasons = near_reasons(lines)
    page = near_grid(29, lines).text
    assert list(reasons.values()) == list(range(1, len(reasons) + 1)) and page.count("<li>") == len(reasons)
    hostile = nearest_lines([{"method": "<i>", "rel": "1"}], [], lambda *_: "<script>")
    assert "<script>" not in near_grid(29, hostile).text and "<i>" not in near_grid(29, hostile).text
    rows = near_rows(lines)
    assert len(rows) == sum(len(one.cells) for one in lines) and set(rows[0]) >= {"method", "this_run", "paper"}
