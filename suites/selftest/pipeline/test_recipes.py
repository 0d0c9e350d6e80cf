"""A recipe holds everything that an artifact depends on: change any of it, and the old artifact is not found."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from editverdict.pipeline.edits import step_recipe
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from suites.selftest.pipeline.sessions import ROOT

MODEL = "rehearsal-llama"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("recipes")), ROOT / "specs")


def with_settings(own: Trial, method: str, **settings: Any) -> Trial:
    """The trial with other hyperparameters of a method."""
    spec = own.library.methods[method]
    changed = spec.model_copy(update={"hyperparameters": {**spec.hyperparameters, **settings}})
    library = dataclasses.replace(own.library, methods={**own.library.methods, method: changed})
    return dataclasses.replace(own, library=library, _memo={})


@pytest.mark.parametrize("method", ["ROME", "placebo:ROME"])
def test_steps_depend_on_the_hyperparameters(own: Trial, method: str) -> None:
    records = own.chains("worldfacts")[0]
    other = with_settings(own, "ROME", prefixes=1)
    for length in (1, 2):
        chain = records[:length]
        assert step_recipe(own, MODEL, method, chain).key != step_recipe(other, MODEL, method, chain).key


def test_steps_do_not_depend_on_other_methods(own: Trial) -> None:
    records = own.chains("worldfacts")[0]
    other = with_settings(own, "ROME-identity", prefixes=1)
    for method in ("ROME", "placebo:ROME"):
        assert step_recipe(own, MODEL, method, records).key == step_recipe(other, MODEL, method, records).key


def test_steps_depend_on_what_came_before(own: Trial) -> None:
    first, second, *_ = own.records("worldfacts")
    keys = {step_recipe(own, MODEL, "ROME", chain).key for chain in ([second], [first, second], [second, second])}
    assert len(keys) == 3


def test_records_of_two_datasets_may_have_one_id(own: Trial) -> None:
    """Ids like ``test-00000`` are unique within a file: an edit must not be taken for another one's of the same id."""
    first, second, *_ = own.records("worldfacts")
    alike = second.model_copy(update={"id": first.id})
    assert step_recipe(own, MODEL, "ROME", [first]).key != step_recipe(own, MODEL, "ROME", [alike]).key
    assert step_recipe(own, MODEL, "ROME", [alike]).key == step_recipe(own, MODEL, "ROME", [second]).key


def test_chains_may_be_longer_than_the_stack(own: Trial) -> None:
    records = own.records("worldfacts")[:1200]
    assert len(records) == 1200
    assert len(step_recipe(own, MODEL, "placebo:ROME", records).key) == 64


def test_a_step_without_an_edit_is_refused(own: Trial) -> None:
    with pytest.raises(ValueError, match="there is none"):
        step_recipe(own, MODEL, "ROME", [])
