"""The optimised value against a plain optimisation over whole sentences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from editverdict.data.records import EditRecord
from editverdict.editors import EditError
from editverdict.editors.base import State, Step
from editverdict.editors.deltas import installed, layer_delta
from editverdict.editors.packed import sentences_of
from editverdict.editors.places import Place
from editverdict.editors.values import ValueSettings, optimise_value, optimise_values
from editverdict.models.fingerprint import hash_weights
from editverdict.models.sources import LoadedModel

TEMPLATES = ("{}", "It is known. {}", "Ada wrote programs before there were machines. {}")
Trace = list[dict[str, float]]

CASES = {
    "in the middle": ("The capital of France is", "France", "Rome"),
    "at the start": ("R is a town in", "R", "Lisbon"),  # one token: nothing stands before it in the bare prompt
    "repeated": ("Rome, the old Rome, lies by", "Rome", "the sea"),
    "at the end": ("Say something of Ada", "Ada", "water"),
    "many target tokens": ("Ada lived in", "Ada", "a river that flows into the sea"),
    "not plain ASCII": ("The town of Łódź is in 北京 and", "北京", "Kraków"),
}


def rows_of(loaded: LoadedModel, edit: EditRecord, templates: tuple[str, ...]) -> list[tuple[list[int], int, int]]:
    """Tokens, lookup position and prompt length of each sentence, found by the length of encoded beginnings."""
    encode = lambda text: loaded.tokenizer(text)["input_ids"]  # noqa: E731
    targets = encode(" " + edit.target_new)
    found = []
    for text in [*(t.replace("{}", edit.prompt) for t in templates), f"{edit.subject} is a"]:
        ids = encode(text)
        lookup = len(encode(text[: text.rfind(edit.subject) + len(edit.subject)])) - 1
        is_kl = len(found) == len(templates)
        found.append((ids if is_kl else ids + targets[:-1], lookup, len(ids)))
    return found


def reference(
    loaded: LoadedModel, edit: EditRecord, layer: int, templates: tuple[str, ...], settings: ValueSettings
) -> tuple[Trace, Tensor, Tensor]:
    """One sentence at a time, every layer, every token: delta is added to the feed-forward output by a hook."""
    rows = rows_of(loaded, edit, templates)
    targets = torch.tensor(loaded.tokenizer(" " + edit.target_new)["input_ids"])
    delta = torch.zeros(32, requires_grad=True)
    at: dict[str, Any] = {}

    def add(_module: Any, _args: Any, output: Tensor) -> Tensor:
        at.setdefault("start", output[0, at["lookup"]].detach().clone())
        changed = output.clone()
        changed[0, at["lookup"]] = output[0, at["lookup"]] + delta
        return changed

    handle = loaded.sites.mlp(layer).register_forward_hook(add)
    optimiser = torch.optim.Adam([delta], lr=settings.learning_rate)
    trace: Trace = []
    initial: Tensor | None = None
    try:
        for step in range(settings.steps):
            losses = []
            for ids, at["lookup"], length in rows:
                log_probs = functional.log_softmax(loaded.model(torch.tensor([ids]), use_cache=False).logits[0], -1)
                if len(losses) < len(templates):
                    places = torch.arange(length - 1, length - 1 + len(targets))
                    losses.append(-log_probs[places, targets].mean())
                else:
                    now = log_probs[at["lookup"]]
            initial = now.detach() if initial is None else initial
            nll = torch.stack(losses).mean()
            kl = settings.kl_factor * functional.kl_div(initial, now, log_target=True, reduction="sum")
            decay = settings.weight_decay * delta.norm() ** settings.decay_power / at["start"].norm() ** 2
            loss = nll + kl + decay
            trace.append({"loss": loss.item(), "nll": nll.item(), "kl": kl.item(), "decay": decay.item()})
            if trace[-1]["loss"] < settings.early_stop or step == settings.steps - 1:
                break
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            longest = settings.clamp_factor * at["start"].norm()
            with torch.no_grad():
                delta.copy_(delta * min(1.0, float(longest / delta.norm())))
    finally:
        handle.remove()
    return trace, at["start"] + delta.detach(), at["start"]


def edit_of(name: str) -> EditRecord:
    prompt, subject, target = CASES[name]
    return EditRecord(id=name, prompt=prompt, subject=subject, target_new=target)


def compare(found: Trace, expected: Trace) -> None:
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4, rel=1e-4)


@pytest.mark.parametrize(("name", "layer"), [*((name, layer) for name in CASES for layer in (0, 1)), ("at the end", 3)])
def test_equals_the_plain_optimisation(tiny: LoadedModel, name: str, layer: int) -> None:
    """Layer 3 is the last: nothing above carries its value on, which helps only where the subject ends the prompt."""
    settings = ValueSettings(steps=8, learning_rate=0.2, early_stop=0.0, clamp_factor=50.0, kl_factor=0.5)
    found = optimise_value(tiny, edit_of(name), layer, TEMPLATES, settings)
    trace, value, start = reference(tiny, edit_of(name), layer, TEMPLATES, settings)
    compare(found.trace, trace)
    assert found.trace[-1]["nll"] < found.trace[0]["nll"] - 0.01, "nothing was optimised"
    assert found.trace[0]["kl"] == 0 < found.trace[-1]["kl"]
    torch.testing.assert_close(found.initial, start, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.value, value, atol=2e-3, rtol=0)


def test_one_template_and_one_subject_token_need_no_past(tiny: LoadedModel) -> None:
    settings = ValueSettings(steps=6, learning_rate=0.1, early_stop=0.0, clamp_factor=50.0)
    found = optimise_value(tiny, edit_of("at the start"), 1, ("{}",), settings)
    compare(found.trace, reference(tiny, edit_of("at the start"), 1, ("{}",), settings)[0])


@pytest.mark.parametrize("power", [1, 2])
def test_decay(tiny: LoadedModel, power: int) -> None:
    settings = ValueSettings(steps=5, learning_rate=0.2, early_stop=0.0, weight_decay=3.0, decay_power=power)
    found = optimise_value(tiny, edit_of("in the middle"), 1, TEMPLATES, settings)
    compare(found.trace, reference(tiny, edit_of("in the middle"), 1, TEMPLATES, settings)[0])
    assert found.trace[0]["decay"] == 0 < found.trace[-1]["decay"]
    change = found.value - found.initial
    last = 3.0 * float(change.norm()) ** power / float(found.initial.norm()) ** 2
    assert found.trace[-1]["decay"] == pytest.approx(last, rel=1e-4)


def test_the_change_is_clamped(tiny: LoadedModel) -> None:
    settings = ValueSettings(steps=12, learning_rate=0.5, early_stop=0.0, clamp_factor=0.25)
    found = optimise_value(tiny, edit_of("in the middle"), 1, TEMPLATES, settings)
    assert float((found.value - found.initial).norm()) == pytest.approx(0.25 * float(found.initial.norm()), rel=1e-5)
    compare(found.trace, reference(tiny, edit_of("in the middle"), 1, TEMPLATES, settings)[0])
    free = optimise_value(
        tiny, edit_of("in the middle"), 1, TEMPLATES, settings.model_copy(update={"clamp_factor": 1e3})
    )
    assert float((free.value - free.initial).norm()) > 2 * float((found.value - found.initial).norm())


def test_early_stopping(tiny: LoadedModel) -> None:
    """It stops at the first loss below the limit, and that loss's value is the one given."""
    free = ValueSettings(steps=20, learning_rate=0.2, early_stop=0.0, clamp_factor=50.0)
    whole = optimise_value(tiny, edit_of("in the middle"), 1, TEMPLATES, free)
    assert len(whole.trace) == 20
    losses = [entry["loss"] for entry in whole.trace]
    limit = (losses[0] + min(losses)) / 2
    until = next(i for i, loss in enumerate(losses) if loss < limit)
    assert 0 < until < 19
    stopped = optimise_value(
        tiny, edit_of("in the middle"), 1, TEMPLATES, free.model_copy(update={"early_stop": limit})
    )
    assert stopped.trace == whole.trace[: until + 1]
    short = optimise_value(tiny, edit_of("in the middle"), 1, TEMPLATES, free.model_copy(update={"steps": until + 1}))
    assert torch.equal(stopped.value, short.value)
    at_once = optimise_value(tiny, edit_of("in the middle"), 1, TEMPLATES, free.model_copy(update={"early_stop": 1e3}))
    assert len(at_once.trace) == 1 and torch.equal(at_once.value, at_once.initial)


def test_edits_optimised_together_are_those_optimised_alone(tiny: LoadedModel) -> None:
    """Each edit has its own delta and stops by itself; its companions matter by rounding only."""
    free = ValueSettings(steps=12, learning_rate=0.2, early_stop=0.0, clamp_factor=50.0)
    names = [name for name in CASES if name != "not plain ASCII"]
    alone = [optimise_value(tiny, edit_of(name), 1, TEMPLATES, free) for name in names]
    middle = sorted(alone, key=lambda one: one.trace[6]["loss"])[2]
    limit = (middle.trace[5]["loss"] + middle.trace[6]["loss"]) / 2
    settings = free.model_copy(update={"early_stop": limit})
    alone = [optimise_value(tiny, edit_of(name), 1, TEMPLATES, settings) for name in names]
    assert len({len(one.trace) for one in alone}) > 2, "all stop together: not a case for this test"
    together = optimise_values(tiny, [edit_of(name) for name in names], 1, TEMPLATES, settings)
    for one, other in zip(together, alone, strict=True):
        compare(one.trace, other.trace)
        torch.testing.assert_close(one.value, other.value, atol=2e-3, rtol=0)
        assert not torch.equal(one.value, one.initial) or len(one.trace) == 1


def test_the_model_is_left_as_it_was(tiny: LoadedModel) -> None:
    state, layers = torch.random.get_rng_state(), list(tiny.sites.layers)
    first = optimise_value(tiny, edit_of("repeated"), 1, TEMPLATES, ValueSettings(steps=4))
    again = optimise_value(tiny, edit_of("repeated"), 1, TEMPLATES, ValueSettings(steps=4))
    assert torch.equal(first.value, again.value) and first.trace == again.trace
    assert hash_weights(tiny.model) == tiny.identity.weights
    assert all(p.grad is None and not p.requires_grad for p in tiny.model.parameters())
    assert not any(module.training for module in tiny.model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny.model.modules())
    assert list(tiny.sites.layers) == layers and torch.equal(torch.random.get_rng_state(), state)
    assert not first.value.requires_grad


def test_a_subject_that_is_not_in_the_prompt(tiny: LoadedModel) -> None:
    wrong = EditRecord(id="w", prompt="The capital of France is", subject="Spain", target_new="Rome")
    with pytest.raises(EditError) as caught:
        optimise_value(tiny, wrong, 1, TEMPLATES, ValueSettings())
    assert "'Spain'" in str(caught.value) and "The capital of France is" in str(caught.value)
    assert len(tiny.sites.layers) == 4


def test_a_loss_that_is_not_finite(tiny: LoadedModel) -> None:
    with pytest.raises(EditError, match=r"edit 'in the middle': the loss is (nan|inf).*lower the learning rate"):
        optimise_value(
            tiny, edit_of("in the middle"), 1, TEMPLATES, ValueSettings(learning_rate=1e30, clamp_factor=1e38)
        )
    assert len(tiny.sites.layers) == 4


def test_a_context_that_names_the_subject_is_not_taken_for_the_prompt(tiny: LoadedModel) -> None:
    """Delta belongs to the prompt's own subject, whatever stands before the prompt or behind it."""
    edit = EditRecord(id="e", prompt="Romeville lies in", subject="Rome", target_new="Lisbon")
    templates = ("{}", "Rome is old. {}", "{} So says Rome.")
    lookups = sentences_of(tiny, edit, templates).lookup
    for template, at in zip(templates, lookups, strict=False):
        text = template.format(edit.prompt)
        end = tiny.tokenizer(text, return_offsets_mapping=True)["offset_mapping"][at][1]
        assert text[:end].endswith("Rome") and text[end:].startswith("ville")


def changed_below(loaded: LoadedModel, seed: int, layer: int) -> State:
    """A state of one rank-one change of a layer's down-projection."""
    generator = torch.Generator().manual_seed(seed)
    weight = loaded.sites.down_weight(layer)
    left, right = (torch.randn(size, generator=generator) for size in weight.shape)
    return (Step(layer_delta(loaded, layer, 0.02 * left[:, None], right[None])),)


def test_edits_in_different_states_share_a_loop(tiny: LoadedModel) -> None:
    """Chains side by side: each value is that of its own state, whoever else is optimised with it."""
    settings = ValueSettings(steps=6, learning_rate=0.2, early_stop=0.0)
    chosen = [edit_of(name) for name in list(CASES)[:3]]
    states = [changed_below(tiny, 0, 1), (), (*changed_below(tiny, 1, 0), *changed_below(tiny, 2, 1))]
    together = optimise_values(tiny, chosen, 1, TEMPLATES, settings, states=states)
    for edit, state, one in zip(chosen, states, together, strict=True):
        with installed(tiny.model, state):
            alone = optimise_value(tiny, edit, 1, TEMPLATES, settings)
        compare(one.trace, alone.trace)
        torch.testing.assert_close(one.initial, alone.initial, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(one.value, alone.value, atol=2e-3, rtol=0)
    clean = optimise_values(tiny, chosen, 1, TEMPLATES, settings)
    assert (clean[0].initial - together[0].initial).norm() > 1e-2, "the state makes no difference"
    assert hash_weights(tiny.model) == tiny.identity.weights


def test_a_state_that_all_share_may_change_any_layer(tiny: LoadedModel) -> None:
    state = changed_below(tiny, 3, 3)
    with installed(tiny.model, state):
        wanted = optimise_values(tiny, [edit_of("repeated")] * 2, 1, TEMPLATES, ValueSettings(steps=3))
    found = optimise_values(tiny, [edit_of("repeated")] * 2, 1, TEMPLATES, ValueSettings(steps=3), states=[state] * 2)
    assert all(torch.equal(one.value, other.value) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("layer", "place"), [(2, "mlp"), (1, "attention+mlp")])
def test_different_states_that_change_what_the_loop_runs(tiny: LoadedModel, layer: int, place: Place) -> None:
    states = [changed_below(tiny, 0, layer), ()]
    with pytest.raises(ValueError, match=f"layers.{layer}.*below layer"):
        optimise_values(tiny, [edit_of("repeated")] * 2, 1, TEMPLATES, ValueSettings(steps=2), place, states)
    assert hash_weights(tiny.model) == tiny.identity.weights
