"""What the rules over Tables 3 and 29 to 46 find in the paper's own tables: counts and cells, found by the numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from editverdict.ledger.audit import Audited, cases_of, run_case
from editverdict.ledger.rules import read_rules
from editverdict.ledger.tables import read_ledger

SPECS = Path(__file__).resolve().parents[3] / "specs"
AVERAGES = {3: 20, 29: 34, 30: 34, 31: 42, 32: 20, 33: 9, 34: 9, 35: 26, 36: 26, 43: 30}
EXPECTED = {
    "quoted-scores": {"consistent": 5, "inconsistent": 1},
    "quoted-drops": {"consistent": 4},
    "counts-zsre": {"consistent": 172, "rounding": 4},
    "counts-wikidata": {"consistent": 88, "rounding": 1, "undefined": 3},
    "counts-reasoning": {"consistent": 80},
    "counts-exact-match": {"consistent": 20},
    "course-ends-at-full-sequence": {"consistent": 20},
    "costs-repeat-combinations": {"consistent": 4},
    "costs-repeat-latency": {"consistent": 2},
    "memory-of-100-repeats-combinations": {"consistent": 4},
    "all-edits-of-scr": {"consistent": 3, "rounding": 1, "inconsistent": 1},
    "token-locality-before-editing": {"consistent": 4},
    "exact-within-match": {"consistent": 20},
    "second-best-underlined": {"consistent": 81, "rounding": 7},
}
"""What arithmetic fixes. What a reading or a threshold decides is tested on made-up tables (test_fair_rules.py)."""


@pytest.fixture(scope="module")
def of_paper() -> dict[str, list[Audited]]:
    ledger = read_ledger(SPECS / "paper")
    found: dict[str, list[Audited]] = {}
    for case in cases_of(read_rules(SPECS / "consistency"), ledger):
        if case.rule.spec.id in EXPECTED or case.rule.spec.kind in ("mean", "copied"):
            found.setdefault(case.rule.spec.id, []).append(run_case(case, ledger))
    return found


@pytest.mark.parametrize("rule", EXPECTED)
def test_what_a_rule_finds(rule: str, of_paper: dict[str, list[Audited]]) -> None:
    assert dict(Counter(f.verdict for one in of_paper[rule] for f in one.findings)) == EXPECTED[rule]


def test_all_averages_hold(of_paper: dict[str, list[Audited]]) -> None:
    means = [one for found in of_paper.values() for one in found if one.case.rule.spec.id.startswith("average-of-")]
    assert {one.case.tables[0]: len(one.findings) for one in means} == AVERAGES
    assert {one.verdict for one in means} == {"consistent"}


def test_copied_rows_are_those_and_no_others(of_paper: dict[str, list[Audited]]) -> None:
    copies = [
        f.row
        for found in of_paper.values()
        for one in found
        if one.case.rule.spec.kind == "copied"
        for f in one.findings
        if f.verdict == "implausible"
    ]
    assert sorted(copies) == [
        "MEND and AdaLoRA, DeepSeek-R1-Distill-Llama-8B WikiData_counterfact single",
        "ZsRE and WikiData_counterfact, DeepSeek-R1-Distill-Llama-8B single WISE",
    ]
