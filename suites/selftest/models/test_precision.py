"""A model is widened to float64 for a while, norms included, and comes back bit by bit."""

from __future__ import annotations

import pytest
import torch

from editverdict.models.precision import in_float64
from editverdict.models.sources import LoadedModel


def _state(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    model = loaded.model
    return {name: t.clone() for name, t in (*model.named_parameters(), *model.named_buffers())}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_everything_comes_back(tiny: LoadedModel, dtype: torch.dtype) -> None:
    tiny.model.to(dtype)
    for name, buffer in tiny.model.named_buffers():  # rotary frequencies stay float32 in a bfloat16 model
        owner, _, own = name.rpartition(".")
        setattr(tiny.model.get_submodule(owner), own, torch.rand_like(buffer, dtype=torch.float32))
    before = _state(tiny)
    with pytest.raises(RuntimeError, match="inside"), in_float64(tiny.model):
        assert all(p.dtype == torch.float64 for p in tiny.model.parameters())
        raise RuntimeError("inside")
    after = _state(tiny)
    assert {name: t.dtype for name, t in after.items()} == {name: t.dtype for name, t in before.items()}
    assert all(after[name].equal(before[name]) for name in before)


def test_norms_do_not_round_to_float32(tiny: LoadedModel) -> None:
    norm = next(module for module in tiny.model.modules() if hasattr(module, "variance_epsilon"))
    with in_float64(tiny.model):
        x = torch.randn(5, norm.weight.shape[0], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        wanted = norm.weight * x / (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
        torch.testing.assert_close(norm(x), wanted, rtol=1e-14, atol=1e-14)
    # Outside, the usual implementation does round: the control that the check above can fail.
    assert (norm(x.float()).double() - wanted).abs().max() > 1e-10
