"""What cases keep of their facts, and the table that a run makes of it: again and again the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from editverdict.evaluation.dimensions import scores_of
from editverdict.inference.rows import Region, Row
from editverdict.pipeline.comparing import facts_kept, in_other_form
from editverdict.pipeline.contests import FILE, FOLDER, refresh_contests, write_facts
from suites.selftest.pipeline.planted_answers import Right, answered, chains, scored

GOOD, WEAK = scored(rel=0.9, gen=0.8, loc=0.6, port=0.4), scored(rel=0.1, gen=0.1, loc=0.6, port=0.1)
CHAINS = chains(6, 10)


def rows_of(right: Right, **ids: str) -> list[list[dict[str, Any]]]:
    score = {"protocol": "p", "judge": "j"} | ids
    return [[{**row, **score} for row in answered(c, own, right).rows] for c, own in enumerate(CHAINS)]


def state(method: str, right: Right, schedule: str = "after 10", **ids: str) -> dict[str, Any]:
    return facts_kept(method, schedule, CHAINS, rows_of(right, **ids))


def row(method: str, verdict: str = "supported", **changes: Any) -> Row:
    values: dict[str, Any] = {
        "case": f"c[m-{method}-d]", "claim": "c", "statement": "s", "paper": "p", "hypothesis": "h", "where": "w",
        "severity": "minor", "family": "f", "model": "m", "method": method, "dataset": "d", "profile": "laptop",
        "verdict": verdict, "reason": "NOT_RUN: needs more", "quantity": "q", "describes": "d", "reduce": "r",
        "unit": "chain", "n_units": 6, "min_units": 6, "expected": Region(op=">", threshold=0.0),
    }  # fmt: skip
    return Row.model_validate(values | changes)


def keep(folder: Path, *states: dict[str, Any], method: str = "ROME") -> Row:
    made = row(method)
    write_facts(folder, f"c__{method}", made, states)
    return made


def test_facts_are_the_scores_that_tables_print() -> None:
    kept, rows = state("ROME", GOOD), [r for own in rows_of(GOOD) for r in own]
    assert (kept["method"], kept["schedule"], kept["score_id"]) == ("ROME", "after 10", "p/j")
    assert len(kept["facts"]) == 60 and [len(kept["questions"][d]) for d in ("rel", "gen", "loc", "port")] == [
        60,
        120,
        120,
        120,
    ]
    for dimension in ("rel", "gen", "loc", "port"):
        mean = sum(scores[dimension] for *_, scores in kept["facts"]) / 60
        assert mean == pytest.approx(getattr(scores_of(rows), dimension))
    assert "river" not in json.dumps(kept)  # ids and numbers, no answers


def test_answers_without_a_protocol_are_not_kept() -> None:
    bare = [answered(c, own, GOOD).rows for c, own in enumerate(CHAINS)]
    assert facts_kept("ROME", "single", CHAINS, bare) == {}


def test_a_run_with_two_methods_has_a_table(tmp_path: Path) -> None:
    made = keep(tmp_path, state("ROME", WEAK), state("SCR", GOOD))
    (found,) = refresh_contests(tmp_path, [made], ("ROME", "SCR"))
    lines = {line.dimension: line for line in found.lines}
    assert set(lines) == {"rel", "gen", "loc", "port"} and lines["rel"].first == "ROME"
    assert lines["rel"].differs and lines["rel"].difference == pytest.approx(-0.8, abs=0.05)
    assert lines["loc"].difference == 0.0 and not lines["loc"].differs
    apart = sum(2 <= (edit * 7 + chain) % 20 < 16 for chain in range(6) for edit in range(10))
    assert (lines["gen"].only_first, lines["gen"].only_second) == (0, 2 * apart)


def test_killed_and_restarted_the_table_is_the_same(tmp_path: Path) -> None:
    """The second half of a killed run brings its own facts; what was there is written again, bit by bit."""
    first, second = keep(tmp_path, state("ROME", WEAK)), row("SCR")
    (part,) = refresh_contests(tmp_path, [first], ("ROME", "SCR"))
    assert part.lines == () and any(why.startswith("SCR: no case of this run") for why in part.left_out)
    again = keep(tmp_path, state("ROME", WEAK))
    write_facts(tmp_path, "c__SCR", second, [state("ROME", WEAK), state("SCR", GOOD)])
    (whole,) = refresh_contests(tmp_path, [again, second], ("ROME", "SCR"))
    other = tmp_path / "other"
    keep(other, state("ROME", WEAK), state("SCR", GOOD))
    assert whole.lines == refresh_contests(other, [again], ("ROME", "SCR"))[0].lines and len(whole.lines) == 4


def test_an_unchanged_table_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = keep(tmp_path, state("ROME", WEAK), state("SCR", GOOD))
    first = refresh_contests(tmp_path, [made])
    monkeypatch.setattr("editverdict.pipeline.contests.contests_of", lambda *_: pytest.fail("made again"))
    assert refresh_contests(tmp_path, [made]) == first
    (tmp_path / FILE).write_text("torn", encoding="utf-8")
    with pytest.raises(pytest.fail.Exception):
        refresh_contests(tmp_path, [made])


def test_protocols_and_judges_have_tables_of_their_own(tmp_path: Path) -> None:
    made = keep(tmp_path, state("ROME", WEAK), state("ROME-identity", WEAK), state("SCR", GOOD, judge="other"))
    tables = {one.score_id: one for one in refresh_contests(tmp_path, [made])}
    assert {name: len(one.lines) for name, one in tables.items()} == {"p/j": 4, "p/other": 0}
    assert "SCR: asked under p/other, and this table is of p/j" in tables["p/j"].left_out


def test_cases_that_disagree_are_told(tmp_path: Path) -> None:
    flipped = state("ROME", WEAK)
    flipped["facts"][0][3] = {**flipped["facts"][0][3], "rel": 1.0 - flipped["facts"][0][3]["rel"]}
    rows = [keep(tmp_path, state("ROME", WEAK), flipped, state("SCR", GOOD))]
    (found,) = refresh_contests(tmp_path, rows)
    assert len(found.lines) == 4 and "disagree about 1 of 60 facts; the first counts" in found.left_out[0]
    rows = [keep(tmp_path, state("ROME", WEAK), state("ROME", GOOD), state("SCR", GOOD))]
    (found,) = refresh_contests(tmp_path, rows)
    assert found.lines == () and "left out: measure them again" in found.left_out[0]


def test_absent_methods_say_why_and_facts_without_a_row_are_not_used(tmp_path: Path) -> None:
    made = keep(tmp_path, state("ROME", WEAK), state("SCR", GOOD))
    skipped = row("WISE", "not_run")
    (found,) = refresh_contests(tmp_path, [made, skipped], ("ROME", "SCR", "WISE"))
    assert found.left_out == ("WISE: c[m-WISE-d]: NOT_RUN: needs more",)
    assert refresh_contests(tmp_path, [skipped], ()) == []


def test_methods_that_are_asked_otherwise_than_they_edit_are_named(tmp_path: Path) -> None:
    made = keep(tmp_path, state("ROME", WEAK), state("SCR", GOOD))
    forms = {"forms": {"edited": "bare prompt", "asked": "chat template"}}
    text = {"forms": {"edited": "text", "asked": "chat template"}}
    rows = [
        made.model_copy(update={"descriptive": forms}),
        row("SCR", descriptive=text),
        row("WISE", descriptive=forms),
    ]
    (found,) = refresh_contests(tmp_path, rows)
    (said,) = found.remarks
    assert said.startswith("ROME: edited on the bare prompt, asked in the chat template;")
    (found,) = refresh_contests(tmp_path, [made, row("SCR", descriptive=text)])
    assert found.remarks == ()


def test_edits_of_another_form_are_in_no_table_and_are_named(tmp_path: Path) -> None:
    """One case edits AlphaEdit on the bare prompt, all others in the template: protocol, judge and schedule are one."""
    usual = keep(tmp_path, state("AlphaEdit", GOOD), state("SCR", GOOD), method="AlphaEdit")
    other = row(
        "AlphaEdit", case="other[m-AlphaEdit-d]", descriptive={"forms": {"edited": "bare prompt", "asked": "t"}}
    )
    bare = [state("AlphaEdit", WEAK), state("easyedit:AlphaEdit", WEAK)]
    write_facts(tmp_path, "other__AlphaEdit", other, in_other_form(bare, "bare prompt"))
    (found,) = refresh_contests(tmp_path, [usual, other], ("AlphaEdit", "SCR"))
    assert {(line.first, line.second) for line in found.lines} == {("AlphaEdit", "SCR")}
    assert all(line.difference == 0.0 for line in found.lines) and found.remarks == ()
    assert [why.split(":")[0] for why in found.left_out] == ["AlphaEdit, after 10", "easyedit"]
    assert all("edited on the bare prompt, in another form" in why for why in found.left_out)
    # Unmarked, the two forms of AlphaEdit are taken for one.
    write_facts(tmp_path, "other__AlphaEdit", other, bare)
    (mixed,) = refresh_contests(tmp_path, [usual, other], ("AlphaEdit", "SCR"))
    assert any("cases disagree" in why for why in mixed.left_out)


def test_a_case_that_lost_its_facts_leaves_none_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    made = keep(tmp_path, state("ROME", WEAK), state("SCR", GOOD))
    (tmp_path / FOLDER / "zz.json").write_text("{", encoding="utf-8")
    (found,) = refresh_contests(tmp_path, [made])
    assert len(found.lines) == 4 and found.left_out[0].startswith("zz.json cannot be read")
    (tmp_path / FOLDER / "zz.json").unlink()
    write_facts(tmp_path, "c__ROME", made, [])
    assert refresh_contests(tmp_path, [made]) == [] and not (tmp_path / FILE).exists()
