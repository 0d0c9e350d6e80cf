"""All three trends of the collapse in every layer at once (B.1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from editverdict.geometry import collapse as geometry
from editverdict.inference.intervals import seeds_interval
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.collapse import (
    Layers,
    common,
    estimate,
    gaussian_sigmas,
    layers_of,
    planted,
)
from editverdict.pipeline.measures.perturbation import units_picture
from editverdict.pipeline.measures.ranks import Statistic
from editverdict.pipeline.trial import Trial

Excess = Callable[[Tensor, int], float]


def _worst(indices: dict[int, int], excess: Excess) -> Statistic:
    return lambda sigmas, _n: max(excess(sigmas[layer], index) for layer, index in indices.items())


def _of_rank(sigma: Tensor, _index: int) -> float:
    return geometry.rank_excess(sigma)


@measure("worst_collapse_excess")
def worst_collapse_excess(trial: Trial, case: Case) -> Measurement:
    """The worst excess over the thresholds of rank and smallest singular value, over all measured layers."""
    layers: Layers = layers_of(trial, case.model)
    made = common(trial, case, layers)
    indices = {n: s.spectrum.index_min for n, s in layers.by_layer.items()}
    made.definitions = {
        "worst-excess": estimate(layers, _worst(indices, geometry.worst_excess)),
        "rank-excess": estimate(layers, _worst(indices, _of_rank)),
        "sigma-min-excess": estimate(layers, _worst(indices, geometry.ratio_excess)),
    }
    some = layers.by_layer[layers.inner[0]].spectrum
    null = [geometry.worst_excess(sigma) for sigma in gaussian_sigmas(trial, some.n, some.d)]
    made.controls["gaussian"] = seeds_interval(null)
    # What is planted is known to be there, so the last direction counts although moments could not resolve it.
    last = {n: s.spectrum.d - 1 for n, s in layers.by_layer.items()}
    low = planted(layers, partial(geometry.planted_low_half, ratio=1e-8))
    made.controls["planted-low-half"] = estimate(low, _worst(last, geometry.worst_excess))
    own = {n: s.spectrum.sigma for n, s in layers.by_layer.items()}
    made.descriptive |= {
        "rank_excess_by_layer": {str(n): geometry.rank_excess(sigma) for n, sigma in own.items()},
        "sigma_min_excess_by_layer": {str(n): geometry.ratio_excess(own[n], index) for n, index in indices.items()},
    }
    made.pictures.insert(
        0,
        units_picture(
            case,
            "Excess over the threshold of each trend, by layer",
            {
                "effective rank": list(made.descriptive["rank_excess_by_layer"].values()),
                "σ_min and condition number": list(made.descriptive["sigma_min_excess_by_layer"].values()),
                "gaussian (negative)": null,
                "planted-low-half (positive)": [geometry.worst_excess(s.spectrum.sigma) for s in low.by_layer.values()],
            },
        ),
    )
    return made
