"""RECT: ROME's update, kept only where it changes the weight most in relation to what stands there.

Source: Gu et al. 2024, "Model editing harms general abilities of large language models: regularization to the rescue"
(arXiv 2401.04700). Entries of the update are ranked by their relative change |dW_ij / W_ij|, W being the weight as it
stands before the edit; the top share stays as it is, the rest becomes zero. What is left is no longer of rank one, so
the step holds it whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from editverdict.data.records import EditRecord
from editverdict.editors.base import Hyperparameters, Resources, State, Step
from editverdict.editors.deltas import dense, installed
from editverdict.editors.registry import register_editor
from editverdict.editors.rome import Rome, RomeSettings
from editverdict.models.sources import LoadedModel


class RectSettings(RomeSettings):
    """Hyperparameters of RECT: ROME's, and the share."""

    share: float = Field(default=0.4, gt=0, le=1)
    """Share of the update's entries that is kept, those of the largest relative change."""


def keep_top(delta: Tensor, weight: Tensor, share: float) -> Tensor:
    """``delta`` with zeros everywhere but at the top ``share`` of |delta / weight|; all of one shape."""
    # An entry that stays as it is has changed by nothing, even where the weight is zero (0/0).
    relative = torch.where(delta == 0, torch.zeros_like(delta), (delta / weight).abs()).flatten()
    kept = torch.zeros_like(relative, dtype=torch.bool)
    kept[relative.topk(max(round(share * relative.numel()), 1)).indices] = True
    return torch.where(kept.reshape(delta.shape), delta, torch.zeros_like(delta))


@register_editor
class Rect(Rome):
    """The editor; see the module's docstring. Its optimised values are ROME's own, and are shared with it."""

    name: ClassVar[str] = "rect"
    version: ClassVar[int] = 2
    answers_itself: ClassVar[bool] = False
    hyperparameters_type: ClassVar[type[Hyperparameters]] = RectSettings
    hyperparameters: RectSettings

    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """ROME's update in the given state, regularised."""
        left, direction, info = self.factors(loaded, state, records, resources)
        name = loaded.sites.down_proj_weight(self.layer(loaded))
        delta = torch.outer(left, direction)
        if loaded.sites.transposed(self.layer(loaded)):
            delta = delta.T
        with installed(loaded.model, state):
            weight = loaded.model.get_parameter(name).detach().double().to(delta.device)
            kept = keep_top(delta, weight, self.hyperparameters.share)
        numbers = {
            "norm": float(kept.norm()),
            "norm_before": info["norm"],
            "entries_kept": int((kept != 0).sum()),
            "entries": kept.numel(),
        }
        return Step(dense(name, kept.float().cpu()), {**info, **numbers})
