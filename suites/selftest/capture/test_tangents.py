"""Forward-mode derivatives along changes of weights: against float64 differences, on every causal family."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from editverdict.capture.passes import full_pass, tail_pass
from editverdict.capture.tangents import tangent_pass
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.models.attention import eager_attention
from editverdict.models.precision import in_float64
from editverdict.models.sources import LoadedModel
from suites.selftest.models.toys import CAUSAL, assert_untouched, toy

START, LAYERS = 1, [1, 2, 3]
STEP = 1e-3


def batches_of(loaded: LoadedModel) -> list[TokenBatch]:
    generator = torch.Generator().manual_seed(1)
    texts = tuple(tuple(torch.randint(5, 400, (n,), generator=generator).tolist()) for n in (9, 14, 6, 20))
    return TextSample(texts, 4).batches(0, loaded.device, tokens_per_batch=40)


def inputs_of(loaded: LoadedModel, batches: list[TokenBatch]) -> list[Tensor]:
    lower: list[Tensor] = []
    full_pass(loaded, batches, lambda _batch, seen: lower.append(seen["in", START]), layer_inputs=[START])
    return lower


def directions(loaded: LoadedModel, layers: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    names = [loaded.sites.down_proj_weight(layer) for layer in layers]
    weights = {name: loaded.model.get_parameter(name) for name in names}
    return {name: torch.randn(w.shape, generator=generator) * w.std() for name, w in weights.items()}


@pytest.fixture
def softmax_in_any_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager attention of the Llama family takes its softmax in float32, whose rounding differences would magnify."""
    own: Callable[..., Tensor] = torch.nn.functional.softmax
    monkeypatch.setattr(torch.nn.functional, "softmax", lambda x, dim=-1, dtype=None: own(x, dim=dim))


def differences(
    loaded: LoadedModel, batches: list[TokenBatch], lower: list[Tensor], deltas: Mapping[str, Tensor]
) -> dict[int, Tensor]:
    """Central differences in float64."""
    sides = []
    with in_float64(loaded.model), eager_attention(loaded.model):
        for sign in (1.0, -1.0):
            kept = {name: loaded.model.get_parameter(name).data.clone() for name in deltas}
            for name, delta in deltas.items():
                loaded.model.get_parameter(name).data.add_(sign * STEP * delta.double())
            sides.append(tail_pass(loaded, batches, [x.double() for x in lower], START, LAYERS))
            for name, weight in kept.items():
                loaded.model.get_parameter(name).data.copy_(weight)
    return {layer: (sides[0][layer] - sides[1][layer]) / (2 * STEP) for layer in LAYERS}


@pytest.mark.usefixtures("softmax_in_any_format")
@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("edited", [(1,), (1, 2)])
def test_equal_to_differences_in_float64(name: str, edited: tuple[int, ...]) -> None:
    loaded = toy(name)
    batches, deltas = batches_of(loaded), directions(loaded, edited)
    lower = inputs_of(loaded, batches)
    found = tangent_pass(loaded, batches, lower, START, LAYERS, deltas)
    assert_untouched(loaded)
    wanted = differences(loaded, batches, lower, deltas)
    for layer in LAYERS:
        gap = float((found[layer].double() - wanted[layer]).norm() / wanted[layer].norm())
        assert gap < 1e-5, (layer, gap)
    assert_untouched(loaded)


def test_several_weights_add_up_and_the_tangent_is_linear() -> None:
    loaded = toy("rehearsal-llama")
    batches, both = batches_of(loaded), directions(loaded, (1, 2))
    lower = inputs_of(loaded, batches)
    parts = [tangent_pass(loaded, batches, lower, START, [3], {name: delta})[3] for name, delta in both.items()]
    whole = tangent_pass(loaded, batches, lower, START, [3], both)[3]
    torch.testing.assert_close(whole, parts[0] + parts[1], rtol=1e-4, atol=1e-5 * float(whole.abs().max()))
    tripled = tangent_pass(loaded, batches, lower, START, [3], {name: 3 * delta for name, delta in both.items()})[3]
    torch.testing.assert_close(tripled, 3 * whole, rtol=1e-4, atol=1e-5 * float(tripled.abs().max()))


def test_rows_are_those_of_a_pass() -> None:
    """The edited layer is linear in its weight: the tangent there is the change itself, row by row."""
    loaded = toy("rehearsal-gpt2")
    batches, deltas = batches_of(loaded), directions(loaded, (1,))
    lower = inputs_of(loaded, batches)
    (name, delta) = next(iter(deltas.items()))
    weight = loaded.model.get_parameter(name)
    kept, before = weight.data.clone(), tail_pass(loaded, batches, lower, START, [1])[1]
    weight.data.add_(delta)
    after = tail_pass(loaded, batches, lower, START, [1])[1]
    weight.data.copy_(kept)
    found = tangent_pass(loaded, batches, lower, START, [1], deltas)[1]
    torch.testing.assert_close(found, after - before, rtol=1e-3, atol=1e-4 * float(found.abs().max()))


def kernels(loaded: LoadedModel) -> set[str]:
    return {m.config._attn_implementation for m in loaded.model.modules() if hasattr(m, "config")}


def test_the_kernel_is_switched_and_put_back_even_on_an_error() -> None:
    loaded = toy("rehearsal-qwen2")
    assert kernels(loaded) == {"sdpa"}
    with pytest.raises(RuntimeError, match="inside"), eager_attention(loaded.model):
        assert kernels(loaded) == {"eager"}
        raise RuntimeError("inside")
    assert kernels(loaded) == {"sdpa"}


def test_a_pass_that_breaks_leaves_nothing_behind() -> None:
    loaded = toy("rehearsal-llama")
    batches, deltas = batches_of(loaded), directions(loaded, (1,))
    broken = [x[..., :-1] for x in inputs_of(loaded, batches)]
    with pytest.raises(RuntimeError):
        tangent_pass(loaded, batches, broken, START, LAYERS, deltas)
    assert_untouched(loaded)
    assert kernels(loaded) == {"sdpa"}


@pytest.mark.parametrize("name", ["model.layers.0.mlp.down_proj.weight", "lm_head.weight", None])
def test_weights_below_the_start_or_outside_the_layers_are_refused(name: str | None) -> None:
    loaded = toy("rehearsal-llama")
    batches = batches_of(loaded)
    deltas = {} if name is None else {name: torch.zeros_like(loaded.model.get_parameter(name))}
    with pytest.raises(ValueError, match=name or "none"):
        tangent_pass(loaded, batches, inputs_of(loaded, batches), START, LAYERS, deltas)


def test_a_layer_zero_may_be_edited() -> None:
    loaded = toy("rehearsal-llama")
    batches, lower = batches_of(loaded), []
    full_pass(loaded, batches, lambda _batch, seen: lower.append(seen["in", 0]), layer_inputs=[0])
    found = tangent_pass(loaded, batches, lower, 0, [0, 3], directions(loaded, (0,)))
    assert all(float(found[layer].norm()) > 0 for layer in (0, 3))
