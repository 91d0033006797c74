"""1×1 convolutions: the faster way equals the plain one, and is left where it would be wrong."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from perpixel.layers.pointwise import _is_plain, convolve_1x1


@settings(max_examples=20, deadline=None)
@given(
    b=st.integers(1, 2),
    c=st.integers(1, 40),
    out=st.integers(1, 20),
    h=st.integers(1, 5),
    w=st.integers(1, 5),
    last=st.booleans(),
    bias=st.booleans(),
)
def test_it_equals_the_convolution(b, c, out, h, w, last, bias):
    convolution = nn.Conv2d(c, out, 1, bias=bias)
    x = torch.randn(b, h, w, c).permute(0, 3, 1, 2) if last else torch.randn(b, c, h, w)
    with torch.no_grad():
        expected, found = convolution(x), convolve_1x1(convolution, x)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5


def test_channels_that_are_last_stay_last():
    x = torch.randn(2, 5, 6, 7).permute(0, 3, 1, 2)
    with torch.no_grad():
        assert convolve_1x1(nn.Conv2d(7, 4, 1), x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "convolution",
    [nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1, stride=2), nn.Conv2d(4, 4, 1, groups=2), nn.Identity()],
    ids=["3×3", "stride", "groups", "none"],
)
def test_others_are_called(convolution):
    x = torch.randn(1, 4, 6, 6)
    with torch.no_grad():
        assert torch.equal(convolve_1x1(convolution, x), convolution(x))


def test_gradients_hooks_and_half_precision_take_the_plain_way():
    convolution, x = nn.Conv2d(4, 4, 1), torch.randn(1, 4, 6, 6)
    assert not _is_plain(convolution, x)
    convolve_1x1(convolution, x).sum().backward()
    assert convolution.weight.grad.abs().sum() > 0
    with torch.no_grad():
        assert _is_plain(convolution, x)
        assert not _is_plain(convolution, x.bfloat16())
        with torch.autocast("cpu"):
            assert convolve_1x1(convolution, x).dtype == torch.bfloat16
        seen = []
        convolution.register_forward_hook(lambda *_: seen.append(1))
        convolve_1x1(convolution, x)
    assert seen == [1]
