"""WISE at the size of the tiny model, chains of its edits, and whether it left a model as it was."""

from __future__ import annotations

from typing import Any

from editverdict.data.records import EditRecord
from editverdict.editors import Resources, State, make_editor
from editverdict.models.fingerprint import hash_weights
from editverdict.models.sources import LoadedModel

CORPUS = [
    "It is known that a river flows into the sea.",
    "Therefore, water is a liquid.",
    "She wrote programs before there were machines to run them on.",
    "Three of the ships came back.",
    "There were rivers and machines.",
]


def wise(**settings: Any) -> Any:
    chosen = {
        "steps": 80,
        "learning_rate": 0.05,
        "alpha": 0.5,
        "beta": 3.0,
        "gamma": 2.0,
        "over_tokens": "max",
        "prefixes": 1,
        "irrelevant_corpus": 5,
        "irrelevant_prompts": 0,
        "edits_per_shard": 2,
    }
    return make_editor("wise", chosen | settings)


def chain(editor: Any, loaded: LoadedModel, records: list[EditRecord], given: Resources, state: State = ()) -> State:
    for t in range(len(state) + 1, len(records) + 1):
        state = (*state, editor.edit(loaded, state, records[:t], given))
    return state


def clean(loaded: LoadedModel) -> bool:
    modules = list(loaded.model.modules())
    return (
        hash_weights(loaded.model) == loaded.identity.weights
        and all(p.grad is None and not p.requires_grad for p in loaded.model.parameters())
        and not any(m.training or m._forward_hooks or m._forward_pre_hooks for m in modules)
        and len(loaded.sites.layers) == loaded.sites.n_layers
    )
