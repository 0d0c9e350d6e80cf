"""Rows to judge, built the way the pipeline builds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from editverdict.inference.intervals import ESTIMATION_KEY, Estimate, t_interval
from editverdict.inference.rows import Region, Row
from editverdict.inference.verdicts import Late, decide_case

RowMaker = Callable[..., Row]


def _make_row(
    units: Sequence[float] = (),
    *,
    model: str = "m1",
    verdict: str | None = None,
    estimate: Estimate | None = None,
    **more: Any,
) -> Row:
    """A judged row over ``units`` against ``>= 0.5``; ``verdict`` makes it an unjudged one."""
    method, claim = more.pop("method", "ROME"), more.pop("claim", "some-claim")
    region = more.pop("expected", Region(op=">=", threshold=0.5))
    primary = estimate or t_interval(units)
    judged: dict[str, Any] = {key: more.get(key, ()) for key in ("definitions", "controls", "checks")}
    if more.get("late"):
        judged["late"] = Late(more["late"], more["horizon"], 10)
    decision = decide_case(
        describes="share", unit="edit", region=region, primary=primary, min_units=more.get("min_units", 2), **judged
    )
    fields: dict[str, Any] = {
        "case": f"{claim}[{model}-{method}]",
        "claim": claim,
        "statement": "Edits matter.",
        "paper": "A paper",
        "hypothesis": "H1",
        "where": "Table 1",
        "model": model,
        "method": method,
        "profile": "laptop",
        "quantity": "share",
        "describes": "share",
        "unit": "edit",
        "min_units": 2,
        "expected": region,
        "verdict": verdict or decision.verdict,
        "reason": f"{verdict.upper()}: because" if verdict else decision.reason,
    }
    if verdict is None:
        fields |= {
            "estimate": primary.value,
            "interval": primary.interval,
            "n_units": primary.n_units,
            "units": primary.units,
            "margin_to_flip": decision.margin_to_flip,
            "depends_on_definition": decision.depends_on_definition,
            "specific": decision.specific,
            "descriptive": {ESTIMATION_KEY: primary.record(), "edits": 10},
        }
    return Row(**{**fields, **more, "definitions": decision.definitions})


@pytest.fixture(scope="session")
def make_row() -> RowMaker:
    """Build a judged row from units."""
    return _make_row
