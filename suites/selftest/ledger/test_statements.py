"""Statements of text and captions, and numbers that tables or the text share."""

from __future__ import annotations

import pytest

from suites.selftest.ledger.made_up import hold, table, verdicts

WIDE = "m,rel,gen\nA,69.49,55.50\nB,0.23,2.35"
LONG = "m,metric,value\nA,rel,0.69\nA,gen,0.56\nB,rel,0.00\nB,gen,0.02"
AGREE = {"left": {"table": 2, "scale": 100}, "right": {"table": 1, "spread": "metric"}, "on": ["m", "metric"]}


def test_long_and_wide_tables_agree_at_the_coarser_digits() -> None:
    found = hold("agree", AGREE, table(1, ["m"], WIDE), table(2, ["m", "metric"], LONG, "fraction"))
    assert verdicts(found) == {"consistent": 4}  # 55.50 and .56, 2.35 and .02
    assert {cell.table for one in found for cell in one.binding} == {2}


@pytest.mark.parametrize(("old", "new", "verdict"), [("0.69", "0.68", "rounding"), ("0.69", "0.99", "inconsistent")])
def test_another_digit_in_the_second_table(old: str, new: str, verdict: str) -> None:
    found = hold("agree", AGREE, table(1, ["m"], WIDE), table(2, ["m", "metric"], LONG.replace(old, new), "fraction"))
    assert verdicts(found) == {"consistent": 3, verdict: 1}


def test_agreement_give_or_take_binds_nothing() -> None:
    one, two = table(1, ["m"], "m,a\nA,30.5"), table(2, ["m"], "m,a\nA,27.0")
    settings = {"left": {"table": 1}, "right": {"table": 2}, "on": ["m", "column"], "within": 5}
    (found,) = hold("agree", settings, one, two)
    assert (found.verdict, found.binding) == ("consistent", ())
    assert verdicts(hold("agree", settings | {"within": 1}, one, two)) == {"inconsistent": 1}


@pytest.mark.parametrize(
    ("value", "minus", "verdict"),
    [("69.49", None, "consistent"), ("69.5", None, "consistent"), ("69.94", None, "inconsistent"),
     ("69.26", "B", "consistent"), ("69.27", "B", "rounding"), ("8.37", "B", "inconsistent")],
)  # fmt: skip
def test_quotations(value: str, minus: str | None, verdict: str) -> None:
    quote = {"words": "only so much", "value": value, "of": {"table": 1, "column": "rel", "keys": {"m": "A"}}}
    if minus:
        quote["minus"] = {"table": 1, "column": "rel", "keys": {"m": minus}}
    (found,) = hold("quoted", {"quotes": [quote]}, table(1, ["m"], WIDE))
    assert found.verdict == verdict
    assert bool(found.binding) == (value != "69.5")


def test_a_quotation_of_a_row_that_is_not_there_is_none() -> None:
    quote = {"words": "so", "value": "1.0", "of": {"table": 1, "column": "rel", "keys": {"m": "Z"}}}
    assert hold("quoted", {"quotes": [quote]}, table(1, ["m"], WIDE)) == []


def test_dominance_and_a_handful_of_exceptions() -> None:
    made = table(1, ["method"], "method,a,b\nSCR,80,70\nA,60,71\nB,10,20")
    assert verdicts(hold("dominates", {"best": ["SCR"]}, made)) == {"consistent": 3, "inconsistent": 1}
    assert verdicts(hold("dominates", {"best": ["SCR"], "handful": 0.25}, made)) == {"consistent": 3, "rounding": 1}
    assert verdicts(hold("dominates", {"best": ["SCR"], "handful": 0.2}, made)) == {"consistent": 3, "inconsistent": 1}
    assert verdicts(hold("dominates", {"best": ["SCR"], "over": ["B"]}, made)) == {"consistent": 2}
    assert all(one.binding == () for one in hold("dominates", {"best": ["SCR"]}, made))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("other", "verdict"), [("5", "consistent"), ("5.4", "consistent"), ("6", "inconsistent")])
def test_equal_prints_are_no_broken_order(other: str, verdict: str, strict: bool) -> None:
    settings = {"best": ["SCR"], "strict": strict}
    found = hold("dominates", settings, table(1, ["method"], f"method,a\nSCR,5\nA,{other}"))
    assert verdicts(found) == {verdict: 1}
    assert found[0].expected.startswith("above" if strict else "at least")


def test_order_along_a_key() -> None:
    made = table(1, ["k"], "k,a,b\n1,1.75,9\n3,1.72,8\n10,1.81,9")
    up = {"key": "k", "order": ["1", "3", "10"], "direction": "up"}
    assert verdicts(hold("ordered", up, made)) == {"inconsistent": 2, "consistent": 2}
    assert verdicts(hold("ordered", up | {"noise": 0.02}, made)) == {"rounding": 1, "inconsistent": 1, "consistent": 2}
    ends = {"key": "k", "order": ["1", "10"], "direction": "down"}
    assert [one.verdict for one in hold("ordered", ends, made)] == ["inconsistent", "consistent"]
    assert [one.verdict for one in hold("ordered", ends | {"strict": True}, made)] == ["inconsistent", "consistent"]
    assert verdicts(hold("ordered", ends | {"margin": 0.06}, made)) == {"consistent": 2}
    assert verdicts(hold("ordered", ends | {"margin": 0.04}, made)) == {"consistent": 1, "inconsistent": 1}


def test_it_is_enough_that_some_number_of_a_group_goes_the_way() -> None:
    text = "m,metric,k,a\nA,rel,1,0.5\nA,rel,9,0.7\nA,gen,1,0.5\nA,gen,9,{}\nB,rel,1,0.03\nB,rel,9,0.03"
    some = {"key": "k", "order": ["1", "9"], "direction": "down", "some": ["m"]}
    for last, first in (("0.2", "consistent"), ("0.5", "consistent"), ("0.6", "inconsistent")):
        found = hold("ordered", some, table(1, ["m", "metric", "k"], text.format(last)))
        assert [(one.row, one.verdict) for one in found] == [("A", first), ("B", "consistent")]
    assert len(found[0].cells) == 4


@pytest.mark.parametrize(
    ("whole", "verdict"),
    [("0.50", "consistent"), ("0.61", "consistent"), ("0.62", "rounding"), ("0.70", "inconsistent")],
)
def test_a_whole_between_its_halves(whole: str, verdict: str) -> None:
    one = table(1, ["m"], f"m,value\nA,{whole}", "fraction")
    halves = table(2, ["m", "half"], "m,half,value\nA,low,0.40\nA,high,0.60", "fraction")
    settings = {"whole": {"table": 1}, "parts": {"table": 2}, "on": ["m"]}
    assert verdicts(hold("between", settings, one, halves)) == {verdict: 1}


def test_flat_in_itself_and_by_share() -> None:
    made = table(1, ["k"], "k,a,mb\n1,0.76,31123\n3,0.97,31177")
    assert verdicts(hold("flat", {"along": ["k"], "within": 0.1, "pick": {"columns": ["a"]}}, made)) == {
        "inconsistent": 1
    }
    share = {"along": ["k"], "within": 0.01, "relative": True, "pick": {"columns": ["mb"]}}
    assert verdicts(hold("flat", share, made)) == {"consistent": 1}


def test_bounds_bind_only_if_they_are_one_number() -> None:
    made = table(1, ["m"], "m,a\nA,100.00\nB,99.00\nC,0.30")
    exact = hold("bounded", {"low": 100, "high": 100}, made)
    assert [one.verdict for one in exact] == ["consistent", "inconsistent", "inconsistent"]
    assert [bool(one.binding) for one in exact] == [True, False, False]
    loose = hold("bounded", {"high": 99.5}, made)
    assert [one.verdict for one in loose] == ["inconsistent", "consistent", "consistent"]
    assert not any(one.binding for one in loose)
    assert verdicts(hold("bounded", {"high": 1, "most": True}, made)) == {"inconsistent": 1}
    assert verdicts(hold("bounded", {"high": 99, "most": True}, made)) == {"consistent": 1}


def test_better_with_than_without() -> None:
    alone = table(1, ["m"], "m,a\nA,71\nB,0\nC,30")
    both = table(2, ["m"], "m,a\nA+S,0\nB+S,0\nC+S,60")
    names = {"m": {"A+S": "A", "B+S": "B", "C+S": "C"}}
    settings = {"left": {"table": 2, "values": names}, "right": {"table": 1}, "on": ["m", "column"]}
    assert [one.verdict for one in hold("improves-on", settings, alone, both)] == [
        "inconsistent",
        "consistent",
        "consistent",
    ]
    lives = settings | {"strict": False, "share": 0.5, "alive": 50}
    assert verdicts(hold("improves-on", lives, alone, both)) == {"inconsistent": 1}


def test_one_measure_confirms_another() -> None:
    one = table(1, ["m"], "m,a\nA,10\nB,20\nC,30\nD,40")
    two = table(2, ["m", "s"], "m,s,b\nA,x,1\nB,x,2\nC,x,4\nD,x,3\nA,y,9\nB,y,5\nC,y,2\nD,y,7")
    settings = {"left": {"table": 1}, "right": {"table": 2}, "on": ["m"], "by": ["s"]}
    found = hold("same-order", settings, one, two)
    assert [(f.row, f.verdict, f.found) for f in found] == [
        ("x", "consistent", "rho = 0.80 over 4"),
        ("y", "inconsistent", "rho = -0.40 over 4"),
    ]
