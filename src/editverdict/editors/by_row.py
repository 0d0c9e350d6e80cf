"""Several low-rank states in force at once, each for its own rows of a batch.

Asking twenty singly edited models seven questions each reads the model's weights twenty times over for a handful of
rows. With W' x = W x + left (right x) the twenty can share one pass: row by row the edited projection adds its own
state's term. Numbers equal those of an installed state up to rounding; the weights are not touched at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from editverdict.editors.base import State
from editverdict.editors.deltas import touched


def is_low_rank(state: State) -> bool:
    """Whether a state of weight deltas has low-rank ones alone (the empty state has)."""
    dense = any(key.endswith(":delta") for step in state for key in step.tensors)
    return not dense and all(touched((step,)) for step in state if step.tensors)


class RowStates:
    """Which state each row of the next forward pass is in."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._owners = torch.zeros(0, dtype=torch.long)

    def use(self, owners: Sequence[int]) -> None:
        """Name the state of each row of the passes to come."""
        self._owners = torch.tensor(list(owners))
        if len(self._owners) and not 0 <= int(self._owners.min()) <= int(self._owners.max()) < self._count:
            raise ValueError(f"rows belong to states 0 … {self._count - 1}, found {sorted(set(owners))}")

    def owners(self, rows: int) -> Tensor:
        """[rows] state of each row of a batch.

        Raises
        ------
        RuntimeError
            The batch has another number of rows than was announced.
        """
        if len(self._owners) != rows:
            raise RuntimeError(f"{len(self._owners)} rows were announced, and the batch has {rows}")
        return self._owners


def _stacked(states: Sequence[State], name: str, side: str, like: Tensor) -> Tensor:
    """Factors of every state, zero where one lacks them: left [states, d_out, r], right [states, r, d_in]."""
    axis = 1 if side == "left" else 0
    parts = []
    for state in states:
        own = [s.tensors[f"{name}:{side}"].to(torch.float64) for s in state if f"{name}:{side}" in s.tensors]
        width = like.shape[1 - axis]
        empty = torch.zeros((width, 0) if axis else (0, width), dtype=torch.float64)
        parts.append(torch.cat([empty, *own], dim=axis))
    rank = max(part.shape[axis] for part in parts)
    padded = []
    for part in parts:
        missing = rank - part.shape[axis]
        shape = (part.shape[0], missing) if axis else (missing, part.shape[1])
        padded.append(torch.cat([part, torch.zeros(shape, dtype=part.dtype)], dim=axis))
    return torch.stack(padded).to(like.device, like.dtype)


def _adding(rows: RowStates, first: Tensor, second: Tensor) -> Callable[..., Tensor]:
    """Hook that adds x first second, with the factors of each row's own state."""

    def hook(_module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        x = args[0]
        owners = rows.owners(x.shape[0]).to(x.device)
        return output + torch.bmm(torch.bmm(x, first[owners]), second[owners])

    return hook


@contextmanager
def installed_by_row(model: nn.Module, states: Sequence[State], scales: Sequence[float]) -> Iterator[RowStates]:
    """Put several low-rank states (times their scales) in force, each for the rows that are said to be its own.

    Raises
    ------
    ValueError
        A state is more than low-rank deltas of the weights of linear modules.
    """
    if not all(is_low_rank(state) for state in states):
        raise ValueError("only states made of low-rank deltas can be in force row by row")
    rows, handles = RowStates(len(states)), []
    scale = torch.tensor(list(scales), dtype=torch.float64)
    try:
        for name in sorted({name for state in states for name in touched(state)}):
            weight = model.get_parameter(name)
            left, right = (_stacked(states, name, side, weight) for side in ("left", "right"))
            left = left * scale.to(left)[:, None, None]
            path, _, leaf = name.rpartition(".")
            module = model.get_submodule(path)
            if leaf != "weight" or weight.ndim != 2:
                raise ValueError(f"parameter '{name}' is no weight of a linear module")
            # nn.Linear keeps [d_out, d_in] and computes x W^T; Conv1D keeps [d_in, d_out] and computes x W.
            linear = isinstance(module, nn.Linear)
            factors = (right.mT, left.mT) if linear else (left, right)
            handles.append(module.register_forward_hook(_adding(rows, *factors)))
        yield rows
    finally:
        for handle in handles:
            handle.remove()
