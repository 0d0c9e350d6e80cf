"""Scores along chains and method against method: planted scores, and a whole table on a toy."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import pytest
from scipy import stats

from editverdict.evaluation.dimensions import Scores
from editverdict.pipeline.sequences import _work, comparisons_of, lines_of, measure
from editverdict.pipeline.setup import Options, make_trial
from editverdict.reporting.sequences import sequences_markdown
from suites.selftest.pipeline.sessions import ROOT
from suites.selftest.reporting.test_methods_table import MANIFEST

MODEL, DATA = "rehearsal-llama", "worldfacts"
REL = (0.9, 0.8, 0.85, 0.95, 0.9, 0.7)
OTHER = (0.3, 0.1, 0.25, 0.3, 0.35, 0.1)


def scores(rel: float, *, port: float | None = 0.5) -> Scores:
    others = [0.4, 0.6, port]
    avg = None if port is None else (rel + sum(value for value in others if value is not None)) / 4
    return Scores(rel=rel, gen=0.4, loc=0.6, loc_eq4=0.7, port=port, avg=avg)


def test_a_line_has_the_mean_and_interval_over_chains() -> None:
    (line,) = lines_of({"A": {10: [scores(rel) for rel in REL]}})
    half = stats.t.ppf(0.995, 5) * stats.tstd(REL) / math.sqrt(6)  # above the floor of one answer in ten
    assert (line["method"], line["edits"], line["chains"]) == ("A", 10, 6)
    assert line["rel"]["value"] == pytest.approx(sum(REL) / 6)
    assert line["rel"]["interval"] == pytest.approx([sum(REL) / 6 - half, sum(REL) / 6 + half])
    assert line["rel"]["units"] == list(REL)


def test_a_dimension_that_a_chain_lacks_has_no_number() -> None:
    (line,) = lines_of({"A": {10: [scores(0.5), scores(0.5, port=None)]}})
    assert line["port"] is None and line["avg"] is None and line["gen"]["value"] == pytest.approx(0.4)


def test_methods_are_compared_chain_by_chain() -> None:
    values = {"A": {10: [scores(rel) for rel in REL]}, "B": {10: [scores(rel) for rel in OTHER]}}
    found = {one["score"]: one for one in comparisons_of(values)}
    expected = stats.ttest_rel(REL, OTHER).pvalue
    assert found["rel"]["p"] == pytest.approx(expected)
    # Holm over five: the average differs as surely (a quarter of the same differences), the other three not at all.
    assert found["avg"]["p"] == pytest.approx(expected) and found["rel"]["p_holm"] == pytest.approx(5 * expected)
    assert found["loc"]["p"] == pytest.approx(1.0) and found["loc"]["difference"] == 0.0
    # Alike on every chain is no certainty: one answer in ten is what could not be seen.
    floor = stats.t.ppf(0.995, 5) * 0.1 / math.sqrt(12) / math.sqrt(6)
    assert found["loc"]["interval"] == pytest.approx([-floor, floor])
    low, high = found["rel"]["interval"]
    assert low < found["rel"]["difference"] < high and low > 0


def test_only_common_lengths_are_compared() -> None:
    values = {"A": {1: [scores(0.5)] * 2, 10: [scores(0.5)] * 2}, "B": {1: [scores(0.5)] * 2}}
    assert {one["edits"] for one in comparisons_of(values)} == {1}


def test_the_page_shows_what_differs_and_what_failed() -> None:
    values = {"A": {10: [scores(rel) for rel in REL]}, "B": {10: [scores(rel) for rel in OTHER]}}
    text = sequences_markdown(MANIFEST, lines_of(values), comparisons_of(values), {"C": "too slow"})
    rows = [line for line in text.splitlines() if line.startswith("| A − B")]
    assert [row.split("|")[3].strip() for row in rows] == ["Rel", "Avg"]
    assert "+0.62 [" in rows[0] and "- C: too slow" in text


def test_a_table_on_a_toy_is_made_once(tmp_path: Path) -> None:
    make = functools.partial(make_trial, Options(profile="smoke", store=tmp_path), ROOT / "specs")
    assert _work(make, MODEL, DATA, "no-op") == ("no-op", None)
    _, error = _work(make, MODEL, DATA, "easyedit:ROME")
    assert error is not None and "--easyedit-python" in error
    again = make()
    lines = lines_of({"no-op": measure(again, MODEL, DATA, "no-op")})
    assert [(line["edits"], line["chains"]) for line in lines] == [(1, 2), (2, 2), (3, 2)]
    assert sum(counts.built for counts in again.store.ledger.snapshot().values()) == 0
