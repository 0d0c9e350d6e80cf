"""Findings say of every claim how it came out and why, under one heading each, and on what the run stands."""

from __future__ import annotations

import re
from typing import Any

from editverdict.inference.rows import ClaimVerdict, Row
from editverdict.reporting.findings import findings_markdown


def test_every_claim_stands_under_its_own_verdict(
    claims: list[ClaimVerdict], rows: list[Row], manifest: dict[str, Any]
) -> None:
    text = findings_markdown(claims, rows, manifest)
    assert [text.count(f"- `{claim.claim}`") for claim in claims] == [1] * len(claims)
    headings = {"supported": "Hold", "refuted": "Fail", "inconclusive": "Cannot be decided", "not_run": "Not run"}
    for claim in claims:
        if title := headings.get(claim.verdict):
            section = text.split(f"## {title} (")[1].split("\n## ")[0]
            assert f"- `{claim.claim}`" in section


def test_every_case_has_its_reason(claims: list[ClaimVerdict], rows: list[Row], manifest: dict[str, Any]) -> None:
    text = findings_markdown(claims, rows, manifest)
    known = {claim.claim for claim in claims}
    own = [row for row in rows if row.claim in known]
    assert len(re.findall(r"(?m)^  - .+: \*\*", text)) == len(own) > 0


def test_cases_stand_as_planned_whoever_was_done_first(
    claims: list[ClaimVerdict], rows: list[Row], manifest: dict[str, Any]
) -> None:
    more = [
        *rows,
        *(row.model_copy(update={"case": f"{row.case}-again", "model": f"{row.model}-again"}) for row in rows),
    ]
    planned = [c.model_copy(update={"cases": tuple(r.case for r in more if r.claim == c.claim)}) for c in claims]
    assert findings_markdown(planned, more, manifest) == findings_markdown(planned, more[::-1], manifest)


def test_what_it_stands_on_is_there_and_missing_is_not_made_up(
    claims: list[ClaimVerdict], rows: list[Row], manifest: dict[str, Any]
) -> None:
    text = findings_markdown(claims, rows, manifest)
    assert f"| profile | {manifest['profile']} |" in text
    assert "| commit |" not in findings_markdown(claims, rows, {"profile": "x"})


def test_texts_cannot_break_out_of_their_line(
    claims: list[ClaimVerdict], rows: list[Row], manifest: dict[str, Any], hostile: str
) -> None:
    bad = [claims[0].model_copy(update={"statement": f"{hostile}\n## Hold (99)"})]
    text = findings_markdown(bad, [], manifest)
    assert "\n## Hold (99)" not in text and "<script" not in text


def test_a_form_of_questions_that_is_not_that_of_edits_stands_first(
    claims: list[ClaimVerdict], rows: list[Row], manifest: dict[str, Any]
) -> None:
    assert "Form of edits" not in findings_markdown(claims, rows, manifest)
    asked = {"edited": "bare prompt", "asked": "chat template"}
    changed = [
        row.model_copy(update={"descriptive": {**row.descriptive, "forms": asked}}) if row.method == "ROME" else row
        for row in rows
    ]
    text = findings_markdown(claims, changed, manifest)
    own = sum(row.method == "ROME" for row in rows)
    said = f"**Form of edits and of questions.** In {own} of {len(rows)} cases (ROME) models were edited on the bare"
    assert 0 < text.index(said) < text.index("\n## ")
    known = {claim.claim for claim in claims}
    in_cases = sum(row.method == "ROME" and row.claim in known for row in rows)
    assert text.count("edited on the bare prompt, asked in the chat template") == in_cases + 1 > 1
