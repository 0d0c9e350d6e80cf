"""What a sentence says, and no more, is held against a table: the rules themselves on tables that a test makes up."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest

from editverdict.ledger.findings import Finding
from editverdict.ledger.rules import Rule, Scope, read_rules
from editverdict.ledger.tables import Ledger, Table
from suites.selftest.ledger.made_up import table, verdicts

ROOT = Path(__file__).resolve().parents[3]


@lru_cache
def rules() -> dict[str, Rule]:
    return {rule.spec.id: rule for rule in read_rules(ROOT / "specs" / "consistency")}


def held(name: str, *tables: Table) -> list[Finding]:
    """What a rule of the paper finds in made-up tables (all of them together, the first in question)."""
    rule = rules()[name]
    numbers = tuple(one.spec.table for one in tables)
    ledger = Ledger({one.spec.table: one for one in tables}, Path())
    return list(rule.run(Scope(ledger, rule.spec, rule.settings, numbers)))


def events(*averages: float) -> Table:
    names = ("ROME", "MEMIT", "MEND", "FT-L", "WISE")
    rows = "\n".join(f"M,{name},{average:.2f}" for name, average in zip(names, averages, strict=True))
    return table(36, ["model", "method"], f"model,method,avg\n{rows}")


@pytest.mark.parametrize(
    ("averages", "verdict"),
    [((0, 0, 0, 16, 27), "consistent"), ((0, 0, 30, 16, 27), "undefined"), ((0, 0, 0, 0, 0), "consistent")],
)
def test_most_methods_are_not_all_methods(averages: tuple[float, ...], verdict: str) -> None:
    assert verdicts(held("events-break-down", events(*averages))) == {verdict: 1}
    assert 36 not in rules()["most-methods-collapse"].spec.tables


def settings_of(number: int, method: str, single: str, sequential: str, model: str = "M", column: str = "avg") -> Table:
    keys = ["model", "method", "setting"]
    rows = f"{model},{method},single,{single}\n{model},{method},sequential,{sequential}"
    return table(number, keys, f"{','.join(keys)},{column}\n{rows}")


def test_a_method_that_the_sentence_excepts_is_not_held_against_it() -> None:
    assert held("sequential-below-single", settings_of(3, "AlphaEdit", "22.35", "24.16")) == []
    assert verdicts(held("sequential-below-single", settings_of(3, "ROME", "22.35", "0.16"))) == {"consistent": 1}
    assert verdicts(held("sequential-below-single", settings_of(3, "ROME", "22.35", "24.16"))) == {"undefined": 1}


def test_a_sentence_about_sequential_editing_leaves_the_single_row_alone() -> None:
    made = settings_of(31, "AlphaEdit", "37.66", "2.05", "Llama-2-13B", "rel")
    assert [one.row for one in held("alphaedit-fails-on-llama-2", made)] == ["Llama-2-13B AlphaEdit sequential rel"]
    assert verdicts(held("alphaedit-fails-on-llama-2", made)) == {"consistent": 1}
    works = settings_of(31, "AlphaEdit", "2.66", "28.05", "Llama-2-13B", "rel")
    assert verdicts(held("alphaedit-fails-on-llama-2", works)) == {"undefined": 1}


@pytest.mark.parametrize(
    ("single", "sequential", "verdict"),
    [("49.27", "85.40", "consistent"), ("85.40", "76.27", "consistent"), ("85.40", "49.27", "undefined")],
)
def test_a_gain_is_no_lack_of_robustness(single: str, sequential: str, verdict: str) -> None:
    assert verdicts(held("retrieval-robust", settings_of(31, "SCR", single, sequential))) == {verdict: 1}
    assert rules()["retrieval-robust"].spec.tables == (31,)


def course(*last: str) -> Table:
    rows = "\n".join(f"WISE,{m},1,0.10\nWISE,{m},all,{v}" for m, v in zip(("rel", "gen", "loc"), last, strict=True))
    return table(37, ["method", "metric", "n_edits"], f"method,metric,n_edits,value\n{rows}", "fraction")


@pytest.mark.parametrize(
    ("last", "some", "every"),
    [(("0.05", "0.04", "0.03"), "consistent", {"consistent": 3}),
     (("0.20", "0.10", "0.20"), "consistent", {"consistent": 1, "undefined": 2}),
     (("0.20", "0.11", "0.20"), "inconsistent", {"undefined": 3})],
)  # fmt: skip
def test_all_methods_are_not_all_dimensions(last: tuple[str, ...], some: str, every: dict[str, int]) -> None:
    assert verdicts(held("all-methods-decline", course(*last))) == {some: 1}
    assert verdicts(held("every-dimension-declines", course(*last))) == every


@pytest.mark.parametrize(("alone", "both", "verdict"), [("0.00", "0.0", "consistent"), ("0.71", "0.0", "undefined")])
def test_nothing_against_nothing_is_no_worse(alone: str, both: str, verdict: str) -> None:
    at = "Llama-3.1-8B-Instruct,ZsRE"
    keys = ["model", "dataset", "method", "n_edits"]
    combined = table(43, keys, f"{','.join(keys)},rel,gen,loc,port\n{at},MEND+SCR,10,{both},-,-,-")
    keys.append("metric")
    courses = table(37, keys, f"{','.join(keys)},value\n{at},MEND,10,rel,{alone}", "fraction")
    assert verdicts(held("retrieval-improves-courses", combined, courses)) == {verdict: 1}


def test_a_method_may_be_missing() -> None:
    keys = ["model", "method"]
    one, two = (table(n, keys, f"model,method,rel\nM,ROME,1\nM,MEMIT,{v}") for n, v in ((3, "2"), (29, "-")))
    found = held("same-methods-everywhere", one, two)
    assert verdicts(found) == {"consistent": 1, "undefined": 1}
    assert found[1].found == "without MEMIT"


@pytest.mark.parametrize(
    ("name", "row", "verdict"),
    [("caption-condition-number", "1,7.1e5", "inconsistent"), ("caption-condition-number", "1,5.7e7", "consistent"),
     ("caption-condition-number-of-others", "1,7.1e5", "undefined"),
     ("caption-condition-number-t5", "1,8.3e2", "undefined")],
)  # fmt: skip
def test_a_caption_is_about_its_own_table(name: str, row: str, verdict: str) -> None:
    made = table(rules()[name].spec.tables[0], ["layer"], f"layer,cond\n{row}", "")
    assert verdicts(held(name, made)) == {verdict: 1}


def test_a_single_edit_below_the_unedited_model_needs_more_than_chance() -> None:
    keys = ["model", "method", "setting"]
    rows = "M,Pre-edit,single,3.00\nM,MEND,single,1.84\nM,ROME,single,0.00\nM,WISE,single,40.00"
    found = held("editing-raises-reliability", table(31, keys, f"{','.join(keys)},rel\n{rows}"))
    assert [one.verdict for one in found] == ["undefined", "implausible", "consistent"]


THRESHOLDS_OF_OURS = [
    "scr-robust", "alphaedit-stable", "retrieval-robust", "scr-keeps-locality", "scr-keeps-tokens",
    "scr-keeps-most-outputs", "original-implementation", "original-implementation-wikidata",
    "norm-rows-in-amplification", "norm-beside-leading-direction", "alphaedit-stable-from-single",
    "rho-from-rising-steps",
    "typical-ratio-where-few-are-above-one", "many-much-larger-than-one", "vanishing-tail",
]  # fmt: skip


@pytest.mark.parametrize("name", THRESHOLDS_OF_OURS)
def test_what_needs_a_threshold_of_ours_contradicts_nothing(name: str) -> None:
    assert rules()[name].spec.broken == "undefined"


def test_what_unrelated_subspaces_do_is_improbable_and_not_impossible() -> None:
    names = ("smallest-angle-grows-no-worse", "smallest-angle-of-unrelated-subspaces")
    assert all(rules()[name].spec.about_paper for name in names)
    keys = ["model", "edit_step", "top_k"]
    cosines = table(13, keys, f"{','.join(keys)},cos\nM,1,2000,0.90\nM,2,2000,1.00", "")
    sizes = table(5, ["model"], "model,d\nM,4096", "")
    assert [one.verdict for one in held(names[1], cosines, sizes)] == ["implausible", "consistent"]


def test_handfuls_are_of_one_size() -> None:
    found = {name: getattr(rule.settings, "handful", 0.0) for name, rule in rules().items()}
    assert {share for share in found.values() if share} == {0.05}
    assert all(rules()[name].spec.note for name, share in found.items() if share)


def test_the_limit_of_copies_is_shared_by_all_cases() -> None:
    copies = [rule for rule in rules().values() if rule.spec.kind == "copied"]
    cases = sum(1 if rule.spec.joint else len(rule.spec.tables) for rule in copies)
    assert {rule.settings.model_dump()["cases"] for rule in copies} == {cases}
    columns = {column for rule in copies for pick in rule.settings.model_dump()["picks"] for column in pick["columns"]}
    assert "avg" not in columns
