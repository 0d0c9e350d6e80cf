"""Measured beside printed: when the two can be compared, and how far apart they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from editverdict.inference.replication import beside, closest, distance
from editverdict.inference.rows import PaperNumber, Region, Row

PRINTED: dict[str, Any] = {"table": 16, "row": "Big ROME T=20", "value": 0.50, "low": 0.495, "high": 0.505,
                           "model": "Big-8B", "method": "ROME", "dataset": "ZsRE", "edits": 20}  # fmt: skip


def row(*printed: dict[str, Any], **changes: Any) -> Row:
    values: dict[str, Any] = {
        "case": "c[big-8b-ROME-zsre]",
        "claim": "c",
        "statement": "s",
        "paper": "p",
        "hypothesis": "h",
        "where": "w",
        "profile": "gpu",
        "verdict": "supported",
        "reason": "SUPPORTED: r",
        "quantity": "q",
        "model": "big-8b",
        "method": "ROME",
        "dataset": "zsre",
        "estimate": 0.53,
        "interval": (0.51, 0.56),
        "expected": Region(op="<", threshold=0.7),
        "scope": "replication",
        "scope_reason": "model, method, data and corpus are the paper's",
        "descriptive": {"edits": 20},
        "paper_values": tuple(PaperNumber(**(PRINTED | one)) for one in printed or ({},)),
    }
    return Row.model_validate(values | changes)


def test_where_setting_and_definition_match_there_is_a_distance() -> None:
    (one,) = beside(row())
    assert one.comparable and one.why == ""
    assert one.difference == pytest.approx(0.03)
    assert one.distance == pytest.approx(0.03 / (0.02 + 0.005))


def test_a_dataset_is_the_papers_however_its_name_is_joined() -> None:
    (one,) = beside(row({"dataset": "WikiData_counterfact"}, dataset="wikidata-counterfact"))
    assert one.comparable and one.why == ""


@pytest.mark.parametrize(
    ("changes", "printed", "why"),
    [
        ({"model": "small-135m"}, {}, "another model (small-135m for Big-8B)"),
        ({"method": "MEMIT"}, {}, "another method (MEMIT for ROME)"),
        ({"method": "ROME-identity"}, {}, "another method (ROME-identity for ROME)"),
        ({"dataset": "worldfacts"}, {}, "another dataset (worldfacts for ZsRE)"),
        ({"descriptive": {"edits": 10}}, {}, "another T (10 for 20)"),
        ({"descriptive": {"edits": 10}}, {"edits": 1301}, "another T (10 for 1,301)"),
        ({"scope": "extension", "scope_reason": "2,000 texts where the paper has 100,000"}, {}, "2,000 texts where the "
         "paper has 100,000"),
        ({"not_comparable": "another judge"}, {}, "another judge"),
        ({}, {"not_comparable": "one layer"}, "one layer"),
        ({"model": "small-135m", "not_comparable": "another judge"}, {"not_comparable": "one layer"},
         "another model (small-135m for Big-8B); one layer; another judge"),
        ({"verdict": "invalid"}, {}, "this measurement is invalid"),
        ({"verdict": "broken", "estimate": None, "interval": None}, {}, "this measurement broke"),
    ],
)  # fmt: skip
def test_why_two_numbers_cannot_be_compared(changes: dict[str, Any], printed: dict[str, Any], why: str) -> None:
    (one,) = beside(row(printed, **changes))
    assert not one.comparable and one.why == why
    assert one.difference is None and one.distance is None
    assert one.printed.value == 0.50 and one.measured == changes.get("estimate", 0.53)  # both are there all the same


def test_what_the_table_does_not_name_is_not_compared() -> None:
    (one,) = beside(row({"model": None, "dataset": None, "edits": None}))
    assert one.comparable


def test_a_row_of_an_older_run_is_judged_by_its_scope() -> None:
    old = {"low": None, "high": None, "model": None, "method": None, "dataset": None, "edits": None}
    (one,) = beside(row(old, scope="extension", scope_reason="model small-135m is not in the paper"))
    assert one.why == "model small-135m is not in the paper"
    (one,) = beside(row(old))
    assert one.distance == pytest.approx(0.03 / 0.02)  # no rounding is known


def test_nothing_measured_has_no_distance() -> None:
    (one,) = beside(row(estimate=None, interval=None, verdict="not_run"))
    assert one.comparable and one.measured is None and one.distance is None


def test_the_distance_is_one_where_the_ranges_touch() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        measured, printed = rng.normal(size=2)
        below, above, low, high = rng.exponential(0.5, size=4)
        span, digits = (measured - below, measured + above), (printed - low, printed + high)
        overlap = span[0] <= digits[1] and digits[0] <= span[1]
        far = distance(measured, span, printed, digits)
        assert far is not None and (far <= 1.0) == overlap
        touching = measured + above + low, (measured + above, measured + above + 2 * low)
        assert distance(measured, span, *touching) == pytest.approx(1.0)


def test_degenerate_distances() -> None:
    assert distance(1.0, None, 2.0, None) is None
    assert distance(1.0, (1.0, 1.0), 1.0, None) == 0.0
    assert distance(1.0, (1.0, 1.0), 2.0, None) == math.inf
    assert distance(math.nan, (0.0, 1.0), 2.0, None) is None
    # an interval that leaves its own estimate out on one side has no width there
    assert distance(1.0, (1.1, 1.2), 0.5, (0.4, 0.6)) == pytest.approx(0.5 / 0.1)


def test_the_closest_printed_number_is_of_the_same_setting() -> None:
    memit, other = {"method": "MEMIT", "value": 0.1}, {"method": "MEMIT", "model": "Other", "value": 0.2}
    found = closest(row(other, memit, {}))
    assert found is not None and found.comparable and found.printed.value == 0.50
    found = closest(row(other, memit, {"not_comparable": "one layer"}))
    assert found is not None and found.printed.value == 0.50 and found.why == "one layer"
    found = closest(row(other, memit))
    assert found is not None and found.printed.value == 0.1
    assert closest(row(paper_values=())) is None
