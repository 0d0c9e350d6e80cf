"""The table of methods: its lines, the order of work, and that a line which fails costs no other."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from editverdict.pipeline.methods_table import Part, _order, _work, measure, parts_of
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from suites.selftest.pipeline.sessions import ROOT

MODEL, DATA = "rehearsal-llama", "worldfacts"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table")


@pytest.fixture(scope="module")
def trial(store: Path) -> Trial:
    return make_trial(Options(profile="smoke", store=store), ROOT / "specs")


def test_lines_of_every_method(trial: Trial) -> None:
    assert [part.schedule for part in parts_of(trial) if part.method == "SCR"] == ["single", "1", "4"]


def test_what_is_trained_goes_first_and_then_the_longest(trial: Trial) -> None:
    parts = [Part("ROME", "50"), Part("ROME", "single"), Part("MEND", "1"), Part("ROME", "10"), Part("MEND", "30")]
    found = sorted(parts, key=lambda part: _order(trial, MODEL, part))
    assert [part.name for part in found] == ["MEND, 30", "MEND, 1", "ROME, 50", "ROME, single", "ROME, 10"]


def test_a_line_that_fails_costs_no_other_and_what_is_stored_is_not_made_again(trial: Trial, store: Path) -> None:
    make = functools.partial(make_trial, Options(profile="smoke", store=store), ROOT / "specs")
    _, error = _work(make, MODEL, DATA, Part("easyedit:ROME", "1"))
    assert error is not None and "--easyedit-python" in error
    _, error = _work(make, MODEL, DATA, Part("no such method", "1"))
    assert error is not None and error.startswith("broken: KeyError")
    assert _work(make, MODEL, DATA, Part("SCR", "1")) == (Part("SCR", "1"), None)
    made = measure(trial, MODEL, DATA, Part("SCR", "1"))
    assert made["edits"] == 1 and made["asked"] == 1 and made["cpu_seconds"] >= 0
    assert sum(counts.built for counts in trial.store.ledger.snapshot().values()) == 0
