"""A model with other kernels for a while: forward-mode differentiation has no rule for the fused ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

EAGER = "eager"
"""Attention as plain matrix products and a softmax, which every kind of differentiation can follow."""


@contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Run a model with plain attention; its own kernel comes back on leaving, whatever happens.

    The layers look the kernel up in their configuration at every call, so that nothing else has to change.
    """
    configs: dict[int, Any] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        if config is not None and hasattr(config, "_attn_implementation"):
            configs[id(config)] = config
    kept = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = EAGER
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = kept[key]
