"""WISE's router: which texts go through the side memory (Wang et al. 2024, section 2.3.1; see ``wise.py``).

The decision is one per text. It is made on the pass that reads the prompt, for all of its tokens, and travels with
the row in the key-value cache, so that generated tokens follow it although the batch shrinks. Where prompt and target
are read in one pass (teacher forcing) the target's tokens but its last take part: with ``max`` they can only turn the
decision towards the side memory, and for targets of one token nothing differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from editverdict.editors.base import EditError
from editverdict.models.sources import LoadedModel

Over = Literal["mean", "max"]


def text_activation(shift: Tensor, mask: Tensor, over: Over) -> Tensor:
    """Routing activation of texts (eq. 3) [b], from A(x) (W_v' - W_v) [b, t, d] and mask [b, t] (1: a token)."""
    norms = torch.linalg.vector_norm(shift, dim=-1)
    real = mask.to(norms.device).bool()
    # Whatever stands at padding, infinities too, is out of it.
    norms = torch.where(real, norms, torch.zeros_like(norms))
    return norms.amax(dim=1) if over == "max" else norms.sum(dim=1) / real.sum(dim=1).clamp(min=1)


class _Route(DynamicLayer):  # type: ignore[no-untyped-call]
    """Decisions of a batch, kept in its key-value cache: whoever selects or reorders rows does so to them too."""

    def __init__(self, side: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys = self.values = side[:, None, None, None].float()
        self.dtype, self.device, self.is_initialized = self.keys.dtype, self.keys.device, True

    def crop(self, tokens_to_remove: int) -> None:
        """Nothing here is a token."""

    @property
    def side(self) -> Tensor:
        """[b] bool: whether the row goes through the side memory."""
        kept = torch.as_tensor(self.keys)
        return kept[:, 0, 0, 0] > 0


def _route_in(cache: Any) -> Tensor | None:
    """Decisions [b] that a cache carries; None where a text begins."""
    if cache is None or not cache.get_seq_length():
        return None
    return next((layer.side for layer in cache.layers if isinstance(layer, _Route)), None)


class _Router:
    """Hooks on the backbone (for mask and cache) and on the down-projection (for the choice of memory)."""

    def __init__(self, delta: Tensor, limit: float, over: Over) -> None:
        self._delta, self._limit, self._over = delta, limit, over
        self._mask: Tensor | None = None
        self._carried: Tensor | None = None
        self._side: Tensor | None = None

    def before(self, _module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        """Note the mask, and the decisions if the pass goes on with texts."""
        self._mask, self._side = kwargs.get("attention_mask"), None
        if self._mask is not None and self._mask.ndim != 2:
            raise EditError("WISE needs an attention mask of shape [rows, tokens] to leave padding out")
        self._carried = _route_in(kwargs.get("past_key_values"))

    def choose(self, _module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        """Eq. 6."""
        self._side = self._carried
        if self._side is not None and not bool(self._side.any()):
            return None
        shift = args[0] @ self._delta.T
        if self._side is None:
            width = shift.shape[1]
            mask = torch.ones(shift.shape[:2]) if self._mask is None else self._mask[:, -width:]
            self._side = text_activation(shift, mask, self._over) > self._limit
        if not bool(self._side.any()):
            return None
        return torch.where(self._side[:, None, None], output + shift, output)

    def after(self, _module: Any, _args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """Leave the decisions in the cache, if there is one."""
        cache = getattr(output, "past_key_values", None)
        cache = kwargs.get("past_key_values") if cache is None else cache
        if cache is None or self._side is None or self._carried is not None:
            return
        if not isinstance(cache, DynamicCache):
            raise EditError(
                f"WISE keeps its decisions in a DynamicCache, and the model was given {type(cache).__name__}"
            )
        cache.layers.append(_Route(self._side))


@contextmanager
def routed(loaded: LoadedModel, layer: int, delta: Tensor, limit: float, over: Over) -> Iterator[None]:
    """Let texts with an activation above ``limit`` go through W_v + ``delta`` [d, d_ff]."""
    router = _Router(delta.to(loaded.device, loaded.sites.down_weight(layer).dtype), limit, over)
    handles = []
    try:
        handles.append(loaded.sites.backbone.register_forward_pre_hook(router.before, with_kwargs=True))
        handles.append(loaded.sites.down_proj(layer).register_forward_hook(router.choose))
        handles.append(loaded.sites.backbone.register_forward_hook(router.after, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()
