"""Second moments of the keys of any layer of the unedited model; that of the edited layer comes with the base pass.

Their version is that of the spectra, which come from the same accumulator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from editverdict.capture.passes import full_pass
from editverdict.capture.texts import TokenBatch
from editverdict.numerics.moments import Moments
from editverdict.pipeline.base import SPECTRA_VERSION, base_pass, batches_of
from editverdict.pipeline.trial import Trial
from editverdict.store import Artifact, Clock, Draft, Recipe


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
