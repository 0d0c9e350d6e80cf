"""Spectra of hidden states: the collapse claims and the check that the smallest direction is real."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch
from torch import Tensor

from editverdict.geometry import spectrum as geometry
from editverdict.inference.intervals import Estimate, seeds_interval, spectrum_interval, t_interval
from editverdict.numerics.moments import Moments
from editverdict.numerics.random_matrices import marchenko_pastur_quantiles, wishart_singular_values
from editverdict.pipeline import base, paired, validity
from editverdict.pipeline.measurement import Case, Measurement, Unmeasurable, measure, passed
from editverdict.pipeline.measures.perturbation import units_picture
from editverdict.pipeline.randoms import random_twins
from editverdict.pipeline.trial import Trial
from editverdict.store import Clock, Draft, Recipe

Sigmas = Mapping[int, Tensor]
"""Layer -> singular values [d], descending."""
Statistic = Callable[[Sigmas, int], float]
"""(singular values by layer, number of samples) -> the claim's one number."""
NULL_VERSION = 1
THRESHOLDS = (1e-1, 1e-2, 1e-3)
"""Shares of sigma_1 above which directions are counted."""


@dataclass(frozen=True)
class Layers:
    """Spectra with everything unidentified in float32 measured again in exact mode."""

    by_layer: dict[int, base.LayerSpectra]
    inner: tuple[int, ...]
    again: tuple[int, ...]

    @property
    def last(self) -> int:
        """The last measured layer."""
        return max(self.by_layer)


def layers_of(trial: Trial, model_id: str, *, exact: bool = True) -> Layers:
    """Spectra of all measured layers."""
    found = dict(base.spectra(trial, model_id))
    again = tuple(n for n, s in found.items() if exact and s.spectrum.n_identified < s.spectrum.d)
    for layer in again:
        found[layer] = base.exact_layer(trial, model_id, layer)
    return Layers(found, trial.model(model_id).spec.layers.inner, again)


def estimate(layers: Layers, statistic: Statistic, bias: Sequence[float] = ()) -> Estimate:
    """Jackknife over blocks of texts; the bias is read off n, n/2, n/4 and the blocks; ``bias``: what theory adds."""
    own = layers.by_layer
    some = next(iter(own.values()))
    n, blocks = some.spectrum.n, len(some.leave_out)
    full = statistic({layer: s.spectrum.sigma for layer, s in own.items()}, n)
    left = [statistic({layer: s.leave_out[b] for layer, s in own.items()}, n - n // blocks) for b in range(blocks)]
    half = statistic({layer: s.half for layer, s in own.items()}, some.n_half)
    quarter = statistic({layer: s.quarter for layer, s in own.items()}, some.n_quarter)
    return spectrum_interval(full, left, half, quarter, further=bias)


def gaussian_sigmas(trial: Trial, n: int, d: int) -> list[Tensor]:
    """Singular values of Gaussian matrices of equal n and d, one per seed; sampled in law, so without n x d numbers."""
    seeds = trial.profile.sizes.random_seeds
    recipe = Recipe.of("gaussian-null", NULL_VERSION, n=n, d=d, seeds=seeds, seed=trial.profile.seed)

    def produce(draft: Draft) -> None:
        draft.write_tensors(
            {"sigma": torch.stack([wishart_singular_values(n, d, trial.profile.seed * 1000 + s) for s in range(seeds)])}
        )

    return list(trial.store.build(recipe, produce).tensors()["sigma"])


def common(trial: Trial, case: Case, layers: Layers) -> Measurement:
    """Checks, picture and description that all collapse claims share."""
    model_id, sizes = case.model, trial.profile.sizes
    record = base.base_pass(trial, model_id).json()
    texts = len(validity.testimony(trial, model_id).texts)
    some = next(iter(layers.by_layer.values())).spectrum
    enough = texts >= sizes.base_texts and some.n >= sizes.base_tokens and some.n > some.d
    bad = [
        f"layer {layer}: {found['centred'][1]}" for layer, found in record["checks"].items() if not found["centred"][0]
    ]
    low = {
        n: s.spectrum.d - s.spectrum.n_identified
        for n, s in layers.by_layer.items()
        if s.spectrum.n_identified < s.spectrum.d
    }
    made = Measurement({}, recipes=[base.base_recipe(trial, model_id).key], n_samples=some.n)
    spectra = {layer: s.spectrum for layer, s in layers.by_layer.items()}
    made.checks |= validity.results(validity.of_spectra(trial, model_id, spectra, layers.again))
    made.checks |= passed(
        "enough-samples",
        enough,
        f"{texts} texts, {some.n} tokens, d = {some.d}; wanted {sizes.base_texts}, {sizes.base_tokens} and more than d",
    )
    made.checks |= passed("centred-over-samples", not bad, "; ".join(bad) or "no null direction along (1, ..., 1)")
    if low or made.checks["above-resolution"].ok:
        made.checks |= passed(
            "above-resolution",
            not low,
            f"unidentified directions by layer: {low}" if low else f"all {some.d} directions identified in all layers",
        )
    made.stands_on = f"{model_id}, {texts} texts, {some.n} tokens, layers {', '.join(map(str, layers.by_layer))}"
    made.descriptive |= {"n": some.n, "d": some.d, "texts": texts, "layers_in_exact_mode": list(layers.again)}
    made.pictures.append(_spectrum_picture(layers))
    sound = made.checks["spectrum-recomputed"].ok and (low or made.checks["above-resolution"].ok)
    if some.n <= some.d or not sound:
        raise Unmeasurable(made)  # directions without any variance have no logarithm and nothing to plant in
    return made


def _spectrum_picture(layers: Layers) -> dict[str, object]:
    some = next(iter(layers.by_layer.values())).spectrum
    return {
        "kind": "spectrum",
        "title": "Singular values of hidden states by layer",
        "layers": [{"layer": n, "sigma": s.spectrum.sigma.tolist()} for n, s in layers.by_layer.items()],
        "noise_floor": float(min(s.spectrum.resolution for s in layers.by_layer.values())),
        "null": {
            "name": "Marchenko-Pastur, scaled to the median",
            "sigma": _scaled_null(some.n, some.d, float(layers.by_layer[layers.inner[0]].spectrum.sigma.median())),
        },
    }


def _scaled_null(n: int, d: int, at_median: float) -> list[float]:
    null = marchenko_pastur_quantiles(n, d)
    return [float(value) for value in null * (at_median / float(null.median()))]


# --------------------------------------------------------------------------- effective rank
RANKS: dict[str, Callable[[Tensor], float]] = {
    "exp-entropy-sigma": geometry.exp_entropy,
    "exp-entropy-sigma2": geometry.exp_entropy_energy,
    "participation-ratio": geometry.participation_ratio,
    "energy-90": lambda sigma: float(geometry.energy_count(sigma, 0.90)),
    "energy-95": lambda sigma: float(geometry.energy_count(sigma, 0.95)),
    "energy-99": lambda sigma: float(geometry.energy_count(sigma, 0.99)),
    "stable-rank": geometry.stable_rank,
}


def inner_rank(inner: Sequence[int], rank: Callable[[Tensor], float]) -> Statistic:
    """r_eff / d by one reading of the rank, median over the inner layers."""
    return lambda sigmas, _n: median(rank(sigmas[layer]) / len(sigmas[layer]) for layer in inner)


def planted(layers: Layers, plant: Callable[[Tensor], Tensor]) -> Layers:
    """The same layers with something planted into every spectrum of theirs, also those of parts of the sample."""

    def into(own: base.LayerSpectra) -> base.LayerSpectra:
        return replace(
            own,
            spectrum=replace(own.spectrum, sigma=plant(own.spectrum.sigma)),
            leave_out=torch.stack([plant(row) for row in own.leave_out]),
            half=plant(own.half),
            quarter=plant(own.quarter),
        )

    return replace(layers, by_layer={layer: into(own) for layer, own in layers.by_layer.items()})


@measure("effective_rank_ratio")
def effective_rank_ratio(trial: Trial, case: Case) -> Measurement:
    """r_eff / d, median over the inner layers (Tables 5-7)."""
    layers = layers_of(trial, case.model)
    made = common(trial, case, layers)
    made.definitions = {
        d.name: estimate(layers, inner_rank(layers.inner, RANKS[d.name])) for d in case.claim.definitions
    }
    primary = RANKS[case.claim.primary.name]
    some = layers.by_layer[layers.inner[0]].spectrum
    null = [primary(sigma) / some.d for sigma in gaussian_sigmas(trial, some.n, some.d)]
    made.controls["gaussian"] = seeds_interval(null)
    made.controls["planted-half-rank"] = estimate(
        planted(layers, geometry.planted_half_rank), inner_rank(layers.inner, primary)
    )
    own_side, twins = random_twins(trial, case.model)
    own = inner_rank(layers.inner, primary)(own_side.sigmas, 0)
    random_ranks = [inner_rank(layers.inner, primary)(twin.sigmas, 0) for twin in twins]
    # Shown, not compared: on so few texts the two sides are not biased alike (collapse-pretrained-property).
    made.controls["random-init"] = seeds_interval(random_ranks)
    permuted, same = _permuted_ranks(trial, case.model)
    made.comparators["coordinate-permuted"], made.comparator_subject["coordinate-permuted"] = (
        permuted,
        [same] * len(permuted),
    )
    made.notes["random-init"] = f"{len(random_ranks)} seeds; on the same texts the model has {own:.3f}"
    made.notes["coordinate-permuted"] = f"{len(permuted)} seeds; unpermuted, on the same tokens, {same:.3f}"
    made.descriptive["by_layer"] = {
        str(n): primary(s.spectrum.sigma) / s.spectrum.d for n, s in layers.by_layer.items()
    }
    made.descriptive["table"] = {  # the columns of Tables 1 and 5-8; sigma_min of the identified directions
        str(n): {
            "d": s.spectrum.d,
            "r_eff": primary(s.spectrum.sigma),
            "r_eff_over_d": primary(s.spectrum.sigma) / s.spectrum.d,
            "sigma_1": float(s.spectrum.sigma[0]),
            "sigma_min": float(s.spectrum.sigma[s.spectrum.index_min]),
            "cond": 1 / geometry.sigma_min_ratio(s.spectrum),
            "identified": s.spectrum.n_identified,
        }
        for n, s in layers.by_layer.items()
    }
    made.descriptive |= _counts(layers)
    made.pictures.insert(
        0,
        units_picture(
            case,
            "Effective rank by layer, and its controls",
            {
                "inner layers": [made.descriptive["by_layer"][str(n)] for n in layers.inner],
                "last layers": [v for n, v in made.descriptive["by_layer"].items() if int(n) not in layers.inner],
                "gaussian (negative)": null,
                "random-init (baseline)": random_ranks,
                "coordinate-permuted (comparator)": permuted,
            },
        ),
    )
    return made


def _counts(layers: Layers) -> dict[str, dict[str, float]]:
    """Stable rank and numbers of directions above thresholds by layer, in directions: readings that decide nothing."""
    sigmas = {str(n): s.spectrum.sigma for n, s in layers.by_layer.items()}
    counts: dict[str, dict[str, float]] = {
        f"directions_above_{ratio:g}_sigma_1": {n: geometry.threshold_count(s, ratio) for n, s in sigmas.items()}
        for ratio in THRESHOLDS
    }
    return {"stable_rank": {n: geometry.stable_rank(s) for n, s in sigmas.items()}, **counts}


def _permuted_ranks(trial: Trial, model_id: str) -> tuple[list[float], float]:
    """r_eff / d, median over inner layers of the subset, with each coordinate permuted over samples: one per seed."""
    sub = paired.subset(trial, model_id)
    plan = trial.model(model_id).spec.layers
    inner = [layer for layer in plan.inner if layer >= plan.edit]
    seeds = trial.profile.sizes.random_seeds
    recipe = Recipe.of(
        "permuted-ranks", NULL_VERSION, subset=sub.key, layers=inner, seeds=seeds, seed=trial.profile.seed
    )

    def rank(x: np.ndarray) -> float:
        moments = Moments(x.shape[1])
        moments.update(torch.from_numpy(x))
        sigma = torch.linalg.eigvalsh(moments.scatter()).flip(0).clamp_min(0).sqrt()
        return float(geometry.exp_entropy(sigma)) / int(x.shape[1])

    def produce(draft: Draft) -> None:
        states = {layer: sub.states[layer].numpy() for layer in inner}
        values = []
        clock = Clock("coordinate-permuted comparator", "seeds", trial.report)
        for seed in range(seeds):
            generator = np.random.default_rng([trial.profile.seed, seed])
            values.append(median(rank(generator.permuted(x, axis=0)) for x in states.values()))
            clock.tick(seed + 1, seeds)
        draft.write_json({"permuted": values, "own": median(rank(x) for x in states.values())})

    found = trial.store.build(recipe, produce).json()
    return list(found["permuted"]), float(found["own"])


# --------------------------------------------------------------------------- decay, depth
@measure("excess_decay")
def excess_decay(trial: Trial, case: Case) -> Measurement:
    """Slope of log σ_k on log k beyond that of noise, median over the inner layers."""
    layers = layers_of(trial, case.model)
    made = common(trial, case, layers)
    some = layers.by_layer[layers.inner[0]].spectrum
    made.definitions["loglog-slope"] = estimate(
        layers,
        lambda sigmas, n: median(geometry.excess_decay(sigmas[layer], n) for layer in layers.inner),
        [-geometry.null_decay(some.n, some.d)],
    )
    null = [geometry.excess_decay(sigma, some.n) for sigma in gaussian_sigmas(trial, some.n, some.d)]
    made.controls["gaussian"] = seeds_interval(null)
    planted = [
        geometry.excess_decay(sigma * geometry.power_law(some.d, 1.0), some.n)
        for sigma in gaussian_sigmas(trial, some.n, some.d)
    ]
    made.controls["power-law"] = seeds_interval(planted)
    own = {str(n): geometry.excess_decay(s.spectrum.sigma, s.spectrum.n) for n, s in layers.by_layer.items()}
    made.descriptive["by_layer"] = own
    made.pictures.insert(
        0,
        units_picture(
            case,
            "Decay beyond noise, by layer",
            {"layers": list(own.values()), "gaussian (negative)": null, "power-law (positive)": planted},
        ),
    )
    return made


@measure("last_layer_rank")
def last_layer_rank(trial: Trial, case: Case) -> Measurement:
    """r_eff of the last layer over the median of the inner layers."""
    layers = layers_of(trial, case.model)
    made = common(trial, case, layers)

    def ratio(rank: Callable[[Tensor], float], last: int, inner: Sequence[int]) -> Statistic:
        return lambda sigmas, _n: rank(sigmas[last]) / median(rank(sigmas[layer]) for layer in inner)

    made.definitions = {
        d.name: estimate(layers, ratio(RANKS[d.name], layers.last, layers.inner)) for d in case.claim.definitions
    }
    primary = RANKS[case.claim.primary.name]
    sigmas = {n: s.spectrum.sigma for n, s in layers.by_layer.items()}
    shuffled = [
        ratio(primary, layer, [other for other in layers.inner if other != layer])(sigmas, 0) for layer in layers.inner
    ]
    made.controls["shuffled-layers"] = t_interval(shuffled)
    half = planted(layers, geometry.planted_half_rank)
    mixed = Layers({**layers.by_layer, layers.last: half.by_layer[layers.last]}, layers.inner, layers.again)
    made.controls["planted-half-rank"] = estimate(mixed, ratio(primary, layers.last, layers.inner))
    made.descriptive["by_layer"] = {str(n): primary(s) / len(s) for n, s in sigmas.items()}
    made.pictures.insert(
        0,
        units_picture(
            case,
            "Last layer against inner layers",
            {
                "last layer": [ratio(primary, layers.last, layers.inner)(sigmas, 0)],
                "shuffled-layers (negative)": shuffled,
            },
        ),
    )
    return made
