"""The compiled loops against torch: the same masks to the pixel, the same scores, runs and label maps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from torch.nn.functional import interpolate

from perpixel.models.mask2former import instance_kernel
from perpixel.models.mask2former.instance_kernel import CompiledInstances, compiled_instances
from perpixel.models.mask2former.instances import Instances
from perpixel.models.mask2former.mask_tiles import Grid, MaskTiles, axis_taps, cuts
from perpixel.models.mask2former.postprocess import instance_segmentation
from perpixel.models.outputs import Mask2FormerForUniversalSegmentationOutput


@pytest.fixture(scope="module", autouse=True)
def always():
    """Use the loops however little there is to do."""
    if instance_kernel.loop("measure") is None:
        pytest.skip("the loops cannot be compiled here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance_kernel, "LEAST_PIXELS", 0)
        yield


def drawn(seed, queries, height, width, coarse):
    """Logits as blobs with soft edges (coarse) or as noise, some of them 0, equal or out of all proportion."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(queries, height, width, generator=generator) * 3
    if coarse:
        blobs = torch.randn(1, queries, 3, 3, generator=generator) * 9
        logits = interpolate(blobs, (height, width), mode="bilinear")[0] + logits / 30
    logits[torch.rand(logits.shape, generator=generator) < 0.02] = 0.0
    logits[0] = logits[0].round()
    logits[-1][torch.rand(height, width, generator=generator) < 0.02] = float("inf")
    logits[-1][torch.rand(height, width, generator=generator) < 0.02] = -float("inf")
    return logits


def both(logits, above, covered=None, size=None):
    queries = np.arange(len(logits))
    grid = Grid.of(logits.shape, covered, size)
    compiled = compiled_instances(logits, queries, grid, above)
    assert isinstance(compiled, CompiledInstances)
    return compiled, Instances(MaskTiles(logits, queries, covered, size), above)


def plain(logits, above, covered, size):
    """The masks and the mean probabilities inside, enlarged as a whole."""
    grid = Grid.of(logits.shape, covered, size)
    part = logits[:, : grid.rows, : grid.columns].float().clamp(-1e30, 1e30).numpy()
    rows = axis_taps(grid.rows, grid.reach[0], grid.size[0])
    columns = axis_taps(grid.columns, grid.reach[1], grid.size[1])
    wide = part[:, :, columns.lower] * columns.less + part[:, :, columns.upper] * columns.share
    large = wide[:, rows.lower] * rows.less[:, None] + wide[:, rows.upper] * rows.share[:, None]
    masks = large > np.float32(above)
    with np.errstate(over="ignore"):
        probabilities = 1 / (1 + np.exp(-large.astype(np.float64)))
    return masks, (probabilities * masks).sum((1, 2)) / np.maximum(masks.sum((1, 2)), 1)


SIDES = st.one_of(st.integers(1, 3), st.integers(4, 40))
SIZES = st.one_of(st.integers(1, 3), st.integers(4, 300))


@settings(max_examples=80, deadline=None)
@given(
    SIDES,
    SIDES,
    SIZES,
    SIZES,
    st.sampled_from([0.0, 0.0, -1.7, 0.3, 2.5, float("inf"), -float("inf")]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 9999),
)
def test_the_loops_give_what_torch_gives(rows, columns, height, width, above, coarse, padded, seed):
    above = float(np.float32(above))
    logits = drawn(seed, 4, rows, columns, coarse)
    covered = (max(0.25, rows - 1.25), max(0.5, columns - 2.5)) if padded else None
    size = (height, width)
    compiled, torchs = both(logits, above, covered, size)
    masks, means = plain(logits, above, covered, size)
    (mean, count), (torch_mean, torch_count) = compiled.confidence(), torchs.confidence()
    assert count.tolist() == torch_count.tolist() == masks.sum((1, 2)).tolist()
    assert mean == pytest.approx(means, abs=4e-7) and mean == pytest.approx(torch_mean, abs=1e-6)
    for k, mask in enumerate(masks):
        for one in (compiled, torchs):
            out = torch.zeros(size, dtype=torch.bool)
            one.draw(k, out)
            assert np.array_equal(out.numpy(), mask)
        rle = compiled.encode(k)
        assert rle == torchs.encode(k) and np.array_equal(coco.decode(rle), mask)
    shares = [0.5 * area for area in count]
    assert [compiled.paint(k, shares[k]) for k in range(4)] == [torchs.paint(k, shares[k]) for k in range(4)]
    assert torch.equal(compiled.label_map(), torchs.label_map())


def test_a_tall_cell_and_a_mask_of_more_runs_than_there_was_room_for():
    # Two rows of logits enlarged to 2000 are one cell but for its limit; a chequered mask has more runs than most.
    logits = torch.tensor([[1.0, -1.0] * 40, [-1.0, 1.0] * 40])[None]
    compiled, torchs = both(logits, 0.0, None, (2000, 80))
    assert compiled.confidence()[0] == pytest.approx(torchs.confidence()[0], abs=1e-6)
    chequered = torch.where(torch.arange(64)[:, None] % 2 == torch.arange(16) % 2, 5.0, -5.0)[None]
    compiled, torchs = both(chequered, 0.0, None, (64, 16))
    assert coco.decode(compiled.encode(0)).sum() == 512 and compiled.encode(0) == torchs.encode(0)


def test_probabilities_are_exact_from_end_to_end():
    # One pixel a mask, so that the mean is the probability itself.
    values = torch.linspace(-25, 25, 255)
    compiled, _ = both(values[:, None, None], -float("inf"), None, (1, 1))
    assert compiled.confidence()[0] == pytest.approx(values.double().sigmoid().numpy(), abs=3e-7)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("how", [{}, {"return_binary_maps": True}, {"return_coco_annotation": True}])
def test_whole_results_with_and_without_the_loops(kind, how, monkeypatch):
    found = Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=(torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(1)) * 3).to(kind),
        masks_queries_logits=torch.stack([drawn(k, 9, 13, 17, k == 0) for k in range(2)]).to(kind).requires_grad_(),
    )
    sizes = [(150, 70), (11, 203)]
    given = {"threshold": 0.2, "mask_threshold": 0.45, "overlap_mask_area_threshold": 0.1, "target_sizes": sizes, **how}
    with_loops = instance_segmentation(found, **given)
    monkeypatch.setattr(instance_kernel, "loop", lambda name: None)
    for fast, slow in zip(with_loops, instance_segmentation(found, **given), strict=True):
        assert len(fast["segments_info"]) > 1
        for one, other in zip(fast["segments_info"], slow["segments_info"], strict=True):
            assert one == other | {"score": pytest.approx(other["score"], abs=1.1e-6)}
        if isinstance(fast["segmentation"], list):
            assert fast["segmentation"] == slow["segmentation"]
        else:
            assert torch.equal(fast["segmentation"], slow["segmentation"])


def test_who_takes_the_loops(monkeypatch):
    logits, queries = torch.zeros(300, 4, 4), np.arange(300)
    grid = Grid.of(logits.shape, None, None)
    assert compiled_instances(logits, queries[:255], grid, 0.0) is not None
    assert compiled_instances(logits, queries, grid, 0.0) is None  # colours are bytes
    assert compiled_instances(logits.double(), queries[:9], grid, 0.0) is None
    assert compiled_instances(logits.to("meta"), queries[:9], grid, 0.0) is None
    monkeypatch.setattr(instance_kernel, "LEAST_PIXELS", 9 * 16 + 1)
    assert compiled_instances(logits, queries[:9], grid, 0.0) is None  # not worth loading them


@pytest.mark.parametrize("above", [0.0, 0.37, -2.2, 1e-3])
def test_rounding_never_crosses_the_cuts(above):
    none, every = cuts(above)
    for value, inside in ((np.nextafter(np.float32(none), np.float32(-9)), False), (np.float32(every) + 1e-6, True)):
        logits = torch.full((1, 5, 7), float(value))
        masks, _ = plain(logits, above, None, (97, 131))
        assert masks.all() == inside == masks.any()
