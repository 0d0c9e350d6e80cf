"""lm-eval beside this project's own scorer, and what only lm-eval can score; skipped where it is not installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from editverdict.pipeline import harness
from editverdict.pipeline.capability import InForce, scored, suite_of
from editverdict.pipeline.edits import steps
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.capabilities import CapabilitySpec, CapabilityTask
from suites.selftest.pipeline.capable import MODEL, able, through_the_harness

# A mark, not a fixture: what is skipped does not make a trial first.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-eval (the optional extra 'capability') is not installed",
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, common: Path) -> Iterator[Trial]:
    yield from able(tmp_path_factory.mktemp("capability"), common / "capability-store")


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


def test_the_tasks_of_the_paper_exist_in_lm_eval(own: Trial) -> None:
    from lm_eval.tasks import TaskManager

    known = set(TaskManager().all_tasks)
    suites = [own.library.capabilities[name] for name in ("paper-mathematics", "paper-broader")]
    named = [task.source.task for suite in suites for task in suite.tasks if task.source.config is None]  # type: ignore[union-attr]
    assert len(named) == 5 and set(named) <= known


def test_data_out_of_reach_are_not_here(own: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    import lm_eval

    def unreachable(**_options: Any) -> Any:
        raise ConnectionError("the hub does not answer")

    monkeypatch.setattr(lm_eval, "simple_evaluate", unreachable)
    with pytest.raises(NotHere, match="task 'aime-2024': its data cannot be had from here"):
        harness.run(own.model(MODEL), own.library.capabilities["paper-mathematics"], {})
