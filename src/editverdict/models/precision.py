"""A model in float64 for a while: the exact mode's activations."""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def _exact_norm(self: Any, hidden_states: Tensor) -> Tensor:
    """Root-mean-square norm without the cast to float32 that the usual implementation makes."""
    scale = torch.rsqrt(hidden_states.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
    scaled: Tensor = self.weight * (hidden_states * scale)
    return scaled


@contextmanager
def in_float64(model: nn.Module) -> Iterator[None]:
    """Run a model in float64; afterwards parameters and buffers are back bit by bit.

    Norms that would cast their input to float32 (they carry ``variance_epsilon``) compute in float64 inside the block:
    their rounding depends on the data and would be the noise floor otherwise. Angles of rotary embeddings stay what
    they are, a fixed function of the position.
    """
    # Widening and narrowing again is exact for parameters of one dtype; buffers may have another, so they are kept.
    dtypes = {name: parameter.dtype for name, parameter in model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    norms = [module for module in model.modules() if hasattr(module, "variance_epsilon") and hasattr(module, "weight")]
    for norm in norms:
        norm.forward = types.MethodType(_exact_norm, norm)
    model.double()
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward
        for name, parameter in model.named_parameters():
            parameter.data = parameter.data.to(dtypes[name])
        for name, kept in buffers.items():
            owner, _, own = name.rpartition(".")
            setattr(model.get_submodule(owner), own, kept)
