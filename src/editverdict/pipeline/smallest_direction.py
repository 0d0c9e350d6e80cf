"""What the smallest singular value depends on beside the model: number format, arithmetic, and how one centres.

All of it on the hidden states of the paired subset at the edited layer; it describes and decides
nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from editverdict.geometry.collapse import centred_over_features
from editverdict.numerics.precision import effective_dtype, rounding_noise
from editverdict.numerics.spectrum import exact_spectrum, sample_spectrum
from editverdict.pipeline import paired
from editverdict.pipeline.trial import Trial
from editverdict.store import Draft, Recipe

VERSION = 1
FORMATS = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32, "float64": torch.float64}


def smallest_direction(trial: Trial, model_id: str) -> dict[str, Any] | None:
    """Smallest over largest singular value of the same states in several formats and centrings.

    Returns
    -------
    dict or None
        ``layer``, ``n``, ``d``; ``format``: the format the states are in; ``moments`` and ``exact``: the smallest of
        all directions over the largest by second moments and by exact mode; ``rounded``: exact mode after rounding the
        states to a narrower format; ``limit``: below which a format of the activations hides any direction (over
        sigma_1); ``features``: the same states centred over features. None where the subset has not more samples than
        dimensions.
    """
    sub = paired.subset(trial, model_id)
    layer = trial.model(model_id).spec.layers.edit
    states = sub.states[layer]
    if not states.shape[0] > states.shape[1] >= 3:
        return None
    recipe = Recipe.of("smallest-direction", VERSION, subset=sub.key, layer=layer)
    found: dict[str, Any] = trial.store.build(recipe, lambda draft: _produce(states, layer, draft)).json()
    return found


def _ratio(states: Tensor) -> float:
    sigma = exact_spectrum([states], states.shape[1]).sigma
    return float(sigma[-1] / sigma[0])


def _produce(states: Tensor, layer: int, draft: Draft) -> None:
    n, d = states.shape
    own = effective_dtype(states)
    largest = float(exact_spectrum([states], d).sigma[0])
    moments = sample_spectrum(states, activation_dtype=own).sigma
    mean_square = states.double().square().mean(dim=0)
    narrower = {name: f for name, f in FORMATS.items() if torch.finfo(f).eps > torch.finfo(own).eps}
    draft.write_json(
        {
            "layer": layer,
            "n": n,
            "d": d,
            "format": str(own).removeprefix("torch."),
            "moments": float(moments[-1] / moments[0]),
            "exact": _ratio(states),
            "rounded": {
                name: _ratio(states.to(kind).double())
                for name, kind in narrower.items()
                if bool(torch.isfinite(states.to(kind)).all())
            },
            "limit": {name: float(rounding_noise(mean_square, n, kind)) / largest for name, kind in FORMATS.items()},
            "features": vars(centred_over_features(states)),
        }
    )
