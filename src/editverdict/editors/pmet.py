"""PMET: precise model editing in a transformer (Li et al. 2024, AAAI, arXiv 2308.08742).

The outputs of attention and feed-forward part of the last edited layer are optimised together, each with a delta of
its own, so that the feed-forward value need not carry what attention contributes; only the feed-forward value is
written. The residual is spread with the square root of the number of layers still to edit as divisor; a layer is
written as in MEMIT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from editverdict.editors.base import Hyperparameters
from editverdict.editors.memit import Memit
from editverdict.editors.places import Place
from editverdict.editors.registry import register_editor
from editverdict.editors.spread import MassEditSettings
from editverdict.editors.values import ValueSettings


class PmetValueSettings(ValueSettings):
    """How PMET's values are optimised; the two further rules are habits of its authors' code."""

    nll_weight_when_found: float = Field(default=1.0, gt=0)
    """Weight of the NLL after a forward at which the target was the most probable everywhere; 0.1 in the authors' code,
    so that the KL term decides from there on."""
    stop_when_found: float | None = Field(default=None, ge=0)
    """Stop where the target is the most probable everywhere and the weighted KL term is at most this; 0.01 in the
    authors' code, None: never."""

    def nll_weight(self, found: bool) -> float:
        """Weight of the target's NLL; ``found``: at the last forward it was the most probable in every context."""
        return self.nll_weight_when_found if found else 1.0

    def reached(self, terms: Mapping[str, float], found: bool) -> bool:
        """Whether to stop at a forward with these terms of the loss."""
        limit = self.stop_when_found
        return super().reached(terms, found) or (limit is not None and found and terms["kl"] <= limit)


class PmetSettings(MassEditSettings):
    """Hyperparameters of PMET."""

    value: PmetValueSettings = PmetValueSettings()


@register_editor
class Pmet(Memit):
    """The editor; see the module's docstring. It writes a layer as MEMIT does."""

    name: ClassVar[str] = "pmet"
    place: ClassVar[Place] = "attention+mlp"
    hyperparameters_type: ClassVar[type[Hyperparameters]] = PmetSettings

    def __init__(self, hyperparameters: PmetSettings) -> None:
        self.hyperparameters = hyperparameters

    def divisor(self, remaining: int) -> float:
        """Square root of the number of layers still to edit: the layers near the value get more of it."""
        return math.sqrt(remaining)
