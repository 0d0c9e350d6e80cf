"""MEND on tiny models: training on planted facts, edits, chains, batches, what is left behind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from editverdict.data.records import EditRecord, Probe
from editverdict.editors import EditError, Resources, State, Step, installed, make_editor
from editverdict.editors.base import CannotEdit
from editverdict.editors.deltas import total_delta
from editverdict.editors.losses import target_loss
from editverdict.editors.mend_training import chosen_records, objects_of, probes_of
from editverdict.models.fingerprint import hash_weights
from editverdict.models.sources import LoadedModel

PLACES = ("Rome", "Paris", "Lisbon", "London")
QUICK = {"steps": 2, "batch": 3, "held_out": 3, "targets_per_fact": 2, "evaluate_every": 1, "texts": 4, "probes": 2}
TEXTS = [
    "water is a liquid",
    "Seven ships came back",
    "A machine runs on programs",
    "a river flows into the sea",
    "Goa",
]


def planted(count: int = 16) -> list[EditRecord]:
    """Facts of one kind: who is told apart from whom is in the name alone, what is said of them in four words."""
    names = [first + second for first in ("Ba", "Do", "Fe", "Gi", "Lu") for second in ("lan", "mor", "rus", "tes")]
    return [
        EditRecord(
            id=f"plant{i}",
            prompt=f"The home of {name} is",
            subject=name,
            target_new=PLACES[i % 4],
            target_old=PLACES[(i + 1) % 4],
            relation="home",
            rephrases=(f"{name} lived in",),
            locality=(
                Probe(prompt="The capital of Italy is", answers=("Rome",), kind="same-relation"),
                Probe(prompt=f"{name} sailed to", answers=("Goa",), kind="other-relation"),
            ),
            split="tune",
        )
        for i, name in enumerate(names[:count])
    ]


def mend(**settings: Any) -> Any:
    training = QUICK | settings.pop("training", {})
    return make_editor("mend", {"layers": 2, "rank": 4, "rate": 1e-3, "training": training, **settings})


@pytest.fixture
def given(resources: Callable[..., Resources]) -> Callable[..., Resources]:
    """Resources with planted facts, and a store of what is trained."""

    def make(count: int = 12, kept: dict[str, Step] | None = None) -> Resources:
        kept = {} if kept is None else kept

        def trained(fields: Mapping[str, Any], make: Callable[[], Step]) -> Step:
            key = repr(sorted(fields.items()))
            if key not in kept:
                kept[key] = make()
            return kept[key]

        facts = planted(count)
        return resources(train_edits=lambda: facts, texts=lambda n: TEXTS[:n], trained=trained)

    return make


def chain(editor: Any, loaded: LoadedModel, records: list[EditRecord], given: Resources, state: State = ()) -> State:
    for t in range(len(state) + 1, len(records) + 1):
        state = (*state, editor.edit(loaded, state, records[:t], given))
    return state


def same(one: Step, other: Step) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items()
    )


def clean(loaded: LoadedModel) -> None:
    assert hash_weights(loaded.model) == loaded.identity.weights
    assert all(p.grad is None and not p.requires_grad for p in loaded.model.parameters())
    assert not loaded.model.training and not any(
        m._forward_hooks or m._forward_pre_hooks for m in loaded.model.modules()
    )
    assert len(loaded.sites.layers) == loaded.sites.n_layers


def test_training_plants_facts_that_it_has_not_seen(tiny: LoadedModel, given: Callable[..., Resources]) -> None:
    training = {"steps": 40, "held_out": 6, "batch": 4, "learning_rate": 1e-2, "rate_learning_rate": 0.1}
    training |= {"evaluate_every": 20, "edit_factor": 1.0, "targets_per_fact": 4}
    _net, trained = mend(rank=16, training=training).network(tiny, given(20))
    curve, best = trained.info["curve"], trained.info["held_out"]
    assert [one["step"] for one in curve] == [0, 20, 40]
    assert best["loss"] == min(one["loss"] for one in curve) < 0.8 * curve[0]["loss"]
    assert curve[0]["success"] == 0 and best["success"] >= 0.5 and best["edits"] == 6
    # Three other places are named of the home relation, so that each of the 14 facts is edited in three ways.
    assert trained.info["train_edits"] == 14 * 3 and trained.info["held_out_edits"] == 6 and trained.info["texts"] == 4
    assert len(trained.info["trace"]) == 40 and all(math.isfinite(one["kl"]) for one in trained.info["trace"])
    clean(tiny)


def test_training_is_a_function_of_its_seed(tiny: LoadedModel, given: Callable[..., Resources]) -> None:
    state = torch.random.get_rng_state()
    first, again, other = (mend(training={"seed": seed}).network(tiny, given())[1] for seed in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    assert same(first, again) and not same(first, other)


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_an_edit_of_every_family(
    tiny: LoadedModel,
    tiny_of: Callable[[str], LoadedModel],
    given: Callable[..., Resources],
    edits: list[EditRecord],
    family: str,
) -> None:
    loaded = tiny if family == "llama" else tiny_of(family)
    editor, supplied = mend(), given()
    step = editor.edit(loaded, (), edits[:1], supplied)
    clean(loaded)
    names = [matrix.name for matrix in editor.matrices(loaded)]
    assert set(step.tensors) == {f"{name}:{side}" for name in names for side in ("left", "right")}
    deltas = {name: total_delta((step,), name) for name in names}
    assert all(delta.shape == loaded.model.get_parameter(name).shape for name, delta in deltas.items())
    assert step.info["norm"] == pytest.approx(math.sqrt(sum(float(d.norm()) ** 2 for d in deltas.values())), rel=1e-5)
    assert step.info["held_out"]["edits"] == 3 and step.edits == 1
    assert all(tensor.is_contiguous() for tensor in step.tensors.values())
    before = float(target_loss(loaded, [edits[0].prompt], [edits[0].target_new]))
    assert step.info["losses"] == [pytest.approx(before, rel=1e-4)]
    # Down the gradient, if only a little: the sign of the update is right in either orientation of the weight.
    with installed(loaded.model, (step,), 0.1):
        assert float(target_loss(loaded, [edits[0].prompt], [edits[0].target_new])) < before


def test_a_batch_is_the_sum_of_its_edits(
    tiny: LoadedModel, given: Callable[..., Resources], edits: list[EditRecord]
) -> None:
    editor, supplied = mend(), given()
    together = editor.edit(tiny, (), edits, supplied)
    alone = [editor.edit(tiny, (), [edit], supplied) for edit in edits]
    assert together.edits == 3 and together.info["losses"] == [one.info["losses"][0] for one in alone]
    for matrix in editor.matrices(tiny):
        expected = sum((total_delta((one,), matrix.name) for one in alone), torch.zeros(()).double())
        torch.testing.assert_close(total_delta((together,), matrix.name), expected, atol=1e-12, rtol=1e-9)
        for side, dim in (("left", 1), ("right", 0)):
            parts: list[Tensor] = [one.tensors[f"{matrix.name}:{side}"] for one in alone]
            assert torch.equal(together.tensors[f"{matrix.name}:{side}"], torch.cat(parts, dim))


def test_a_chain_is_edited_in_its_own_state_and_resumes(
    tiny: LoadedModel,
    given: Callable[..., Resources],
    edits: list[EditRecord],
    stored: Callable[[Step], Step],
) -> None:
    editor, kept = mend(), {}
    whole = chain(editor, tiny, edits, given(kept=kept))
    assert len(kept) == 1, "the network is trained once"
    resumed = chain(editor, tiny, edits, given(kept=kept), tuple(stored(step) for step in whole[:1]))
    assert all(same(one, other) for one, other in zip(whole, resumed, strict=True))
    assert not same(whole[1], editor.edit(tiny, (), edits[1:2], given(kept=kept)))
    clean(tiny)
    with editor.install(tiny, whole, edits, given(kept=kept)) as answering:
        assert hash_weights(tiny.model) != tiny.identity.weights and answering.prompts(["Who?"]) == ["Who?"]
    clean(tiny)


def test_the_network_is_trained_on_the_clean_model(
    tiny: LoadedModel, given: Callable[..., Resources], edits: list[EditRecord]
) -> None:
    first = mend().edit(tiny, (), edits[:1], given())
    early: dict[str, Step] = {}
    late: dict[str, Step] = {}
    mend().network(tiny, given(kept=early))
    mend().edit(tiny, (first,), edits[:2], given(kept=late))
    assert early.keys() == late.keys() and all(same(step, late[key]) for key, step in early.items())


def test_what_the_network_depends_on(tiny: LoadedModel, given: Callable[..., Resources]) -> None:
    fields = mend().training_fields(tiny, given())
    assert fields == mend().training_fields(tiny, given())
    others = [
        mend().training_fields(tiny, given(11)),
        mend(training={"seed": 1}).training_fields(tiny, given()),
        mend(training={"texts": 3}).training_fields(tiny, given()),
        mend(matrices="down").training_fields(tiny, given()),
        mend(rank=5).training_fields(tiny, given()),
    ]
    assert len({repr(one) for one in [fields, *others]}) == 6
    assert mend(training={"texts": 3}).training_fields(tiny, given())["texts"] != fields["texts"]


def test_locality_is_not_trained_on_probes_that_many_records_share() -> None:
    facts = planted()
    generator = torch.Generator().manual_seed(0)
    stranger = facts[3].model_copy(update={"relation": "other", "subject": "Goa", "prompt": "Goa lies in"})
    found = probes_of(facts[0], [*facts[:8], stranger], 3, generator)
    assert found[0] == "Balan sailed to" and len(set(found)) == 4
    assert set(found[1:]) <= {one.prompt for one in facts[1:8]}
    assert probes_of(stranger, [stranger, facts[1]], 3, generator) == [facts[1].prompt]


def test_objects_are_new_ones_of_the_same_relation() -> None:
    facts = planted()
    generator = torch.Generator().manual_seed(0)
    stranger = facts[3].model_copy(update={"relation": "other", "target_new": "Goa"})
    found = objects_of(facts[0], [*facts, stranger], 9, generator)
    assert found[0] == "Rome" and sorted(found) == ["Lisbon", "London", "Rome"]
    assert objects_of(facts[0], facts, 1, generator) == ["Rome"]


def test_held_out_records_are_not_trained_on() -> None:
    settings = mend().hyperparameters.training
    train, held_out = chosen_records(planted(), settings)
    assert len(held_out) == 3 and len(train) == 13 and not {r.id for r in train} & {r.id for r in held_out}
    few = settings.model_copy(update={"facts": 5})
    assert [len(part) for part in chosen_records(planted(), few)] == [2, 3]


def test_too_few_facts_to_train_on(tiny: LoadedModel, given: Callable[..., Resources], edits: list[EditRecord]) -> None:
    with pytest.raises(CannotEdit, match=r"split 'tune' and holds 3 of them out, but there are 3"):
        mend().edit(tiny, (), edits[:1], given(3))
    with pytest.raises(EditError, match=r"'facts' \(3\) leaves no record"):
        mend(training={"facts": 3}).edit(tiny, (), edits[:1], given())
    clean(tiny)


def test_training_that_breaks_down_says_so_and_leaves_nothing(
    tiny: LoadedModel, given: Callable[..., Resources], edits: list[EditRecord]
) -> None:
    with pytest.raises(EditError, match=r"the loss is (nan|inf) at training step 1; lower the learning rates"):
        mend(rate=1e38).edit(tiny, (), edits[:1], given())
    clean(tiny)


def test_progress_is_told(tiny: LoadedModel, given: Callable[..., Resources]) -> None:
    import dataclasses

    lines: list[str] = []
    mend().network(tiny, dataclasses.replace(given(), report=lines.append))
    assert any(line.startswith("MEND: training: 1 of 2 steps") and "s left" in line for line in lines)
    assert any(line.startswith("MEND: training: 2 of 2 steps") for line in lines)
