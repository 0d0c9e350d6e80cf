"""The smallest direction of hidden states: σ_min, the condition number, and whether the smallest one is real."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from torch import Tensor

from editverdict.geometry import spectrum as geometry
from editverdict.inference.intervals import jackknife_interval, seeds_interval
from editverdict.numerics.spectrum import exact_spectrum
from editverdict.pipeline import base, paired
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.collapse import Layers, common, estimate, gaussian_sigmas, layers_of
from editverdict.pipeline.measures.perturbation import units_picture
from editverdict.pipeline.measures.ranks import Statistic
from editverdict.pipeline.smallest_direction import smallest_direction
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
    sub = paired.subset(trial, model_id)
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
    dependence = _dependence(trial, case.model, layers, statistic, power)
    made.descriptive |= dependence
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
    made.pictures.insert(1, _dependence_picture(case, list(by_layer.values()), dependence))
    return made


def _powered(value: float, power: int) -> float | None:
    """The ratio or its reciprocal; None for the reciprocal of nothing."""
    return value**power if value > 0.0 or power > 0 else None


def _dependence(trial: Trial, model_id: str, layers: Layers, statistic: Statistic, power: int) -> dict[str, Any]:
    """What the number depends on beside the model; all of it describes, nothing of it decides."""
    some = next(iter(layers.by_layer.values()))
    parts = {
        some.spectrum.n: {n: s.spectrum.sigma for n, s in layers.by_layer.items()},
        some.n_half: {n: s.half for n, s in layers.by_layer.items()},
        some.n_quarter: {n: s.quarter for n, s in layers.by_layer.items()},
    }
    made: dict[str, Any] = {"by_sample_size": {str(count): statistic(own, count) for count, own in parts.items()}}
    floats = base.spectra(trial, model_id)
    # Where float32 could not resolve a direction: what it would have printed, and what float64 activations show.
    made["float32_against_float64"] = {
        str(n): {
            "float32_moments": _powered(float(floats[n].spectrum.sigma[-1] / floats[n].spectrum.sigma[0]), power),
            "limit_of_float32": _powered(floats[n].spectrum.resolution / float(floats[n].spectrum.sigma[0]), power),
            "float64_exact": _powered(
                float(layers.by_layer[n].spectrum.sigma[-1] / layers.by_layer[n].spectrum.sigma[0]), power
            ),
        }
        for n in layers.again
    } or "every direction is identified in float32, so that no layer was measured again in float64"
    return made | _on_subset(smallest_direction(trial, model_id), power)


def _on_subset(found: Mapping[str, Any] | None, power: int) -> dict[str, Any]:
    """The same states of the subset in other number formats and centred over features."""
    if found is None:
        return {"subset": "not more samples than dimensions"}
    features = found["features"]
    return {
        "subset": f"{found['n']} paired tokens, layer {found['layer']}, activations in {found['format']}",
        "subset_by_arithmetic": {
            "second moments": _powered(found["moments"], power),
            "exact mode": _powered(found["exact"], power),
            **{f"rounded to {name}": _powered(ratio, power) for name, ratio in found["rounded"].items()},
        },
        "subset_limit_of_format": {name: _powered(ratio, power) for name, ratio in found["limit"].items()},
        "subset_centred_over_features": {
            "what": "not the claim's quantity: one direction is removed by the centring itself",
            "in float32": _powered(features["ratio_float32"], power),
            "exact mode": _powered(features["ratio_exact"], power),
            "next direction, exact mode": _powered(features["ratio_second"], power),
            "cosine of the last direction with (1, ..., 1)": features["along_ones"],
        },
    }


def _dependence_picture(case: Case, own: list[float], dependence: Mapping[str, Any]) -> dict[str, Any]:
    """The claim's number by sample size, and on the subset by number format and centring."""
    groups: dict[str, Sequence[float]] = {"layers": own}
    groups |= {f"n = {count}": [value] for count, value in list(dependence["by_sample_size"].items())[1:]}
    if "subset_by_arithmetic" in dependence:
        arithmetic, features = dependence["subset_by_arithmetic"], dependence["subset_centred_over_features"]
        named = {f"subset, {name}": value for name, value in arithmetic.items()}
        named["subset, centred over features"] = features["in float32"]
        groups |= {name: [value] for name, value in named.items() if value is not None}
    return units_picture(case, "Dependence on sample size, number format and centring (descriptive)", groups)


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
