"""Numbers that claims quote: they name printed cells, and are what is printed there."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from editverdict.ledger.quoted import QuoteError, agrees, check_claims, resolve, setting
from editverdict.ledger.tables import Ledger, read_ledger
from editverdict.schema.claims import ClaimSpec, PaperValue
from editverdict.schema.library import SpecLibrary

SPECS = Path(__file__).resolve().parents[3] / "specs"
INDEX = """
tables:
  - table: 1
    file: one.csv
    caption: made up
    keys: [model, method, step]
    columns: {cos: {what: cosine}, pct: {what: share, unit: percent}}
  - table: 2
    file: two.csv
    caption: made up
    keys: [model]
    columns: {cos: {what: cosine}}
"""
ONE = """model,method,step,cos,pct
Big,ROME,1,0.900,90.0
Big,ROME,2,0.50,50.0
Big,ROME,5,0.10,-
Big,MEMIT,1,0.80,
"""
PLAIN: dict[str, Any] = {"table": 1, "row": "r", "value": 0.9, "keys": {"method": "ROME", "step": 1}, "column": "cos"}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    (tmp_path / "index.yaml").write_text(INDEX)
    (tmp_path / "one.csv").write_text(ONE)
    (tmp_path / "two.csv").write_text("model,cos\nBig,0.00\n")
    return read_ledger(tmp_path)


def value(**changes: Any) -> PaperValue:
    return PaperValue.model_validate_json(json.dumps(PLAIN | changes))


@pytest.fixture(scope="module")
def library() -> SpecLibrary:
    return SpecLibrary.load(SPECS)


@pytest.fixture(scope="module")
def paper() -> Ledger:
    return read_ledger(SPECS / "paper")


# ------------------------------------------------------------------------------- the claims of this repository
def test_every_claim_quotes_printed_cells_or_says_why_not(library: SpecLibrary) -> None:
    silent = [c.id for c in library.claims.values() if not c.paper_values and not c.not_comparable]
    unnamed = [c.id for c in library.claims.values() for v in c.paper_values if v.column is None]
    assert (silent, unnamed) == ([], [])


def test_every_quoted_value_is_what_is_printed(library: SpecLibrary, paper: Ledger) -> None:
    assert [p.render() for p in check_claims(library.claims.values(), paper, library.places)] == []
    plain = 0
    for claim in library.claims.values():
        for one in claim.paper_values:
            quoted = resolve(one, paper)
            assert quoted is not None and all(cell.number for cell in quoted.cells)
            if len(quoted.cells) == 1 and one.per == 1.0 and not one.log10:
                plain += 1
                assert one.value == float(quoted.cells[0].text), (claim.id, one.row)  # to the digit
    assert plain >= 30


def test_a_changed_digit_in_any_quoted_cell_is_seen(library: SpecLibrary, paper: Ledger) -> None:
    """Of every claim's plain values: with another number in print, the claim is told to be wrong, with its place."""
    for claim in library.claims.values():
        for position, one in enumerate(claim.paper_values):
            quoted = resolve(one, paper)
            if quoted is None or not quoted.plain:
                continue
            cell = quoted.cells[0]
            changed = paper.with_texts({(cell.table, cell.line, cell.column): repr(cell.value + cell.unit)})
            problems = {p.field: p for p in check_claims([claim], changed, library.places)}
            problem = problems[f"claims[{claim.id}].paper_values[{position}].value"]
            assert problem.file.endswith(".yaml") and problem.line and str(cell) in problem.expected
            break


# ------------------------------------------------------------------------------- which cells, and what they come to
def test_one_cell_as_printed(ledger: Ledger) -> None:
    quoted = resolve(value(), ledger)
    assert quoted is not None and quoted.plain and quoted.value == 0.9
    assert quoted.range is not None and (quoted.range.low, quoted.range.high) == pytest.approx((0.8995, 0.9005))


@pytest.mark.parametrize(
    ("changes", "expected", "half"),
    [
        ({"column": "pct", "per": 100}, 0.9, 0.0005),
        ({"minus": {"keys": {"step": 2}}}, 0.4, 0.0005 + 0.005),
        ({"minus": {"keys": {"method": "MEMIT"}}, "per": -100}, -0.001, 5.5e-5),
        ({"keys": {"method": "ROME", "step": [1, 2, 5]}, "reduce": "median"}, 0.5, 0.005),
        ({"keys": {"method": "ROME", "step": [1, 2, 5]}, "reduce": "mean"}, 0.5, (0.0005 + 0.01) / 3),
        ({"keys": {"method": "ROME", "step": [1, 2, 5]}, "reduce": "min"}, 0.1, 0.005),
        ({"keys": {"method": "ROME", "step": [1, 2, 5]}, "reduce": "max"}, 0.9, 0.0005),
        ({"minus": {"keys": {"step": [1, 2, 5]}, "reduce": "median"}}, 0.4, 0.0055),
    ],
)
def test_cells_come_to_one_number(ledger: Ledger, changes: dict[str, Any], expected: float, half: float) -> None:
    quoted = resolve(value(**changes), ledger)
    assert quoted is not None and quoted.range is not None
    assert quoted.value == pytest.approx(expected)
    assert (quoted.range.high - quoted.range.low) / 2 == pytest.approx(half)


def test_ratios_logarithms_and_ranks(ledger: Ledger) -> None:
    ratio = resolve(value(over={"keys": {"step": 5}}), ledger)
    assert ratio is not None and ratio.value == pytest.approx(9.0)
    assert ratio.range is not None and ratio.range.low == pytest.approx(0.8995 / 0.105)
    logarithm = resolve(value(over={"keys": {"step": 5}}, log10=True), ledger)
    assert logarithm is not None and logarithm.value == pytest.approx(math.log10(9.0))
    rank = resolve(value(keys={"method": "ROME", "step": [1, 2, 5]}, reduce="spearman"), ledger)
    assert rank is not None and rank.value == pytest.approx(-1.0) and rank.range is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"table": 7}, "no Table 7"),
        ({"column": "coz"}, "no column 'coz'"),
        ({"keys": {"methud": "ROME"}}, "no key 'methud'"),
        ({"keys": {"method": "ROMA", "step": 1}}, "0 rows with method ROMA, step 1; its method is one of ROME, MEMIT"),
        ({"keys": {"method": "ROME"}}, "3 rows with method ROME"),
        ({"keys": {"method": "ROME", "step": [1, 2]}}, "2 cells and no 'reduce'"),
        ({"column": "pct", "keys": {"method": "ROME", "step": 5}}, "'-' is no number"),
        ({"over": {"table": 2, "keys": {}}}, "no key 'method'"),
        ({"keys": {"method": "ROME", "step": [1, 2]}, "minus": {"keys": {"step": [1, 2, 5]}}}, "2 cells are compared"),
    ],
)
def test_a_name_that_leads_nowhere_says_where(ledger: Ledger, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(QuoteError, match=said):
        resolve(value(**changes), ledger)


def test_a_division_by_what_may_be_zero_is_no_number(ledger: Ledger) -> None:
    quoted = PaperValue(table=2, row="r", value=1.0, keys={"model": "Big"}, column="cos", log10=True)
    with pytest.raises(QuoteError, match="the logarithm of what may be"):
        resolve(quoted, ledger)
    other = {"table": 2, "row": "r", "value": 1, "keys": {"model": "Big"}, "column": "cos", "over": {"column": "cos"}}
    with pytest.raises(QuoteError, match="division"):
        resolve(PaperValue.model_validate(other), ledger)


def test_a_value_without_a_column_is_not_looked_up(ledger: Ledger) -> None:
    assert resolve(PaperValue(table=99, row="of another paper", value=1.0), ledger) is None


@pytest.mark.parametrize(("stated", "right"), [(0.9, True), (0.899, False), (0.9001, False)])
def test_a_plain_value_agrees_to_the_digit(ledger: Ledger, stated: float, right: bool) -> None:
    quoted = resolve(value(), ledger)
    assert quoted is not None and agrees(stated, quoted) is right


@pytest.mark.parametrize(("stated", "right"), [(1.8, True), (1.81, False), (1.79, False), (2.0, False)])
def test_a_computed_value_agrees_to_its_own_digits_within_the_rounding(
    ledger: Ledger, stated: float, right: bool
) -> None:
    quoted = resolve(value(over={"keys": {"step": 2}}), ledger)  # 0.900 / 0.50, between 1.781 and 1.819
    assert quoted is not None and agrees(stated, quoted) is right


def test_the_setting_is_read_from_the_keys() -> None:
    found = setting(value(keys={"model": "Big", "method": ["ROME", "MEMIT"], "edit_step": 20}))
    assert found == ("Big", None, None, 20)
    assert setting(value(keys={"n_edits": "all"})).edits is None
    assert setting(value(edits=1301)).edits == 1301


def test_specs_refuse_what_cannot_be_meant() -> None:
    for changes in ({"column": None}, {"minus": {}, "over": {}}, {"per": 0}):
        with pytest.raises(ValueError, match=r"column|exclude|per"):
            value(**changes)


def test_a_wrong_value_is_told_with_its_place(ledger: Ledger, library: SpecLibrary) -> None:
    claim: ClaimSpec = library.claims["collapse-cond"].model_copy(update={"paper_values": (value(value=0.8),)})
    (problem,) = check_claims([claim], ledger, {("claims", "collapse-cond"): "specs/claims/collapse.yaml:77"})
    said = problem.render()
    assert said.startswith("specs/claims/collapse.yaml:77: claims[collapse-cond].paper_values[0].value: 0.8")
    assert "expected 0.9, which is printed (Table 1, Big ROME 1, cos)" in said
