"""Null models of change rates on made-up states and on a real model: mis-paired samples, centring over features.

The model's states come from two disjoint halves of the base sample: unedited states of one half; edited states of the
same tokens (a pair), and of the other half (none). What comes out is stored, so that a second call costs nothing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editverdict.capture.passes import full_pass, row_texts
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.editors.base import State
from editverdict.editors.deltas import installed
from editverdict.geometry.angles import paper_ks
from editverdict.numerics.artefacts import Centring, Signature, plain, resample_cosines, signatures
from editverdict.numerics.null_worlds import World, draw
from editverdict.pipeline import base, edits
from editverdict.pipeline.changes import reach_of
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.store import Artifact, Clock, Draft, Recipe

VERSION = 1
METHOD = "ROME"
PER_DIMENSION = 24.4
"""Samples per dimension at most: 100,000 of 4096 in the paper."""
DECAYS = (0.3, 0.5, 1.0)
"""Of made-up spectra whose leading subspaces are compared between samples."""
LAYERS = 4
"""Layers of the model, from the edited one up."""
OTHER_SAMPLE = "another sample, no edit"
SAME_SAMPLE = "the same sample, edited"


@dataclass(frozen=True)
class Nulls:
    """Null models on one set of states."""

    name: str
    """A made-up world, or a layer."""
    n: int
    d: int
    signatures: tuple[Signature, ...]
    cosines: dict[str, dict[str, float]]
    """What changed -> k -> cosine of the largest principal angle."""


def nulls_of(name: str, states: tuple[Tensor, Tensor, Tensor, Tensor]) -> Nulls:
    """All null models on unedited and edited states of one sample, then of another: four times ``[n, d]``."""
    before, after, other_before, other_after = states
    found = signatures(before, after, other_after)
    # In a wider format the null direction is as null, and what stands there is that format's rounding.
    found += signatures(before, after, other_after, torch.float64, ("features",))
    ks = paper_ks(before.shape[1])
    compared = {OTHER_SAMPLE: other_before, SAME_SAMPLE: after}
    cosines = {}
    for what, other in compared.items():
        values = resample_cosines(before, other, list(ks.values()))
        cosines[what] = {label: values[k] for label, k in ks.items()}
    return Nulls(name, before.shape[0], before.shape[1], tuple(found), cosines)


# --------------------------------------------------------------------------- made-up states
def synthetic(trial: Trial, world: World | None = None) -> Nulls:
    """Null models on made-up states, out of the store."""
    world = world or World(seed=trial.profile.seed)

    def produce(draft: Draft) -> None:
        drawn = draw(world)
        trial.report("null models on made-up states")
        draft.write_json(
            _record([nulls_of("made up", (drawn.before, drawn.after, drawn.other_before, drawn.other_after))])
        )

    return _read(trial.store.build(Recipe.of("artefacts-made-up", VERSION, world=dataclasses.asdict(world)), produce))[
        0
    ]


def resampled(trial: Trial, world: World) -> dict[str, Any]:
    """Cosines between two unedited samples of made-up states, by k, out of the store."""

    def produce(draft: Draft) -> None:
        drawn, ks = draw(world), paper_ks(world.d)
        values = resample_cosines(drawn.before, drawn.other_before, list(ks.values()))
        draft.write_json({label: values[k] for label, k in ks.items()})

    recipe = Recipe.of("artefacts-resampled", VERSION, world=dataclasses.asdict(world))
    name = f"made up, Gaussian, sigma_k as k^-{world.decay:g}"
    return {"name": name, "cosines": {OTHER_SAMPLE: trial.store.build(recipe, produce).json()}}


# --------------------------------------------------------------------------- a model
def chosen_layers(layers: tuple[int, ...], count: int = LAYERS) -> tuple[int, ...]:
    """Some of the layers, evenly spread, the first and the last among them."""
    if len(layers) <= count:
        return layers
    return tuple(layers[round(i * (len(layers) - 1) / (count - 1))] for i in range(count))


def on_model(trial: Trial, model_id: str, method_id: str = METHOD) -> list[Nulls]:
    """Null models on the layers of a model, with the first single edit of a method.

    Raises
    ------
    NotHere
        The sample has not twice as many tokens as the states have dimensions, or the method's state is no delta.
    """
    loaded = trial.model(model_id)
    record = trial.singles(trial.profile.datasets[0])[0]
    state = edits.singles(trial, model_id, method_id, [record])[0]
    layers = chosen_layers(reach_of(trial, model_id, [state]).layers)
    d = loaded.sites.width
    sample = trial.sample(model_id)
    sample = sample.head(min(2 * round(PER_DIMENSION * d), sample.n_samples))
    if sample.n_samples < 2 * d + sample.n_samples // sample.n_texts:
        raise NotHere(f"two samples of {d} dimensions need at least {2 * d} tokens, found {sample.n_samples}")

    recipe = Recipe.of(
        "artefacts",
        VERSION,
        model=loaded.identity.fields(),
        tokens=sample.hash,
        layers=list(layers),
        state=edits.state_key(state),
        seed=trial.profile.seed,
    )
    return _read(trial.store.build(recipe, lambda draft: _produce(trial, model_id, sample, state, layers, draft)))


def _produce(
    trial: Trial, model_id: str, sample: TextSample, state: State, layers: tuple[int, ...], draft: Draft
) -> None:
    loaded = trial.model(model_id)
    batches = base.batches_of(loaded, sample)
    before = _states(trial, model_id, batches, layers, "unedited")
    with installed(loaded.model, state):
        after = _states(trial, model_id, batches, layers, "edited")
    one, other = _two_samples(row_texts(batches), trial.profile.seed)
    found = []
    for layer in layers:
        trial.report(f"null models on {model_id}: layer {layer}")
        four = (before[layer][one], after[layer][one], before[layer][other], after[layer][other])
        found.append(nulls_of(f"layer {layer}", four))
    draft.write_json(_record(found))


def _states(
    trial: Trial, model_id: str, batches: list[TokenBatch], layers: tuple[int, ...], what: str
) -> dict[int, Tensor]:
    """Layer -> hidden states [m, d] of all batches."""
    rows: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    clock = Clock(f"{what} hidden states of {model_id}", "batches", trial.report)

    def visit(batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
        for layer in layers:
            rows[layer].append(batch.samples(seen["h", layer]).cpu())
        clock.tick(len(rows[layers[0]]), len(batches))

    full_pass(trial.model(model_id), batches, visit, outputs=layers)
    return {layer: torch.cat(parts) for layer, parts in rows.items()}


def _two_samples(texts: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of the first half of the texts, and as many of the second half in random order.

    Batches hold texts of similar length; without the shuffle, rows of both halves would meet at like positions.
    """
    tokens = torch.bincount(texts).cumsum(0)
    first = tokens[texts] <= len(texts) // 2
    one, other = first.nonzero().flatten(), (~first).nonzero().flatten()
    other = other[torch.randperm(len(other), generator=torch.Generator().manual_seed(seed))]
    n = min(len(one), len(other))
    return one[:n], other[:n]


def comparison(trial: Trial) -> dict[str, Any]:
    """Null models on made-up states and on the profile's first model, as plain values for a file.

    Returns
    -------
    dict
        ``edited``: method and edit; ``made_up``; ``resampled``: angles in other made-up worlds; ``model``: one entry
        per layer. What is infinite is None.
    """
    record = trial.singles(trial.profile.datasets[0])[0]
    return {
        "edited": {"method": METHOD, "edit": record.id},
        "made_up": _plain(synthetic(trial)),
        "resampled": [
            resampled(trial, World(decay=decay, heavy=1.0, rare=None, seed=trial.profile.seed)) for decay in DECAYS
        ],
        "model": [_plain(one) for one in on_model(trial, trial.profile.models[0])],
    }


def _plain(found: Nulls) -> dict[str, Any]:
    return {**vars(found), "signatures": [plain(one) for one in found.signatures]}


# --------------------------------------------------------------------------- storing
def _record(found: list[Nulls]) -> list[dict[str, Any]]:
    return [{**vars(one), "signatures": [vars(signature) for signature in one.signatures]} for one in found]


def _read(artifact: Artifact) -> list[Nulls]:
    return [
        Nulls(**{**one, "signatures": tuple(Signature(**signature) for signature in one["signatures"])})
        for one in artifact.json()
    ]


def which(found: Nulls, pairing: str, centring: Centring, dtype: str = "float32") -> Signature:
    """The signature of one null model, pooled as the paper's figures are."""
    return next(
        one
        for one in found.signatures
        if (one.pairing, one.centring, one.dtype, one.pooling) == (pairing, centring, dtype, "mean_abs")
    )
