"""Randomly initialised models of the same architecture: what a spectrum looks like before any training."""

from __future__ import annotations

import dataclasses
from statistics import median

import torch

from editverdict.capture.passes import full_pass
from editverdict.capture.texts import TextSample
from editverdict.geometry.spectrum import exp_entropy
from editverdict.models.sites import Sites
from editverdict.models.sources import LoadedModel
from editverdict.numerics.moments import Moments
from editverdict.pipeline import base
from editverdict.pipeline.trial import Trial
from editverdict.store import Clock, Draft, Job, Recipe

VERSION = 1
SAMPLES_PER_DIMENSION = 2.5
"""Both sides are measured on the same few texts: enough for a comparison of equals, little enough for 20 seeds."""


def _sample(trial: Trial, model_id: str) -> TextSample:
    width = trial.model(model_id).sites.width
    return trial.sample(model_id).head(int(SAMPLES_PER_DIMENSION * width))


def _inner_rank(loaded: LoadedModel, sample: TextSample) -> float:
    moments = {layer: Moments(loaded.sites.width) for layer in loaded.spec.layers.inner}

    def visit(batch, seen) -> None:  # type: ignore[no-untyped-def]
        for layer, own in moments.items():
            own.update(batch.samples(seen["h", layer]).cpu())

    full_pass(loaded, base.batches_of(loaded, sample), visit, outputs=list(moments))
    return median(
        exp_entropy(torch.linalg.eigvalsh(own.scatter()).flip(0).clamp_min(0).sqrt()) / own.d
        for own in moments.values()
    )


def _random_twin(loaded: LoadedModel, seed: int) -> LoadedModel:
    """The same configuration with fresh weights; torch's generator is forked, so nothing outside depends on it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = (
            type(loaded.model)(loaded.model.config).to(loaded.device, loaded.model.dtype).eval().requires_grad_(False)
        )
    return dataclasses.replace(loaded, model=twin, sites=Sites(twin, loaded.sites.spec))


def random_model_ranks(trial: Trial, model_id: str) -> tuple[list[float], float]:
    """r_eff / d (median over inner layers) of random twins, one per seed, and of the model itself on the same texts."""
    loaded, sample = trial.model(model_id), _sample(trial, model_id)
    identity = loaded.identity.fields()
    shape = {k: v for k, v in loaded.model.config.to_dict().items() if isinstance(v, int | float | str)}
    shape.pop("_name_or_path", None)

    def job(seed: int | None) -> Job:
        recipe = Recipe.of(
            "random-twin",
            VERSION,
            model=identity if seed is None else {**identity, "weights": "random", "shape": shape},
            tokens=sample.hash,
            layers=list(loaded.spec.layers.inner),
            seed=seed,
        )

        def produce(draft: Draft) -> None:
            chosen = loaded if seed is None else _random_twin(loaded, seed)
            draft.write_json(_inner_rank(chosen, sample))

        return Job(recipe, produce)

    seeds = [trial.profile.seed * 1000 + s for s in range(trial.profile.sizes.random_seeds)]
    made = trial.store.build_many(
        [job(seed) for seed in (None, *seeds)],
        progress=Clock("randomly initialised models", "models", trial.report).tick,
    )
    own, *values = (float(artifact.json()) for artifact in made)
    return values, own
