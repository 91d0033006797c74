"""The compiled sampling against the plain one: odd sizes, points far away, half precision, threads, forks."""

import multiprocessing
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.randomise import randomise
from perpixel.layers import deformable, deformable_kernel
from perpixel.layers.deformable import (
    MultiScaleDeformableAttention,
    ValueTable,
    multi_scale_deformable_attention,
    sample_with_grids,
)

pytestmark = pytest.mark.skipif(deformable_kernel.kernel() is None, reason="numba cannot compile here")
SHAPES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=3)


def example(shapes, queries, *, b=1, heads=2, d=32, points=4, spread=1.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(queries)
    n, levels = sum(h * w for h, w in shapes), len(shapes)
    value = torch.randn(b, n, heads, d, generator=generator).to(dtype)
    locations = 0.5 + spread * torch.randn(b, queries, heads, levels, points, 2, generator=generator)
    return value, shapes, locations.to(dtype), torch.rand(b, queries, heads, levels, points, generator=generator)


def plain(*arguments):
    """The same without the compiled loop."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deformable, "kernel", lambda: None)
        return multi_scale_deformable_attention(*arguments)


def compiled(*arguments):
    """The same, and it was the compiled loop that ran."""
    runs = []
    with pytest.MonkeyPatch.context() as patch:
        loop = deformable_kernel.kernel()
        patch.setattr(deformable_kernel, "kernel", lambda: lambda *given: runs.append(loop(*given)))
        out = multi_scale_deformable_attention(*arguments)
    assert len(runs) >= len(arguments[0])
    return out


@settings(max_examples=30, deadline=None)
@given(
    shapes=SHAPES,
    queries=st.integers(1, 70),
    b=st.integers(1, 2),
    heads=st.integers(1, 3),
    d=st.sampled_from([32, 64]),
    points=st.integers(1, 5),
    spread=st.sampled_from([0.2, 1.0, 1e6, 1e30]),
)
def test_it_equals_the_plain_path_and_grid_sample(shapes, queries, b, heads, d, points, spread):
    arguments = example(shapes, queries, b=b, heads=heads, d=d, points=points, spread=spread)
    out = compiled(*arguments)
    assert out.shape == (b, queries, heads * d) and out.dtype == torch.float32
    assert (out - plain(*arguments)).abs().max() <= 1e-5
    assert (out - sample_with_grids(*[arguments[0], shapes, *arguments[2:]])).abs().max() <= 1e-5


def test_points_on_the_centres_the_edges_and_the_corners_by_hand():
    value = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1).expand(1, 4, 1, 32)  # rows (1, 2) and (3, 4)
    places = [(0.25, 0.25), (0.75, 0.25), (0.5, 0.75), (0.0, 0.25), (0.0, 0.0), (1.0, 1.0), (-0.25, 0.5), (1.25, 0.5)]
    expected = [1.0, 2.0, 3.5, 0.5, 0.25, 1.0, 0.0, 0.0]
    locations = torch.tensor(places).view(1, -1, 1, 1, 1, 2)
    out = compiled(value, [(2, 2)], locations, torch.full((1, len(places), 1, 1, 1), 2.0))
    assert out[0].tolist() == [[2 * e] * 32 for e in expected]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_place_behaves_as_on_the_plain_path(bad):
    value, shapes, locations, weights = example([(3, 5), (1, 1)], 5)
    locations[0, 1, 0, 1, 2, 0] = bad
    locations[0, 2, 1, 0, 0, 1] = bad
    out, expected = compiled(value, shapes, locations, weights), plain(value, shapes, locations, weights)
    assert torch.equal(out.isnan(), expected.isnan())
    assert out.isnan().any() == (bad != bad)
    assert torch.allclose(out, expected, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("place", [-3.0, 3.0])
def test_what_lies_outside_is_not_read(place):
    value, shapes, locations, weights = example([(2, 2)], 3)
    value[:] = float("inf")
    locations[:] = place
    assert (compiled(value, shapes, locations, weights) == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    value, shapes, locations, weights = example([(3, 5), (2, 4)], 9, dtype=dtype)
    out = compiled(value, shapes, locations, weights)
    assert out.dtype == dtype
    exact = plain(value.float(), shapes, locations.float(), weights)
    assert (out.float() - exact).abs().max() <= torch.finfo(dtype).eps * exact.abs().max()


def test_gradients_and_doubles_take_the_plain_path(monkeypatch):
    monkeypatch.setattr(deformable, "kernel_table", lambda *_: pytest.fail("the compiled loop has no gradient"))
    value, shapes, locations, weights = example([(3, 5)], 4)
    multi_scale_deformable_attention(value.double(), shapes, locations.double(), weights.double())
    multi_scale_deformable_attention(value, shapes, locations.requires_grad_(), weights).sum().backward()
    assert locations.grad.abs().max() > 0


def module_example(queries=600):
    attention = MultiScaleDeformableAttention(64, 2, levels=2, points=3)
    randomise(attention)
    shapes = [(2, 3), (queries // 5, 5)]
    n = sum(h * w for h, w in shapes)
    generator = torch.Generator().manual_seed(1)
    return attention, torch.randn(n, 64, generator=generator), torch.rand(n, 2, generator=generator), shapes


@torch.no_grad()
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_module_attends_alike_with_any_number_of_threads(threads, monkeypatch):
    attention, tokens, references, shapes = module_example()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        table = attention.table(tokens, shapes)
        out, weights = attention.attend(tokens, references, table)
    finally:
        torch.set_num_threads(before)
    assert not isinstance(table, ValueTable)
    monkeypatch.setattr(deformable, "kernel", lambda: None)
    expected, expected_weights = attention.attend(tokens, references, attention.table(tokens, shapes))
    assert (out - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())
    assert (weights - expected_weights).abs().max() <= 1e-6


def in_child(queue):
    torch.set_num_threads(1)  # torch's own threads do not survive a fork
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 2)
        queue.put(compiled(*example([(5, 6), (3, 3)], 600)).numpy())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_process_samples_too():
    arguments = example([(5, 6), (3, 3)], 600)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = compiled(*arguments)
    finally:
        torch.set_num_threads(before)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = context.Process(target=in_child, args=(queue,))
        process.start()
    found = queue.get(timeout=60)
    process.join(60)
    assert process.exitcode == 0
    assert (torch.from_numpy(found) - expected).abs().max() <= 1e-6


def test_without_numba_the_plain_path_runs(program_environment):
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import torch; from perpixel.layers import deformable\n"
        "value, at = torch.ones(1, 4, 1, 32), torch.full((1, 1, 1, 1, 1, 2), 0.5)\n"
        "out = deformable.multi_scale_deformable_attention(value, [(2, 2)], at, torch.ones(1, 1, 1, 1, 1))\n"
        "print(out.sum().item())\n"
        "assert deformable.kernel() is None"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env=program_environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "32.0"
