"""Kinds of rules about single cells and pairs of them: ratios, equality, bounds, what was announced."""

import numpy as np
import pytest

from editverdict.ledger.kinds.bounds import spread_of
from editverdict.ledger.ranges import Range
from editverdict.ledger.sharp import sharp, with_another_digit
from suites.selftest.ledger.small_tables import bound, counts, run, table, verdicts

SHARE = {"numerator": "r", "denominator": "d", "equals": "pct", "factor": 100.0, "whole": True}


def test_ratio_holds_is_rounding_if_the_whole_number_was_rounded_or_is_broken() -> None:
    t = table(1, "layer", "d! r pct", ["a 4096 3249 79.3", "b 4096 3258 79.6", "c 4096 3258 79.2"])
    assert verdicts(run("ratio", SHARE, t)) == ["consistent", "rounding", "inconsistent"]


def test_ratio_without_whole_numbers_takes_the_range_of_the_numerator() -> None:
    t = table(1, "layer", "top bottom cond", ["a 1.9e2 3.4e-6 5.7e7", "b 1.9e2 3.4e-6 6.9e7"])
    found = run("ratio", {"numerator": "top", "denominator": "bottom", "equals": "cond"}, t)
    assert verdicts(found) == ["consistent", "inconsistent"]


def test_ratio_finds_the_denominator_in_another_table_by_keys_that_both_have() -> None:
    counted = table(1, "model layer", "n! pct", ["A 5 4095 99.98", "A 6 4095 99.99", "B 5 512 50.00"])
    sizes = table(2, "model layer", "d!", ["A 1 4096", "B 1 1024"])
    settings = {"numerator": "n", "denominator": "d", "equals": "pct", "factor": 100.0, "on": ["model", "module"]}
    found = run("ratio", settings, counted, sizes)
    assert verdicts(found) == ["consistent", "rounding", "consistent"]
    assert bound(found[:1]) == {"n", "pct", "d"}
    assert found[0].table == 1


def test_ratio_over_what_may_be_zero_is_broken_not_an_error() -> None:
    t = table(1, "layer", "d r pct", ["a 0 3249 79.3"])
    assert verdicts(run("ratio", SHARE, t)) == ["inconsistent"]


def test_sharp_binds_only_cells_whose_digits_show() -> None:
    coarse = table(1, "layer", "top bottom cond", ["a 1.9e2 3.4e-6 5.7e7"])
    fine = table(1, "layer", "top bottom cond", ["a 1.9412e2 3.3801e-6 5.74e7"])
    settings = {"numerator": "top", "denominator": "bottom", "equals": "cond"}
    assert "cond" not in bound(run("ratio", settings, coarse))
    assert bound(run("ratio", settings, fine)) == {"cond"}
    cells = [fine.lines[0].cells["top"]]
    assert sharp(cells, lambda _: "consistent") == ()
    assert sharp(cells, lambda some: "consistent" if some[0].text == "1.9412e2" else "rounding") == tuple(cells)
    assert all(other.value != cells[0].value for other in with_another_digit(cells[0]))
    assert len(list(with_another_digit(cells[0]))) == 9 * 6


SAME = {"on": {"layer": "layer"}, "columns": [{"first": "x", "second": "y"}]}


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [("3.38e-6", "3.4e-6", "consistent"), ("3.4e-6", "3.38e-6", "consistent"), ("3.85e-5", "3.9e-5", "consistent"),
     ("3.38e-6", "3.3e-6", "rounding"), ("3.38e-6", "3.6e-6", "inconsistent")],
)  # fmt: skip
def test_same_compares_at_the_digits_that_both_print(first: str, second: str, verdict: str) -> None:
    one, two = table(1, "layer", "x", [f"5 {first}", "9 1"]), table(2, "layer", "y", [f"5 {second}", "8 1"])
    assert verdicts(run("same", SAME, one, two, joint=True)) == [verdict]


def test_same_joins_a_long_table_with_a_wide_one_in_another_unit_under_other_names() -> None:
    long = table(1, "m metric", "value", ["FT rel 0.83", "FT gen 0.50", "W rel 0.03", "W gen 0.02"])
    wide = table(2, "method", "rel gen", ["FT-L 82.9 50.1", "W 3.1 2.9"])
    settings = {
        "on": {"m": "method"},
        "names": {"m": {"FT": "FT-L"}},
        "scale": 0.01,
        "columns": [
            {"first": "value", "second": "rel", "first_keys": {"metric": "rel"}},
            {"first": "value", "second": "gen", "first_keys": {"metric": "gen"}},
        ],
    }
    found = run("same", settings, long, wide, joint=True)
    assert verdicts(found) == ["consistent", "consistent", "consistent", "rounding"]
    assert {cell.text for cell in found[0].binding} >= {"0.83"}


def test_order_between_tables() -> None:
    one, two = table(1, "s", "x", ["1 0.90", "2 0.50"]), table(2, "s", "x", ["1 0.80", "2 0.70"])
    settings = {"on": {"s": "s"}, "columns": [{"first": "x", "second": "x"}], "relation": "at least"}
    assert verdicts(run("order-between-tables", settings, one, two, joint=True)) == ["consistent", "inconsistent"]
    settings["relation"] = "at most"
    assert verdicts(run("order-between-tables", settings, one, two, joint=True)) == ["inconsistent", "consistent"]


def test_near_between_tables_needs_every_cell_of_a_group_to_be_near() -> None:
    one = table(1, "s k", "x", ["1 10 0.999", "1 99 0.926", "2 10 0.999", "2 99 0.926"])
    two = table(2, "s k", "x", ["1 10 0.999", "1 99 0.927", "2 10 0.999", "2 99 0.800"])
    columns = [{"first": "x", "second": "x"}]
    settings = {"on": {"s": "s", "k": "k"}, "columns": columns, "per": ["s"], "within": 0.001}
    found = run("near-between-tables", settings, one, two, joint=True, broken="implausible")
    assert verdicts(found) == ["implausible", "consistent"]


def test_one_value_finds_the_odd_one() -> None:
    t = table(1, "model layer", "d!", ["A 1 4096", "A 2 4096", "A 3 4069", "B 1 512"])
    found = run("one-value", {"columns": ["d"], "per": ["model"]}, t)
    assert verdicts(found) == ["consistent", "consistent", "inconsistent", "consistent"]
    assert [len(one.binding) for one in found] == [1, 1, 0, 0]


ALIKE = {"across": "method", "columns": {"mean": 0.005, "max": 0.02}, "least": 3}


def test_alike_finds_methods_that_agree_in_all_columns() -> None:
    rows = ["A 5 9.00 23.1 0.02", "B 5 9.00 23.1 0.01", "C 5 9.01 23.3 0.38", "D 5 0.36 3.06 0.07",
            "A 6 0.05 1.17 0.01", "B 6 0.03 0.53 0.01", "C 6 0.53 13.8 0.12"]  # fmt: skip
    t = table(1, "method layer", "mean max min", rows)
    found = run("alike", ALIKE, t, broken="implausible")
    assert verdicts(found) == ["implausible", "consistent"]
    assert "A=B=C" in found[0].found and "D" not in found[0].found
    assert not found[0].binding
    but = run("alike", {**ALIKE, "unlike": "min", "factor": 5.0}, t, broken="implausible")
    assert verdicts(but) == ["implausible", "consistent"]
    still = [row[:-4] + "0.02" for row in rows]
    assert verdicts(
        run("alike", {**ALIKE, "unlike": "min", "factor": 5.0}, table(1, "method layer", "mean max min", still))
    ) == [
        "consistent",
        "consistent",
    ]


def test_rows_also_in() -> None:
    one, two = table(1, "m layer", "x", ["A 30 1", "A 31 1"]), table(2, "m layer", "y", ["A 30 1"])
    assert verdicts(run("rows-also-in", {"on": ["m", "layer"]}, one, two)) == ["consistent", "inconsistent"]


def test_shared_divisor_wants_equal_ratios_where_the_changes_are_equal() -> None:
    ratios = table(1, "m layer", "rmax rmin", ["A 10 9.10e5 0.157", "B 10 1.45e6 0.157", "C 10 1.46e6 0.300"])
    norms = table(2, "m layer", "mean", ["A 10 1.79", "B 10 1.79", "C 10 1.79"])
    spectrum = table(3, "layer", "bottom", ["10 7.55e-6"])
    settings = {"across": "m", "column": "rmax", "columns": {"rmin": 0.02}, "beside": {"mean": 0.005},
                "on": ["m", "layer"], "scale": "bottom", "scale_on": ["layer"], "limit": 1.25}  # fmt: skip
    found = run("shared-divisor", settings, ratios, norms, spectrum)
    assert verdicts(found) == ["inconsistent"]
    assert "4.74e-06" in found[0].found
    assert verdicts(run("shared-divisor", {**settings, "limit": 1.6}, ratios, norms, spectrum)) == ["consistent"]


def test_stated_bounds_magnitudes_and_words() -> None:
    t = table(1, "layer", "x d", ["a 3.4e-6 4", "b 3.1e-3 2", "c 1.2e-5 1"])
    assert verdicts(run("bounded", {"pick": {"columns": ["x"]}, "high": 1e-4}, t)) == [
        "consistent",
        "inconsistent",
        "consistent",
    ]
    assert verdicts(run("order-of-magnitude", {"column": "x", "about": 1e-5}, t)) == [
        "consistent",
        "inconsistent",
        "consistent",
    ]
    words = table(1, "layer", "r d", ["a 3249 4096", "b 1023 4096", "c 4096 4096"])
    found = run("much-smaller", {"column": "r", "than": "d", "clearly": 0.5}, words)
    assert verdicts(found) == ["undefined", "consistent", "inconsistent"]


def test_spread_bounds_hold_of_real_numbers_and_are_sharp() -> None:
    rng = np.random.default_rng(0)
    for count in (3, 10, 200):
        x = np.exp(rng.standard_normal(count) * 2)
        allowed = spread_of(Range.exactly(x.mean()), Range.exactly(x.min()), Range.exactly(x.max()), count)
        assert allowed is not None and allowed.meets(float(x.std()))
    one = np.zeros(100)
    one[0] = 7.0
    least = spread_of(Range.exactly(0.07), Range.exactly(0.0), Range.exactly(7.0), 100)
    assert least is not None and least.low == pytest.approx(one.std()) and least.high == pytest.approx(one.std())
    assert spread_of(Range.exactly(8.0), Range.exactly(0.0), Range.exactly(7.0), 100) is None
    assert spread_of(Range.exactly(0.05), Range.exactly(0.0), Range.exactly(7.0), 100) is None


def test_spread_finds_a_wrong_power_of_ten() -> None:
    rows = ["A 31 2.70e1 5.60e-3 1.10e5 1.72e3", "B 31 2.70e1 5.60e-3 1.10e5 1.72e2"]
    t, sizes = table(1, "m layer", "mean min max std", rows), table(2, "layer", "d!", ["5 4096"])
    settings = {"mean": "mean", "std": "std", "low": "min", "high": "max", "size": "d", "on": ["model"]}
    found = run("spread", settings, t, sizes)
    assert verdicts(found) == ["consistent", "inconsistent"]
    assert "max" in bound(found[:1])


def test_spread_without_a_count_is_only_an_upper_bound() -> None:
    t = table(1, "m", "mean std min max", ["A 1.24 0.12 0.00 2.18", "B 1.24 1.20 0.00 2.18", "C 2.5 0.1 0.0 2.2"])
    settings = {"mean": "mean", "std": "std", "low": "min", "high": "max"}
    assert verdicts(run("spread", settings, t)) == ["consistent", "inconsistent", "inconsistent"]
    assert not bound(run("spread", settings, t))


def test_mean_with_count() -> None:
    settings = {"mean": "mean", "low": "min", "high": "max", "above": "n", "size": "d", "on": ["model"]}
    t = table(1, "m", "mean min max n!", ["A 3.0 0.1 10.0 4", "B 1.0 0.1 10.0 4", "C 1.5 1.2 3.0 4"])
    sizes = table(2, "layer", "d!", ["1 5"])
    assert verdicts(run("mean-with-count", settings, t, sizes)) == ["consistent", "inconsistent", "inconsistent"]


def test_announced_columns_and_keys() -> None:
    t = table(1, "k", "mean", ["10 1", "50 2", "7 3"])
    found = run("announced-columns", {"columns": {"mean": "mean", "median": "median"}}, t)
    assert verdicts(found) == ["consistent", "inconsistent"]
    assert counts(run("key-set", {"key": "k", "stated": ["10", "50", "7"]}, t)) == {"consistent": 1}
    missing = run("key-set", {"key": "k", "stated": ["10", "50", "7", "99"]}, t)
    assert verdicts(missing) == ["undefined"] and "does not show" in missing[0].sentence
    assert counts(run("key-set", {"key": "k", "stated": ["10", "50"]}, t)) == {"inconsistent": 1}
