"""Packed linear maps against plain ones."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from perpixel.layers.packed import PackedLinear, PackedSelfAttention, can_pack, has_packing
from perpixel.layers.transformer import ViTSelfAttention

pytestmark = pytest.mark.skipif(not has_packing(), reason="this processor has no packed linear maps")


def linear(inputs=7, outputs=5, bias=True):
    torch.manual_seed(inputs)
    return nn.Linear(inputs, outputs, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (1, 7), (3, 2, 7), (0, 7), (2000, 7)])
@pytest.mark.parametrize("fused", ["none", "gelu", "relu"])
def test_the_same_map(shape, bias, fused):
    plain, x = linear(bias=bias), torch.randn(*shape)
    apply = {"none": lambda y: y, "gelu": functional.gelu, "relu": functional.relu}[fused]
    packed = PackedLinear([plain], fused=fused)
    torch.testing.assert_close(packed(x), apply(plain(x)).detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fused", ["none", "relu"])
@pytest.mark.parametrize("gradient", [False, True])
def test_added_to_something(fused, gradient):
    plain, x, rest = linear(), torch.randn(3, 2, 7), torch.randn(3, 2, 5, requires_grad=gradient)
    packed = PackedLinear([plain], fused=fused)
    kept = rest.detach().clone()
    expected = rest + (plain(x).relu() if fused == "relu" else plain(x))
    sums = packed.added(x, rest)
    torch.testing.assert_close(sums.detach(), expected.detach(), atol=1e-5, rtol=1e-5)
    assert torch.equal(rest, kept) and sums.requires_grad == gradient


def test_inputs_that_are_parts_of_others():
    plain, x = linear(), torch.randn(6, 9, 4).transpose(1, 2)[:, :, 1:8]
    torch.testing.assert_close(PackedLinear([plain])(x), plain(x).detach(), atol=1e-5, rtol=1e-5)


def test_the_state_dict_has_the_original_names_and_values():
    parts = [linear(7, 5), linear(7, 4, bias=False), linear(7, 3)]
    state = PackedLinear(parts, ("a", "b", "c")).state_dict(prefix="x.")
    assert list(state) == ["x.a.weight", "x.a.bias", "x.b.weight", "x.c.weight", "x.c.bias"]
    for name, part in zip("abc", parts, strict=True):
        assert torch.equal(state[f"x.{name}.weight"], part.weight)
        assert part.bias is None or torch.equal(state[f"x.{name}.bias"], part.bias)


def test_gradients_reach_the_input():
    plain, x = linear(), torch.randn(3, 7, requires_grad=True)
    PackedLinear([plain], fused="gelu")(x).sum().backward()
    expected, x.grad = x.grad, None
    functional.gelu(plain(x)).sum().backward()
    torch.testing.assert_close(expected, x.grad)


def test_copies_files_and_other_types():
    plain, x = linear(), torch.randn(3, 7)
    packed = PackedLinear([plain])
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert torch.equal(other(x), packed(x))
    double = packed.double()
    torch.testing.assert_close(double(x.double()), plain.double()(x.double()).detach())
    assert double.state_dict()["weight"].dtype == torch.float64


def test_autocast():
    plain, x = linear(), torch.randn(3, 7)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(PackedLinear([plain])(x), plain(x))


def test_what_is_not_packed():
    assert can_pack(linear())
    assert not can_pack(linear().double())
    assert not can_pack(nn.Linear(2, 2, device="meta"))
    hooked = linear()
    hooked.register_forward_hook(lambda *_: None)
    assert not can_pack(hooked)
    assert not can_pack(type("Other", (nn.Linear,), {})(2, 2))


class Shape:
    hidden_size, num_attention_heads, attention_probs_dropout_prob, qkv_bias = 8, 2, 0.5, True


def test_self_attention():
    torch.manual_seed(0)
    plain, tokens = ViTSelfAttention(Shape()).eval(), torch.randn(2, 5, 8)
    packed = PackedSelfAttention([plain.query, plain.key, plain.value], plain.heads)
    for given in ((), (torch.ones(2, 1, 1, 5).bool(), True)):
        for ours, theirs in zip(packed(tokens, *given), plain(tokens, *given), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in packed.state_dict().items())
    assert packed.state_dict().keys() == plain.state_dict().keys()
