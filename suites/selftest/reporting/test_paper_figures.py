"""Figures 3 to 5 and 7 to 10: points are the rows' own, the paper's are its tables', and empty panels say why."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from editverdict.inference.rows import Row
from editverdict.reporting.paper_courses import course
from editverdict.reporting.paper_drawings import figure_svg
from editverdict.reporting.paper_export import write_paper_tables
from editverdict.reporting.paper_figures import OURS, Figure, Panel, figure_rows, paper_figures
from editverdict.reporting.paper_tables import PaperTable, beside_paper, read_paper
from editverdict.reporting.run import Run
from suites.selftest.reporting.conftest import pareto_picture

RowFactory = Callable[..., Row]
PAPER = Path(__file__).parents[3] / "specs" / "paper"
LEFT_OUT = ["rq4-no-method-wins-both", "sens-latency-moderate", "sens-performance-robust"]
MANIFEST = {"profile": "laptop", "methods": ["ROME", "SCR"], "claims_left_out": LEFT_OUT}


@pytest.fixture(scope="module")
def paper() -> dict[int, PaperTable]:
    return read_paper(PAPER)


@pytest.fixture
def of(row_with: RowFactory) -> Callable[..., Row]:
    def make(claim: str, method: str | None = None, **changes: Any) -> Row:
        subject = "-".join(part for part in ("smollm2-135m", method, "worldfacts") if part)
        names = {"case": f"{claim}[{subject}]", "claim": claim, "method": method, "dataset": "worldfacts"}
        return row_with(**(names | {"evidence": None, "stands_on": subject, "descriptive": {"edits": 10}} | changes))

    return make


def scores(rel: float) -> dict[str, float]:
    return {"rel": rel, "gen": 0.2, "loc": 0.3, "port": 0.1, "avg": 0.2}


def answers(of: Callable[..., Row]) -> list[Row]:
    table = {"unedited": scores(0.01), "single": scores(0.9), "sequential": scores(0.25)}
    long = {"single": {"rel": 0.8}, "sequential": {"rel": 0.125}}
    way = {"rel": [[0.5, 0.4], [0.7, 0.2]], "port": [[None, 0.1], [0.1, 0.1]]}
    return [
        of("rq1-drop-single-to-seq", "ROME", descriptive={"edits": 10, "scores": table}),
        of("rq1-collapse-sequential", "ROME", descriptive={"edits": 50, "scores": long}),
        of("corr-rome-negative", "ROME", descriptive={"schedule": [5, 10], "scores": way}),
        of("scr-dominates-avg", "ROME", descriptive={"edits": 10, "scores": {"SCR": scores(0.95)}}),
    ]


def made(paper: dict[int, PaperTable], *rows: Row, path: Path = Path("somewhere")) -> dict[int, Figure]:
    run = Run(path, rows, (), MANIFEST)
    return {one.number: one for one in paper_figures(run, paper, beside_paper(run, paper))}


def curves(panel: Panel, source: str = OURS) -> dict[str, tuple[tuple[float, float], ...]]:
    return {curve.name: curve.points for curve in panel.curves if curve.source == source}


def test_a_course_joins_single_edits_the_way_and_the_ends(of: Callable[..., Row]) -> None:
    found = course(answers(of), "ROME")
    assert found["rel"] == pytest.approx({1: 0.9, 5: 0.6, 10: 0.25, 50: 0.125})
    assert found["port"] == {1: 0.1, 10: 0.1}  # at T = 5 some chain has no such question: missing, not zero


def at(rows: list[Row], model: str, dataset: str, **scale: float) -> list[Row]:
    """The rows in another model and on other data; ``rel`` puts that number into every score named ``rel``."""
    made = []
    for row in rows:
        told = json.loads(json.dumps(row.descriptive))
        for state in told["scores"].values():
            if isinstance(state, dict):
                state.update(scale)
        case = f"{row.claim}[{model}-{row.method}-{dataset}]"
        changes = {"model": model, "dataset": dataset, "case": case, "descriptive": told}
        made.append(row.model_copy(update=changes))
    return made


def test_one_curve_per_model_and_dataset(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    ends = [row for row in answers(of) if row.claim in ("rq1-drop-single-to-seq", "scr-dominates-avg")]
    cells = {("m-one", "zsre"): 0.75, ("m-one", "wikidata-counterfact"): 0.5, ("m-two", "zsre"): 0.125}
    rows = [row for place, rel in cells.items() for row in at(ends, *place, rel=rel)]
    figure = made(paper, *rows)[3]
    drawn = curves(figure.panels[0])
    for (model, dataset), rel in cells.items():
        assert drawn[f"ROME ({model}, {dataset})"] == ((1.0, rel), (10.0, rel))
        assert drawn[f"SCR ({model}, {dataset})"] == ((10.0, rel),)
    assert len(drawn) == 6 and set(curves(figure.panels[0], "paper")) == {"ROME"}
    assert not any(line.startswith("ROME: ") for line in figure.missing)
    svg = figure_svg(figure)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert all(name in svg for name in drawn)


@pytest.mark.parametrize(
    ("places", "names"),
    [
        ([("m-one", "zsre"), ("m-two", "zsre")], {"ROME (m-one)", "ROME (m-two)"}),
        ([("m-one", "zsre"), ("m-one", "worldfacts")], {"ROME (zsre)", "ROME (worldfacts)"}),
        ([("m-one", "zsre")], {"ROME"}),
    ],
)
def test_names_are_no_longer_than_needed(
    paper: dict[int, PaperTable], of: Callable[..., Row], places: list[tuple[str, str]], names: set[str]
) -> None:
    rows = [row for place in places for row in at(answers(of)[:1], *place)]
    assert set(curves(made(paper, *rows)[7].panels[0])) == names


def test_events_are_in_no_figure_of_facts(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    facts = at(answers(of), "smollm2-135m", "zsre")
    none = {"rel": None, "gen": None, "loc": 0.99, "port": 0.99}
    events = [
        row.model_copy(update={"not_comparable": "events"})
        for row in at(answers(of)[:1], "smollm2-135m", "elken", **none)
    ]
    alone, both = made(paper, *facts), made(paper, *facts, *events)
    for number in (3, 7, 8):
        assert both[number] == alone[number]
        assert all(row.dataset == "zsre" for row in both[number].rows) and "ROME" in curves(both[number].panels[3])
    assert not curves(made(paper, *events)[3].panels[2])


def test_figure_3_has_ours_and_table_37(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    figure = made(paper, *answers(of))[3]
    assert [panel.title for panel in figure.panels] == ["Rel", "Gen", "Loc", "Port"]
    rel = figure.panels[0]
    assert curves(rel)["ROME"][-1] == (50.0, 0.125) and curves(rel)["SCR"] == ((10.0, 0.95),)
    theirs = curves(rel, "paper")
    assert set(theirs) == {"ROME"} and theirs["ROME"][0] == (1.0, 0.80) and theirs["ROME"][-1] == (1301.0, 0.0)
    assert any(line.startswith("MEMIT: this run has no case") for line in figure.missing) and not rel.why
    assert any("not one of the paper's" in reason for reason in figure.not_comparable)


@pytest.mark.parametrize(("number", "model"), [(7, "Llama-2-7B-Chat"), (8, "Mistral-7B-Instruct-v0.1")])
def test_figures_7_and_8_stand_beside_table_29(
    paper: dict[int, PaperTable], of: Callable[..., Row], number: int, model: str
) -> None:
    figure = made(paper, *answers(of))[number]
    printed = {str(r["method"]): float(r["rel"]) / 100 for r in paper[29].records if r["model"] == model and r["rel"]}
    assert curves(figure.panels[0], "paper") == {m: ((1301.0, pytest.approx(printed[m])),) for m in ("ROME", "SCR")}
    assert {line.setting.split(",")[0] for line in figure.near if line.names["method"] == "ROME"} == {model}


def test_a_run_without_costs_says_why_in_every_panel(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    found = made(paper, *answers(of))
    for number in (5, 9, 10):
        for panel in found[number].panels:
            assert "profile laptop leaves" in panel.why and not curves(panel)
        assert found[number].near and found[number].missing
    assert "dataset of events" in found[4].panels[0].why
    assert curves(found[10].panels[1], "paper")["100 texts"][0] == (1.0, 0.80)
    latency = curves(found[10].panels[0], "paper")["1000 texts"]
    assert latency[-1] == (10.0, pytest.approx(1.81 / 1.68))


def test_costs_come_from_evidence(paper: dict[int, PaperTable], of: Callable[..., Row], tmp_path: Path) -> None:
    (tmp_path / "evidence.json").write_text(json.dumps({"pictures": [pareto_picture()]}), encoding="utf-8")
    found = made(paper, of("rq4-no-method-wins-both", evidence="evidence.json"), path=tmp_path)
    assert curves(found[5].panels[0]) == {"ROME": ((3.2, 1.003),), "MEND": ((0.2, 1.001),), "SCR": ((0.012, 1.41),)}
    (bars,) = found[9].panels[1].curves
    assert bars.texts == ("ROME", "MEND", "SCR") and [y for _, y in bars.points] == [1.003, 1.001, 1.41]
    assert any(line.startswith("AlphaEdit: ") for line in found[9].missing) and not found[5].panels[0].why


def test_memory_and_top_k(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    times = {"100 texts, top-1": 0.5, "100 texts, top-3": 0.6, "1000 texts, top-1": 0.75}
    rel = {name: {"rel": value, "gen": 0.0} for name, value in times.items()}
    rows = [of("sens-latency-moderate", descriptive={"seconds_per_query": times})]
    rows.append(of("sens-performance-robust", descriptive={"scores": rel}))
    speed, quality = made(paper, *rows)[10].panels
    assert curves(speed) == {"100 texts": ((1.0, 1.0), (3.0, pytest.approx(1.2))), "1000 texts": ((1.0, 1.5),)}
    assert curves(quality)["1000 texts"] == ((1.0, 0.75),) and not speed.why


def test_memory_and_top_k_of_two_models(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    rows = []
    for model, slow in (("m-one", 1.0), ("m-two", 4.0)):
        times = {"100 texts, top-1": 0.5 * slow, "100 texts, top-3": 0.75 * slow}
        shares = {"100 texts, top-1": {"rel": slow / 8}}
        rows.append(of("sens-latency-moderate", model=model, descriptive={"seconds_per_query": times}))
        rows.append(of("sens-performance-robust", model=model, descriptive={"scores": shares}))
    speed, quality = made(paper, *rows)[10].panels
    relative = ((1.0, 1.0), (3.0, 1.5))
    assert curves(speed) == {"100 texts (m-one)": relative, "100 texts (m-two)": relative}
    assert curves(quality) == {"100 texts (m-one)": ((1.0, 0.125),), "100 texts (m-two)": ((1.0, 0.5),)}


def test_costs_and_events_of_two_models(paper: dict[int, PaperTable], of: Callable[..., Row], tmp_path: Path) -> None:
    (tmp_path / "evidence.json").write_text(json.dumps({"pictures": [pareto_picture()]}), encoding="utf-8")
    rows = []
    for model, port in (("m-one", 0.25), ("m-two", 0.75)):
        rows.append(of("rq4-no-method-wins-both", model=model, evidence="evidence.json"))
        state = {"port": port, "loc": 0.5}
        rows.append(of("rq3-scr-best", "AlphaEdit", model=model, descriptive={"scores": {"method": state}}))
    found = made(paper, *rows, path=tmp_path)
    assert {"ROME (m-one)", "ROME (m-two)"} <= set(curves(found[5].panels[0]))
    (bars,) = [curve for curve in found[4].panels[0].curves if curve.source == OURS]
    assert bars.name == "AlphaEdit" and bars.texts == ("m-one, worldfacts", "m-two, worldfacts")
    assert [y for _, y in bars.points] == [25.0, 75.0]


def test_events_are_bars_beside_table_36(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    row = of("rq3-scr-best", "AlphaEdit", descriptive={"scores": {"method": scores(0), "SCR": scores(0)}})
    figure = made(paper, row)[4]
    assert curves(figure.panels[0]) == {"AlphaEdit": ((0.0, 10.0),), "SCR": ((0.0, 10.0),)}
    printed = [float(r["port"]) for r in paper[36].records if r["method"] == "AlphaEdit" and r["port"]]
    assert [y for _, y in curves(figure.panels[0], "paper")["AlphaEdit"]] == printed


def test_drawings_are_valid_and_the_same_twice(paper: dict[int, PaperTable], of: Callable[..., Row]) -> None:
    found = made(paper, *answers(of))
    assert figure_svg(found[3]) == figure_svg(found[3])
    for figure in (found[number] for number in (3, 4, 5, 10)):
        drawn = figure_svg(figure)
        assert ElementTree.fromstring(drawn).tag.endswith("svg")
        told = "not in this run" in drawn or "alone)" in drawn
        assert told == any(panel.why for panel in figure.panels)


def test_page_files_and_points(paper: dict[int, PaperTable], of: Callable[..., Row], tmp_path: Path) -> None:
    lines = [row.model_dump_json() for row in answers(of)]
    (tmp_path / "results.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
    page = write_paper_tables(tmp_path, PAPER).read_text(encoding="utf-8")
    for number in (3, 4, 5, 7, 8, 9, 10):
        assert f'id="figure-{number}"' in page and (tmp_path / "paper-tables" / f"figure_{number:02d}.svg").is_file()
    with (tmp_path / "paper-tables" / "figures_points.csv").open(encoding="utf-8", newline="") as stream:
        points = list(csv.DictReader(stream))
    assert len(points) == len(figure_rows(list(made(paper, *answers(of)).values())))
    cells = (tmp_path / "paper-tables" / "table_37_cells.csv").read_text(encoding="utf-8")
    assert "why_empty" in cells and "its chains" not in cells.split("\n")[1]
    text = (tmp_path / "paper-tables.md").read_text(encoding="utf-8")
    assert "### Figure 10" in text and "**Cell by cell**" in text
