"""Rules over printed rank correlations: correct tables pass, planted errors are caught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from editverdict.ledger.audit import Case, audit, bound_cells, run_case
from editverdict.ledger.findings import VERDICTS, Finding
from editverdict.ledger.ranks import all_arrangements
from editverdict.ledger.rules import Rule, RuleSpec, kinds, read_rules
from editverdict.ledger.tables import Cell, ColumnSpec, Ledger, Line, Table, TableSpec, read_ledger

ROOT = Path(__file__).resolve().parents[3]
KEYS = ("summary", "aggregation", "metric", "method")
COLUMNS = {
    "rho": ColumnSpec(what="rho"),
    "stars": ColumnSpec(what="marks", exact=True),
    "p_op": ColumnSpec(what="= or <", text=True),
    "p": ColumnSpec(what="p"),
}
STEPS = ("1", "10", "20", "50", "200", "500", "1000", "all")
VALUES = {
    ("rel", "A"): [0.8, 0.7, 0.7, 0.6, 0.3, 0.2, 0.0, 0.0, 0.0],
    ("loc", "A"): [0.3, 0.4, 0.2, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0],
    ("rel", "B"): [0.5, 0.9, 0.6, 0.8, 0.1, 0.2, 0.3, 0.4, 0.7],
    ("loc", "B"): [0.6, 0.5, 0.4, 0.3, 0.3, 0.2, 0.1, 0.1, 0.05],
}
RANKED = {
    ("median", "mean"): {"A": [1, 2, 3, 4, 5, 7, 6, 8, 9], "B": [2, 1, 3, 5, 4, 6, 7, 9, 8]},
    ("median", "max"): {"A": [1, 3, 2, 4, 5, 6, 7, 8, 9], "B": [1, 2, 4, 3, 5, 7, 6, 8, 9]},
    ("q90", "mean"): {"A": [1, 2, 3, 4, 5, 7, 6, 8, 9], "B": [2, 1, 3, 5, 4, 6, 7, 9, 8]},
}


def table(number: int, keys: tuple[str, ...], columns: dict[str, ColumnSpec], rows: list[dict[str, str]]) -> Table:
    lines = []
    for place, row in enumerate(rows, 2):
        named = {key: row[key] for key in keys}
        cells = {c: Cell(number, named, c, row[c], spec, place) for c, spec in columns.items()}
        lines.append(Line(number, named, cells))
    spec = TableSpec(table=number, file=f"{number}.csv", caption="synthetic", keys=keys, columns=columns)
    return Table(spec, tuple(lines))


def correlated(ranked: list[int], values: list[float]) -> dict[str, str]:
    found = stats.spearmanr(ranked, values)
    rho, p = float(found.statistic), float(found.pvalue)
    stars = sum(p < level for level in (0.05, 0.01, 0.001))
    shown = {"p_op": "<", "p": "0.001"} if p < 0.001 else {"p_op": "=", "p": f"{p:.4f}"}
    return {"rho": f"{rho:.4f}", "stars": str(stars), **shown}


def ledger(*blocks: tuple[str, str], values: dict[tuple[str, str], list[float]] = VALUES) -> Ledger:
    """Table 1: all blocks; Table 2: the first of them; Table 3: values of eight of the nine steps."""
    rows = [
        {"summary": b[0], "aggregation": b[1], "metric": m[0], "method": m[1], **correlated(RANKED[b][m[1]], value)}
        for b in (blocks or tuple(RANKED))
        for m, value in values.items()
    ]
    steps = [
        {"metric": m[0], "method": m[1], "n_edits": step, "value": f"{v:.2f}"}
        for m, value in values.items()
        for step, v in zip(STEPS, value, strict=False)
    ]
    step_keys = ("metric", "method", "n_edits")
    return Ledger(
        {
            1: table(1, KEYS, COLUMNS, rows),
            2: table(2, KEYS, COLUMNS, rows[: len(values)]),
            3: table(3, step_keys, {"value": ColumnSpec(what="score")}, steps),
        },
        Path(),
    )


def findings(held: Ledger, kind: str, *tables: int, joint: bool = False, **settings: Any) -> tuple[Finding, ...]:
    spec = RuleSpec(id="rule", kind=kind, statement="It holds.", family="f", tables=tables, joint=joint, why="Not so.")
    cls, run = kinds()[kind]
    return run_case(Case(Rule(spec, cls(**settings), run, "here:1"), tables), held).findings


def verdicts(held: Ledger, kind: str, *tables: int, **more: Any) -> list[str]:
    return [one.verdict for one in findings(held, kind, *tables, **more)]


def changed(held: Ledger, row: int, column: str, text: str, number: int = 1) -> Ledger:
    return held.with_texts({(number, row + 2, column): text})


TIES = {"ranked": ("method",), "values": ("metric", "method")}
STEP = {**TIES, "match": ("metric", "method"), "joint": True}


def test_correct_p_pass_and_wrong_ones_show() -> None:
    held = ledger()
    assert set(verdicts(held, "p-from-rho", 1)) == {"consistent"}
    first = findings(held, "p-from-rho", 1)[2]
    assert [cell.column for cell in first.binding] == ["p", "rho"]
    text = held[1].lines[2].cells["p"].text
    wrong = text[:3] + str((int(text[3]) + 5) % 10) + text[4:]
    assert verdicts(changed(held, 2, "p", wrong), "p-from-rho", 1)[2] == "inconsistent"
    assert verdicts(changed(held, 2, "rho", "1.2034"), "p-from-rho", 1)[2] == "inconsistent"


def test_a_bound_must_lie_above_the_p_of_rho_and_binds_nothing() -> None:
    held = ledger()
    row = next(i for i, line in enumerate(held[1].lines) if line.cells["p_op"].text == "<")
    assert findings(held, "p-from-rho", 1)[row].binding == ()
    assert verdicts(changed(held, row, "rho", "-0.3000"), "p-from-rho", 1, n=9)[row] == "inconsistent"


def test_the_number_of_observations_is_found() -> None:
    held = ledger()
    found = findings(held, "sample-size", 1, by=("method",))
    assert {one.verdict for one in found} == {"consistent"}
    assert all(one.found.startswith("n = 9: ") for one in found)
    noise = held
    for row, line in enumerate(held[1].lines):
        if line.cells["p_op"].text == "=":
            noise = changed(noise, row, "p", f"0.{5000 + 371 * row}")
    assert set(verdicts(noise, "sample-size", 1)) == {"undefined"}


@pytest.mark.parametrize(
    ("p", "op", "stars", "verdict"),
    [
        ("0.0499", "=", "1", "consistent"),
        ("0.0500", "=", "1", "consistent"),  # may be .04996
        ("0.0500", "=", "0", "consistent"),
        ("0.0512", "=", "1", "inconsistent"),
        ("0.0026", "=", "3", "inconsistent"),
        ("0.001", "<", "3", "consistent"),
        ("0.001", "<", "2", "inconsistent"),
        ("0.002", "<", "3", "undefined"),
        ("0.05", "<", "2", "undefined"),
        ("0.05", "<", "0", "inconsistent"),
        ("0.000", "<", "3", "inconsistent"),
    ],
)
def test_stars_against_p(p: str, op: str, stars: str, verdict: str) -> None:
    row = dict.fromkeys(KEYS, "x") | {"rho": "0.5", "p": p, "p_op": op, "stars": stars}
    held = Ledger({1: table(1, KEYS, COLUMNS, [row])}, Path())
    (found,) = findings(held, "stars", 1)
    assert found.verdict == verdict
    assert {cell.column for cell in found.binding} == ({"stars", "p"} if op == "<" else {"stars"})


def test_corrections_count_what_survives() -> None:
    ps = [("=", "0.0040"), ("=", "0.0300"), ("=", "0.0400"), ("=", "0.6000"), ("<", "0.001")]
    rows = [
        dict.fromkeys(KEYS, "x")
        | {"method": "AB"[i % 2], "metric": str(i), "rho": "-0.95", "p_op": op, "p": p, "stars": "0"}
        for i, (op, p) in enumerate(ps)
    ]
    held = Ledger({1: table(1, KEYS, COLUMNS, rows)}, Path())
    strict = findings(held, "corrected", 1, correction="holm", by=("method",), n=9)
    assert [(one.row, one.verdict, one.found) for one in strict] == [
        ("A", "undefined", "2 stay below"),
        ("B", "undefined", "0 stay below"),
    ]
    loose = findings(held, "corrected", 1, correction="benjamini-hochberg", by=("method",), n=9)
    adjusted = stats.false_discovery_control([0.004, 0.03, 0.04, 0.6, 0.0005])
    assert sum(int(one.found.split()[0]) for one in loose) == int((adjusted < 0.05).sum())
    assert not any(one.binding for one in strict)


def test_blocks_that_are_to_be_equal() -> None:
    held = ledger()
    columns = tuple(COLUMNS)
    assert set(verdicts(held, "equal-blocks", 2, 1, joint=True, columns=columns)) == {"consistent"}
    for column, text in (("rho", "-0.1111"), ("stars", "7"), ("p", "0.7777")):
        found = findings(changed(held, 1, column, text), "equal-blocks", 2, 1, joint=True, columns=columns)
        assert [one.verdict for one in found] == ["consistent", "inconsistent", "consistent", "consistent"]
        assert found[1].expected == f"{column} {text}"
    assert {cell.table for cell in findings(held, "equal-blocks", 2, 1, joint=True, columns=columns)[0].binding} == {
        1,
        2,
    }


def test_blocks_that_repeat_each_other() -> None:
    settings: dict[str, Any] = {"block": ("summary", "aggregation"), "columns": ("rho", "p")}
    found = findings(ledger(), "repeated-blocks", 1, **settings)
    assert [one.row for one in found if one.verdict != "consistent"] == ["q90 mean"]
    assert "2 of 3 blocks are different" in found[0].sentence
    assert set(verdicts(ledger(*list(RANKED)[:2]), "repeated-blocks", 1, **settings)) == {"consistent"}


def test_signs_that_change_between_blocks() -> None:
    settings: dict[str, Any] = {"block": ("summary", "aggregation")}
    held = ledger()
    by_row = {one.row: one.verdict for one in findings(held, "stable-signs", 1, **settings)}
    assert by_row["rel A"] == "consistent"
    flipped = changed(held, 0, "rho", held[1].lines[0].cells["rho"].text.lstrip("-"))
    assert {one.row: one.verdict for one in findings(flipped, "stable-signs", 1, **settings)}["rel A"] == "inconsistent"
    unmarked = changed(held, 0, "stars", "0")
    assert {one.row: one.verdict for one in findings(unmarked, "stable-signs", 1, **settings)}["rel A"] == "undefined"


def test_a_claimed_sign() -> None:
    held = ledger()
    settings: dict[str, Any] = {"sign": "negative", "marks": "stars", "by": ("metric", "method")}
    found = {one.row: one.verdict for one in findings(held, "signs", 1, **settings)}
    assert found["rel A"] == "consistent"
    assert found["rel B"] == "inconsistent", "negative, but without marks"
    positive = changed(held, 0, "rho", "0.0000")
    assert {one.row: one.verdict for one in findings(positive, "signs", 1, **settings)}["rel A"] == "inconsistent"


def test_true_correlations_have_ties_that_explain_them() -> None:
    found = findings(ledger(), "tied-ranks", 1, **TIES)
    assert {one.verdict for one in found} == {"consistent"}
    assert {one.row: one.expected for one in found}["rel A"] == "rho and p with 3+2 tied"


@pytest.mark.parametrize("digit", [2, 3, 4, 5])
def test_a_wrong_digit_of_rho_fits_no_ties(digit: int) -> None:
    held = ledger()
    text = held[1].lines[2].cells["rho"].text.lstrip("-")
    caught = 0
    for other in "0123456789".replace(text[digit], ""):
        wrong = changed(held, 2, "rho", "-" + text[:digit] + other + text[digit + 1 :])
        caught += findings(wrong, "tied-ranks", 1, **TIES)[2].verdict != "consistent"
    assert caught == 9


def test_equal_ranked_values_are_told() -> None:
    tied = [1, 2, 3.5, 3.5, 5, 6, 7, 8, 9]
    values = [0.4, 0.5, 0.3, 0.2, 0.3, 0.2, 0.3, 0.2, 0.1]
    rows = []
    for metric, value in (("rel", values), ("loc", [0.9, 0.8, 0.85, 0.7, 0.5, 0.5, 0.6, 0.3, 0.2])):
        keys = {"summary": "median", "aggregation": "mean", "metric": metric, "method": "A"}
        rows.append(keys | correlated(tied, value))  # type: ignore[arg-type]
    held = Ledger({1: table(1, KEYS, COLUMNS, rows)}, Path())
    found = findings(held, "tied-ranks", 1, tied="perhaps measured twice", **TIES)
    assert [one.verdict for one in found] == ["implausible", "implausible"]
    assert found[0].sentence.endswith("perhaps measured twice.")
    # one tied pair on either side takes as much from the spread as two on one side, so the other rho alone would pass
    assert verdicts(held, "tied-ranks", 1, ranked_ties=((),), **TIES) == ["inconsistent", "consistent"]


def test_what_cannot_be_counted_is_undefined() -> None:
    held = ledger()
    order: dict[str, Any] = {"series": ("summary", "aggregation", "method"), "step": "n_edits", **STEP}
    for kind, tables, settings in (
        ("tied-ranks", (1,), TIES),
        ("permutation-p", (1,), TIES),
        ("rising-steps", (2, 3), STEP),
        ("ties-of-steps", (2, 3), STEP),
        ("shared-order", (2, 3), order),
    ):
        (found,) = findings(held, kind, *tables, n=12, **settings)
        assert found.verdict == "undefined"
        assert "n = 12" in found.sentence
    (found,) = findings(held, "rising-steps", 2, 3, n=7, **STEP)
    assert "The printed steps are not as many" in found.sentence


def test_p_of_another_kind_are_undefined_not_wrong() -> None:
    held = ledger()
    for row, line in enumerate(held[1].lines):
        if line.cells["p_op"].text == "=":
            held = changed(held, row, "p", f"0.{5000 + 371 * row}")
    for kind, settings in (("p-from-rho", {}), ("tied-ranks", TIES), ("permutation-p", TIES)):
        (found,) = findings(held, kind, 1, **settings)
        assert found.verdict == "undefined"
        assert found.sentence == "No number of observations explains the printed p by the t approximation."
    assert len(findings(held, "corrected", 1, correction="holm", by=("method",))) == 2


def test_permutation_p_beside_the_printed_one() -> None:
    held = ledger()
    found = findings(held, "permutation-p", 1, **TIES)
    untied = next(one for one in all_arrangements((1,) * 9) if one.valued == (1,) * 9)
    row = next(one for one in found if one.row == "median mean rel B")
    exact = untied.p(float(stats.spearmanr(RANKED["median", "mean"]["B"], VALUES["rel", "B"]).statistic))
    assert row.expected == f"{exact:.6g}"
    assert "smallest p that any order has is 5.5e-06" in row.sentence
    wrong = {
        one.row: one.verdict for one in findings(changed(held, 2, "rho", "-0.1234"), "permutation-p", 1, n=9, **TIES)
    }
    assert wrong["median mean rel B"] == "undefined"


def test_a_level_between_the_two_p_is_rounding() -> None:
    """Nine steps, three of them tied: rho -.8087 has p .0083 by t and more than .01 over all orders."""
    keys = dict(zip(KEYS, ("median", "mean", "port", "M"), strict=True))
    row = keys | {"rho": "-0.8087", "stars": "2", "p_op": "=", "p": "0.0083"}
    (found,) = findings(Ledger({1: table(1, KEYS, COLUMNS, [row])}, Path()), "permutation-p", 1, n=9, **TIES)
    assert found.verdict == "rounding"
    assert "different sides of 0.01" in found.sentence


def test_rising_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    held = ledger()
    rising = list(range(1, 10))
    monkeypatch.setitem(RANKED, ("median", "mean"), {"A": rising, "B": rising})
    assert verdicts(ledger(), "rising-steps", 2, 3, **STEP) == ["consistent"] * 4
    outside = changed(held, 3, "rho", "0.9000", number=2)
    (one,) = [f for f in findings(outside, "rising-steps", 2, 3, n=9, **STEP) if f.found == "0.9000"]
    assert one.verdict == "inconsistent"
    assert "does not: not so." in one.sentence


def test_ties_must_be_those_of_the_steps() -> None:
    held = ledger()
    assert set(verdicts(held, "ties-of-steps", 1, 3, **STEP)) == {"consistent"}
    apart = held
    for i in range(8):
        apart = changed(apart, i, "value", f"0.9{i}", number=3)  # no two of A's reliabilities print alike
    found = {one.row: one.verdict for one in findings(apart, "ties-of-steps", 1, 3, **STEP)}
    assert found == {"rel A": "inconsistent", "loc A": "consistent", "rel B": "consistent", "loc B": "consistent"}


def test_one_order_must_give_all_rho_of_a_block() -> None:
    settings: dict[str, Any] = {"series": ("summary", "aggregation", "method"), "step": "n_edits", **STEP}
    held = ledger()
    assert set(verdicts(held, "shared-order", 2, 3, **settings)) == {"consistent"}
    # A's reliability and locality both fall, so no order gives opposite correlations as strong as these
    opposite = changed(held, 0, "rho", held[2].lines[0].cells["rho"].text.lstrip("-"), number=2)
    found = {one.row: one.verdict for one in findings(opposite, "shared-order", 2, 3, n=9, **settings)}
    assert found == {"median mean A": "inconsistent", "median mean B": "consistent"}
    open_ = findings(held, "shared-order", 2, 3, most_orders=2, **settings)
    assert {one.verdict for one in open_ if one.row.endswith("A")} == {"undefined"}


def test_single_wrong_digits_in_bound_cells_of_the_paper_show() -> None:
    """Of random wrong digits in cells that the rules bind, at least 95% must make a finding worse."""
    held = read_ledger(ROOT / "specs" / "paper")
    ids = (
        "p-from-rho",
        "stars-from-p",
        "main-correlations-as-in-appendix",
        "rho-with-one-set-of-ties",
        "rho-attainable",
    )
    rules = [rule for rule in read_rules(ROOT / "specs" / "consistency") if rule.spec.id in ids]

    def severity(of: Ledger) -> dict[tuple[str, str], int]:
        return {(one.case.id, f.row): VERDICTS.index(f.verdict) for one in audit(rules, of) for f in one.findings}

    before = severity(held)
    bound = list(bound_cells(audit(rules, held)).items())
    random = np.random.default_rng(5)
    caught = 0
    for _ in range(20):
        place, cell = bound[random.integers(len(bound))]
        digits = [i for i, sign in enumerate(cell.text) if sign.isdigit()]
        i = digits[random.integers(len(digits))]
        other = str((int(cell.text[i]) + random.integers(1, 10)) % 10)
        after = severity(held.with_texts({place: cell.text[:i] + other + cell.text[i + 1 :]}))
        caught += any(value > before[key] for key, value in after.items())
    assert caught >= 19
