"""Weight states as sums of deltas: installed by a context manager, removed by putting saved tensors back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from editverdict.editors.base import Answering, Plain, State, Step
from editverdict.models.sources import LoadedModel


class PurityError(RuntimeError):
    """A weight did not return to its saved bytes."""


def _copy(tensor: Tensor) -> Tensor:
    # Laid out as a file gives it back: products of transposed views can differ in the last bit.
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def low_rank(name: str, left: Tensor, right: Tensor) -> dict[str, Tensor]:
    """Tensors of a step that adds ``left @ right`` to parameter ``name``: left [d_out, r], right [r, d_in]."""
    return {f"{name}:left": _copy(left), f"{name}:right": _copy(right)}


def dense(name: str, delta: Tensor) -> dict[str, Tensor]:
    """Tensors of a step that adds ``delta`` to parameter ``name``, in the parameter's own shape."""
    return {f"{name}:delta": _copy(delta)}


def layer_delta(loaded: LoadedModel, layer: int, left: Tensor, right: Tensor) -> dict[str, Tensor]:
    """Tensors of a step that adds ``left @ right`` [d, d_ff] to a layer's down-projection, however it is stored."""
    name = loaded.sites.down_proj_weight(layer)
    left, right = left.cpu(), right.cpu()
    return low_rank(name, right.T, left.T) if loaded.sites.transposed(layer) else low_rank(name, left, right)


_KINDS = (":left", ":delta")


def touched(state: State) -> list[str]:
    """Names of the parameters that a state changes, sorted."""
    return sorted({key.rpartition(":")[0] for step in state for key in step.tensors if key.endswith(_KINDS)})


def step_delta(step: Step, name: str) -> Tensor | None:
    """One step's delta of one parameter, float64, or None."""
    if f"{name}:delta" in step.tensors:
        return step.tensors[f"{name}:delta"].double()
    if f"{name}:left" in step.tensors:
        return step.tensors[f"{name}:left"].double() @ step.tensors[f"{name}:right"].double()
    return None


def total_delta(state: State, name: str, scale: float = 1.0) -> Tensor:
    """Sum of the steps' deltas of one parameter, float64, in the parameter's own shape; the caller's to change."""
    pairs = [(s.tensors[f"{name}:left"], s.tensors[f"{name}:right"]) for s in state if f"{name}:left" in s.tensors]
    total: Tensor | None = None
    if pairs:
        left = torch.cat([pair[0].double() for pair in pairs], dim=1)
        total = left @ torch.cat([pair[1].double() for pair in pairs], dim=0)
    for step in state:
        if f"{name}:delta" in step.tensors:
            own = step.tensors[f"{name}:delta"]
            total = own.to(torch.float64, copy=True) if total is None else total.add_(own)
    if total is None:
        raise KeyError(f"the state does not change {name}")
    return total if scale == 1.0 else total.mul_(scale)


def delta_norm(state: State) -> float:
    """Frobenius norm of the whole state's delta."""
    return math.sqrt(sum(float(total_delta(state, name).norm()) ** 2 for name in touched(state)))


def _parameters(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Parameter]:
    return {name: model.get_parameter(name) for name in names}


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors agree in shape, type and every bit (a NaN equals itself, 0 is not -0)."""
    if one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
        return False
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}.get(one.element_size(), torch.uint8)
    return torch.equal(one.contiguous().view(bits), other.contiguous().view(bits))


@contextmanager
def installed(model: nn.Module, state: State, scale: float = 1.0) -> Iterator[Answering]:
    """Install a weight state (times ``scale``); put the saved tensors back on leaving and prove it bit by bit.

    The new weight is ``W0 + sum of deltas`` computed in float64 and rounded once, so it depends on the state alone and
    not on how it was reached: resuming a chain gives the same bits as not stopping.

    Raises
    ------
    PurityError
        The restored weights differ from the saved ones.
    ValueError
        A step holds tensors but no delta: such a state is put in force by its editor alone, and installed here it
        would pass for the unedited model.
    """
    if any(step.tensors and not touched((step,)) for step in state):
        raise ValueError("the state is not made of weight deltas; its editor's own install puts it in force")
    parameters = _parameters(model, touched(state))
    saved = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    try:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(total_delta(state, name, scale).to(parameter.device).add_(parameter.double()))
        yield Plain()
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(saved[name])
        # Looked up anew: whoever put another tensor in a weight's place took it out of reach of the restore.
        now = _parameters(model, list(parameters))
        if not all(_same_bits(now[name].detach(), saved[name]) for name in saved):
            raise PurityError(
                f"weights {sorted(parameters)} did not return to their saved bytes after an edited state was removed"
            )
