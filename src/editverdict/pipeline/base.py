"""Artifacts of the unedited model: spectra of its hidden states and the covariance of the edited layer's keys.

Versions below are part of the recipes: raise one whenever the same recipe would give other numbers.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editverdict.capture.by_block import BlockFactors, BlockReduction
from editverdict.capture.passes import Visit, full_pass
from editverdict.capture.reduction import plan_passes
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.editors.prefixes import sample_prefixes
from editverdict.geometry.checks import check_centred, check_resolution
from editverdict.models.precision import in_float64
from editverdict.models.sources import LoadedModel
from editverdict.numerics.moments import BlockMoments
from editverdict.numerics.precision import effective_dtype
from editverdict.numerics.spectrum import Spectrum, singular_values, spectrum_of
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.pipeline.witness import Witness
from editverdict.store import Artifact, Clock, Draft, Job, Recipe

BASE_VERSION = 3
SPECTRA_VERSION = 2
PREFIX_VERSION = 1


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
        BASE_VERSION,
        model=loaded.identity.fields(),
        corpus=trial.corpus_key(model_id),
        positions=trial.profile.positions,
        layers=list(loaded.spec.layers.measured),
        edit=loaded.spec.layers.edit,
    )


def base_pass(trial: Trial, model_id: str) -> Artifact:
    """One pass over the base sample: all layers at once, or in groups where memory is short."""
    job = Job(base_recipe(trial, model_id), lambda draft: _produce_base(trial, model_id, draft))
    memo = ("base-pass-begun", model_id)
    if memo in trial._memo:
        return trial.store.build(job.recipe, job.producer)
    trial._memo[memo] = True
    # One process makes the pass, and all others need it; they need not be idle.
    return trial.store.build_many([job, *trial.ahead(trial, model_id)])[0]


def _produce_base(trial: Trial, model_id: str, draft: Draft) -> None:
    loaded, sample = trial.model(model_id), trial.sample(model_id)
    layers, edit = loaded.spec.layers.measured, loaded.spec.layers.edit
    d_key = int(loaded.sites.down_weight(edit).shape[1])
    bounds = trial.profile.memory_gib * 2**30, shutil.disk_usage(draft.path).free
    try:
        plan = plan_passes(layers, loaded.sites.width, sample.n_blocks, bounds[0], d_key=d_key, disk_bound=bounds[1])
    except ValueError as error:
        raise NotHere(str(error)) from error
    scratch = draft.path / "blocks"
    scratch.mkdir()
    checks: dict[str, Any] = {}
    counted = 0
    told: dict[str, Tensor] = {}
    for number, group in enumerate(plan.groups):
        keys = [edit] if number == 0 else []
        found = BlockReduction(loaded, sample, group, keys, scratch if plan.on_disk else None)
        witness = Witness(sample, group)
        clock = Clock(f"hidden states of {model_id}{_which(group, layers)}", "batches", trial.report)
        visit = _both(witness.see, _counted(found.visit, clock, len(found.batches)))
        full_pass(loaded, found.batches, visit, outputs=group, keys=keys)
        found.finish()
        told |= witness.tensors()
        for own in found.keys.values():
            counted = own.n
            draft.write_tensors({"covariance": own.second_moment()})
        found.keys.clear()
        for layer in group:
            spectra, checks[str(layer)] = _layer_spectra(torch.cat(found.probe.pop(layer)), found.blocks.pop(layer))
            draft.write_tensors(spectra, f"layer-{layer}")
            trial.report(f"spectra of {model_id}: layer {layer}")
        shutil.rmtree(scratch)
        scratch.mkdir()
    scratch.rmdir()
    draft.write_tensors(told, "witness")
    record = {"texts": sample.n_texts, "tokens": sample.n_tokens, "samples": sample.n_samples}
    draft.write_json({**record, "positions": sample.positions, "keys": counted, "checks": checks})


def _which(group: Sequence[int], layers: Sequence[int]) -> str:
    return "" if len(group) == len(layers) else f", layers {', '.join(map(str, group))}"


def _both(first: Visit, second: Visit) -> Visit:
    """A visitor that shows every batch to both."""

    def visit(batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
        first(batch, seen)
        second(batch, seen)

    return visit


def _counted(visit: Visit, clock: Clock, total: int) -> Visit:
    """The same visitor, telling how far it is."""
    numbers = itertools.count(1)

    def visit_and_tell(batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
        visit(batch, seen)
        clock.tick(next(numbers), total)

    return visit_and_tell


def _layer_spectra(probe: Tensor, blocks: BlockMoments) -> tuple[dict[str, Tensor], dict[str, Any]]:
    spectrum = spectrum_of(blocks.total(), activation_dtype=effective_dtype(probe))
    leave_out = torch.stack([singular_values(blocks.without(number)) for number in range(blocks.blocks)])
    half, quarter = blocks.first_fraction(0.5), blocks.first_fraction(max(0.25, 1 / blocks.blocks))
    tensors = spectrum.to_tensors() | {
        "loo": leave_out,
        "half": singular_values(half),
        "quarter": singular_values(quarter),
        "fractions": torch.tensor([half.n, quarter.n]),
        "blocks": torch.tensor(blocks.counts),
    }
    centred = check_centred(spectrum, probe)
    resolved = check_resolution(spectrum.sigma, spectrum.floor)
    return tensors, {"centred": [centred.ok, centred.detail], "above-resolution": [resolved.ok, resolved.detail]}


def read_spectra(artifact: Artifact, layers: tuple[int, ...]) -> dict[int, LayerSpectra]:
    """The spectra of a base pass."""
    found = {}
    for layer in layers:
        own = artifact.tensors(f"layer-{layer}")
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
        blocks = range(sample.n_blocks)
        scratch = draft.path / "factors"
        scratch.mkdir()
        factors = BlockFactors(loaded, sample, layer, scratch)
        with in_float64(loaded.model):
            full_pass(loaded, factors.batches, factors.visit, outputs=[layer])
        whole = factors.merged(blocks).spectrum()
        half = factors.merged(range(sample.n_blocks // 2))
        quarter = factors.merged(range(max(1, sample.n_blocks // 4)))
        left = [factors.merged(b for b in blocks if b != out).singular_values() for out in blocks]
        shutil.rmtree(scratch)
        draft.write_tensors(
            whole.to_tensors()
            | {
                "loo": torch.stack(left),
                "half": half.singular_values(),
                "quarter": quarter.singular_values(),
                "fractions": torch.tensor([half.n, quarter.n]),
            }
        )

    own = trial.store.build(recipe, produce).tensors()
    n_half, n_quarter = (int(value) for value in own["fractions"])
    return LayerSpectra(
        layer, Spectrum.from_tensors(own), own["loo"], own["half"], own["quarter"], n_half, n_quarter, True
    )
