"""Tables that are consistent by construction (that they raise no alarm is told in test_planting.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from editverdict.ledger.synthetic import consistent
from editverdict.ledger.tables import Ledger, read_ledger

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def paper() -> Ledger:
    return read_ledger(ROOT / "specs" / "paper")


def test_they_have_the_papers_shape_and_none_of_its_numbers(paper: Ledger) -> None:
    made = consistent(paper, 0)
    assert list(made.tables) == list(paper.tables)
    others = {(cell.table, cell.line, cell.column): cell for cell in paper.cells}
    pairs = [(others[cell.table, cell.line, cell.column], cell) for cell in made.cells]
    # Only rows of norms without a row of ratios are left out.
    assert {table for table in paper.tables if len(paper[table].lines) != len(made[table].lines)} == {9}
    assert all((a.keys, bool(a.text)) == (b.keys, bool(b.text)) for a, b in pairs)
    numbers = [(a, b) for a, b in pairs if a.number and a.column not in ("d", "edit_time")]
    assert all(b.number for _, b in numbers)
    # What is equal is so by chance or by definition: collapse to 0.00, stars, a cosine of 1.000.
    other = sum(a.text != b.text for a, b in numbers)
    assert other > 0.7 * len(numbers)


def test_they_depend_on_the_seed_and_on_nothing_else(paper: Ledger) -> None:
    first, again, other = ([cell.text for cell in consistent(paper, seed).cells] for seed in (3, 3, 4))
    assert first == again != other


def test_tables_that_are_not_there_are_left_out(paper: Ledger) -> None:
    some = Ledger({number: paper[number] for number in (5, 9, 21, 29, 40)}, paper.folder)
    assert list(consistent(some).tables) == [5, 9, 21, 29, 40]
