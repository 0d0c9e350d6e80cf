"""The session fixtures hand out edited models to suites of a user's own, and prove that the base model came back."""

from __future__ import annotations

from pathlib import Path

from suites.selftest.pipeline.sessions import ROOT, fork

MINE = """
from editverdict.editors import installed


def test_edited_model(trial, edited_states):
    states = edited_states("rehearsal-llama", "ROME", "worldfacts")
    loaded = trial.model("rehearsal-llama")
    weight = loaded.sites.down_proj(loaded.spec.layers.edit).weight
    before = weight.detach().clone()
    with installed(loaded.model, states[0]):
        assert not weight.equal(before)
    assert weight.equal(before)
    assert len(states) == 3


def test_something_left_behind(trial):
    trial.model("rehearsal-llama").sites.down_proj(0).weight.data[0, 0] += 1.0
"""


def test_a_suite_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "test_mine.py"
    file.write_text(MINE)
    plugins = [part for name in ("plugins.devices", "plugins.claims", "fixtures.trial") for part in ("-p", name)]
    options = ("-c", "pyproject.toml", "--rootdir", ROOT, *plugins, "--profile", "smoke", "--store", tmp_path / "store")
    done = fork(tmp_path / "run", *options, suites=[file])
    assert "2 passed, 1 error" in done.output, done.output
    assert "PurityError" in done.output
    assert "are not those that were loaded" in done.output
