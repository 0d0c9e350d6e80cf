"""Marks, rows and names of tables; differences of rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from editverdict.ledger.kinds.proportions import two_proportions
from suites.selftest.ledger.made_up import hold, table, verdicts

MARKS = "table,model,method,column\n1,x,B,a\n1,x,C,b\n"
ROWS = "model,method,a,b\nx,A,9,9\nx,B,7,7\nx,C,3,3"


def test_second_best_is_marked(tmp_path: Path) -> None:
    (tmp_path / "marks.csv").write_text(MARKS, encoding="utf-8")
    made = table(1, ["model", "method"], ROWS)
    found = hold("second-best", {"marks": "tables/marks.csv"}, made, folder=tmp_path, broken="rounding")
    assert [one.verdict for one in found] == ["consistent", "rounding"]
    assert found[1].found == "3 (C) marked"


def test_ties_share_their_place_and_no_mark_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "marks.csv").write_text(MARKS, encoding="utf-8")
    made = table(1, ["model", "method"], "model,method,a,c\nx,A,9,9\nx,B,9,7\nx,C,3,3")
    found = hold("second-best", {"marks": "marks.csv"}, made, folder=tmp_path)
    assert [one.verdict for one in found] == ["consistent", "inconsistent"]


def test_without_a_list_of_marks_nothing_is_said(tmp_path: Path) -> None:
    found = hold("second-best", {"marks": "marks.csv"}, table(1, ["model", "method"], ROWS), folder=tmp_path)
    assert verdicts(found) == {"undefined": 1}


def test_what_text_cannot_show_is_undefined() -> None:
    (found,) = hold("unverifiable", {"lost": "bold type"}, table(1, ["model", "method"], ROWS))
    assert (found.verdict, found.found) == ("undefined", "bold type")


def test_all_methods_are_the_same_methods() -> None:
    one = table(1, ["method"], "method,a\nA,1\nB,2\nFT,3\nbase,4")
    two = table(2, ["method"], "method,a\nA,1\nB,\nFT-L,3")
    found = hold("same-rows", {"without": ["base"], "values": {"FT": "FT-L"}}, one, two)
    assert [one.verdict for one in found] == ["consistent", "inconsistent"]
    assert found[1].found == "without B"  # a row without a number does not count


def test_names() -> None:
    made = table(1, ["method"], "method,a\nA,1\nFT,3")
    assert verdicts(hold("one-name", {"names": ["A", "FT"]}, made)) == {"consistent": 1}
    (found,) = hold("one-name", {"names": ["A", "FT-L"]}, made)
    assert (found.verdict, found.found) == ("inconsistent", "FT")


def test_two_proportions() -> None:
    assert two_proportions(0.2879, 0.2475, 198) == pytest.approx(0.363, abs=0.01)  # z = 0.91
    assert two_proportions(0.0, 0.0, 100) == 1.0
    assert two_proportions(0.72, 0.84, 100) == pytest.approx(0.0411, abs=1e-3)


DROP = {
    "reference": {"where": {"m": ["base"]}},
    "pick": {"where": {"m": ["A"]}},
    "sizes": {"a": 198, "b": 1000},
}


def test_a_drop_of_a_few_questions_is_chance() -> None:
    found = hold("drop", DROP, table(1, ["m"], "m,a,b\nbase,28.79,80.00\nA,24.75,70.00"))
    assert [one.verdict for one in found] == ["consistent", "inconsistent"]
    assert "+8.0 of 198 questions" in found[0].found


def test_a_rise_is_no_drop() -> None:
    assert verdicts(hold("drop", DROP, table(1, ["m"], "m,a,b\nbase,28.79,70.00\nA,28.79,90.00"))) == {"consistent": 2}


def test_the_easier_setting() -> None:
    made = table(1, ["m", "s"], "m,s,a\nA,one,49\nA,all,85\nB,one,85\nB,all,90\nC,one,90\nC,all,80")
    settings = {"pick": {}, "key": "s", "easier": ["one"], "harder": ["all"], "size": 100}
    found = hold("easier", settings, made, broken="implausible")
    assert [one.verdict for one in found] == ["implausible", "undefined", "consistent"]


def test_an_easier_setting_is_corrected_for_pairs_and_tables() -> None:
    one = "A,one,72\nA,all,84"
    settings = {"key": "s", "pick": {}, "easier": ["one"], "harder": ["all"], "size": 100}

    def worst(rows: str, tables: list[int]) -> str:
        made = table(1, ["m", "s"], f"m,s,a\n{rows}")
        return hold("easier", settings, made, broken="implausible", tables=tables)[0].verdict

    assert worst(one, [1]) == "implausible"  # p = .041
    assert worst(f"{one}\nB,one,50\nB,all,50", [1]) == "undefined"
    assert worst(one, [1, 2]) == "undefined"


def test_one_row_against_each_of_several() -> None:
    made = table(1, ["method"], "method,a\nPre-edit,30.0\nA,2.0\nB,29.0\nC,50.0")
    settings = {"key": "method", "pick": {}, "easier": ["A", "B", "C"], "harder": ["Pre-edit"], "size": 100}
    found = hold("easier", settings, made, broken="implausible")
    assert [one.verdict for one in found] == ["implausible", "undefined", "consistent"]
    assert [one.row for one in found] == ["A a", "B a", "C a"]


def test_judge_error() -> None:
    made = table(1, ["m"], "m,a\nA,3.00\nB,0.00\nC,50.00")
    (found,) = hold("judge-error", {"share": 0.96, "of": 250, "columns": ["a"]}, made)
    assert found.verdict == "consistent"
    assert found.expected == "240 of 250: 92.8% to 97.8%"
    assert "2 of 3 rates" in found.found
    assert verdicts(hold("judge-error", {"share": 0.965, "of": 250, "columns": ["a"]}, made)) == {"inconsistent": 1}


def test_columns_that_nearly_coincide() -> None:
    usual = "\n".join(f"n{i},{60 + i},{40 + i}" for i in range(8))
    close = "\n".join(f"c{i},{60 + i}.00,{60 + i}.05" for i in range(6))
    settings = {"columns": ["a", "b"], "pick": {"table": 1}, "reference": [{"table": 2}]}
    two = table(2, ["m"], f"m,a,b\n{usual}")
    assert verdicts(hold("alike-columns", settings, table(1, ["m"], f"m,a,b\n{close}"), two)) == {"inconsistent": 1}
    assert verdicts(hold("alike-columns", settings, table(1, ["m"], f"m,a,b\n{usual}"), two)) == {"consistent": 1}


def test_a_column_out_of_line() -> None:
    settings = {"pick": {"where": {"m": ["A", "B", "C"]}}, "reference": {"where": {"m": ["base"]}}}
    rows = "m,a,b,c,d,e\nbase,36,25,68,83,53\nA,33,24,33,83,51\nB,31,24,66,82,49\nC,0,0,0,0,0"
    found = hold("out-of-line", settings, table(1, ["m"], rows), broken="implausible")
    assert [(one.row, one.verdict) for one in found if one.verdict != "consistent"] == [("A c", "implausible")]
