"""Samples with a known spectrum."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from editverdict.numerics.random_matrices import standard_normal

MakeStates = Callable[..., torch.Tensor]


@pytest.fixture(scope="session")
def make_states() -> MakeStates:
    """Gaussian states ``[n, d]`` whose scale falls by ``decay`` along a random basis, with a mean."""

    def make(n: int, d: int, seed: int, decay: float = 0.02, offset: float = 0.5) -> torch.Tensor:
        basis = torch.linalg.qr(standard_normal((d, d), 99)).Q  # one distribution, whatever the seed of the sample
        scale = torch.logspace(0, torch.log10(torch.tensor(decay)).item(), d, dtype=torch.float64)
        mean = offset * standard_normal((d,), 98)
        return (standard_normal((n, d), seed) * scale) @ basis.T + mean

    return make
