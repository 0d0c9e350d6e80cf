"""oneDNN's products: the same numbers as a float64 reference, the same gradients, the module otherwise as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from editverdict.models.attention import eager_attention
from editverdict.models.kernels import OneDnnLinear, torch_products, use_fast_products
from editverdict.models.sites import Sites
from suites.selftest.models.toys import toy

CPU = torch.device("cpu")


def pair(d_in: int = 96, d_out: int = 160, bias: bool = True) -> tuple[nn.Linear, nn.Linear]:
    """A linear module and its copy with the other product."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        plain = nn.Linear(d_in, d_out, bias=bias).requires_grad_(False)
    fast = copy.deepcopy(plain)
    assert use_fast_products(fast, CPU) == "onednn" and type(fast) is OneDnnLinear
    return plain, fast


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(96,), (7, 96), (3, 5, 96), (1, 1, 96), (2, 300, 96)])
def test_products_are_those_of_float64(shape: tuple[int, ...], bias: bool) -> None:
    plain, fast = pair(bias=bias)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    wanted = functional.linear(x.double(), plain.weight.double(), None if plain.bias is None else plain.bias.double())
    errors = [float((module(x).double() - wanted).abs().max()) for module in (plain, fast)]
    assert fast(x).shape == wanted.shape and errors[1] < 2e-6 and errors[1] < 4 * errors[0] + 1e-7


def test_views_and_transposed_inputs() -> None:
    plain, fast = pair()
    x = torch.randn(96, 40, generator=torch.Generator().manual_seed(2))
    for view in (x.T, x.T[::2], x.T.reshape(4, 10, 96)[:, 1:6], x.T[None].expand(3, -1, -1)):
        torch.testing.assert_close(fast(view), plain(view), atol=2e-6, rtol=1e-5)
    assert fast(x.T[:0]).shape == (0, 160)


def test_gradients_of_the_input() -> None:
    plain, fast = pair()
    x = torch.randn(4, 9, 96, generator=torch.Generator().manual_seed(4))
    found = []
    for module in (plain, fast):
        own = x.clone().requires_grad_()
        module(own).square().sum().backward()
        found.append(own.grad)
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-5)
    assert all(p.grad is None for p in fast.parameters())


def test_what_comes_out_may_be_added_to_in_place() -> None:
    """Adapters do that."""
    plain, fast = pair()
    x = torch.randn(2, 9, 96, generator=torch.Generator().manual_seed(4))
    found = []
    for module in (plain, fast):
        own = x.clone().requires_grad_()
        out = module(own)
        out += 2.0 * own[..., :1]
        out.square().sum().backward()
        found.append(own.grad)
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-5)


def test_a_weight_that_learns_gets_its_gradient() -> None:
    plain, fast = pair()
    x = torch.randn(9, 96, generator=torch.Generator().manual_seed(5))
    for module in (plain, fast):
        module.weight.requires_grad_()
        module(x).square().sum().backward()
    torch.testing.assert_close(fast.weight.grad, plain.weight.grad, atol=1e-4, rtol=1e-5)


def test_a_changed_weight_is_seen_at_once() -> None:
    _, fast = pair(bias=False)
    x = torch.randn(5, 96, generator=torch.Generator().manual_seed(6))
    before = fast(x)
    with torch.no_grad():
        fast.weight.mul_(2.0)
    torch.testing.assert_close(fast(x), 2.0 * before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_number_formats_go_the_usual_way(dtype: torch.dtype) -> None:
    _, fast = pair()
    x = torch.randn(5, 96, generator=torch.Generator().manual_seed(7)).to(dtype)
    module = fast.to(dtype)
    assert torch.equal(module(x), functional.linear(x, module.weight, module.bias))
    assert use_fast_products(nn.Linear(3, 3).to(dtype), CPU) == "torch"


def test_only_plain_linear_modules_change() -> None:
    class Adapted(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(4, 4), Adapted(4, 4), nn.LayerNorm(4))
    assert use_fast_products(model, CPU) == "onednn"
    assert [type(module) for module in model] == [OneDnnLinear, Adapted, nn.LayerNorm]
    assert use_fast_products(nn.Sequential(nn.LayerNorm(4)), CPU) == "torch"
    assert use_fast_products(nn.Linear(3, 3), torch.device("cuda")) == "torch"


def test_torchs_own_products_for_a_while() -> None:
    model = nn.Sequential(pair()[1], nn.ReLU())
    with pytest.raises(RuntimeError, match="inside"), torch_products(model):
        assert type(model[0]) is nn.Linear
        raise RuntimeError("inside")
    assert type(model[0]) is OneDnnLinear


def test_a_loaded_model_has_them_and_says_so() -> None:
    loaded = toy("rehearsal-llama")
    kinds = {type(module) for module in loaded.model.modules() if isinstance(module, nn.Linear)}
    assert kinds == {OneDnnLinear} and loaded.identity.products == "onednn"
    assert loaded.identity.fields()["products"] == "onednn"
    assert isinstance(loaded.sites, Sites) and type(loaded.sites.down_proj(1)) is OneDnnLinear
    with eager_attention(loaded.model):  # whatever the attention is: their products have rules for every derivative
        assert {type(m) for m in loaded.model.modules() if isinstance(m, nn.Linear)} == {OneDnnLinear}
    assert {type(m) for m in loaded.model.modules() if isinstance(m, nn.Linear)} == {OneDnnLinear}


# --------------------------------------------------------------------------- forward-mode differentiation
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("moved", [("x",), ("weight",), ("x", "weight"), ("x", "weight", "bias")])
def test_derivatives_along_directions(bias: bool, moved: tuple[str, ...]) -> None:
    """``dx W^T + x dW^T + db``, in float64 by hand; through a module, as `tangent_pass` goes."""
    moved = tuple(name for name in moved if bias or name != "bias")
    module = nn.Linear(16, 12, bias=bias)
    x = torch.randn(2, 5, 16)
    assert use_fast_products(module, torch.device("cpu")) == "onednn" and type(module) is OneDnnLinear
    values = {"x": x, "weight": module.weight.detach()} | ({"bias": module.bias.detach()} if bias else {})
    along = {
        name: torch.randn_like(value) if name in moved else torch.zeros_like(value) for name, value in values.items()
    }

    def product(at: dict[str, torch.Tensor]) -> torch.Tensor:
        kept = {name: value for name, value in {**values, **at}.items() if name != "x"}
        found: torch.Tensor = torch.func.functional_call(module, kept, ({**values, **at}["x"],))
        return found

    with torch.no_grad():
        value, tangent = torch.func.jvp(
            product, ({name: values[name] for name in moved},), ({name: along[name] for name in moved},)
        )
    exact = {name: tensor.double() for name, tensor in values.items()}
    expected = along["x"].double() @ exact["weight"].T + exact["x"] @ along["weight"].double().T
    if bias:
        expected = expected + along["bias"].double()
    assert torch.allclose(tangent.double(), expected, atol=1e-5)
    plain = exact["x"] @ exact["weight"].T + (exact["bias"] if bias else 0.0)
    assert torch.allclose(value.double(), plain, atol=1e-5)
