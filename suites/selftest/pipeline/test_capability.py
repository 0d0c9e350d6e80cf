"""Capability of edited states on the toy, on items whose answers are what the toy says: it has much to lose."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from editverdict.editors.base import Plain
from editverdict.evaluation.capability import retained, suite_score
from editverdict.inference.rows import Row
from editverdict.models.fingerprint import hash_weights
from editverdict.pipeline import capability, harness
from editverdict.pipeline.capability import InForce, own_scores, protocol_id, scored, suite_items, suite_of
from editverdict.pipeline.cases import judge_case
from editverdict.pipeline.edits import steps
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.setup import load_library
from editverdict.pipeline.trial import Trial
from editverdict.reporting.evidence import Evidence
from editverdict.schema import SpecError
from editverdict.store import Store
from suites.selftest.pipeline.capable import MODEL, TEN, able, judged, through_the_harness
from suites.selftest.pipeline.sessions import ROOT

BROADER = "rq2-broader-tasks"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, common: Path) -> Iterator[Trial]:
    yield from able(tmp_path_factory.mktemp("capability"), common / "capability-store")


@pytest.fixture(scope="module")
def ten(own: Trial) -> tuple[Row, list[dict[str, Any]]]:
    return judged(own, TEN)


def outcomes(row: Row) -> dict[str, str]:
    return {c.name: c.outcome for c in row.controls if c.role in ("negative", "positive")}


# --------------------------------------------------------------------------- claims
def test_a_case_is_measured_with_every_control_in_order(ten: tuple[Row, Any]) -> None:
    row, pictures = ten
    assert outcomes(row) == {"unedited-again": "ok", "planted": "ok"}, row.controls
    assert all(check.ok for check in row.checks) and row.n_units == 6
    assert row.verdict in ("supported", "refuted", "inconclusive") and row.specific is not None
    assert row.estimate is not None and 0.2 < row.estimate <= 1.2
    assert Evidence.model_validate({"pictures": pictures}).pictures
    again = next(c for c in row.controls if c.name == "unedited-again")
    assert again.estimate == 1.0 and again.interval == (1.0, 1.0)
    planted = next(c for c in row.controls if c.name == "planted")
    assert planted.estimate is not None and planted.estimate < 0.5 and planted.n_units == 6


def test_the_joint_claim_takes_the_same_shares_of_the_same_states(own: Trial, ten: tuple[Row, Any]) -> None:
    spec = own.library.claims["rq2-alphaedit-tradeoff"]
    row = judge_case(own, Case(spec, MODEL, "ROME", "worldfacts")).row
    assert row.traceback is None, row.traceback
    left = row.descriptive["reasoning_retained"]
    assert left["after"] == ten[0].estimate and left["again"] == 1.0
    assert left["destroyed"] == next(c.estimate for c in ten[0].controls if c.name == "planted")
    # The toy knows no place, so that it has neither edits nor locality to keep or lose.
    assert row.verdict == "invalid" and {"headroom-capability", "items-complete"} <= {
        c.name for c in row.checks if c.ok
    }


def test_the_unedited_model_stands_beside_every_task(ten: tuple[Row, Any]) -> None:
    tasks = ten[0].descriptive["tasks"]
    assert list(tasks) == ["first", "second"]
    for task in tasks.values():
        low, high = task["unedited_interval"]
        assert task["unedited"] == 0.875 or abs(task["unedited"] - 0.875) < 0.02
        assert 0.25 < low < task["unedited"] < high and task["above_chance"] is True
        assert {"ROME", "placebo", "planted update"} <= set(task)
        assert task["planted update"] < task["ROME"]
    assert "3 edits" in ten[0].stands_on and ten[0].descriptive["capability_protocol"] in ten[0].stands_on


def test_items_are_in_the_interval(own: Trial, ten: tuple[Row, Any]) -> None:
    """Chains alone would say nothing of the items that all of them are scored on."""
    shared = ten[0].descriptive["estimation"].get("shared")
    assert shared is not None and shared[0] >= 0.0 and shared[1] == 19


def test_a_model_that_only_guesses_is_invalid_and_is_not_edited_for_it(own: Trial, tmp_path: Path) -> None:
    """The toy knows no language: the small suite finds it out before any edit is made."""
    trial = dataclasses.replace(own, store=Store(tmp_path / "store"), _memo={})
    trial.__dict__["corpus"] = own.corpus
    row, pictures = judged(trial, BROADER)
    assert row.verdict == "invalid" and [c.name for c in row.checks if not c.ok] == ["headroom-capability"]
    assert "above guessing; at least 0.2 needed" in row.reason
    assert not (tmp_path / "store" / "step").exists() and pictures
    assert row.descriptive["tasks"]["held-out-text"]["unedited"] < -5  # nats per token, of 49,152 tokens


def test_a_claim_about_a_hundred_edits_needs_them(own: Trial) -> None:
    """A rehearsal takes its short chains, a real model does not."""
    row, _ = judged(own, "rq2-capability-100edits")
    assert row.descriptive["edits"] == 3 and row.verdict in ("refuted", "inconclusive"), row.reason
    assert row.interval is not None and row.interval[0] > 0.1, "three edits do not leave a tenth"
    spec = own.library.models[MODEL].model_copy(update={"weights": "pretrained"})
    library = dataclasses.replace(own.library, models={**own.library.models, MODEL: spec})
    real, _ = judged(dataclasses.replace(own, library=library), "rq2-capability-100edits")
    assert real.verdict == "not_run" and "needs T ≥ 100; the longest chain of profile 'able' has 4 edits" in real.reason


def test_a_profile_without_a_suite_is_not_run(own: Trial) -> None:
    profile = own.profile.model_copy(update={"capabilities": {}})
    row, _ = judged(dataclasses.replace(own, profile=profile), TEN)
    assert row.verdict == "not_run" and "names no suite of tasks" in row.reason


def test_without_lm_eval_a_case_says_what_to_install(own: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(harness.importlib.util, "find_spec", lambda name: None if name == "lm_eval" else real(name))
    suite = through_the_harness(suite_of(own, "reasoning"))
    library = dataclasses.replace(own.library, capabilities={**own.library.capabilities, "mine": suite})
    row, _ = judged(dataclasses.replace(own, library=library), TEN)
    assert row.verdict == "not_run" and "pip install 'editverdict[capability]'" in row.reason


# --------------------------------------------------------------------------- states and the store
def test_states_leave_the_model_as_it_was(own: Trial, ten: tuple[Row, Any]) -> None:
    own.check_purity()


def test_a_stored_score_is_that_of_its_state(own: Trial, ten: tuple[Row, Any]) -> None:
    """Installed by hand: the weights of the chain, and the scorer on them."""
    from editverdict.editors.deltas import installed

    suite, chain = suite_of(own, "reasoning"), own.chains("worldfacts")[2][:3]
    state = steps(own, MODEL, "ROME", chain)
    (stored,) = scored(own, MODEL, suite, [InForce("one", state)])
    loaded = own.model(MODEL)
    with installed(loaded.model, state):
        rows = own_scores(loaded, Plain(), suite_items(own, suite))
    assert [one for task in ("first", "second") for one in map(repr, stored.scores.items[task])] == list(
        map(repr, rows)
    )
    assert ten[0].units[2] == retained(stored.scores, scored(own, MODEL, suite, [InForce("none")])[0].scores)


def test_planted_updates_are_as_large_as_they_say_and_differ_by_seed(own: Trial) -> None:
    loaded = own.model(MODEL)
    name = loaded.sites.down_proj_weight(loaded.spec.layers.edit)
    one, again, other = (capability.planted_update(loaded, seed)[0].tensors[f"{name}:delta"] for seed in (0, 0, 1))
    weight = loaded.model.get_parameter(name)
    assert torch.equal(one, again) and not torch.equal(one, other) and one.shape == weight.shape
    assert float(one.norm() / weight.norm()) == pytest.approx(capability.PLANTED_NORM, rel=1e-4)
    assert hash_weights(loaded.model) == loaded.identity.weights


def test_what_was_scored_is_not_scored_again(own: Trial, ten: tuple[Row, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_options: Any) -> Any:
        raise AssertionError("scored again")

    monkeypatch.setattr(capability, "own_scores", refuse)
    row, _ = judged(own, TEN)
    assert row.units == ten[0].units


def test_scoring_that_was_interrupted_goes_on(own: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = dataclasses.replace(own, store=Store(tmp_path / "store"))
    suite, honest, count = suite_of(own, "reasoning"), own_scores, [0]
    many = [InForce("planted", planted=seed) for seed in range(4)]

    def stopped(*args: Any) -> Any:
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt
        return honest(*args)

    monkeypatch.setattr(capability, "own_scores", stopped)
    with pytest.raises(KeyboardInterrupt):
        scored(trial, MODEL, suite, many)
    assert len(scored(trial, MODEL, suite, many)) == 4
    assert count[0] == 5, "two finished, one interrupted, two left"
    own.check_purity()


def test_another_item_or_another_state_is_another_artifact(own: Trial, tmp_path: Path) -> None:
    suite = suite_of(own, "reasoning")
    plain = capability._recipe(own, MODEL, suite, InForce("a")).key
    assert plain == capability._recipe(own, MODEL, suite, InForce("another label")).key
    chain = own.chains("worldfacts")[0][:3]
    state = steps(own, MODEL, "ROME", chain)
    keys = {plain} | {
        capability._recipe(own, MODEL, suite, one).key
        for one in (InForce("s", state), InForce("s", state[:2]), InForce("r", removed=state), InForce("p", planted=0),
                    InForce("p", planted=1))
    }  # fmt: skip
    assert len(keys) == 6
    lines = Path(suite.tasks[0].source.path).read_text().splitlines()  # type: ignore[union-attr]
    other = json.loads(lines[0])
    other["answer"] = (other["answer"] + 1) % 4
    (tmp_path / "other.jsonl").write_text("\n".join([json.dumps(other), *lines[1:]]))
    source = suite.tasks[0].source.model_copy(update={"path": str(tmp_path / "other.jsonl")})
    tasks = (suite.tasks[0].model_copy(update={"source": source}), *suite.tasks[1:])
    changed = suite.model_copy(update={"id": "changed", "tasks": tasks})
    assert protocol_id(own, changed) != protocol_id(own, suite)
    assert protocol_id(own, suite.model_copy(update={"id": "renamed", "describes": "same"})) == protocol_id(own, suite)


def test_a_method_that_answers_by_texts_is_scored_by_its_own_way(own: Trial) -> None:
    suite, chain = suite_of(own, "reasoning"), own.chains("worldfacts")[0][:2]
    state = steps(own, MODEL, "SCR", chain)
    plain, scr = scored(own, MODEL, suite, [InForce("n"), InForce("s", state, method="SCR", memory=tuple(chain))])
    assert plain.key != scr.key and math.isfinite(suite_score(scr.scores))


# --------------------------------------------------------------------------- specs
def bent(tmp_path: Path, text: str) -> SpecError:
    (tmp_path / "bent.yaml").write_text("capabilities:\n  - id: bent\n    describes: d\n" + text)
    with pytest.raises(SpecError) as error:
        load_library([ROOT / "specs", tmp_path])
    return error.value


COPYING = "{id: a, describes: d, source: {kind: generated, generator: copying}, items: 4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"    tasks: [{COPYING}}}]\n", "names its 'chance'"),
        (f"    tasks: [{COPYING}, chance: 0.25}}, {COPYING}, chance: 0.25}}]\n", "every task once, found twice: a"),
        (f"    tasks: [{COPYING.replace('copying', 'copyin')}, chance: 0.25}}]\n", "unknown generator 'copyin'"),
        (f"    tasks: [{COPYING}, metric: log-probability}}]\n", "at least one task must have that metric"),
        (f"    options: {{num_fewshot: 1}}\n    tasks: [{COPYING}, chance: 0.25}}]\n", "'options' are lm-eval's"),
        (
            "    tasks: [{id: a, describes: d, source: {kind: lm-eval, task: t, reads: acc}, chance: 0}]\n",
            "need 'runner: lm-eval'",
        ),
        (
            "    runner: lm-eval\n"
            "    tasks: [{id: a, describes: d, source: {kind: lm-eval, task: t, reads: boxed}, chance: 0}]\n",
            "go together",
        ),
    ],
)
def test_a_suite_that_cannot_be_scored_is_refused(tmp_path: Path, text: str, message: str) -> None:
    error = bent(tmp_path, text)
    assert message in str(error) and "bent.yaml" in str(error)


def test_profiles_name_suites_that_exist(tmp_path: Path) -> None:
    profile = (ROOT / "specs/profiles/smoke.yaml").read_text().replace("small-broader", "small-broadr")
    (tmp_path / "smoke.yaml").write_text(profile)
    with pytest.raises(SpecError, match="unknown suite of capability tasks 'small-broadr'"):
        load_library([ROOT / "specs", tmp_path])
