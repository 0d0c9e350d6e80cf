"""Corrections of p values for multiplicity.

Sources: Holm, Scand. J. Statist. 6 (1979) 65-70; Benjamini and Hochberg, J. R. Statist. Soc. B 57 (1995) 289-300.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given.

    The smallest of m values is multiplied by m, the next by m - 1, ...; the result is made monotone and cut at 1.
    Controls the family-wise error under any dependence.

    Parameters
    ----------
    p_values
        m raw p values in [0, 1].

    Raises
    ------
    ValueError
        A value is not a number in [0, 1].
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    factors = np.arange(p.size, 0, -1)
    stepped = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return _unsorted(stepped, order)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini-Hochberg adjusted p values (false discovery rate), in the order given.

    Valid for independent or positively dependent tests.

    Raises
    ------
    ValueError
        A value is not a number in [0, 1].
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    factors = p.size / np.arange(1, p.size + 1)
    stepped = np.minimum(np.minimum.accumulate((p[order] * factors)[::-1])[::-1], 1.0)
    return _unsorted(stepped, order)


def _checked(p_values: Sequence[float]) -> NDArray[np.float64]:
    p = np.asarray(p_values, dtype=np.float64)
    bad = ~((p >= 0.0) & (p <= 1.0))
    if bad.any():
        raise ValueError(f"{int(bad.sum())} of {p.size} p values are not numbers between 0 and 1")
    return p


def _unsorted(ordered: NDArray[np.float64], order: NDArray[np.intp]) -> list[float]:
    result = np.empty_like(ordered)
    result[order] = ordered
    return [float(value) for value in result]
