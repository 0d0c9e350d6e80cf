"""Capability of edited states on the toy, on items whose answers are what the toy says: it has much to lose."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from editverdict.data.capability import items_of
from editverdict.editors.base import Plain
from editverdict.evaluation.capability import retained, suite_score
from editverdict.inference.rows import Row
from editverdict.models.fingerprint import hash_weights
from editverdict.pipeline import capability, harness
from editverdict.pipeline.capability import InForce, own_scores, protocol_id, scored, suite_items, suite_of
from editverdict.pipeline.cases import judge_case
from editverdict.pipeline.edits import steps
from editverdict.pipeline.matrix import matrix
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.setup import Options, load_library, make_trial
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.reporting.evidence import Evidence
from editverdict.schema import SpecError
from editverdict.schema.capabilities import CapabilitySpec, CapabilityTask
from editverdict.store import Store
from suites.selftest.pipeline.sessions import ROOT

MODEL = "rehearsal-llama"
TEN, BROADER = "rq2-capability-10edits", "rq2-broader-tasks"
SPECS = """
capabilities:
  - id: mine
    describes: what the toy says
    tasks:
      - {{id: first, describes: d, source: {{kind: file, path: "{first}"}}, chance: 0.25}}
      - {{id: second, describes: d, source: {{kind: file, path: "{second}"}}, chance: 0.25}}
profiles:
  - id: able
    describes: a toy that has something to lose
    models: [rehearsal-llama]
    methods: [ROME, MEND]
    datasets: [worldfacts]
    corpus: wordnet-glosses
    encoder: minilm
    judge: lexical
    protocol: {{id: completion-4, max_new_tokens: 4}}
    capabilities: {{reasoning: mine, broader: small-broader}}
    sizes: {{single_edits: 3, chains: 6, chain_length: 3, long_chain: 4, base_texts: 120, base_tokens: 1920,
            norm_tokens: 480, angle_tokens: 480, text_blocks: 20, random_seeds: 20}}
"""


def generated(name: str, items: int, chance: float | None = 0.25) -> CapabilityTask:
    source = {"kind": "generated", "generator": name}
    metric = "accuracy" if chance else "log-probability"
    fields = {"id": name, "describes": "d", "source": source, "items": items, "chance": chance, "metric": metric}
    return CapabilityTask.model_validate(fields)


def as_the_toy_says(trial: Trial, name: str, path: Path, count: int) -> None:
    """Items whose right choice is the toy's own, but for every eighth."""
    items = items_of(generated(name, count), [])
    found = capability.scored_choices(
        trial.model(MODEL).model, trial.model(MODEL).tokenizer, [(item.prompt, item.choices) for item in items]
    )
    lines = []
    for n, (item, one) in enumerate(zip(items, found, strict=True)):
        said = max(range(4), key=lambda i: one.logprobs[i])
        lines.append(item.model_copy(update={"answer": (said + (n % 8 == 0)) % 4}).model_dump_json())
    path.write_text("\n".join(lines))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, common: Path) -> Iterator[Trial]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("capability")
    plain = make_trial(Options(profile="smoke"), ROOT / "specs")
    as_the_toy_says(plain, "copying", folder / "first.jsonl", 80)
    as_the_toy_says(plain, "retrieval", folder / "second.jsonl", 60)
    specs = folder / "specs"
    specs.mkdir()
    (specs / "mine.yaml").write_text(SPECS.format(first=folder / "first.jsonl", second=folder / "second.jsonl"))
    yield make_trial(Options(profile="able", specs=(specs,), store=common / "capability-store"), ROOT / "specs")
    torch.set_num_threads(threads)


def judged(trial: Trial, claim: str, method: str = "ROME") -> tuple[Row, list[dict[str, Any]]]:
    cases = [case for case in matrix(trial.library, trial.profile) if case.claim.id == claim and case.method == method]
    made = judge_case(trial, cases[0])
    assert made.row.traceback is None, made.row.traceback
    return made.row, made.pictures


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


# --------------------------------------------------------------------------- lm-eval
def through_the_harness(suite: CapabilitySpec) -> CapabilitySpec:
    tasks = tuple(task for task in suite.tasks if task.metric == "accuracy")
    return suite.model_copy(update={"id": f"{suite.id}-lm-eval", "runner": "lm-eval", "tasks": tasks})


def test_without_lm_eval_a_case_says_what_to_install(own: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(harness.importlib.util, "find_spec", lambda name: None if name == "lm_eval" else real(name))
    suite = through_the_harness(suite_of(own, "reasoning"))
    library = dataclasses.replace(own.library, capabilities={**own.library.capabilities, "mine": suite})
    row, _ = judged(dataclasses.replace(own, library=library), TEN)
    assert row.verdict == "not_run" and "pip install 'editverdict[capability]'" in row.reason


@pytest.fixture
def lm_eval() -> None:
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm-eval (the optional extra 'capability') is not installed")


@pytest.mark.usefixtures("lm_eval")
@pytest.mark.parametrize("group", ["reasoning", "broader"])
def test_lm_eval_scores_the_same_items_alike(own: Trial, group: Any) -> None:
    """In an edited state, so that it is the model in memory that lm-eval sees."""
    suite = suite_of(own, group)
    foreign = through_the_harness(suite)
    state = steps(own, MODEL, "ROME", own.chains("worldfacts")[0][:3])
    for one in (InForce("unedited"), InForce("edited", state), InForce("planted", planted=0)):
        ((ours,), (theirs,)) = (scored(own, MODEL, suite_, [one]) for suite_ in (suite, foreign))
        for task in foreign.tasks:
            mine, other = ours.scores.items[task.id], theirs.scores.items[task.id]
            assert [a.item for a in mine] == [b.item for b in other]
            assert [b.probability for b in other] == pytest.approx([a.probability for a in mine], rel=1e-3, abs=1e-5)
            differing = [a.item for a, b in zip(mine, other, strict=True) if a.correct != b.correct]
            assert len(differing) <= 1, "rounding may turn a near tie, no more"
    own.check_purity()


@pytest.mark.usefixtures("lm_eval")
def test_generated_solutions_are_graded_by_their_last_box(own: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set in memory goes the way of OlympiadBench; the toy boxes nothing, a parrot does."""
    from datasets import Dataset

    documents = [{"question": f"What is {n} + 1?", "final_answer": [str(n + 1)]} for n in range(4)]
    (source,) = [t.source for t in own.library.capabilities["paper-mathematics"].tasks if t.id == "olympiad"]
    config = {k: v for k, v in source.config.items() if k not in ("dataset_path", "dataset_name")}  # type: ignore[union-attr]
    config |= {"custom_dataset": lambda **_options: {"train": Dataset.from_list(documents)}}
    config["generation_kwargs"] = {"until": ["\n"], "do_sample": False, "max_gen_toks": 4}
    task = CapabilityTask.model_construct(
        id="o", describes="d", items=3, metric="accuracy", chance=0.0, column=None,
        source=source.model_copy(update={"config": config}),
    )  # fmt: skip
    suite = CapabilitySpec.model_construct(id="o", describes="d", runner="lm-eval", tasks=(task,), options={})
    rows, about = harness.run(own.model(MODEL), suite, {})
    assert [row.correct for row in rows] == [0.0] * 3 and about["items"] == {"o": {"editverdict-olympiadbench": 3}}
    from lm_eval.models.huggingface import HFLM

    def parrot(_self: Any, requests: Sequence[Any], **_options: Any) -> list[str]:
        return [
            rf"It is \boxed{{{int(r.doc['final_answer'][0]) + (r.doc['final_answer'] == ['2'])}}}." for r in requests
        ]

    monkeypatch.setattr(HFLM, "generate_until", parrot)
    rows, _ = harness.run(own.model(MODEL), suite, {})
    assert [row.correct for row in rows] == [1.0, 0.0, 1.0]


@pytest.mark.usefixtures("lm_eval")
def test_the_tasks_of_the_paper_exist_in_lm_eval(own: Trial) -> None:
    from lm_eval.tasks import TaskManager

    known = set(TaskManager().all_tasks)
    suites = [own.library.capabilities[name] for name in ("paper-mathematics", "paper-broader")]
    named = [task.source.task for suite in suites for task in suite.tasks if task.source.config is None]  # type: ignore[union-attr]
    assert len(named) == 5 and set(named) <= known


@pytest.mark.usefixtures("lm_eval")
def test_data_out_of_reach_are_not_here(own: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    import lm_eval

    def unreachable(**_options: Any) -> Any:
        raise ConnectionError("the hub does not answer")

    monkeypatch.setattr(lm_eval, "simple_evaluate", unreachable)
    with pytest.raises(NotHere, match="task 'aime-2024': its data cannot be had from here"):
        harness.run(own.model(MODEL), own.library.capabilities["paper-mathematics"], {})
