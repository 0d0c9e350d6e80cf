"""Averages, percentages that are counts, numbers printed twice: what must pass passes, what is planted is caught."""

from __future__ import annotations

import numpy as np
import pytest

from editverdict.ledger.kinds.grim import sizes_that_fit
from suites.selftest.ledger.made_up import hold, table, verdicts

MEAN = {"of": ["a", "b"], "equals": "avg"}


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        ("1.00,2.00,1.50", "consistent"),
        ("1.01,2.00,1.50", "consistent"),  # 1.505 may be rounded down
        ("1.01,2.00,1.51", "consistent"),  # or up
        ("1.00,2.00,1.51", "rounding"),  # 1.004 and 2.004 would do
        ("1.00,2.00,1.60", "inconsistent"),
        ("1.00,9.00,1.50", "inconsistent"),
    ],
)
def test_average_is_that_of_the_printed_parts(row: str, verdict: str) -> None:
    (finding,) = hold("mean", MEAN, table(1, ["m"], f"m,a,b,avg\nx,{row}"))
    assert finding.verdict == verdict
    assert len(finding.binding) == 3


@pytest.mark.parametrize(
    ("printed", "verdict"),
    [
        ("2.69", "consistent"),  # 35/1301 = 2.6902
        ("2.70", "rounding"),  # to one digit
        ("28.05", "rounding"),  # 365/1301 = 28.0553, cut
        ("2.72", "inconsistent"),
        ("0.00", "consistent"),
        ("100.00", "consistent"),
    ],
)
def test_rates_are_counts(printed: str, verdict: str) -> None:
    (finding,) = hold("grim", {"columns": ["a"], "items": 1301}, table(1, ["m"], f"m,a\nx,{printed}"))
    assert finding.verdict == verdict
    assert finding.binding == ()


def test_rates_in_fractions_and_of_several_answers() -> None:
    found = hold(
        "grim", {"columns": ["a"], "items": 3, "samples": 2}, table(1, ["m"], "m,a\nx,0.17\ny,0.22", "fraction")
    )
    assert [one.verdict for one in found] == ["consistent", "inconsistent"]


@pytest.mark.parametrize("size", [100, 198, 839])
def test_the_number_of_questions_is_recovered(size: int) -> None:
    counts = np.random.default_rng(0).integers(1, size, 30)
    text = "m,a\n" + "\n".join(f"r{i},{100 * k / size:.2f}" for i, k in enumerate(counts))
    made = table(1, ["m"], text)
    assert sizes_that_fit(made.cells, 3000)[0].size == size
    assert verdicts(hold("grim-size", {"columns": ["a"], "size": size}, made)) == {"consistent": 1}
    assert verdicts(hold("grim-size", {"columns": ["a"], "size": size + 1}, made)) == {"inconsistent": 1}


def test_numbers_that_are_no_counts_leave_the_size_undefined() -> None:
    values = np.random.default_rng(1).uniform(1, 99, 12)
    text = "m,a\n" + "\n".join(f"r{i},{value:.2f}" for i, value in enumerate(values))
    assert verdicts(hold("grim-size", {"columns": ["a"]}, table(1, ["m"], text))) == {"undefined": 1}


COPIED = {"picks": [{"spread": "metric"}], "differ": ["m"], "along": ["metric"]}
ROWS = ["p,12.31,45.07,3.19", "q,33.48,20.96,9.02", "r,71.25,66.64,5.57", "s,0.00,0.00,0.00", "t,0.00,0.00,0.00"]


def test_unrelated_rows_are_no_copies() -> None:
    found = hold("copied", COPIED, table(1, ["m"], "m,a,b,c\n" + "\n".join(ROWS)), broken="implausible")
    assert verdicts(found) == {"consistent": 3}  # rows of zeros are no rows


def test_a_copied_half_row_is_caught() -> None:
    found = hold(
        "copied", COPIED, table(1, ["m"], "m,a,b,c\n" + "\n".join([*ROWS, "u,50.11,45.07,3.19"])), broken="implausible"
    )
    (copy,) = [one for one in found if one.verdict == "implausible"]
    assert copy.row.startswith("p and u")
    assert "2 of 3 equal" in copy.found


def test_whole_percentages_may_coincide() -> None:
    rows = ["36,42,3,17.99", "37,35,6,16.02", "43,24,13.5,8.88", "2,2,2,3.93", "36,42,10.5,15.47", "18,15,0.5,8.03"]
    text = "m,a,b,c,d\n" + "\n".join(f"r{i},{row}" for i, row in enumerate([*rows, "8,5,3,2.59", "85,84,15.5,41.87"]))
    assert verdicts(hold("copied", COPIED, table(1, ["m"], text), broken="implausible")) == {"consistent": 28}


def test_a_limit_shared_by_many_cases() -> None:
    made = table(1, ["m"], "m,a,b,c\n" + "\n".join([*ROWS, "u,50.11,45.07,3.19"]))
    (copy,) = [one for one in hold("copied", COPIED, made, broken="implausible") if one.verdict == "implausible"]
    chance = float(copy.found.split("; ")[1].split()[0])
    for cases, verdict in ((int(0.009 / chance), {"implausible": 1}), (int(0.011 / chance) + 1, {})):
        found = verdicts(hold("copied", COPIED | {"cases": cases}, made, broken="implausible"))
        assert {name: number for name, number in found.items() if name != "consistent"} == verdict


def test_rows_copied_between_tables() -> None:
    picks = [{"table": 1, "spread": "metric"}, {"table": 2, "spread": "metric", "values": {"m": {"FT": "FT-L"}}}]
    one = table(1, ["m", "d"], "m,d,a,b\nFT-L,x,12.31,45.07\nq,x,33.48,20.96\nr,x,71.25,66.64")
    two = table(2, ["m", "d"], "m,d,a,b\nFT,y,12.31,45.07\nq,y,31.18,25.56\nr,y,70.05,61.24")
    found = hold("copied", {"picks": picks, "differ": ["d"], "along": ["metric"]}, one, two, broken="implausible")
    assert verdicts(found) == {"consistent": 2, "implausible": 1}


def test_equal_numbers_within_a_row() -> None:
    settings = {"picks": [{"spread": "bench"}], "differ": ["bench"]}
    good = "m,a,b,c\np,36.35,68.67,83.20\nq,31.04,66.57,82.20\nr,33.02,69.43,85.20"
    assert set(verdicts(hold("copied", settings, table(1, ["m"], good)))) == {"consistent"}
    bad = good.replace("69.43", "33.02")
    assert verdicts(hold("copied", settings, table(1, ["m"], bad)))["inconsistent"] == 1
