"""Random models of every architecture in the table: the specs of specs/models, loaded once per process."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import torch

from editverdict.models.fingerprint import hash_weights
from editverdict.models.sources import LoadedModel, load_model
from editverdict.schema.library import SpecLibrary
from editverdict.schema.sources import RandomSource
from editverdict.store.packaged import PackageFetchError
from suites.selftest.conftest import ROOT, absent

LIBRARY = SpecLibrary.load(ROOT / "specs")
TOYS = tuple(name for name, spec in LIBRARY.models.items() if isinstance(spec.source, RandomSource))
CAUSAL = tuple(name for name in TOYS if not LIBRARY.architectures[LIBRARY.models[name].architecture].encoder_decoder)
WIDE = {"rehearsal-llama": {"initializer_range": 0.15}}
"""The profiles' own toy is nearly flat; here its answers have to differ."""


@lru_cache(maxsize=16)
def _load(name: str, overrides: tuple[tuple[str, Any], ...]) -> LoadedModel:
    spec = LIBRARY.models[name]
    assert isinstance(spec.source, RandomSource)
    source = spec.source.model_copy(update={"overrides": {**spec.source.overrides, **dict(overrides)}})
    spec = spec.model_copy(update={"source": source})
    try:
        loaded = load_model(
            spec, LIBRARY.architectures[spec.architecture], torch.device("cpu"), lambda one: LIBRARY.models[one]
        )
    except PackageFetchError as error:
        absent(f"the tokenizer of the toys cannot be fetched here: {error}")
    # Biases begin as zeros and norms as ones, so that forgetting them would not show.
    generator = torch.Generator().manual_seed(17)
    for _, parameter in sorted(loaded.model.named_parameters()):
        if parameter.ndim == 1:
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    identity = dataclasses.replace(loaded.identity, weights=hash_weights(loaded.model))
    return dataclasses.replace(loaded, identity=identity)


def toy(name: str, **overrides: Any) -> LoadedModel:
    """A model of the rehearsal specs, with biases and norms that matter; shared, so left as it was by every test."""
    return _load(name, tuple(sorted({**WIDE.get(name, {}), **overrides}.items())))


def assert_untouched(loaded: LoadedModel, layers: int = 4) -> None:
    """Weights bit by bit, layers, hooks, gradients, flags and modes are those of a model just loaded."""
    assert hash_weights(loaded.model) == loaded.identity.weights, "a weight was left changed"
    assert loaded.sites.n_layers == layers
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in loaded.model.modules())
    assert all(p.grad is None and not p.requires_grad for p in loaded.model.parameters())
    assert not any(module.training for module in loaded.model.modules())
