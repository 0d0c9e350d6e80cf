"""Forms of edits and of questions: said where they differ, and only there."""

from __future__ import annotations

from typing import Any

import pytest

from editverdict.inference.claims import stands_on
from editverdict.inference.forms import BARE, CHAT, FORMS_KEY, TEXT, apart, apart_in, forms, methods_apart

SAID = "edited on the bare prompt, asked in the chat template"


@pytest.mark.parametrize(
    ("edited", "asked", "said"), [(BARE, CHAT, SAID), (BARE, BARE, ""), (TEXT, CHAT, ""), (TEXT, BARE, "")]
)
def test_only_edits_of_another_form_are_told(edited: str, asked: str, said: str) -> None:
    assert apart({FORMS_KEY: forms(edited, asked)}) == said


def test_rows_that_ask_nobody_or_are_older_say_nothing() -> None:
    assert apart({}) == apart({FORMS_KEY: None}) == apart({FORMS_KEY: {}}) == ""


def test_a_claim_over_several_cases_says_of_how_many_it_holds(make_row: Any) -> None:
    chat, text = ({FORMS_KEY: forms(edited, CHAT), "edits": 10} for edited in (BARE, TEXT))
    rows = [make_row(model=m, method="ROME", descriptive=chat) for m in ("m1", "m2")]
    assert apart_in(rows) == SAID and stands_on(rows) == f"m1, m2, ROME, T = 10, {SAID} (extension)"
    mixed = [*rows, make_row(model="m1", method="SCR", descriptive=text)]
    assert apart_in(mixed) == f"2 of 3 cases {SAID}" and methods_apart(mixed) == ["ROME"]
    assert apart_in(mixed[2:]) == "" and "asked" not in stands_on(mixed[2:])
