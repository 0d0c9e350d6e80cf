"""Every method on a tiny random model of every architecture, and the value's shortcut on each of them.

The methods are those of specs/methods; where one cannot edit a kind of model it has to say so, and nothing may be left
behind in either case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from editverdict.data.records import EditRecord
from editverdict.editors import EditError, Editor, Resources, Step, make_editor
from editverdict.editors.places import Place
from editverdict.editors.rome import subject_keys
from editverdict.editors.values import ValueSettings, optimise_values
from editverdict.models.sites import SiteError
from editverdict.models.sources import LoadedModel
from editverdict.schema.specs import MethodSpec
from suites.selftest.models.toys import CAUSAL, LIBRARY, TOYS, assert_untouched, toy

FACTS = [
    ("The mother tongue of Danielle Darrieux is", "Danielle Darrieux", "English", "French"),
    ("The capital of Łódź Land is", "Łódź Land", "New Rome", "Łódź"),
    ("Ada lived in", "Ada", "Lisbon", "London"),
    ("Seven ships sailed from Goa to", "Goa", "a red sea", "Lisbon"),
]
EDITS = [
    EditRecord(
        id=f"e{i}",
        prompt=prompt,
        subject=subject,
        target_new=new,
        target_old=old,
        relation=f"r{i % 2}",
        rephrases=(f"It is known: {prompt[0].lower()}{prompt[1:]}",),
        split="tune",
    )
    for i, (prompt, subject, new, old) in enumerate(FACTS)
]
PREFIXES = ["It is so", "Therefore the sea and the ships"]
TEMPLATES = ("{}", *(f"{prefix}. {{}}" for prefix in PREFIXES))


# --------------------------------------------------------------------------- the value's shortcut
def lookups(loaded: LoadedModel, edit: EditRecord) -> list[tuple[list[int], int, int]]:
    """Tokens, position of the subject's last one and prompt length of each sentence, by encoded beginnings."""

    def encode(text: str) -> list[int]:
        return list(loaded.tokenizer(text)["input_ids"])

    found = []
    targets = encode(" " + edit.target_new)
    for text in [*(template.replace("{}", edit.prompt) for template in TEMPLATES), f"{edit.subject} is a"]:
        ids = encode(text)
        last = len(encode(text[: text.rfind(edit.subject) + len(edit.subject)])) - 1
        found.append((ids if len(found) == len(TEMPLATES) else ids + targets[:-1], last, len(ids)))
    return found


@contextmanager
def adding(parts: Mapping[nn.Module, Tensor], at: dict[str, int], starts: dict[int, Tensor]) -> Iterator[None]:
    """Hooks that add a delta to each module's output at position ``at['lookup']``, keeping the first output seen."""

    def hook(delta: Tensor, number: int) -> Callable[..., Any]:
        def add(_module: Any, _args: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            starts.setdefault(number, hidden[0, at["lookup"]].detach().clone())
            changed = hidden.clone()
            changed[0, at["lookup"]] = hidden[0, at["lookup"]] + delta
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return add

    with ExitStack() as stack:
        for number, (module, delta) in enumerate(parts.items()):
            stack.callback(module.register_forward_hook(hook(delta, number)).remove)
        yield


def reference(
    loaded: LoadedModel, edit: EditRecord, layer: int, settings: ValueSettings, place: Place
) -> tuple[list[float], Tensor]:
    """Losses and value by the whole model, one sentence and all its tokens at a time."""
    sites, rows = loaded.sites, lookups(loaded, edit)
    targets = torch.tensor(loaded.tokenizer(" " + edit.target_new)["input_ids"])
    modules = {
        "mlp": [sites.mlp(layer)],
        "layer": [sites.layer(layer)],
        "attention+mlp": [sites.mlp(layer), sites.attention(layer)],
    }[place]
    deltas = [torch.zeros(sites.width, requires_grad=True) for _ in modules]
    optimiser = torch.optim.Adam(deltas, lr=settings.learning_rate)
    at, starts, losses = {"lookup": 0}, {}, []
    before: Tensor | None = None
    with adding(dict(zip(modules, deltas, strict=True)), at, starts):
        for step in range(settings.steps):
            nlls = []
            now = torch.zeros(())
            for ids, at["lookup"], length in rows:
                table = functional.log_softmax(loaded.model(torch.tensor([ids]), use_cache=False).logits[0], -1)
                if len(nlls) < len(TEMPLATES):
                    nlls.append(-table[torch.arange(length - 1, length - 1 + len(targets)), targets].mean())
                else:
                    now = table[at["lookup"]]
            before = now.detach() if before is None else before
            loss = torch.stack(nlls).mean()
            loss = loss + settings.kl_factor * functional.kl_div(before, now, log_target=True, reduction="sum")
            for number, delta in enumerate(deltas):
                loss = loss + settings.weight_decay * delta.norm() / starts[number].norm() ** 2
            losses.append(loss.item())
            if step < settings.steps - 1:
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return losses, starts[0] + deltas[0].detach()


@pytest.mark.parametrize("place", ["mlp", "layer", "attention+mlp"])
@pytest.mark.parametrize("name", CAUSAL)
def test_the_shortcut_equals_the_whole_model(name: str, place: Place) -> None:
    """Learned positions, biases, norms on queries, grouped attention, windows: all as in a plain forward pass."""
    loaded = toy(name)
    settings = ValueSettings(
        steps=4, learning_rate=0.2, early_stop=0.0, clamp_factor=50.0, kl_factor=0.5, weight_decay=0.1
    )
    found = optimise_values(loaded, EDITS[:2], 1, TEMPLATES, settings, place)
    for edit, one in zip(EDITS[:2], found, strict=True):
        losses, value = reference(loaded, edit, 1, settings, place)
        assert [entry["loss"] for entry in one.trace] == pytest.approx(losses, abs=1e-4)
        assert losses[-1] < losses[0] - 0.01, "nothing was optimised"
        torch.testing.assert_close(one.value, value, atol=2e-3, rtol=0)
    assert_untouched(loaded)


@pytest.mark.parametrize("name", ["rehearsal-mistral", "rehearsal-qwen2"])
def test_a_window_that_binds_is_refused_where_it_matters(name: str) -> None:
    loaded = toy(name, sliding_window=4)
    with pytest.raises(SiteError, match=r"sees 4 tokens, and a text here has up to \d+"):
        optimise_values(loaded, EDITS[:1], 1, TEMPLATES, ValueSettings(steps=2))
    assert_untouched(loaded)


@pytest.mark.parametrize("name", ["rehearsal-mistral", "rehearsal-qwen2"])
def test_sentences_that_fit_into_the_window_may_together_be_longer(name: str) -> None:
    """All sentences of an edit stand in one row; the window is one of a sentence, not of the row."""
    settings = ValueSettings(steps=3, learning_rate=0.2, early_stop=0.0, clamp_factor=50.0)
    sentences = lookups(toy(name), EDITS[0])
    longest = max(len(ids) for ids, _, _ in sentences)
    assert longest < sum(last for _, last, _ in sentences)
    found = [
        optimise_values(toy(name, sliding_window=window), EDITS[:1], 1, TEMPLATES, settings)[0]
        for window in (longest, 4096)
    ]
    torch.testing.assert_close(found[0].value, found[1].value, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CAUSAL)
def test_keys_are_those_of_the_whole_model_whatever_the_padding_side(name: str) -> None:
    loaded, edit = toy(name), EDITS[0]
    rows = lookups(loaded, edit)[: len(TEMPLATES)]
    keys = []

    def keep(_module: Any, args: Any) -> None:
        keys.append(args[0][0])

    handle = loaded.sites.down_proj(2).register_forward_pre_hook(keep)
    with torch.no_grad():
        for ids, _last, length in rows:
            loaded.model(torch.tensor([ids[:length]]), use_cache=False)
    handle.remove()
    expected = torch.stack([key[last] for key, (_ids, last, _length) in zip(keys, rows, strict=True)])
    settings = ValueSettings(steps=3)
    seen = {}
    for side in ("right", "left"):
        loaded.tokenizer.padding_side = side
        try:
            found, outputs = subject_keys(loaded, edit, 2, TEMPLATES)
            value = optimise_values(loaded, EDITS, 1, TEMPLATES, settings)
        finally:
            loaded.tokenizer.padding_side = "right"
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(loaded.sites.down_proj(2)(found), outputs, atol=1e-5, rtol=0)
        seen[side] = [one.value for one in value]
    assert all(torch.equal(a, b) for a, b in zip(seen["left"], seen["right"], strict=True))


# --------------------------------------------------------------------------- every method on every architecture
SMALL = {
    "steps": 3, "warm_up": 1, "final": 1, "rank": 4, "batch": 2, "held_out": 1, "targets_per_fact": 1, "probes": 1,
    "neighbours": 1, "texts": 2, "skipped_texts": 0, "evaluate_every": 2, "epochs": 2, "iterations": 3,
}  # fmt: skip
"""Hyperparameters that cost time, wherever they stand, and what is enough to run the code."""
EAGER = {"threshold": -1e9}
"""SCR's confirmation: a random model would confirm nothing, and nothing of the method would be seen."""
METHODS = [
    spec
    for spec in LIBRARY.methods.values()
    if spec.kind != "control"
    and spec.editor != "easyedit"  # runs in a Python of its own, which is not here
    and (spec.kind != "combination" or spec.hyperparameters["parametric"] == "ROME")
]
ON_T5 = {"FT", "FT-L", "MEND"}
"""What the paper runs on T5, and what has to work there."""


def reduced(settings: Any) -> Any:
    """The same settings with less work."""
    if not isinstance(settings, dict):
        return settings
    return {
        name: min(value, SMALL[name]) if name in SMALL and isinstance(value, int) else reduced(value)
        for name, value in settings.items()
    }


def editor_of(spec: MethodSpec, model: str) -> Editor:
    """The method as the smoke profile's toy has it, on any toy, with little work."""
    own = spec.per_model.get(model, spec.per_model.get("rehearsal-llama", {}))
    whole = make_editor(spec.editor, {**spec.hyperparameters, **own}).hyperparameters
    settings = reduced(whole.model_dump(mode="json"))
    return make_editor(spec.editor, {name: EAGER.get(name, value) for name, value in settings.items()})


class Words:
    """A sentence encoder: counts of hashed words."""

    def encode(self, texts: Sequence[str], **_settings: Any) -> np.ndarray:
        found = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                found[row, hashlib.sha256(word.encode()).digest()[0] % 64] += 1
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def covariance(layer: int) -> Tensor:
    """A full second moment of keys with a decaying spectrum [96, 96]."""
    generator = torch.Generator().manual_seed(layer)
    basis, _ = torch.linalg.qr(torch.randn(96, 96, generator=generator, dtype=torch.float64))
    return basis @ torch.diag(torch.logspace(0, -6, 96, dtype=torch.float64)) @ basis.T


def resources(model: str) -> Resources:
    """Everything that an editor may ask for, computed on the spot."""
    return Resources(
        covariance=covariance,
        covariances=lambda layers: {layer: covariance(layer) for layer in layers},
        prefixes=lambda count, _tokens: PREFIXES[:count],
        values=lambda _fields, edits, compute: list(compute(edits)),
        step_of=lambda _method, _records: Step(),
        encoder=Words,
        trained=lambda _fields, make: make(),
        train_edits=lambda: EDITS,
        texts=lambda count: [f"{edit.prompt} {edit.target_old}." for edit in EDITS][:count],
        editor=lambda method: editor_of(LIBRARY.methods[method], model),
    )


def spoken(loaded: LoadedModel, texts: Sequence[str]) -> list[Tensor]:
    """Next-token logits after each text."""
    found = []
    for text in texts:
        ids = torch.tensor([loaded.tokenizer(text)["input_ids"]])
        start = {}
        if loaded.sites.spec.encoder_decoder:
            start["decoder_input_ids"] = torch.tensor([[loaded.model.config.decoder_start_token_id]])
        with torch.no_grad():
            found.append(loaded.model(ids, **start, use_cache=False).logits[0, -1])
    return found


@pytest.mark.parametrize("method", METHODS, ids=[spec.id for spec in METHODS])
@pytest.mark.parametrize("name", TOYS)
def test_every_method_on_every_architecture(name: str, method: MethodSpec) -> None:
    loaded, given = toy(name), resources(name)
    editor, prompt = editor_of(method, name), EDITS[0].prompt
    before = spoken(loaded, [prompt])[0]
    random = torch.random.get_rng_state()
    try:
        state = (editor.edit(loaded, (), EDITS[:1], given),)
        assert_untouched(loaded)
        with editor.install(loaded, state, EDITS[:1], given) as answering:
            (asked,) = answering.prompts([prompt])
            after = spoken(loaded, [asked])[0]
    except (EditError, SiteError) as refusal:
        assert loaded.sites.spec.encoder_decoder, f"{method.id} refuses {name}: {refusal}"
        assert method.id not in ON_T5 and len(str(refusal)) > 40 and "decoder" in str(refusal), refusal
        return
    finally:
        assert_untouched(loaded)
    assert torch.isfinite(after).all() and state[0].edits == 1
    assert torch.equal(torch.random.get_rng_state(), random), "the global generator was used"
    assert asked != prompt or not torch.equal(after, before), "the edit changed nothing"
    assert torch.equal(spoken(loaded, [prompt])[0], before)


@pytest.mark.parametrize("method", METHODS, ids=[spec.id for spec in METHODS])
def test_a_model_that_trains_is_quiet_while_it_is_edited(method: MethodSpec) -> None:
    """Dropout on, parameters that ask for gradients, gradients off around the call: all without effect, all kept."""
    name = "rehearsal-gpt2"
    loaded, given = toy(name), resources(name)
    editor = editor_of(method, name)
    expected = editor.edit(loaded, (), EDITS[:1], given)
    loaded.model.train()
    loaded.sites.layer(1).eval()
    for parameter in loaded.model.parameters():
        parameter.requires_grad_(True)
    random = torch.random.get_rng_state()
    try:
        with torch.no_grad():
            found = editor.edit(loaded, (), EDITS[:1], given)
        assert torch.equal(torch.random.get_rng_state(), random), "the global generator was used"
        assert all(p.grad is None and p.requires_grad for p in loaded.model.parameters())
        assert loaded.model.training and not loaded.sites.layer(1).training
    finally:
        loaded.model.eval()
        loaded.model.requires_grad_(False)
    assert found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(found.tensors[key], expected.tensors[key]) for key in expected.tensors)


@pytest.mark.parametrize("method", METHODS, ids=[spec.id for spec in METHODS])
def test_the_same_fact_under_another_id_is_the_same_edit(method: MethodSpec) -> None:
    """Recipes hold the fact and not its id, so nothing may be drawn by the id."""
    name = "rehearsal-llama"
    loaded, given, editor = toy(name), resources(name), editor_of(method, name)
    one, other = (
        editor.edit(loaded, (), [edit], given) for edit in (EDITS[0], EDITS[0].model_copy(update={"id": "other"}))
    )
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(one.tensors[key], other.tensors[key]) for key in one.tensors)
