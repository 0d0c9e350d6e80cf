"""How far a change of hidden states is from its first-order prediction (Assumption 4.2, Eqs. 7 and 8).

Norms of the change alone do not show that a first-order reading holds: a small change may be all curvature. Two
readings do. The *remainder* compares the change with the Jacobian-vector product of the change of the weights; the
*homogeneity* gap compares twice the edit with twice its change and needs no derivative. Both are 0 for a linear map.
For a change j + q of a linear term j and a second-order term q both are |q| / |j + q|, so that they agree to leading
order (a third-order term counts three times in the gap). At a remainder near 1 the first order explains nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _norms(part: Tensor, whole: Tensor, what: str) -> float:
    size = float(whole.norm())
    if not size > 0.0:
        raise ValueError(f"{what} is zero: nothing moves, and a share of nothing is undefined")
    return float(part.norm()) / size


def _as_pair(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    if one.ndim != 2 or one.shape != other.shape:
        raise ValueError(f"expected two changes of one shape [m, d], found {list(one.shape)} and {list(other.shape)}")
    pair = one.to(torch.float64), other.to(torch.float64)
    if not all(bool(torch.isfinite(x).all()) for x in pair):
        raise ValueError("a change is not finite; the edit may have overflowed the number format")
    return pair


def first_order_remainder(change: Tensor, tangent: Tensor) -> float:
    """``|dh - J dW|_F / |dh|_F``: the share of a change that its first-order prediction leaves out.

    Parameters
    ----------
    change
        ``dh = h(W + dW) - h(W)``, ``[m, d]``, samples as rows.
    tangent
        ``J dW`` of the same samples, ``[m, d]``.

    Returns
    -------
    float
        0 for a linear map; 1 if the prediction is zero; more where it points elsewhere.

    Raises
    ------
    ValueError
        The shapes differ or are not ``[m, d]``, a value is not finite, or nothing changes.
    """
    change, tangent = _as_pair(change, tangent)
    return _norms(change - tangent, change, "the change")


def squares_by_block(change: Tensor, prediction: Tensor, block: Tensor, n_blocks: int) -> Tensor:
    """Squared Frobenius norms of ``change - prediction`` and of ``change``, block of samples by block: [n_blocks, 2].

    Their sums over the blocks give the remainder (with twice the change and the doubled one: the homogeneity gap), and
    the sums without one block what it would be on the other samples.

    Parameters
    ----------
    change, prediction
        ``[m, d]``.
    block
        ``[m]`` integers from 0 to ``n_blocks`` - 1.
    """
    change, prediction = _as_pair(change, prediction)
    rows = torch.stack([(change - prediction).square().sum(1), change.square().sum(1)], dim=1)
    return rows.new_zeros(n_blocks, 2).index_add_(0, block.to(rows.device), rows)


def homogeneity_gap(change: Tensor, doubled: Tensor) -> float:
    """``|dh(2 dW) - 2 dh(dW)|_F / |2 dh(dW)|_F``.

    Parameters
    ----------
    change, doubled
        ``[m, d]`` changes after the edit and after twice the edit.

    Raises
    ------
    ValueError
        As :func:`first_order_remainder`.
    """
    change, doubled = _as_pair(change, doubled)
    return _norms(doubled - 2.0 * change, 2.0 * change, "the change")
