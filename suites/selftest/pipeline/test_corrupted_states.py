"""Hidden states of another layer, another model or repeated texts make every case that stands on them invalid."""

from __future__ import annotations

import dataclasses
from copy import deepcopy
from typing import Any

import pytest
import torch

from editverdict.capture.passes import full_pass
from editverdict.capture.texts import TextSample
from editverdict.inference.rows import Row
from editverdict.models.sites import Sites
from editverdict.models.sources import LoadedModel, load_model
from editverdict.pipeline import base, changes
from suites.selftest.pipeline.corruption import (
    ALL,
    CHANGES,
    COLLAPSE,
    EDITED,
    MODEL,
    PAIRED,
    REAL,
    SPECTRA,
    TELESCOPING,
    World,
    all_invalid,
    change_pass,
    instead_of_passes,
    judged,
)

STATED = tuple(claim for claim in ALL if claim != TELESCOPING)
"""Claims that stand on stored states of the unedited model (the telescoping sum takes its own, and is asked apart)."""


# --------------------------------------------------------------------------- layers
def exchanged(seen: dict[Any, Any], a: Any, b: Any) -> dict[Any, Any]:
    return {**seen, a: seen[b], b: seen[a]} if a in seen and b in seen else seen


def test_base_states_of_two_layers_exchanged(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    change_pass(monkeypatch, lambda seen: exchanged(seen, ("h", 1), ("h", 2)))
    rows = judged(world.again([*SPECTRA, *EDITED]), *ALL)
    all_invalid(rows, "states-reproduced", honest)
    assert "are those of layer 2" in rows["collapse-eff-rank"].reason


def test_spectra_of_two_layers_exchanged(world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch) -> None:
    # The states are sound; only whoever reads the spectra takes one layer's for the other's.
    read = base.read_spectra
    monkeypatch.setattr(base, "read_spectra", lambda *a: exchanged(read(*a), 1, 2))
    all_invalid(judged(world.again(["change"]), *COLLAPSE, REAL, *CHANGES), "spectrum-recomputed", honest)


@pytest.mark.parametrize("layers", [(1, 2), (2, 3)])
def test_edited_states_of_two_layers_exchanged(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch, layers: tuple[int, int]
) -> None:
    own = world.again(EDITED)
    weight = own.model(MODEL).sites.down_proj(1).weight.clone()
    tail_pass = changes.tail_pass

    def wrapped(loaded: Any, *args: Any, **options: Any) -> Any:
        found = tail_pass(loaded, *args, **options)
        edited = not torch.equal(loaded.sites.down_proj(1).weight, weight)
        return exchanged(found, *layers) if edited else found

    monkeypatch.setattr(changes, "tail_pass", wrapped)
    all_invalid(judged(own, *CHANGES, TELESCOPING), "states-reproduced", honest)


# --------------------------------------------------------------------------- models
@pytest.fixture(scope="module")
def other(world: World) -> LoadedModel:
    """The toy with another seed."""
    spec = world.honest.library.models[MODEL]
    twin = spec.model_copy(update={"source": spec.source.model_copy(update={"seed": 9})})
    library = world.honest.library
    return load_model(twin, library.architectures[spec.architecture], torch.device("cpu"), library.models.__getitem__)


def test_base_states_of_another_model(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch, other: LoadedModel
) -> None:
    instead_of_passes(monkeypatch, lambda _loaded, *a, **o: full_pass(other, *a, **o))
    all_invalid(judged(world.again([*SPECTRA, *EDITED]), *ALL), "states-reproduced", honest)


def test_edited_states_of_another_model(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch, other: LoadedModel
) -> None:
    tail_pass = changes.tail_pass
    monkeypatch.setattr(changes, "tail_pass", lambda _loaded, *a, **o: tail_pass(other, *a, **o))
    all_invalid(
        judged(world.again([*EDITED, "no-op-again"]), *CHANGES, PAIRED, TELESCOPING), "states-reproduced", honest
    )


def test_edits_that_were_not_in_force(world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch) -> None:
    # Another model of another kind: the edited pass runs the unedited one, so that every edit seems to change nothing.
    installed = changes.installed
    monkeypatch.setattr(changes, "installed", lambda model, _state, scale=1.0: installed(model, (), scale))
    rows = judged(world.again(EDITED), "smallpert-norm", "pc-dominant-stable-early", "amp-many-gt1-single-edit")
    all_invalid(rows, "states-reproduced", honest)


def test_weights_that_changed_in_memory(world: World, honest: dict[str, Row]) -> None:
    # Everything is measured on one model, but it is not the one that the recipes and the rows name.
    loaded = world.honest.model(MODEL)
    model = deepcopy(loaded.model)
    with torch.no_grad():
        model.get_parameter("model.layers.0.self_attn.q_proj.weight")[0, 0] += 1e-3
    changed = dataclasses.replace(loaded, model=model, sites=Sites(model, loaded.sites.spec))
    rows = judged(world.again([*SPECTRA, *EDITED], _models={MODEL: changed}), *ALL)
    all_invalid(rows, "states-reproduced", honest)
    assert "weights in memory" in rows["collapse-eff-rank"].reason


# --------------------------------------------------------------------------- repeated texts
def test_a_corpus_repeated_to_reach_its_size(world: World, honest: dict[str, Row]) -> None:
    own = world.again([*SPECTRA, *EDITED], "tiny", _samples={})
    own.__dict__["corpus"] = world.honest.corpus[:25] * 20
    assert own.sample(MODEL).n_texts >= 120, "the profile must be content with the number of texts"
    all_invalid(judged(own, *ALL), "texts-distinct", honest)


def test_some_texts_twice(world: World, honest: dict[str, Row]) -> None:
    own = world.again([*SPECTRA, *EDITED], "tiny", _samples={})
    own.__dict__["corpus"] = [
        text for text in world.honest.corpus[:240] for text in [text] * (1 + (len(text) % 4 == 0))
    ]
    all_invalid(judged(own, *STATED), "texts-distinct", honest)


def test_batches_repeated_in_place_of_others(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The sample is sound and counts right; the passes see a third of it three times.
    whole = TextSample._batches

    def thrice(*args: Any) -> Any:
        found = whole(*args)
        return found[: max(1, len(found) // 3)] * 3

    monkeypatch.setattr(TextSample, "_batches", thrice)
    all_invalid(judged(world.again([*SPECTRA, *EDITED]), *ALL), "texts-distinct", honest)
