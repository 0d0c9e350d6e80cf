"""Which code multiplies by a linear module's weight on the CPU.

torch's own float32 path goes through MKL, which on CPUs that are not Intel's leaves half of their speed unused; oneDNN,
which comes with torch as well, writes its code for the CPU at hand. Measured side by side: docs/speed.md. Which of the
two a model runs with is part of its identity, since they round differently.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

Kernel = Literal["onednn", "torch"]
"""Kernel of a model's linear modules."""


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x W^T + b`` by oneDNN: the operator that torch's compiler puts in the place of a linear module on a CPU."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


class _Product(torch.autograd.Function):
    """:func:`_product` with a gradient for its input alone; forward, then ``g W`` by the same kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _product(gradient.contiguous(), weight.t(), None), None, None


class _Differential(torch.autograd.Function):
    """:func:`_product` with the rule of forward-mode differentiation: ``dx W^T + x dW^T + db``, by the same kernel."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _product(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        x, weight, _ = inputs
        ctx.save_for_forward(x, weight)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dweight: Tensor | None, dbias: Tensor | None) -> Tensor:
        x, weight = ctx.saved_tensors
        parts = [] if dx is None else [_product(dx.contiguous(), weight, None)]
        if dweight is not None:
            parts.append(_product(x, dweight.contiguous(), None))
        if dbias is not None:
            parts.append(dbias.expand(*x.shape[:-1], -1))
        return functools.reduce(torch.add, parts)


def _transformed() -> bool:
    """Whether a transform of ``torch.func`` is at work, such as ``jvp``: it needs a rule for every operator."""
    return torch._C._functorch.maybe_current_level() is not None


class OneDnnLinear(nn.Linear):
    """A linear module whose product is oneDNN's, with everything else as it was: same weight, same hooks.

    Whatever oneDNN's operator does not cover (another number format or device, gradients for the weight, no rows) goes
    the usual way.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``x W^T + b`` [..., d_out]."""
        weight, bias = self.weight, self.bias
        fit = all(one.dtype == torch.float32 and one.device.type == "cpu" for one in (input, weight))
        if not fit or input.numel() == 0:
            return functional.linear(input, weight, bias)
        if _transformed():
            differential: Tensor = _Differential.apply(input, weight, bias)  # type: ignore[no-untyped-call]
            return differential
        if not torch.is_grad_enabled():
            return _product(input, weight, bias)
        if weight.requires_grad or (bias is not None and bias.requires_grad):
            return functional.linear(input, weight, bias)
        if input.requires_grad:
            # As a matrix: what a custom function gives must be no view, or nothing could be added to it in place.
            rows = input.reshape(-1, input.shape[-1])
            found: Tensor = _Product.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
            return found.reshape(*input.shape[:-1], -1)
        return _product(input, weight, bias)


def _works() -> bool:
    """Whether this build of torch has the operator, and it computes what it should."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((2, 3, 8), (5, 8), (5,)))
    try:
        with torch.no_grad():
            found = _product(x, weight, bias)
    except (AttributeError, RuntimeError):
        return False
    return torch.allclose(found, functional.linear(x, weight, bias), atol=1e-5)


def use_fast_products(model: nn.Module, device: torch.device) -> Kernel:
    """Let plain linear modules multiply by oneDNN where the model is on a CPU in float32; say which kernel it has."""
    weights = [module.weight for module in model.modules() if type(module) is nn.Linear]
    if device.type != "cpu" or not weights or any(w.dtype != torch.float32 for w in weights) or not _works():
        return "torch"
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = OneDnnLinear
    return "onednn"


@contextmanager
def torch_products(model: nn.Module) -> Iterator[None]:
    """Run a model with torch's own products for a while, e.g. to compare with numbers that were made by them."""
    changed: list[nn.Module] = [module for module in model.modules() if type(module) is OneDnnLinear]
    try:
        for module in changed:
            module.__class__ = nn.Linear
        yield
    finally:
        for module in changed:
            module.__class__ = OneDnnLinear
