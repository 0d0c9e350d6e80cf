"""What the rules about geometry find in the paper's tables, and that they notice a wrong digit where they say so."""

import random
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pytest

from editverdict.ledger.audit import Audited, Case, bound_cells, cases_of, run_case
from editverdict.ledger.findings import VERDICTS
from editverdict.ledger.rules import read_rules
from editverdict.ledger.sharp import with_another_digit
from editverdict.ledger.tables import Ledger, read_ledger

SPECS = Path(__file__).resolve().parents[3] / "specs"
FAMILIES = {"collapse", "norms", "angles", "amplification"}


@lru_cache
def _read() -> tuple[Ledger, tuple[Case, ...]]:
    ledger = read_ledger(SPECS / "paper")
    cases = cases_of(read_rules(SPECS / "consistency"), ledger)
    return ledger, tuple(case for case in cases if case.rule.spec.family in FAMILIES | {"captions", "theory"})


def _found(rule: str) -> list[Audited]:
    ledger, cases = _read()
    return [run_case(case, ledger) for case in cases if case.rule.spec.id == rule]


def _counts(rule: str) -> dict[str, int]:
    return dict(Counter(one.verdict for audited in _found(rule) for one in audited.findings))


@pytest.mark.parametrize(
    ("rule", "counts"),
    [
        ("effective-rank-share", {"consistent": 33, "rounding": 5}),
        ("condition-number", {"consistent": 38}),
        ("table-1-is-table-5", {"consistent": 42}),
        ("caption-sigma-min", {"consistent": 5, "inconsistent": 2}),
        ("sigma-min-above-unit", {"implausible": 21, "consistent": 2}),
        ("sigma-min-above-rank-cut", {"undefined": 23}),
        ("sigma-min-of-wide-layers", {"implausible": 4}),
        ("rank-of-a-linear-output", {"consistent": 1, "undefined": 3}),
        ("norm-spread", {"consistent": 93}),
        ("norm-alike-across-methods", {"implausible": 15, "consistent": 7}),
        ("small-perturbation-and-amplification", {"inconsistent": 57}),
        ("share-above-one", {"consistent": 90}),
        ("ratio-spread", {"consistent": 81, "inconsistent": 1}),
        ("ratio-mean-of-one", {"implausible": 82}),
        ("ratio-deviation-of-one", {"implausible": 81, "consistent": 1}),
        ("ratios-alike-across-methods", {"implausible": 18, "consistent": 6}),
        ("component-no-larger-than-change", {"consistent": 74, "inconsistent": 1}),
        ("placeholder-in-averages", {"implausible": 4, "consistent": 4}),
        ("smallest-angle-grows-no-worse", {"inconsistent": 129, "consistent": 5}),
        ("rome-at-chance", {"consistent": 60}),
        ("cosine-of-two-kinds", {"implausible": 2, "consistent": 22}),
        ("first-step-llama-3", {"implausible": 1}),
        ("figure-2-shows-a-living-model", {"implausible": 4}),
    ],
)
def test_counts(rule: str, counts: dict[str, int]) -> None:
    assert _counts(rule) == counts


def test_rises_with_edits_in_decoder_tables() -> None:
    found = [one for audited in _found("cosine-falls-with-edits") for one in audited.findings if one.table < 19]
    assert Counter(one.verdict for one in found) == {"consistent": 357, "implausible": 27}


def test_the_misprinted_power_of_ten_is_found() -> None:
    (broken,) = [one for a in _found("ratio-spread") for one in a.findings if one.verdict == "inconsistent"]
    assert (broken.table, broken.row, broken.found) == (21, "Llama-3.1-8B-Instruct MEND 31", "1.72e2")


def test_typical_ratio_and_count() -> None:
    (audited,) = _found("typical-ratio-is-that-of-unrelated-samples")
    assert "1.100 (+-0.062)" in audited.findings[0].found
    (audited,) = _found("count-above-one")
    assert "57 rows with at least d-3, 21 with at most 2, 4 between" in audited.findings[0].found


def _places(audited: Sequence[Audited]) -> list[dict[str, int]]:
    """Worst verdict of each row, case by case."""
    found: list[dict[str, int]] = [{} for _ in audited]
    for rows, one in zip(found, audited, strict=True):
        for finding in one.findings:
            rows[finding.row] = max(rows.get(finding.row, 0), VERDICTS.index(finding.verdict))
    return found


def test_a_wrong_digit_in_a_bound_cell_is_noticed() -> None:
    ledger, cases = _read()
    bound_by = [case for case in cases if case.rule.spec.kind in ("ratio", "same", "one-value", "spread")]
    audited = [run_case(case, ledger) for case in bound_by]
    before, bound = _places(audited), bound_cells(audited)
    chance, missed, tries = random.Random(0), 0, 100
    for _ in range(tries):
        place = chance.choice(sorted(bound))
        changed = ledger.with_texts({place: chance.choice(list(with_another_digit(bound[place]))).text})
        about = [i for i, case in enumerate(bound_by) if place[0] in case.tables]
        after = _places([run_case(bound_by[i], changed) for i in about])
        missed += not any(
            verdict > before[i].get(row, 0)
            for i, found in zip(about, after, strict=True)
            for row, verdict in found.items()
        )
    assert missed <= 0.05 * tries
