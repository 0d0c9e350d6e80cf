"""Spectra of hidden states: the collapse claims and the check that the smallest direction is real."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch
from torch import Tensor

from editverdict.geometry import spectrum as geometry
from editverdict.inference.intervals import Estimate, missing, seeds_interval, spectrum_interval, t_interval
from editverdict.inference.standard_errors import shared_error
from editverdict.numerics.moments import Moments
from editverdict.numerics.random_matrices import marchenko_pastur_quantiles, wishart_singular_values
from editverdict.pipeline import base, paired, validity
from editverdict.pipeline.measurement import Case, Measurement, Unmeasurable, measure, passed
from editverdict.pipeline.measures.perturbation import units_picture
from editverdict.pipeline.measures.ranks import RANKS, Statistic, inner_rank
from editverdict.pipeline.measures.twins import against_twins, twins_of
from editverdict.pipeline.trial import Trial
from editverdict.store import Clock, Draft, Recipe

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
    random_ranks = _beside_twins(trial, case, made, primary)
    permuted = _beside_permuted(trial, case, made)
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
                "random-init (comparator)": random_ranks,
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


def _beside_twins(trial: Trial, case: Case, made: Measurement, rank: Callable[[Tensor], float]) -> list[float]:
    """The comparator of random weights: the twins' ranks, and the contrast of collapse-pretrained-property."""
    twins = twins_of(trial, case.model)
    name, ranks = "random-init", [twins.rank(twin, rank) for twin in twins.few]
    made.comparators[name], made.contrasts[name] = ranks, against_twins(twins, rank)
    made.recipes += twins.keys
    on = f"on the same {twins.own.n} tokens the model has {twins.rank(twins.own, rank):.3f}"
    made.notes[name] = (
        f"{len(ranks)} seeds; {on}; the contrast is hulled over its bias and holds the model's text error"
    )
    return ranks


def _beside_permuted(trial: Trial, case: Case, made: Measurement) -> list[float]:
    """The comparator of permuted coordinates; other texts would give other ranks on both sides."""
    permuted, same = _permuted_ranks(trial, case.model)
    name, without = "coordinate-permuted", _permuted_blocks(trial, case.model)
    made.comparators[name], made.contrasts[name] = permuted, contrast_over_texts(same, permuted, without)
    texts = f"text error over {len(without)} blocks" if len(without) > 1 else "one block of texts"
    made.notes[name] = f"{len(permuted)} seeds; unpermuted, on the same tokens, {same:.3f}; {texts}"
    return permuted


def contrast_over_texts(own: float, others: Sequence[float], without_block: Sequence[tuple[float, float]]) -> Estimate:
    """``own`` minus each of several random values on the same texts, with the error of these texts.

    Parameters
    ----------
    own
        The subject's number.
    others
        The comparator's, one per seed.
    without_block
        Per block of texts: both numbers without it. Fewer than two tell no error, so there is no contrast then.
    """
    if len(without_block) < 2:
        return missing(note="one block of texts: what other texts would give is not known")
    left = [mine - theirs for mine, theirs in without_block]
    return t_interval([own - other for other in others], shared=shared_error(left))


def _permuted_ranks(trial: Trial, model_id: str) -> tuple[list[float], float]:
    """r_eff / d, median over inner layers of the subset, with each coordinate permuted over samples: one per seed."""
    sub, inner = paired.subset(trial, model_id), _permuted_layers(trial, model_id)
    seeds = trial.profile.sizes.random_seeds
    recipe = Recipe.of(
        "permuted-ranks", NULL_VERSION, subset=sub.key, layers=inner, seeds=seeds, seed=trial.profile.seed
    )

    def produce(draft: Draft) -> None:
        states = {layer: sub.states[layer].numpy() for layer in inner}
        values = []
        clock = Clock("coordinate-permuted comparator", "seeds", trial.report)
        for seed in range(seeds):
            generator = np.random.default_rng([trial.profile.seed, seed])
            values.append(median(_rank_of(generator.permuted(x, axis=0)) for x in states.values()))
            clock.tick(seed + 1, seeds)
        draft.write_json({"permuted": values, "own": median(_rank_of(x) for x in states.values())})

    found = trial.store.build(recipe, produce).json()
    return list(found["permuted"]), float(found["own"])


def _permuted_layers(trial: Trial, model_id: str) -> list[int]:
    plan = trial.model(model_id).spec.layers
    return [layer for layer in plan.inner if layer >= plan.edit]


def _rank_of(x: np.ndarray) -> float:
    """r_eff / d of samples [n, d]."""
    moments = Moments(x.shape[1])
    moments.update(torch.from_numpy(x))
    sigma = torch.linalg.eigvalsh(moments.scatter()).flip(0).clamp_min(0).sqrt()
    return float(geometry.exp_entropy(sigma)) / int(x.shape[1])


def ranks_without_blocks(
    states: Mapping[int, np.ndarray], block: np.ndarray, seed: int, tick: Callable[[int, int], None]
) -> list[tuple[float, float]]:
    """Per block of texts left out: r_eff / d as it is and with coordinates permuted, median over layers.

    ``states``: layer -> [n, d]; ``block`` [n] is the block of each row. No block is left out where there is only one.
    """
    blocks = np.unique(block)
    if len(blocks) < 2:
        return []
    found = []
    for number, one in enumerate(blocks):
        generator = np.random.default_rng([seed, int(one)])
        rest = [x[block != one] for x in states.values()]
        permuted = median(_rank_of(generator.permuted(x, axis=0)) for x in rest)
        found.append((median(_rank_of(x) for x in rest), permuted))
        tick(number + 1, len(blocks))
    return found


def _permuted_blocks(trial: Trial, model_id: str) -> list[tuple[float, float]]:
    """:func:`ranks_without_blocks` on the paired subset: about half of what the twenty permutations cost."""
    sub, inner = paired.subset(trial, model_id), _permuted_layers(trial, model_id)
    block, seed = sub.block.numpy(), trial.profile.seed
    count = len(np.unique(block))
    recipe = Recipe.of("permuted-blocks", NULL_VERSION, subset=sub.key, layers=inner, blocks=count, seed=seed)

    def produce(draft: Draft) -> None:
        states = {layer: sub.states[layer].numpy() for layer in inner}
        clock = Clock("coordinate-permuted comparator", "blocks", trial.report)
        draft.write_json(ranks_without_blocks(states, block, seed, clock.tick))

    return [(float(own), float(other)) for own, other in trial.store.build(recipe, produce).json()]


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
