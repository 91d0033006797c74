"""The faster convolution against torch's, in double precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from perpixel.layers import winograd
from perpixel.layers.winograd import Enlarged, Part, Window, convolve, has_loops, pays, prepare

pytestmark = pytest.mark.skipif(not has_loops(), reason="the compiled loops cannot be had here")
SIDES = st.integers(1, 15)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def expected(x, weight, bias):
    """(h, w, c) → (h, w, c'), in double precision."""
    y = functional.conv2d(x.permute(2, 0, 1)[None].double(), weight.double(), bias.double(), padding=1)
    return y[0].permute(1, 2, 0)


@settings(max_examples=25, deadline=None)
@given(h=SIDES, w=SIDES, inputs=st.integers(1, 20), outputs=st.integers(1, 9), tiles=st.sampled_from([1, 3, 64]))
def test_equals_a_plain_convolution(h, w, inputs, outputs, tiles):
    x, weight, bias = random(h, w, inputs), random(outputs, inputs, 3, 3, seed=1), random(outputs, seed=2)
    add = random(h, w, outputs, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "FEW_TILES", tiles)
        y = convolve([Part(x)], prepare(weight, bias), torch.full((h, w, outputs), torch.nan))
        relued = convolve([Part(x)], prepare(weight, bias), torch.full_like(y, torch.nan), relu=True, add=add)
        after = convolve([Part(x)], prepare(weight, None), torch.full_like(y, torch.nan), relu_before=True)
    scale = (9 * inputs) ** 0.5
    assert (y - expected(x, weight, bias)).abs().max() < 3e-5 * scale
    assert (relued - expected(x, weight, bias).relu() - add).abs().max() < 3e-5 * scale
    assert (after - expected(x.relu(), weight, torch.zeros(outputs))).abs().max() < 3e-5 * scale


@settings(max_examples=25, deadline=None)
@given(data=st.data(), h=SIDES, w=SIDES)
def test_a_window_of_several_parts(data, h, w):
    a, b = random(h, w, 3), random(h, w, 2, seed=1)
    weight, bias = random(4, 5, 3, 3, seed=2), random(4, seed=3)
    top, left = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    bottom, right = data.draw(st.integers(top + 1, h)), data.draw(st.integers(left + 1, w))
    # A part of b with a margin of one, as far as there is one, and all of a.
    above, before = max(0, top - 1), max(0, left - 1)
    piece = b[above : bottom + 1, before : right + 1].contiguous()
    parts = [Part(a, top, left), Part(piece, top - above, left - before)]
    out = torch.full((h, w, 4), torch.nan)
    convolve(parts, prepare(weight, bias), out, Window(top, bottom, left, right))
    written = torch.zeros(h, w, dtype=torch.bool)
    written[top:bottom, left:right] = True
    assert torch.equal(~out.isnan().any(dim=2), written)
    assert (out - expected(torch.cat([a, b], dim=2), weight, bias))[written].abs().max() < 2e-4


@settings(max_examples=40, deadline=None)
@given(data=st.data(), h=st.integers(1, 9), w=st.integers(1, 9))
def test_a_window_of_an_enlargement(data, h, w):
    x, detail = random(h, w, 3), random(2 * h, 2 * w, 2, seed=1)
    weight, bias = random(4, 5, 3, 3, seed=2), random(4, seed=3)
    top, left = data.draw(st.integers(0, 2 * h - 1)), data.draw(st.integers(0, 2 * w - 1))
    bottom, right = data.draw(st.integers(top + 1, 2 * h)), data.draw(st.integers(left + 1, 2 * w))
    larger = functional.interpolate(x.permute(2, 0, 1)[None], scale_factor=2, mode="bilinear")[0].permute(1, 2, 0)
    # What the window does not depend on may not be read: it need not be there yet.
    first, last = max(0, (top - 2) // 2), min(h, (bottom + 2) // 2 + 1)
    begin, end = max(0, (left - 2) // 2), min(w, (right + 2) // 2 + 1)
    known = torch.full_like(x, torch.nan)
    known[first:last, begin:end] = x[first:last, begin:end]
    parts = [Part(detail, top, left), Enlarged(known, top, left, (first, last, begin, end))]
    out = torch.full((2 * h, 2 * w, 4), torch.nan)
    convolve(parts, prepare(weight, bias), out, Window(top, bottom, left, right))
    written = torch.zeros(2 * h, 2 * w, dtype=torch.bool)
    written[top:bottom, left:right] = True
    assert torch.equal(~out.isnan().any(dim=2), written)
    assert (out - expected(torch.cat([detail, larger], dim=2), weight, bias))[written].abs().max() < 2e-4


def test_as_exact_as_a_plain_convolution():
    x, weight = random(40, 40, 128), random(32, 128, 3, 3, seed=1) / (9 * 128) ** 0.5
    truth = expected(x, weight, torch.zeros(32))
    ours = convolve([Part(x)], prepare(weight, None), torch.empty(40, 40, 32)) - truth
    assert ours.std() < 3e-6 * truth.std()
    assert ours.abs().max() < 3e-5 * truth.std()


def test_several_threads():
    x, weight, bias = random(33, 37, 8), random(6, 8, 3, 3, seed=1), random(6, seed=2)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        y = convolve([Part(x)], prepare(weight, bias), torch.empty(33, 37, 6))
    finally:
        torch.set_num_threads(before)
    assert (y - expected(x, weight, bias)).abs().max() < 2e-4


def test_only_where_it_pays():
    x = torch.zeros(1)
    assert pays(256, 256, 64 * 64, x)
    assert not pays(256, 256, 4 * 4, x)
    assert not pays(4, 256, 1024 * 1024, x)
    assert not pays(256, 256, 64 * 64, x.double())
    assert not pays(256, 256, 64 * 64, x.requires_grad_())
