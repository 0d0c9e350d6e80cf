"""Randomly initialised models of the same architecture: what a spectrum looks like before any training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editverdict.capture.passes import full_pass, row_texts
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.geometry.checks import check_centred
from editverdict.models.sites import Sites
from editverdict.models.sources import LoadedModel
from editverdict.numerics.moments import BlockMoments, Moments
from editverdict.numerics.precision import effective_dtype
from editverdict.numerics.spectrum import spectrum_of
from editverdict.pipeline import base
from editverdict.pipeline.trial import Trial
from editverdict.store import Artifact, Clock, Draft, Job, Recipe

VERSION = 3
SAMPLES_PER_DIMENSION = 2.5
"""All seeds are measured on the same few texts, little enough for 20 of them."""
MORE_SAMPLES_PER_DIMENSION = 10.0
FEW_SEEDS = 3
"""Seeds that are measured on more texts as well. The states of a random model are nearly a function of the token, so a
small sample holds few distinct ones and makes their spectrum look thinner, far more so than a trained model's."""
PROBES = 256
"""Rows that the check of centring looks at."""


@dataclass(frozen=True)
class Side:
    """Spectra of one model, trained or random, over the inner layers on the few texts that all sides share."""

    sigmas: dict[int, Tensor]
    """Layer -> singular values [d], descending."""
    left: tuple[dict[int, Tensor], ...]
    """The same without each block of texts; empty for random twins."""
    half: dict[int, Tensor]
    """The same of the first half of the blocks."""
    n: int
    """Samples (tokens)."""
    texts: int
    not_centred: tuple[str, ...]
    """Layers whose spectrum is not that of samples centred over samples, with what is wrong."""
    key: str


def _sample(trial: Trial, model_id: str, per_dimension: float) -> TextSample:
    width = trial.model(model_id).sites.width
    return trial.sample(model_id).head(int(per_dimension * width))


def _sigma(moments: Moments) -> Tensor:
    values: Tensor = torch.linalg.eigvalsh(moments.scatter())
    return values.flip(0).clamp_min(0.0).sqrt()


def _rows(loaded: LoadedModel, sample: TextSample) -> tuple[dict[int, Tensor], Tensor]:
    """Hidden states of the inner layers, [n, d] each (few enough to be kept), and the block of texts of every row."""
    batches = base.batches_of(loaded, sample)
    rows: dict[int, list[Tensor]] = {layer: [] for layer in loaded.spec.layers.inner}

    def visit(batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
        for layer, own in rows.items():
            own.append(batch.samples(seen["h", layer]).cpu())

    full_pass(loaded, batches, visit, outputs=list(rows))
    blocks = torch.tensor([sample.block_of(int(text)) for text in row_texts(batches)])
    return {layer: torch.cat(own) for layer, own in rows.items()}, blocks


def _produce(loaded: LoadedModel, sample: TextSample, draft: Draft, *, jackknife: bool) -> None:
    states, block = _rows(loaded, sample)
    sigma, left, half, wrong = [], [], [], []
    for layer, rows in states.items():
        parts = BlockMoments(rows.shape[1], sample.n_blocks if jackknife else 1)
        for number in range(parts.blocks):
            parts.update(number, rows[block == number] if jackknife else rows)
        whole = parts.total()
        sigma.append(_sigma(whole))
        first = Moments(rows.shape[1])
        first.update(rows[block < max(1, sample.n_blocks // 2)])
        half.append(_sigma(first))
        if jackknife:
            left.append(torch.stack([_sigma(parts.without(number)) for number in range(parts.blocks)]))
        # The check needs directions, too, which cost as much again: for twins one layer stands for all.
        if jackknife or layer == min(states):
            probe = rows[:: max(1, len(rows) // PROBES)]
            centred = check_centred(spectrum_of(whole, activation_dtype=effective_dtype(probe)), probe)
            wrong += [] if centred.ok else [f"layer {layer}: {centred.detail}"]
    tensors = {"sigma": torch.stack(sigma), "half": torch.stack(half)}
    if jackknife:
        tensors["left"] = torch.stack(left, dim=1)
    draft.write_tensors(tensors)
    draft.write_json({"n": len(block), "texts": sample.n_texts, "not_centred": wrong})


def _read(artifact: Artifact, layers: Sequence[int]) -> Side:
    tensors, record = artifact.tensors(), artifact.json()
    left = tuple(dict(zip(layers, rows, strict=True)) for rows in tensors.get("left", ()))
    return Side(
        sigmas=dict(zip(layers, tensors["sigma"], strict=True)),
        left=left,
        half=dict(zip(layers, tensors["half"], strict=True)),
        n=int(record["n"]),
        texts=int(record["texts"]),
        not_centred=tuple(record["not_centred"]),
        key=artifact.key,
    )


def _random_twin(loaded: LoadedModel, seed: int) -> LoadedModel:
    """The same configuration with fresh weights; torch's generator is forked, so nothing outside depends on it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = (
            type(loaded.model)(loaded.model.config).to(loaded.device, loaded.model.dtype).eval().requires_grad_(False)
        )
    return dataclasses.replace(loaded, model=twin, sites=Sites(twin, loaded.sites.spec))


def twin_jobs(
    trial: Trial, model_id: str, per_dimension: float = SAMPLES_PER_DIMENSION, seeds: int | None = None
) -> list[Job]:
    """The model itself and its random twins as jobs; parameters as :func:`random_twins`."""
    loaded, sample = trial.model(model_id), _sample(trial, model_id, per_dimension)
    identity = loaded.identity.fields()
    shape = {k: v for k, v in loaded.model.config.to_dict().items() if isinstance(v, int | float | str)}
    shape.pop("_name_or_path", None)

    def job(seed: int | None) -> Job:
        recipe = Recipe.of(
            "random-twin",
            VERSION,
            model=identity if seed is None else {**identity, "weights": "random", "shape": shape},
            tokens=sample.hash,
            blocks=sample.n_blocks,
            layers=list(loaded.spec.layers.inner),
            seed=seed,
        )

        def produce(draft: Draft) -> None:
            chosen = loaded if seed is None else _random_twin(loaded, seed)
            _produce(chosen, sample, draft, jackknife=seed is None and sample.n_blocks > 1)

        return Job(recipe, produce)

    count = trial.profile.sizes.random_seeds if seeds is None else min(seeds, trial.profile.sizes.random_seeds)
    return [job(seed) for seed in (None, *(trial.profile.seed * 1000 + s for s in range(count)))]


def jobs_ahead(trial: Trial, model_id: str) -> list[Job]:
    """All twins that claims ask for: they need nothing of the base pass."""
    return [*twin_jobs(trial, model_id), *twin_jobs(trial, model_id, MORE_SAMPLES_PER_DIMENSION, FEW_SEEDS)]


def random_twins(
    trial: Trial, model_id: str, per_dimension: float = SAMPLES_PER_DIMENSION, seeds: int | None = None
) -> tuple[Side, list[Side]]:
    """The model itself, and its random twins, one per seed, all on the same texts.

    Parameters
    ----------
    trial, model_id
        Whose.
    per_dimension
        Samples per dimension, as far as the base sample has them.
    seeds
        Number of twins; by default the profile's.
    """
    made = trial.store.build_many(
        twin_jobs(trial, model_id, per_dimension, seeds),
        progress=Clock("randomly initialised models", "models", trial.report).tick,
    )
    own, *twins = (_read(artifact, trial.model(model_id).spec.layers.inner) for artifact in made)
    return own, twins
