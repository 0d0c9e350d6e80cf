"""The smallest direction of hidden states: σ_min, the condition number, and whether the smallest one is real."""

from __future__ import annotations

import math
from statistics import median

from torch import Tensor

from editverdict.geometry import spectrum as geometry
from editverdict.inference.intervals import jackknife_interval, seeds_interval
from editverdict.numerics.spectrum import exact_spectrum
from editverdict.pipeline import base
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.collapse import Layers, Statistic, common, estimate, gaussian_sigmas, layers_of
from editverdict.pipeline.measures.perturbation import units_picture
from editverdict.pipeline.trial import Trial
from editverdict.store import Draft, Recipe

PLANT_VERSION = 1


def _min_ratio(layers: Layers, power: int) -> Statistic:
    index = {n: s.spectrum.index_min for n, s in layers.by_layer.items()}
    return lambda sigmas, _n: median(float(sigmas[n][index[n]] / sigmas[n][0]) ** power for n in layers.by_layer)


def _tail_share(layers: Layers) -> Statistic:
    return lambda sigmas, _n: median(float(s[-(len(s) // 10) :].mean() / s[0]) for s in sigmas.values())


def _planted_minimum(trial: Trial, model_id: str) -> tuple[list[float], float]:
    """σ_min/σ_1 that exact mode sees of a direction planted at 1e-8 σ_1 in real states: per left-out block, full."""
    sub = base.subset(trial, model_id)
    layer = trial.model(model_id).spec.layers.edit
    recipe = Recipe.of(
        "planted-minimum",
        PLANT_VERSION,
        subset=sub.key,
        blocks=trial.subset(model_id).n_blocks,
        layer=layer,
        ratio=1e-8,
    )

    def produce(draft: Draft) -> None:
        x = sub.states[layer].double()
        planted = geometry.plant_direction(x, exact_spectrum([x], x.shape[1]), 1e-8)

        def ratio(rows: Tensor) -> float:
            return geometry.sigma_min_ratio(exact_spectrum([rows], x.shape[1]))

        blocks = sorted(set(sub.block.tolist()))
        draft.write_json({"full": ratio(planted), "left": [ratio(planted[sub.block != b]) for b in blocks]})

    found = trial.store.build(recipe, produce).json()
    return list(found["left"]), float(found["full"])


def _smallest(trial: Trial, case: Case, power: int) -> Measurement:
    layers = layers_of(trial, case.model)
    made = common(trial, case, layers)
    statistic = _min_ratio(layers, power)
    made.definitions["smallest-identified"] = estimate(layers, statistic)
    if power == 1:
        made.definitions["decile-share"] = estimate(layers, _tail_share(layers))
    some = layers.by_layer[layers.inner[0]].spectrum
    null = [float(sigma[-1] / sigma[0]) ** power for sigma in gaussian_sigmas(trial, some.n, some.d)]
    made.controls["gaussian"] = seeds_interval(null)
    left, full = _planted_minimum(trial, case.model)
    made.controls["planted-direction"] = jackknife_interval(full**power, [value**power for value in left])
    by_layer = {
        str(n): float(s.spectrum.sigma[s.spectrum.index_min] / s.spectrum.sigma[0]) ** power
        for n, s in layers.by_layer.items()
    }
    made.descriptive |= {
        "by_layer": by_layer,
        "sigma_1": {str(n): float(s.spectrum.sigma[0]) for n, s in layers.by_layer.items()},
        "sigma_min": {str(n): float(s.spectrum.sigma[s.spectrum.index_min]) for n, s in layers.by_layer.items()},
        "resolution": {str(n): s.spectrum.resolution for n, s in layers.by_layer.items()},
    }
    made.pictures.insert(
        0,
        units_picture(
            case,
            "Layers and controls",
            {
                "layers": list(by_layer.values()),
                "gaussian (negative)": null,
                "planted-direction (positive)": [full**power],
            },
        ),
    )
    return made


@measure("sigma_min_ratio")
def sigma_min_ratio(trial: Trial, case: Case) -> Measurement:
    """σ_min / σ_1, median over layers (Table 1)."""
    return _smallest(trial, case, 1)


@measure("condition_number")
def condition_number(trial: Trial, case: Case) -> Measurement:
    """σ_1 / σ_min, median over layers (Table 1)."""
    return _smallest(trial, case, -1)


@measure("sigma_min_over_floor")
def sigma_min_over_floor(trial: Trial, case: Case) -> Measurement:
    """Smallest singular value over the resolution limit of float32, minimum over layers."""
    layers = layers_of(trial, case.model, exact=False)
    made = common(trial, case, layers)
    floors = {n: float(s.spectrum.floor[-1]) for n, s in layers.by_layer.items()}
    whole = next(iter(layers.by_layer.values())).spectrum.n
    made.definitions["over-floor"] = estimate(
        # The limit of a part of the sample is lower in proportion: noise grows with the root of n, as sigma does.
        layers,
        lambda sigmas, count: min(float(sigmas[n][-1]) / (floors[n] * math.sqrt(count / whole)) for n in floors),
    )
    some = layers.by_layer[layers.inner[0]].spectrum
    made.controls["gaussian"] = seeds_interval(
        [float(s[-1] / (1e-6 * s[0])) for s in gaussian_sigmas(trial, some.n, some.d)]
    )
    left, full = _planted_minimum(trial, case.model)
    made.controls["planted-direction"] = jackknife_interval(full / 1e-6, [value / 1e-6 for value in left])
    own = {str(n): float(s.spectrum.sigma[-1]) / floors[n] for n, s in layers.by_layer.items()}
    made.descriptive["by_layer"] = own
    made.pictures.insert(
        0, units_picture(case, "σ_min over the resolution limit, by layer", {"layers": list(own.values())})
    )
    return made
