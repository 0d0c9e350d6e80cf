"""Artifacts of the unedited model: spectra of its hidden states, covariances of its keys, the paired subset.

Versions below are part of the recipes: raise one whenever the same recipe would give other numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editverdict.capture.passes import full_pass, row_texts, row_tokens
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.editors.prefixes import sample_prefixes
from editverdict.geometry.checks import check_centred, check_resolution
from editverdict.models.precision import in_float64
from editverdict.models.sources import LoadedModel
from editverdict.numerics.moments import BlockMoments, Moments
from editverdict.numerics.precision import effective_dtype
from editverdict.numerics.spectrum import Spectrum, exact_spectrum, spectrum_of
from editverdict.pipeline.trial import Trial
from editverdict.store import Artifact, Clock, Draft, Recipe

SPECTRA_VERSION = 1
SUBSET_VERSION = 2
LOWER_VERSION = 1
PREFIX_VERSION = 1
PROBES_PER_BATCH = 16
"""Rows of each batch that the check of centring looks at."""


def batches_of(loaded: LoadedModel, sample: TextSample) -> list[TokenBatch]:
    """Batches of a sample on the model's device."""
    return sample.batches(int(loaded.tokenizer.pad_token_id), loaded.device)


@dataclass(frozen=True)
class LayerSpectra:
    """Spectrum of one layer with what its interval needs."""

    layer: int
    spectrum: Spectrum
    leave_out: Tensor
    """[blocks, d] singular values without each block of texts."""
    half: Tensor
    """[d] singular values of the first half of the blocks."""
    quarter: Tensor
    """[d] singular values of the first quarter."""
    n_half: int
    n_quarter: int
    exact: bool
    """Whether it was measured in exact mode from float64 activations."""


# --------------------------------------------------------------------------- the base pass
def base_recipe(trial: Trial, model_id: str) -> Recipe:
    """Recipe of the base pass: every measured layer's spectrum and the edited layer's covariance."""
    loaded = trial.model(model_id)
    return Recipe.of(
        "base-pass",
        SPECTRA_VERSION,
        model=loaded.identity.fields(),
        corpus=trial.corpus_key(model_id),
        layers=list(loaded.spec.layers.measured),
        edit=loaded.spec.layers.edit,
    )


def base_pass(trial: Trial, model_id: str) -> Artifact:
    """One pass over the base sample: all layers at once."""
    return trial.store.build(base_recipe(trial, model_id), lambda draft: _produce_base(trial, model_id, draft))


def _produce_base(trial: Trial, model_id: str, draft: Draft) -> None:
    loaded, sample = trial.model(model_id), trial.sample(model_id)
    layers, edit = loaded.spec.layers.measured, loaded.spec.layers.edit
    batches = batches_of(loaded, sample)
    blocks: dict[int, BlockMoments] = {}
    keys: list[Moments] = []
    probe: dict[int, list[Tensor]] = {}
    clock = Clock(f"hidden states of {model_id}", "batches", trial.report)
    done = 0

    def visit(batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
        nonlocal done
        block = torch.tensor([sample.block_of(int(text)) for text in batch.text])
        rows = block[:, None].expand(batch.keep.shape)[batch.keep.cpu()]
        for layer in layers:
            states = seen["h", layer][batch.keep].cpu()
            # Rows from every batch: batches go by length, so the first ones alone would be no fair sample.
            probe.setdefault(layer, []).append(states[:: max(1, len(states) // PROBES_PER_BATCH)].clone())
            into = blocks.setdefault(layer, BlockMoments(states.shape[1], sample.n_blocks))
            for number in sorted(set(rows.tolist())):
                into.update(number, states[rows == number])
        key = seen["key", edit][batch.mask.bool()].cpu()
        if not keys:
            keys.append(Moments(key.shape[1]))
        keys[0].update(key)
        done += 1
        clock.tick(done, len(batches))

    full_pass(loaded, batches, visit, outputs=layers, keys=[edit])
    tensors: dict[str, Tensor] = {"covariance": keys[0].second_moment()}
    checks: dict[str, Any] = {}
    for layer in layers:
        spectra, found = _layer_spectra(torch.cat(probe[layer]), blocks[layer])
        tensors |= {f"{layer}.{name}": tensor for name, tensor in spectra.items()}
        checks[str(layer)] = found
        trial.report(f"spectra of {model_id}: layer {layer}")
    draft.write_tensors(tensors)
    draft.write_json({"texts": sample.n_texts, "tokens": sample.n_tokens, "keys": keys[0].n, "checks": checks})


def _layer_spectra(probe: Tensor, blocks: BlockMoments) -> tuple[dict[str, Tensor], dict[str, Any]]:
    spectrum = spectrum_of(blocks.total(), activation_dtype=effective_dtype(probe))
    leave_out = torch.stack([_sigma(blocks.without(number)) for number in range(blocks.blocks)])
    half, quarter = blocks.first_fraction(0.5), blocks.first_fraction(max(0.25, 1 / blocks.blocks))
    tensors = spectrum.to_tensors() | {
        "loo": leave_out,
        "half": _sigma(half),
        "quarter": _sigma(quarter),
        "fractions": torch.tensor([half.n, quarter.n]),
        "blocks": torch.tensor([blocks.block(number).n for number in range(blocks.blocks)]),
    }
    centred = check_centred(spectrum, probe)
    resolved = check_resolution(spectrum.sigma, spectrum.floor)
    return tensors, {"centred": [centred.ok, centred.detail], "above-resolution": [resolved.ok, resolved.detail]}


def _sigma(moments: Moments) -> Tensor:
    values: Tensor = torch.linalg.eigvalsh(moments.scatter())
    return values.flip(0).clamp_min(0.0).sqrt()


def read_spectra(artifact: Artifact, layers: tuple[int, ...]) -> dict[int, LayerSpectra]:
    """The spectra of a base pass."""
    tensors = artifact.tensors()
    found = {}
    for layer in layers:
        own = {name.partition(".")[2]: tensor for name, tensor in tensors.items() if name.startswith(f"{layer}.")}
        half, quarter = (int(value) for value in own["fractions"])
        found[layer] = LayerSpectra(
            layer, Spectrum.from_tensors(own), own["loo"], own["half"], own["quarter"], half, quarter, exact=False
        )
    return found


def spectra(trial: Trial, model_id: str) -> dict[int, LayerSpectra]:
    """Spectra of all measured layers of the unedited model, kept in memory."""
    key = ("spectra", model_id)
    if key not in trial._memo:
        trial._memo[key] = read_spectra(base_pass(trial, model_id), trial.model(model_id).spec.layers.measured)
    found: dict[int, LayerSpectra] = trial._memo[key]
    return found


def spectra_n(trial: Trial, model_id: str) -> int:
    """Number of samples behind the spectra."""
    return next(iter(spectra(trial, model_id).values())).spectrum.n


def covariance(trial: Trial, model_id: str, layer: int) -> Tensor:
    """Uncentred second moment of the keys of a layer over every token of the base sample [d_ff, d_ff], float64."""
    return covariances(trial, model_id, [layer])[layer]


def covariances(trial: Trial, model_id: str, layers: Sequence[int]) -> dict[int, Tensor]:
    """Covariances of several layers, kept in memory; one pass over the corpus makes all that are missing."""
    loaded = trial.model(model_id)
    found: dict[int, Tensor] = {}
    wanted = []
    for layer in layers:
        memo = ("covariance", model_id, layer)
        if memo not in trial._memo:
            if layer == loaded.spec.layers.edit:
                trial._memo[memo] = base_pass(trial, model_id).tensors()["covariance"]
            else:
                wanted.append(layer)
                continue
        found[layer] = trial._memo[memo]
    if wanted:
        moments: dict[int, Moments] = {}
        for layer, artifact in zip(wanted, _covariance_artifacts(trial, model_id, wanted, moments), strict=True):
            found[layer] = trial._memo["covariance", model_id, layer] = artifact.tensors()["covariance"]
    return found


def _covariance_artifacts(
    trial: Trial, model_id: str, layers: Sequence[int], moments: dict[int, Moments]
) -> list[Artifact]:
    loaded = trial.model(model_id)

    def produce(layer: int) -> Callable[[Draft], None]:
        def write(draft: Draft) -> None:
            if layer not in moments:
                moments.update(_key_moments(trial, model_id, layers))
            draft.write_tensors({"covariance": moments[layer].second_moment()})

        return write

    def recipe(layer: int) -> Recipe:
        corpus = trial.corpus_key(model_id)
        return Recipe.of("covariance", SPECTRA_VERSION, model=loaded.identity.fields(), corpus=corpus, layer=layer)

    return [trial.store.build(recipe(layer), produce(layer)) for layer in layers]


def _key_moments(trial: Trial, model_id: str, layers: Sequence[int]) -> dict[int, Moments]:
    loaded, moments = trial.model(model_id), dict[int, Moments]()
    batches = batches_of(loaded, trial.sample(model_id))
    clock = Clock(f"covariances of {model_id}, layers {', '.join(map(str, layers))}", "batches", trial.report)
    done = 0

    def visit(batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
        nonlocal done
        for layer in layers:
            keys = seen["key", layer][batch.mask.bool()].cpu()
            moments.setdefault(layer, Moments(keys.shape[1])).update(keys)
        done += 1
        clock.tick(done, len(batches))

    full_pass(loaded, batches, visit, keys=list(layers))
    return moments


def prefixes(trial: Trial, model_id: str, count: int, tokens: int) -> list[str]:
    """Context prefixes: a function of model, count, length and the profile's seed."""
    loaded, seed = trial.model(model_id), trial.profile.seed
    recipe = Recipe.of(
        "prefixes", PREFIX_VERSION, model=loaded.identity.fields(), count=count, tokens=tokens, seed=seed
    )
    found: list[str] = trial.store.build(
        recipe, lambda draft: draft.write_json(sample_prefixes(loaded, count, tokens, seed))
    ).json()
    return found


# --------------------------------------------------------------------------- exact mode
def exact_layer(trial: Trial, model_id: str, layer: int) -> LayerSpectra:
    """A layer measured again from float64 activations by streaming QR, with its jackknife."""
    loaded, sample = trial.model(model_id), trial.sample(model_id)
    recipe = Recipe.of(
        "exact-spectrum",
        SPECTRA_VERSION,
        model=loaded.identity.fields(),
        corpus=trial.corpus_key(model_id),
        layer=layer,
    )

    def produce(draft: Draft) -> None:
        rows: list[Tensor] = []
        batches = batches_of(loaded, sample)
        with in_float64(loaded.model):
            full_pass(
                loaded, batches, lambda batch, seen: rows.append(seen["h", layer][batch.keep].cpu()), outputs=[layer]
            )
        x = torch.cat(rows)
        block = torch.tensor([sample.block_of(int(text)) for text in row_texts(batches)])
        whole = exact_spectrum([x], x.shape[1])
        half, quarter = block < sample.n_blocks // 2, block < max(1, sample.n_blocks // 4)
        leave_out = torch.stack([exact_spectrum([x[block != b]], x.shape[1]).sigma for b in range(sample.n_blocks)])
        draft.write_tensors(
            whole.to_tensors()
            | {
                "loo": leave_out,
                "half": exact_spectrum([x[half]], x.shape[1]).sigma,
                "quarter": exact_spectrum([x[quarter]], x.shape[1]).sigma,
                "fractions": torch.tensor([int(half.sum()), int(quarter.sum())]),
            }
        )

    own = trial.store.build(recipe, produce).tensors()
    n_half, n_quarter = (int(value) for value in own["fractions"])
    return LayerSpectra(
        layer, Spectrum.from_tensors(own), own["loo"], own["half"], own["quarter"], n_half, n_quarter, True
    )


# --------------------------------------------------------------------------- the paired subset
@dataclass(frozen=True)
class Subset:
    """Base states of the fixed subset: what every edited state is paired with."""

    batches: list[TokenBatch]
    states: dict[int, Tensor]
    """Layer -> base hidden states [m, d], for all measured layers."""
    bases: dict[int, Spectrum]
    """Layer -> spectrum of those states: the like for angles."""
    block: Tensor
    """[m] text block of each row."""
    tokens: Tensor
    """[m] token id of each row."""
    n_texts: int
    key: str


def subset(trial: Trial, model_id: str) -> Subset:
    """The paired subset, kept in memory; its states come from the store."""
    memo = ("subset", model_id)
    if memo in trial._memo:
        kept: Subset = trial._memo[memo]
        return kept
    loaded, sample = trial.model(model_id), trial.subset(model_id)
    layers = list(loaded.spec.layers.measured)
    batches = batches_of(loaded, sample)
    recipe = Recipe.of("subset", SUBSET_VERSION, model=loaded.identity.fields(), tokens=sample.hash, layers=layers)

    def produce(draft: Draft) -> None:
        rows: dict[int, list[Tensor]] = {layer: [] for layer in layers}

        def visit(batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
            for layer in layers:
                rows[layer].append(seen["h", layer][batch.keep].cpu())

        full_pass(loaded, batches, visit, outputs=layers)
        tensors = {"tokens": row_tokens(batches)}
        for layer in layers:
            states = torch.cat(rows[layer])
            tensors[f"states.{layer}"] = states
            moments = Moments(states.shape[1])
            moments.update(states)
            tensors |= {
                f"basis.{layer}.{k}": t
                for k, t in spectrum_of(moments, activation_dtype=states.dtype).to_tensors().items()
            }
        draft.write_tensors(tensors)

    artifact = trial.store.build(recipe, produce)
    tensors = artifact.tensors()
    found = Subset(
        batches=batches,
        states={layer: tensors[f"states.{layer}"] for layer in layers},
        bases={
            layer: Spectrum.from_tensors(
                {k.partition(f"basis.{layer}.")[2]: t for k, t in tensors.items() if k.startswith(f"basis.{layer}.")}
            )
            for layer in layers
        },
        block=torch.tensor([sample.block_of(int(text)) for text in row_texts(batches)]),
        tokens=tensors["tokens"],
        n_texts=sample.n_texts,
        key=artifact.key,
    )
    trial._memo[memo] = found
    return found


def lower_inputs(trial: Trial, model_id: str, start: int) -> list[Tensor]:
    """Inputs of layer ``start`` on the paired subset, per batch [b, t, d]: what base and edited model share.

    Kept in memory. Edited states run from their lowest edited layer up, so each ``start`` is an artifact of its own.
    """
    memo = ("lower", model_id, start)
    if memo in trial._memo:
        kept: list[Tensor] = trial._memo[memo]
        return kept
    loaded, batches = trial.model(model_id), subset(trial, model_id).batches
    recipe = Recipe.of(
        "lower-inputs",
        LOWER_VERSION,
        model=loaded.identity.fields(),
        tokens=trial.subset(model_id).hash,
        start=start,
    )

    def produce(draft: Draft) -> None:
        lower: list[Tensor] = []
        full_pass(loaded, batches, lambda _batch, seen: lower.append(seen["in", start].cpu()), layer_inputs=[start])
        draft.write_tensors({str(number): hidden for number, hidden in enumerate(lower)})

    tensors = trial.store.build(recipe, produce).tensors()
    found = [tensors[str(number)].to(loaded.device) for number in range(len(batches))]
    trial._memo[memo] = found
    return found
