"""The table of methods: intervals by an independent route, and what stands in each line."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats

from editverdict.reporting.methods_table import methods_markdown, stands_on, wilson

MANIFEST: dict[str, Any] = {
    "models": ["m"],
    "datasets": ["d"],
    "profile": "p",
    "judge": "lexical",
    "protocol": {"id": "completion-10"},
    "seed": 0,
    "editverdict": "0.1.0",
    "commit": "abc",
    "dirty": True,
    "packages": {"torch": "2.13.0"},
    "hardware": {"processor": "cpu", "threads_per_process": 1},
    "created": "2026-01-01T00:00:00",
}


@pytest.mark.parametrize(("successes", "n"), [(0, 50), (1, 50), (25, 50), (49, 50), (50, 50), (3, 4)])
def test_wilson_against_scipy(successes: int, n: int) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_share_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        wilson(0, 0)


def test_lines_and_what_is_missing() -> None:
    base = {"success": 45, "asked": 50, "rel": 0.5, "port": None, "cpu_seconds": 3.21, "kib_per_edit": 16.5}
    lines = [
        {"method": "unedited", "schedule": "", "edits": 0, "success": 1, "asked": 50},
        {"method": "A", "schedule": "single", "edits": 50, **base},
        {"method": "A", "schedule": "10", "edits": 10, **base, "success": 8, "asked": 10},
    ]
    text = methods_markdown(MANIFEST, lines, {"B, 50": "too slow"})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    heads, _, unedited, single, chain = rows
    assert dict(zip(heads, single, strict=True)) | {} == {
        **dict.fromkeys(heads, "–"),
        "method": "A",
        "edits": "50 × 1",
        "own success [95%]": "0.90 [0.79, 0.96]",
        "Rel": "0.50",
        "CPU s/edit": "3.2",
        "KiB/edit": "16",
    }
    assert chain[1] == "chain of 10" and chain[2].startswith("0.80") and unedited[1] == "0"
    assert "- B, 50: too slow" in text and "commit abc (with changes)" in text


def test_what_was_reached_on_facts_held_out_of_training_is_told_once() -> None:
    base = {"edits": 1, "success": 1, "asked": 1}
    held = {"success": 0.9375, "rephrases": 0.8, "edits": 48}
    lines = [{"method": "M", "schedule": how, **base, "held_out": held} for how in ("single", "10")]
    text = methods_markdown(MANIFEST, [*lines, {"method": "N", "schedule": "single", **base, "held_out": None}], {})
    assert text.count("held out of its training") == 1
    assert "M, facts held out of its training (48 of the split `tune`): success 0.94 on the prompts, 0.80" in text


def test_a_model_with_a_protocol_of_its_own_is_said_to_answer_by_it() -> None:
    assert "protocol `completion-10`" in stands_on({**MANIFEST, "protocols": {"other": {"id": "chat-50"}}})[0]
    assert "protocol `chat-50`" in stands_on({**MANIFEST, "protocols": {"m": {"id": "chat-50"}}})[0]
