"""The index of the paper's tables: units of all columns, and which claims rest on which table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml

from editverdict.ledger.tables import Ledger, read_ledger
from editverdict.pipeline.setup import load_library
from editverdict.schema.claims import ClaimSpec

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def paper() -> Ledger:
    return read_ledger(ROOT / "specs" / "paper")


@pytest.fixture(scope="module")
def listed() -> dict[str, str]:
    """Every claim of the paper, with why it rests on no table, or nothing."""
    document = yaml.safe_load((ROOT / "specs" / "paper" / "claims.yaml").read_text(encoding="utf-8"))
    found = {entry["claim"]: entry.get("no_table", "") for entry in document["claims"]}
    assert len(found) == len(document["claims"])
    return found


@pytest.fixture(scope="module")
def specs() -> list[ClaimSpec]:
    return list(load_library([ROOT / "specs"]).claims.values())


def tables_of(paper: Ledger) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for number, table in paper.tables.items():
        assert len(set(table.spec.evidences)) == len(table.spec.evidences), number
        for claim in table.spec.evidences:
            found.setdefault(claim, set()).add(number)
    return found


def test_every_number_has_a_unit(paper: Ledger) -> None:
    bare = [
        f"Table {number} {name}"
        for number, table in paper.tables.items()
        for name, column in table.spec.columns.items()
        if not column.unit and not column.text
    ]
    assert bare == []


def test_a_unit_allows_what_is_printed(paper: Ledger) -> None:
    """Percentages up to 100 and fractions up to 1."""
    most = {"percent": 100.0, "fraction": 1.0}
    outside = [str(c) for c in paper.cells if c.number and not 0 <= c.value <= most.get(c.spec.unit, float("inf"))
               and c.spec.unit in most]  # fmt: skip
    assert outside == []


def test_every_claim_of_the_index_is_one_of_the_paper(paper: Ledger, listed: dict[str, str]) -> None:
    assert tables_of(paper).keys() <= listed.keys()


def whole(claim: str, listed: Iterable[str]) -> str:
    """The claim of the paper that a spec is about: a claim with two regions has two specs, ``ID`` and ``ID-more``."""
    return next((one for one in listed if claim == one), None) or next(
        (one for one in listed if claim.startswith(f"{one}-")), claim
    )


def test_every_claim_with_a_specification_is_one_of_the_paper(specs: list[ClaimSpec], listed: dict[str, str]) -> None:
    own = [whole(spec.id, listed) for spec in specs]
    assert len(own) > 40 and set(own) <= listed.keys()


def test_a_claim_rests_on_a_table_or_it_is_said_why_on_none(paper: Ledger, listed: dict[str, str]) -> None:
    resting = tables_of(paper)
    assert {claim for claim, why in listed.items() if not why} == resting.keys()


def test_every_table_is_evidence_for_something(paper: Ledger) -> None:
    assert [number for number, table in paper.tables.items() if not table.spec.evidences] == []


def test_a_table_that_a_claim_quotes_is_one_that_it_rests_on(paper: Ledger, specs: list[ClaimSpec]) -> None:
    resting = tables_of(paper)
    missing = []
    for spec in specs:
        for value in spec.paper_values:
            others = (other.table for other in (value.minus, value.over) if other and other.table)
            quoted = {value.table, *others} - resting.get(whole(spec.id, resting), set())
            missing += [f"{spec.id}: Table {number}" for number in quoted]
    assert missing == []


# --------------------------------------------------------------------------- against the list of claims itself
def numbers_in(text: str) -> set[int]:
    """Tables that a text names as ``T3``, ``T9–12`` or ``T1, T5–8``; T5-3B and the like are models."""
    found: set[int] = set()
    for first, last in re.findall(r"\bT(\d+)(?:–(\d+))?(?![\d\w-])", text.replace("T5 modules", "")):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def test_table_numbers_in_words() -> None:
    assert numbers_in("§4.1, B.1, T1, T5–8. Q: T5-3B") == {1, 5, 6, 7, 8}
    assert numbers_in("T13–18, k=10 at T=20; parts of T5 modules") == {13, 14, 15, 16, 17, 18}


def test_the_tables_that_the_list_of_claims_names_are_in_the_index(
    paper: Ledger, listed: dict[str, str], shared: Callable[..., Path]
) -> None:
    text = shared("paper", "claims.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"(?m)^\d+\. \*\*([\w-]+)\*\*(.*)$", text))
    assert list(entries) == list(listed)
    resting = tables_of(paper)
    # Where a claim is found: up to the quantity or the direction that it states.
    stated = {name: re.split(r"\b[QDPUX]: ", body, maxsplit=1)[0] for name, body in entries.items()}
    missing = {name: numbers_in(body) - resting.get(name, set()) for name, body in stated.items()}
    assert {name: sorted(tables) for name, tables in missing.items() if tables} == {}
